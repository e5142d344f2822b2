"""``@subscribe(EventClass)``: events handled exactly once, in batches, with retries and dead letters.

A handler reads *load, decide, save*. Messages that have gathered are handled one after the other in one
unit of work and committed together with their inbox rows; when anything in a batch fails, each message is
run again by itself, so that only the failing one is retried.
"""

import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import eventlet
import orjson
from nameko.extensions import Entrypoint, register_entrypoint
from pydantic import ValidationError
from pymongo.errors import ConnectionFailure

from services.chassis import telemetry
from services.chassis.broker import Consumer, Outgoing
from services.chassis.clock import now
from services.chassis.crashpoints import crashpoint
from services.chassis.messages import PREFIX, Envelope, Event
from services.chassis.process import Broker
from services.chassis.settings import settings
from services.chassis.topology import DEAD_SUFFIX, Subscription, retry_queue
from services.chassis.unit_of_work import INBOX, Work
from services.contracts.privacy import mask

BATCH = 100
BATCH_SECONDS = 1.0
"""A batch of slow handlers is cut short here, and the rest comes next."""
DEADLINE = 30.0
"""Seconds for one message, retries of write conflicts included."""
OUTAGE_PAUSE = 1.0  # seconds
MAX_BODY = 256 * 1024  # bytes
TRACE_LENGTH = 4000  # characters
ATTEMPT = "attempt"
REASON_HEADERS = ("reason", "trace", "failed-queue", "failed-at")

log = telemetry.logger("subscriber")
Handler = Callable[[Any, Any], None]


@dataclass(slots=True, frozen=True)
class Delivery:
    """One message as it was delivered."""

    body: bytes
    headers: dict[str, Any]
    message_id: str
    generation: int
    tag: int
    attempt: int
    envelope: Envelope = None  # type: ignore[assignment]  # once it is read
    event: Event | None = None


@dataclass(slots=True, frozen=True)
class Rejected:
    """A message that no attempt can help: it cannot be read."""

    reason: str


def subscribe(event: type[Event], *, idempotent: bool = False) -> Callable[[Handler], Any]:
    """Handle every ``event`` once. ``idempotent``: the handler needs no inbox row for that.

    The handler may run several times before it commits once, so it has no effect but through ``self.uow``.
    Any exception means another attempt after 1 s, 10 s, 60 s, then the dead letters.
    """

    def decorate(handler: Handler) -> Any:
        @wraps(handler)
        def run(service: Any, batch: list[Delivery]) -> list[Exception | None]:
            name = f"{service.name}.{handler.__name__}"
            return _Batch(service, handler, name, idempotent).run(batch)

        register_entrypoint(run, Subscriber(event))
        return run

    return decorate


class _Batch:
    def __init__(self, service: Any, handler: Handler, name: str, idempotent: bool) -> None:
        self.service, self.handler, self.name, self.idempotent = service, handler, name, idempotent
        self.uow: Work = service.uow
        self.optimistic = True

    def run(self, batch: list[Delivery]) -> list[Exception | None]:
        """The outcome of each message that was handled: None, or why it failed.

        Raise ``ConnectionFailure`` when the database is away; that is no message's fault.
        """
        try:
            return [None] * self.uow.run(lambda: self._together(batch), DEADLINE)
        except ConnectionFailure:
            raise
        except Exception:
            return [self._alone(delivery) for delivery in batch]

    def _together(self, batch: list[Delivery]) -> int:
        started = time.monotonic()
        handled = self._handled(batch)
        for done, delivery in enumerate(batch, start=1):
            if delivery.envelope.id in handled:
                telemetry.DUPLICATES.labels(self.name).inc()
            else:
                self._handle(delivery)
                handled.add(delivery.envelope.id)
            if time.monotonic() - started > BATCH_SECONDS:
                return done
        return len(batch)

    def _alone(self, delivery: Delivery) -> Exception | None:
        try:
            self.uow.run(lambda: self._together([delivery]), DEADLINE)
            return None
        except ConnectionFailure:
            raise
        except Exception as error:
            return error

    def _handle(self, delivery: Delivery) -> None:
        envelope = delivery.envelope
        telemetry.enter(telemetry.Trace(envelope.correlation_id, envelope.id, envelope.traceparent))
        self.uow.sequence = envelope.sequence
        self.handler(self.service, delivery.event)
        if not self.idempotent:
            self.uow.insert(INBOX, {"_id": self._key(envelope), "at": now()})

    def _handled(self, batch: list[Delivery]) -> set[str]:
        """Event ids that the inbox knows. The first try does without: its inbox rows would clash."""
        optimistic, self.optimistic = self.optimistic, False
        if optimistic or self.idempotent:
            return set()
        ids = {self._key(d.envelope): d.envelope.id for d in batch}
        return {ids[row["_id"]] for row in self.uow.database[INBOX].find({"_id": {"$in": list(ids)}}, {"_id": 1})}

    def _key(self, envelope: Envelope) -> str:
        return f"{self.name}:{envelope.source}#{envelope.id}"


