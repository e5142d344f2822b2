"""Copies of messages: confirmed before an original is acknowledged, so that a death between loses nothing."""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, TypeVar

import amqp

from deploy.operate.commands import Refused
from services.chassis.broker import send
from services.chassis.frames import Outgoing

T = TypeVar("T")
BATCH = 100
FEW = 16
HELD, ARRIVING = ".held", ".arriving"
"""Names of the queues that stand in for one that is migrated end so."""
IDLE = 0.3
"""Seconds without a message after which a queue is taken for empty."""
CONFIRM = 15.0
"""Seconds that the broker has to confirm a batch."""
ADDED = ("x-delivery-count", "x-stream-offset")
"""Headers that the broker adds by itself."""


class Copies:
    """A channel that publishes with confirms, many under way at a time."""

    def __init__(self, connection: Any) -> None:
        self._connection, self._channel = connection, connection.channel()
        self._channel.confirm_select()
        self._channel.events["basic_ack"].add(self._confirmed)
        self._channel.events["basic_nack"].add(self._refused)
        self._channel.events["basic_return"].add(self._returned)
        self._tag = 0
        self._open: set[int] = set()
        self._not_taken = ""

    def publish(self, messages: Sequence[Outgoing]) -> None:
        """In this order, until the broker has them all for good. Raise ``Refused``; some may have arrived then."""
        for message in messages:
            self._tag += 1
            self._open.add(self._tag)
            send(self._channel, message)
        until = time.monotonic() + CONFIRM
        while self._open:
            try:
                self._connection.drain_events(timeout=max(0.01, until - time.monotonic()))
            except TimeoutError:
                raise Refused(f"{ALARM} Nothing is lost; run the command again.") from None
        if self._not_taken:
            raise Refused(f"{self._not_taken} Nothing is lost; run the command again.")

    def _confirmed(self, tag: int, multiple: bool) -> None:
        self._open = {t for t in self._open if t > tag} if multiple else self._open - {tag}

    def _refused(self, tag: int, multiple: bool) -> None:
        self._not_taken = "The broker did not take a message: the queue has no majority of its nodes, or is full."
        self._confirmed(tag, multiple)

    def _returned(self, _error: Any, _exchange: str, routing_key: str, _message: Any) -> None:
        self._not_taken = f"There is no queue {routing_key}: start its service, which declares it."


def refuse_while_moved(connection: Any, queue: str) -> None:
    """What is published to a queue while it is deleted is gone. Raise ``Refused``."""
    if any(count(connection, queue + suffix) for suffix in (HELD, ARRIVING)):
        raise Refused(f"{queue} is being moved: finish that first with `sidan queues migrate {queue}`.")


ALARM = f"The broker confirmed nothing for {CONFIRM:g} s: look for its memory and disk alarms with `sidan doctor`."


def take(connection: Any, queue: str) -> Iterator[list[Any]]:
    """What is ready, in batches and in order, until nothing comes for a moment.

    By consuming: a batch of it is acknowledged with one command, which closing the channel cannot overtake. The
    caller acknowledges each batch before the next.
    """
    channel, read = connection.channel(), deque[Any]()
    channel.auto_decode = False
    channel.basic_qos(0, 2 * BATCH, False)
    channel.basic_consume(queue, callback=read.append)
    while True:
        with suppress(TimeoutError):
            while len(read) < BATCH:
                connection.drain_events(timeout=IDLE)
        if not read:
            break
        yield [read.popleft() for _ in range(min(BATCH, len(read)))]
    channel.close()


def acknowledge(channel: Any, queue: str, tags: Sequence[int]) -> None:
    """For good, so that the channel may be closed.

    RabbitMQ keeps acknowledgements of a quorum queue back when more than 32 are under way, and forgets them
    with the channel; the ``basic_get``, whose answer waits for those before it, keeps them below that. What it
    may take stays with the channel.
    """
    for few in in_batches(iter(tags), FEW):
        for tag in few:
            channel.basic_ack(tag)
        channel.basic_get(queue)


def same(message: Any, queue: str) -> Outgoing:
    """As it is, for a queue."""
    properties = dict(message.properties)
    headers = {name: value for name, value in properties.pop("application_headers", {}).items() if name not in ADDED}
    kept = {
        name: properties[name] for name in ("type", "correlation_id", "reply_to", "timestamp") if name in properties
    }
    return Outgoing("", queue, bytes(message.body), headers, properties.get("message_id") or "", kept)


def in_batches(things: Iterator[T], size: int = BATCH) -> Iterator[list[T]]:
    while batch := list(islice(things, size)):
        yield batch


def count(connection: Any, queue: str) -> tuple[int, int] | None:
    """Messages that are ready, and consumers; None where there is no such queue."""
    channel = connection.channel()
    try:
        declared = channel.queue_declare(queue, passive=True)
    except amqp.exceptions.NotFound:
        return None
    channel.close()
    return int(declared.message_count), int(declared.consumer_count)
