"""Test-only wrappers of the chassis: duplicates, another order, failing handlers (Watermill's middleware)."""

import os
import random
import time
import zlib
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import eventlet

from services.chassis import process, subscriber, telemetry, topology
from services.chassis.broker import Publisher
from services.chassis.settings import settings
from tests.faults.patching import patch

REORDER_WAIT = 0.2  # seconds that a message is held back at most


def apply(wanted: str) -> None:
    for part in filter(None, wanted.split(",")):
        name, _, amount = part.partition(":")
        WRAPPERS[name](float(amount))


def separate_links(publisher_uri: str) -> None:
    """Publishing goes its own way, so that a proxy can cut it alone."""
    if not publisher_uri:
        return

    class Separated(Publisher):
        def __init__(self, _uri: str, *arguments: Any) -> None:
            super().__init__(publisher_uri, *arguments)

    patch(process, "Publisher", Separated)


def duplicate(times: float) -> None:
    """Duplicator: every event is published several times, its copies with the same id."""
    publish = Publisher.publish

    @wraps(publish)
    def repeated(self: Any, messages: Any, *arguments: Any) -> list[bool]:
        outcome = publish(self, messages, *arguments)
        for _ in range(int(times) - 1):
            publish(self, messages, *arguments)
        return outcome

    patch(Publisher, "publish", repeated)


def reorder(window: float) -> None:
    """Reorderer: a consumer gets what has gathered in another order than it came."""
    take = subscriber.Subscriber.take
    rng = random.Random(window)

    @wraps(take)
    def shuffled(self: Any) -> Any:
        if len(self.waiting) < window:
            eventlet.sleep(REORDER_WAIT)
        batch = take(self)
        tags = sorted(delivery.tag for delivery in batch)
        rng.shuffle(batch)
        # Acknowledgements are of all up to a tag, so the tags stay in order.
        return [subscriber.replace(delivery, tag=tag) for delivery, tag in zip(batch, tags, strict=True)]

    patch(subscriber.Subscriber, "take", shuffled)


def late(seconds: float) -> None:
    """What tells that work is done is held back, so that what tells that the order is closed comes first."""
    take = subscriber.Subscriber.take

    @wraps(take)
    def delayed(self: Any) -> Any:
        if "order.completed" in self.queue:
            eventlet.sleep(seconds)
        return take(self)

    patch(subscriber.Subscriber, "take", delayed)


def fail(share: float) -> None:
    """RandomFail: that share of handlers raise after they have done everything, but for the last attempt: chance
    alone may not kill a message.
    """
    handle = subscriber._Batch._handle

    @wraps(handle)
    def failing(self: Any, delivery: Any) -> None:
        handle(self, delivery)
        if delivery.attempt < len(settings().retry_delays) and random.random() < share:
            raise RuntimeError("failing at random")

    patch(subscriber._Batch, "_handle", failing)


def slow(seconds: float) -> None:
    """Every handler takes its time."""
    handle = subscriber._Batch._handle

    @wraps(handle)
    def dawdling(self: Any, delivery: Any) -> None:
        handle(self, delivery)
        eventlet.sleep(seconds)

    patch(subscriber._Batch, "_handle", dawdling)


def hasty(seconds: float) -> None:
    """Handlers give up after so long, so that an outage need not last for minutes to cost them all attempts."""
    patch(subscriber, "DEADLINE", seconds)


def burn(seconds: float) -> None:
    """The first handler computes for so long without letting anybody else run."""
    handle = subscriber._Batch._handle
    left = [1]

    @wraps(handle)
    def burning(self: Any, delivery: Any) -> None:
        if left:
            left.clear()
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                pass
        handle(self, delivery)

    patch(subscriber._Batch, "_handle", burning)


def drift(limit: float) -> None:
    """Queues are declared with another delivery limit than there is."""
    patch(topology, "DELIVERY_LIMIT", int(limit))


def chatter(lines: float) -> None:
    """So many log lines a second."""

    def chat() -> None:
        log = telemetry.logger("chatter")
        while True:
            log.info("nothing new", padding="x" * 500)
            eventlet.sleep(1 / lines)

    eventlet.spawn_after(1, chat)


def poison(share: float) -> None:
    """Handlers refuse the events of so many of a hundred subjects, however often they come."""
    handle = subscriber._Batch._handle

    @wraps(handle)
    def refusing(self: Any, delivery: Any) -> None:
        if poisonous(delivery.envelope.subject, share):
            raise ValueError("poison")
        handle(self, delivery)

    patch(subscriber._Batch, "_handle", refusing)


def poisonous(subject: str, share: float) -> bool:
    return zlib.crc32(subject.encode()) % 100 < share


def trace(folder: str) -> None:
    """Write down each event that a handler has committed: handler, event, subject, sequence."""
    if not folder:
        return
    file = (Path(folder) / f"handled-{os.getpid()}.tsv").open("a", buffering=1)
    settle = subscriber.Subscriber.settle

    @wraps(settle)
    def told(self: Any, worker_ctx: Any, outcomes: Any, exc_info: Any) -> Any:
        if exc_info is None:
            for delivery, error in zip(worker_ctx.args[0], outcomes, strict=False):
                if error is None:
                    e = delivery.envelope
                    file.write(f"{self.queue}\t{e.id}\t{e.subject}\t{e.sequence}\n")
        return settle(self, worker_ctx, outcomes, exc_info)

    patch(subscriber.Subscriber, "settle", told)


WRAPPERS: dict[str, Callable[[float], None]] = {
    "duplicate": duplicate,
    "reorder": reorder,
    "late": late,
    "fail": fail,
    "slow": slow,
    "hasty": hasty,
    "burn": burn,
    "drift": drift,
    "chatter": chatter,
    "poison": poison,
}
