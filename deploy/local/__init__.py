"""Everything on one machine: RabbitMQ, MongoDB, services and gateway as plain processes."""
