"""What every service stands on: messages, unit of work, outbox, subscriber, repository, settings, telemetry."""
