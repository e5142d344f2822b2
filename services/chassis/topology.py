"""Exchanges and queues, declared by every process before it does anything else, for all services.

So an event finds the queue of a subscriber that never ran, whatever starts first. The method's name is
part of the queue's name: renaming a subscriber leaves its old queue behind.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import amqp
from kombu import Exchange, Queue, binding

from services.chassis import telemetry
from services.chassis.messages import Event

ALL_EVENTS = "sidan.events"
EVENT_LOG = "sidan.events.log"
UNROUTED = "unrouted"
RPC_EXCHANGE = "nameko-rpc"
DELIVERY_LIMIT = 20
LOG_MAX_AGE = "90D"
LOG_MAX_BYTES = 20_000_000_000
LOG_SEGMENT_BYTES = 50_000_000
LOG_ARGUMENTS = {
    "x-queue-type": "stream",
    "x-max-age": LOG_MAX_AGE,
    "x-max-length-bytes": LOG_MAX_BYTES,
    "x-stream-max-segment-size-bytes": LOG_SEGMENT_BYTES,
}
DEAD_SUFFIX = ".dead"

log = telemetry.logger("topology")


@dataclass(frozen=True)
class Subscription:
    """One handler's wish for one kind of event."""

    service: str
    method: str
    event: type[Event]

    @property
    def queue(self) -> str:
        return f"evt-{self.event.owner}-{self.event.fact}--{self.service}.{self.method}"


def quorum(**arguments: Any) -> dict[str, Any]:
    return {"x-queue-type": "quorum", **arguments}


def dead_lettered(queue: str) -> dict[str, Any]:
    """The broker's own net under our retries: what crashes its handlers too often is set aside."""
    return quorum(
        **{
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": queue + DEAD_SUFFIX,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
    )


def returning(delay: float) -> dict[str, Any]:
    """Of a retry level: after so many seconds a message goes back to where its routing key says."""
    return quorum(
        **{
            "x-message-ttl": int(delay * 1000),
            "x-dead-letter-exchange": "",
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        }
    )


def rpc_queue(service: str) -> str:
    return f"rpc-{service}"


def declared_queues(
    services: Iterable[str], subscriptions: Iterable[Subscription], delays: Iterable[float]
) -> dict[str, dict[str, Any]]:
    """Every queue of the system with its arguments, as the functions below declare them."""
    queues = {EVENT_LOG: LOG_ARGUMENTS, UNROUTED: quorum()}
    queues |= {retry_queue(delay): returning(delay) for delay in delays}
    queues |= {rpc_queue(service): quorum() for service in services}
    for subscription in subscriptions:
        queues |= {subscription.queue: dead_lettered(subscription.queue), subscription.queue + DEAD_SUFFIX: quorum()}
    return queues


def retry_queue(delay: float) -> str:
    return f"retry.{delay:g}s"


def event_exchange(service: str) -> Exchange:
    """As stock nameko declares it, so that its event handlers can listen too."""
    return Exchange(f"{service}.events", "topic", durable=True, auto_delete=False)


def declare(
    connection: Any, publishers: Iterable[str], subscriptions: Iterable[Subscription], delays: Iterable[float]
) -> None:
    """Idempotent; ``connection`` is py-amqp's.

    A queue that exists with other arguments is used as it is: one such queue must not stop all services, and
    handling relies on none of them. Raises for a retry level, whose arguments bring messages back.
    """
    channel = connection.channel()
    _declare_events(channel, publishers)
    _declare_retries(channel, delays)
    Exchange(RPC_EXCHANGE, "topic", durable=True)(channel).declare()
    for subscription in subscriptions:
        _declare_subscription(channel, subscription)
    channel.close()


def _declare_events(channel: Any, publishers: Iterable[str]) -> None:
    everything = Exchange(ALL_EVENTS, "topic", durable=True)
    everything(channel).declare()
    _declare_queue(channel, Queue(EVENT_LOG, everything, "#", durable=True, queue_arguments=LOG_ARGUMENTS))
    # Where the broker's policy sends what nobody is bound to (deploy/rabbitmq).
    unrouted = Exchange(UNROUTED, "fanout", durable=True)
    _declare_queue(channel, Queue(UNROUTED, unrouted, durable=True, queue_arguments=quorum()))
    for service in publishers:
        event_exchange(service)(channel).declare()
        everything(channel).bind_to(event_exchange(service), routing_key="#")


def _declare_retries(channel: Any, delays: Iterable[float]) -> None:
    """A message waits in a level and returns to the queue that its routing key names."""
    for delay in delays:
        name = retry_queue(delay)
        level = Exchange(name, "fanout", durable=True)
        Queue(name, level, durable=True, queue_arguments=returning(delay))(channel).declare()


def _declare_subscription(channel: Any, subscription: Subscription) -> None:
    name, event = subscription.queue, subscription.event
    _declare_queue(channel, Queue(name + DEAD_SUFFIX, durable=True, queue_arguments=quorum()))
    wanted = binding(event_exchange(event.owner), routing_key=f"{event.fact}.#")
    _declare_queue(channel, Queue(name, bindings=[wanted], durable=True, queue_arguments=dead_lettered(name)))


def _declare_queue(channel: Any, queue: Queue) -> None:
    bound = queue(channel)
    try:
        bound.declare()
    except amqp.exceptions.PreconditionFailed as error:  # py-amqp has opened the channel again
        _tell_drift(queue.name, error.reply_text)
        if bound.exchange:
            bound.queue_bind()
        for wanted in bound.bindings:
            wanted.bind(bound)


@cache
def _tell_drift(queue: str, difference: str) -> None:
    """Once in a process."""
    log.error("queue has other arguments than it should, it is used as it is", queue=queue, difference=difference)


def declare_rpc(connection: Any, service: str) -> None:
    """A quorum queue too: a classic one is gone with its node, and all requests with it, until that returns.

    One that was declared otherwise is replaced as soon as nobody uses it: requests live for seconds.
    """
    name = rpc_queue(service)
    exchange = Exchange(RPC_EXCHANGE, "topic", durable=True)
    wanted = Queue(name, exchange, f"{service}.*", durable=True, queue_arguments=quorum())
    channel = connection.channel()
    try:
        wanted(channel).declare()
    except amqp.exceptions.PreconditionFailed:
        channel.queue_delete(name, if_unused=True)
        wanted(channel).declare()
    channel.close()