class Subscriber(Entrypoint):  # type: ignore[misc]
    """Takes messages of one queue in order, one batch at a time in this process."""

    broker = Broker()

    def __init__(self, event: type[Event], **kwargs: Any) -> None:
        self.event = event
        super().__init__(**kwargs)

    def setup(self) -> None:
        service = self.container.service_name
        self.subscription = Subscription(service, self.method_name, self.event)
        self.queue = self.subscription.queue
        self.label = f"{service}.{self.method_name}"
        self.waiting: deque[Delivery] = deque()
        self.running = False
        self.stopping = False
        self.consumer = Consumer(self.queue, 2 * BATCH, self.receive)
        self.broker.wanted.append(self.consumer)

    def stop(self) -> None:
        """Take no more; what is prefetched returns to the queue when the link closes."""
        self.stopping = True
        self.waiting.clear()

    def receive(self, message: Any) -> None:
        self.waiting.append(raw(message, self.consumer.generation))
        if not self.running:
            self.running = True
            # Not now: the reader has more in its hands, and they make a batch.
            eventlet.spawn_after(0, self.work)

    def work(self) -> None:
        batch = [] if self.stopping else self.take()
        if not batch:
            self.running = False
            return
        self.started = time.monotonic()
        self.container.spawn_worker(self, (batch,), {}, handle_result=self.settle)

    def take(self) -> list[Delivery]:
        batch: list[Delivery] = []
        while self.waiting and len(batch) < BATCH:
            delivery = self.waiting.popleft()
            if delivery.generation != self.consumer.generation:
                continue  # of a lost link: the broker delivers it again
            parsed = delivery if delivery.event else parse(self.event, delivery)
            if isinstance(parsed, Rejected):
                self.reject(delivery, parsed.reason)
            elif parsed.event is None:
                self.consumer.settle(delivery.generation, delivery.tag)  # another version, not ours
            else:
                batch.append(parsed)
        return batch

    def settle(self, worker_ctx: Any, outcomes: Any, exc_info: Any) -> tuple[Any, Any]:
        """Acknowledge what is done, set the failed aside, put back what the time was too short for."""
        batch: list[Delivery] = worker_ctx.args[0]
        if exc_info is not None:
            return self.wait_with(batch, exc_info[1])
        crashpoint("before_ack")
        for delivery, error in zip(batch, outcomes, strict=False):
            if error is not None:
                self.fail(delivery, error)
        self.acknowledge(batch[: len(outcomes)])
        left = batch[len(outcomes) :]
        self.waiting.extendleft(reversed(left))
        telemetry.HANDLED.labels(self.label, "ok").inc(outcomes.count(None))
        telemetry.SECONDS.labels(self.label).observe(time.monotonic() - self.started)
        eventlet.spawn_after(0, self.work)
        return None, None

    def wait_with(self, batch: list[Delivery], error: Exception) -> tuple[Any, Any]:
        """The database is away: keep the messages in hand, so that none spends its attempts."""
        log.warning("database away, trying again", handler=self.label, error=type(error).__name__)
        self.waiting.extendleft(reversed(batch))
        eventlet.spawn_after(OUTAGE_PAUSE, self.work)
        return None, None

    def acknowledge(self, done: list[Delivery]) -> None:
        """All up to the last one: the channel is this queue's alone, and the batch is its oldest part."""
        last = done[-1]
        self.consumer.settle(last.generation, last.tag, multiple=True)

    def fail(self, delivery: Delivery, error: Exception) -> None:
        delays = settings().retry_delays
        telemetry.HANDLED.labels(self.label, "error").inc()
        log.warning(
            "handler failed",
            handler=self.label,
            event_id=delivery.envelope.id,
            attempt=delivery.attempt,
            error=repr(error),
        )
        if delivery.attempt < len(delays):
            self.set_aside(delivery, retry_queue(delays[delivery.attempt]), {ATTEMPT: delivery.attempt + 1})
        else:
            trace = "".join(traceback.format_exception(error))[-TRACE_LENGTH:]
            self.bury(delivery, f"{type(error).__name__}: {error}", trace)

    def set_aside(self, delivery: Delivery, level: str, changed: dict[str, Any]) -> None:
        copy = Outgoing(level, self.queue, delivery.body, {**carried(delivery.headers), **changed}, delivery.message_id)
        telemetry.RETRIED.labels(self.queue).inc()
        self.hand_over(copy, delivery.generation)

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Dead at once: no attempt can help a message that cannot be read."""
        log.error("message rejected", queue=self.queue, reason=reason)
        self.bury(delivery, reason, "")
        self.consumer.settle(delivery.generation, delivery.tag)

    def bury(self, delivery: Delivery, reason: str, trace: str) -> None:
        told = {
            "reason": mask(reason)[:500],
            "trace": mask(trace),
            "failed-queue": self.queue,
            "failed-at": now().isoformat(),
        }
        headers = {**carried(delivery.headers), **told}
        telemetry.DEAD.labels(self.queue).inc()
        dead = Outgoing("", self.queue + DEAD_SUFFIX, delivery.body[:MAX_BODY], headers, delivery.message_id)
        self.hand_over(dead, delivery.generation)

    def hand_over(self, copy: Outgoing, generation: int) -> None:
        """Until the broker has the copy, for only then may the original be acknowledged.

        A lost link ends it: the broker delivers the original again.
        """
        while generation == self.consumer.generation and not self.broker.publisher.publish([copy])[0]:
            eventlet.sleep(1)


def carried(headers: dict[str, Any]) -> dict[str, Any]:
    """Ours only: foreign and forged headers go no further."""
    return {
        name: value
        for name, value in headers.items()
        if (name.startswith(PREFIX) or name in (ATTEMPT, "traceparent")) and isinstance(value, str | int)
    }


def raw(message: Any, generation: int) -> Delivery:
    """A message as it came, whatever is in it."""
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
    headers = message.headers or {}
    attempt = headers.get(ATTEMPT, 0)
    attempt = attempt if isinstance(attempt, int) and 0 <= attempt < 1000 else 0
    message_id = message.properties.get("message_id") or ""
    return Delivery(body, headers, message_id, generation, message.delivery_tag, attempt)


def parse(event: type[Event], delivery: Delivery) -> Delivery | Rejected:
    """Read a message; whatever is wrong with it ends in ``Rejected``, never in an exception."""
    try:
        if len(delivery.body) > MAX_BODY:
            raise ValueError(f"body of {len(delivery.body)} bytes")
        envelope = Envelope.parse(delivery.headers, delivery.body)
        if envelope.type != event.type():
            return replace(delivery, envelope=envelope)
        return replace(delivery, envelope=envelope, event=event.model_validate(orjson.loads(delivery.body)))
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, e["loc"])) + ": " + e["type"] for e in error.errors())
        return Rejected(f"invalid {event.fact}: {fields}")
    except (ValueError, TypeError, RecursionError) as error:
        return Rejected(f"unreadable: {error}")
