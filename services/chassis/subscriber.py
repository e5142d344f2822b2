"""``@subscribe(EventClass)``: events handled exactly once, in batches, with retries and dead letters.

A handler reads *load, decide, save*. Messages that have gathered are handled one after the other in one
unit of work and committed together with their inbox rows; when anything in a batch fails, each message is
run again by itself, so that only the failing one is retried, and later ones of its aggregate wait behind it
(``parking``). When everything fails, nobody is charged for it (``outage``).
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import wraps
from itertools import takewhile
from typing import Any

import eventlet
import orjson
from nameko.extensions import Entrypoint, register_entrypoint
from pydantic import ValidationError
from pymongo.errors import ConnectionFailure, PyMongoError

from services.chassis import outage, telemetry
from services.chassis.broker import Consumer
from services.chassis.clock import now
from services.chassis.crashpoints import crashpoint
from services.chassis.dead import WAITS
from services.chassis.frames import Incoming, Outgoing
from services.chassis.messages import PREFIX, Envelope, Event
from services.chassis.parking import Place
from services.chassis.process import Broker, Storage
from services.chassis.settings import settings
from services.chassis.topology import DEAD_SUFFIX, Subscription, retry_queue
from services.chassis.unit_of_work import INBOX, Work
from services.contracts.privacy import mask

BATCH = 100
BATCH_SECONDS = 1.0
"""A batch of slow handlers is cut short here, and the rest comes next."""
REST, LONGEST_REST = 4.0, 0.05
"""Times what a batch took, and seconds at most: what comes meanwhile shares the round trips of the next. A message that
comes alone finds nobody at rest.
"""
DEADLINE = 30.0
"""Seconds for one message, retries of write conflicts included."""
COPY_PAUSE = 1.0
"""Seconds until a copy that the broker did not take is offered again."""
MAX_BODY = 256 * 1024  # bytes
TRACE_LENGTH = 4000  # characters
ATTEMPT = "attempt"
BEHIND = "behind"
"""Header of a message that waits: the id of the event that comes first."""
REASON_HEADERS = ("reason", "trace", "failed-queue", "failed-at")

log = telemetry.logger("subscriber")
Handler = Callable[[Any, Any], None]
Loads = Callable[[Any], Mapping[str, Iterable[str]]]
"""Of an event: the ids of what its handler looks at, by the names of their repositories."""


@dataclass(slots=True)
class Delivery:
    """One message as it was delivered."""

    body: bytes
    headers: dict[str, Any]
    message_id: str
    generation: int
    tag: int
    attempt: int
    redelivered: bool = False
    envelope: Envelope = None  # type: ignore[assignment]  # once it is read
    event: Event | None = None

    @property
    def returned(self) -> bool:
        """Whether it was delivered before, so that a process that ended may have left a row for it."""
        return self.redelivered or self.attempt > 0 or BEHIND in self.headers


@dataclass(slots=True, frozen=True)
class Rejected:
    """A message that no attempt can help: it cannot be read."""

    reason: str


def subscribe(
    event: type[Event], *, idempotent: bool = False, loads: Loads = lambda _event: {}
) -> Callable[[Handler], Any]:
    """Handle every ``event`` once. ``idempotent``: the handler needs no inbox row for that. ``loads``: what the
    handler finds by id, so that a batch of events asks for it in one round trip.

    The handler may run several times before it commits once, so it has no effect but through ``self.uow``.
    Any exception means another attempt after 1 s, 10 s, 60 s, then the dead letters.
    """

    def decorate(handler: Handler) -> Any:
        @wraps(handler)
        def run(service: Any, batch: list[Delivery], subscriber: Subscriber) -> list[Outcome]:
            return _Batch(service, handler, idempotent, loads, batch, subscriber).run()

        register_entrypoint(run, Subscriber(event))
        return run

    return decorate


@dataclass(slots=True, frozen=True)
class Failed:
    """The handler raised; ``last``: no attempt is left."""

    error: Exception
    last: bool


@dataclass(slots=True, frozen=True)
class Waits:
    """An earlier event of the aggregate comes first."""

    place: Place


Outcome = Failed | Waits | None
"""Of one message; None: it is handled."""


class _Batch:
    def __init__(
        self, service: Any, handler: Handler, idempotent: bool, loads: Loads, batch: list[Delivery],
        subscriber: "Subscriber",
    ) -> None:  # fmt: skip
        self.service, self.handler, self.idempotent, self.batch = service, handler, idempotent, batch
        self.loads = loads
        self.uow: Work = service.uow
        self.name, self.queue, self.outage = subscriber.label, subscriber.queue, subscriber.outage
        self.parking, self.event = subscriber.storage.parking, subscriber.event
        self.outcomes: list[Outcome] = []
        self.failing: set[str] = set()
        """Aggregates with a failure in this batch, which has no row yet."""
        self.given: set[int] = set()
        """Tags of messages whose event the handler has had in its hands."""
        # Its inbox rows would clash with those of a first run, which most messages do not have.
        self.optimistic = not any(delivery.redelivered for delivery in batch)

    def run(self) -> list[Outcome]:
        """The outcomes of the first messages, as far as time and database allow; the rest is to come again."""
        try:
            if returned := {d.envelope.subject for d in self.batch if d.returned}:
                self.parking.look_up(self.queue, returned)
            self._advance()
        except PyMongoError as error:  # of the rows, without which no message can be set aside
            self.outage.begin(error)
        return self._parked()

    def _advance(self) -> None:
        """All together as far as nothing stands in the way, one by one after a failure."""
        until = time.monotonic() + BATCH_SECONDS
        going = together = True
        while going and (rest := self.batch[len(self.outcomes) :]):
            if self.outcomes and (time.monotonic() > until or rest[0].envelope.subject in self.failing):
                return
            free = list(takewhile(self._is_free, rest)) if together else []
            if len(free) > 1:
                together = self._try_together(free)
            else:
                going = self._single(rest[0])

    def _is_free(self, delivery: Delivery) -> bool:
        subject = delivery.envelope.subject
        held = subject in self.failing or self.parking.holds(self.queue, subject)
        return not held and delivery.envelope.id not in self.outage.suspects

    def _try_together(self, free: list[Delivery]) -> bool:
        try:
            done = self.uow.run(lambda: self._together(free), DEADLINE)
        except Exception as error:
            if isinstance(error, ConnectionFailure):
                raise  # nobody's fault
            return False
        self.outcomes += [None] * done
        self.outage.succeeded(free[0].envelope.id)
        return True

    def _single(self, delivery: Delivery) -> bool:
        """Whether to go on with the next."""
        event = delivery.envelope
        held = self.parking.holds(self.queue, event.subject)
        if held:
            place = self.parking.arrive(self.queue, event.subject, event.id, event.sequence, level=delivery.attempt)
            if place.head != event.id:
                self.outcomes.append(Waits(place))
                return True
        error = self._alone(delivery)
        if error is None:
            if held:
                self.parking.leave(self.queue, event.subject, event.id)
            self.outage.succeeded(event.id)
            self.outcomes.append(None)
            return True
        if self.outage.failed(event.id, error):
            self.failing.add(event.subject)
            self.outcomes.append(Failed(error, delivery.attempt >= len(settings().retry_delays)))
            return True
        while self.outcomes and self.outcomes[-1] is not None:
            self.outcomes.pop()  # they failed for the same reason
        return False

    def _parked(self) -> list[Outcome]:
        """The outcomes before the first failure that cannot be put on record."""
        for done, (delivery, outcome) in enumerate(zip(self.batch, self.outcomes, strict=False)):
            if isinstance(outcome, Failed):
                event, level, last = delivery.envelope, delivery.attempt, outcome.last
                try:
                    self.parking.enter(self.queue, event.subject, event.id, event.sequence, level=level, dead=last)
                except PyMongoError as error:
                    self.outage.begin(error)
                    return self.outcomes[:done]
                crashpoint("parked")
        return self.outcomes

    def _together(self, batch: list[Delivery]) -> int:
        started = time.monotonic()
        handled = self._handled(batch)
        self._load(batch)
        for done, delivery in enumerate(batch, start=1):
            if delivery.envelope.id in handled:
                telemetry.DUPLICATES.labels(self.name).inc()
            else:
                if self.idempotent:
                    self.uow.begin_part()
                self._handle(delivery)
                handled.add(delivery.envelope.id)
            if time.monotonic() - started > BATCH_SECONDS:
                return done
        return len(batch)

    def _load(self, batch: list[Delivery]) -> None:
        wanted: dict[str, set[str]] = {}
        for delivery in batch:
            for name, ids in self.loads(delivery.event).items():
                wanted.setdefault(name, set()).update(ids)
        self.uow.load(wanted)

    def _alone(self, delivery: Delivery) -> Exception | None:
        try:
            self.uow.run(lambda: self._together([delivery]), DEADLINE)
            return None
        except Exception as error:
            return error

    def _handle(self, delivery: Delivery) -> None:
        envelope = delivery.envelope
        telemetry.enter(telemetry.Trace(envelope.correlation_id, envelope.id, envelope.traceparent))
        self.uow.sequence, self.uow.event_id, self.uow.event_time = envelope.sequence, envelope.id, envelope.time
        self.handler(self.service, self._untouched(delivery))
        if not self.idempotent:
            self.uow.insert(INBOX, {"_id": self._key(envelope), "at": now()})

    def _untouched(self, delivery: Delivery) -> Event | None:
        """What an earlier run has done to the event, say to a list in it, is not for this one."""
        if delivery.tag in self.given:
            return self.event.model_validate(orjson.loads(delivery.body))
        self.given.add(delivery.tag)
        return delivery.event

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
    storage = Storage()

    def __init__(self, event: type[Event], **kwargs: Any) -> None:
        self.event = event
        super().__init__(**kwargs)

    def setup(self) -> None:
        service = self.container.service_name
        self.subscription = Subscription(service, self.method_name, self.event)
        self.queue = self.subscription.queue
        self.label = f"{service}.{self.method_name}"
        self.waiting: deque[Delivery] = deque()
        self.outage = outage.Outage(self.queue)
        self.probed: set[str] = set()
        """Aggregates that had their turn in this round of an outage."""
        telemetry.IN_HAND.labels(self.queue).set_function(lambda: len(self.waiting))
        for counter in (telemetry.RETRIED, telemetry.DEAD):
            counter.labels(self.queue)  # there from the start, or the first one would be no increase
        self.running = False
        self.stopping = False
        self.consumer = Consumer(self.queue, 2 * BATCH, self.receive, paused=self.is_paused)
        self.broker.wanted.append(self.consumer)
        self.storage.handlers.append(self)

    def is_paused(self) -> bool:
        return self.queue in self.storage.pauses.queues

    def pause(self) -> None:
        """Take no more, and put back what waits in hand; what runs is finished."""
        self.consumer.pause()
        if not self.running:
            self.give_back()

    def resume(self) -> None:
        self.consumer.resume()

    def give_back(self) -> None:
        while self.waiting:
            delivery = self.waiting.popleft()
            self.consumer.settle(delivery.generation, delivery.tag, accept=False, requeue=True)

    def stop(self) -> None:
        """Take no more; what is prefetched returns to the queue when the link closes."""
        self.stopping = True
        self.waiting.clear()

    def receive(self, message: Incoming) -> None:
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
        self.container.spawn_worker(self, (batch, self), {}, handle_result=self.settle)

    def take(self) -> list[Delivery]:
        if self.is_paused():
            self.give_back()
        return self.probe() if self.outage.on else self.readable(BATCH)

    def probe(self) -> list[Delivery]:
        """One message: the first of an aggregate that was not tried lately, so that none blocks the others."""
        # By tag, since the one that was tried last came back to the front.
        readable = sorted(self.readable(len(self.waiting)), key=lambda delivery: delivery.tag)
        if all(delivery.envelope.subject in self.probed for delivery in readable):
            self.probed.clear()
        chosen = [next(d for d in readable if d.envelope.subject not in self.probed)] if readable else []
        self.probed.update(delivery.envelope.subject for delivery in chosen)
        self.waiting.extendleft(reversed([delivery for delivery in readable if delivery not in chosen]))
        return chosen

    def readable(self, limit: int) -> list[Delivery]:
        batch: list[Delivery] = []
        while self.waiting and len(batch) < limit:
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
        """Acknowledge what is done, set the failed aside, put back what is still to be done."""
        batch: list[Delivery] = worker_ctx.args[0]
        if exc_info is not None:
            log.error("batch not handled, trying again", handler=self.label, exc_info=exc_info[1])
            outcomes = []
        done = batch[: len(outcomes)]
        copies = [self.copy(delivery, outcome) for delivery, outcome in zip(done, outcomes, strict=True) if outcome]
        self.hand_over(copies, batch[0].generation)
        crashpoint("before_ack")
        self.waiting.extendleft(replace(again, event=None) for again in reversed(batch[len(done) :]))
        self.acknowledge(done)
        telemetry.HANDLED.labels(self.label, "ok").inc(outcomes.count(None))
        took = time.monotonic() - self.started
        telemetry.SECONDS.labels(self.label).observe(took)
        eventlet.spawn_after(self.rest(took, failed=bool(exc_info)), self.work)
        return None, None

    def rest(self, took: float, failed: bool) -> float:
        """Seconds until the next batch, after one that took so many; none if the next one is full already."""
        if self.outage.on or failed:
            return outage.PAUSE
        return 0 if len(self.waiting) >= BATCH else min(REST * took, LONGEST_REST)

    def acknowledge(self, done: list[Delivery]) -> None:
        """With one frame if nothing older is left: the channel is this queue's alone."""
        if not done:
            return
        generation, last = done[0].generation, max(delivery.tag for delivery in done)
        if any(older.tag < last for older in self.waiting if older.generation == generation):
            for delivery in done:
                self.consumer.settle(generation, delivery.tag)
        else:
            self.consumer.settle(generation, last, multiple=True)

    def copy(self, delivery: Delivery, outcome: Failed | Waits) -> Outgoing:
        """For the retry level or the dead letters, wherever the message goes from here."""
        if isinstance(outcome, Waits):
            place = outcome.place
            if place.dead:
                return self.buried(delivery, f"{WAITS}{place.head}", "")
            return self.set_aside(delivery, place.level, {BEHIND: place.head})
        error = outcome.error
        reason = f"{type(error).__name__}: {telemetry.told(error)}"
        telemetry.HANDLED.labels(self.label, "error").inc()
        log.warning(
            "handler failed",
            handler=self.label,
            event_id=delivery.envelope.id,
            attempt=delivery.attempt,
            error=reason,
        )
        if outcome.last:
            return self.buried(delivery, reason, telemetry.stack(error)[-TRACE_LENGTH:])
        return self.set_aside(delivery, delivery.attempt, {ATTEMPT: delivery.attempt + 1})

    def set_aside(self, delivery: Delivery, level: int, changed: dict[str, Any]) -> Outgoing:
        delays = settings().retry_delays
        telemetry.RETRIED.labels(self.queue).inc()
        headers = {**carried(delivery.headers), **changed}
        exchange = retry_queue(delays[min(level, len(delays) - 1)])
        return Outgoing(exchange, self.queue, delivery.body, headers, delivery.message_id)

    def reject(self, delivery: Delivery, reason: str) -> None:
        """Dead at once: no attempt can help a message that cannot be read."""
        log.error("message rejected", queue=self.queue, reason=reason)
        self.hand_over([self.buried(delivery, reason, "")], delivery.generation)
        self.consumer.settle(delivery.generation, delivery.tag)

    def buried(self, delivery: Delivery, reason: str, trace: str) -> Outgoing:
        told = {
            "reason": mask(reason)[:500],
            "trace": mask(trace),
            "failed-queue": self.queue,
            "failed-at": now().isoformat(),
        }
        headers = {**carried(delivery.headers), **told}
        telemetry.DEAD.labels(self.queue).inc()
        return Outgoing("", self.queue + DEAD_SUFFIX, delivery.body[:MAX_BODY], headers, delivery.message_id)

    def hand_over(self, copies: list[Outgoing], generation: int) -> None:
        """Until the broker has them all, for only then may the originals be acknowledged.

        A lost link ends it: the broker delivers the originals again.
        """
        while copies and generation == self.consumer.generation:
            taken = self.broker.publisher.publish(copies)
            copies = [copy for copy, ok in zip(copies, taken, strict=True) if not ok]
            if copies:
                self.broker.publisher.reopen("a copy was not taken")  # which declares what an operator deleted
                eventlet.sleep(COPY_PAUSE)


def carried(headers: dict[str, Any]) -> dict[str, Any]:
    """Ours only: foreign and forged headers go no further."""
    return {
        name: value
        for name, value in headers.items()
        if (name.startswith(PREFIX) or name in (ATTEMPT, "traceparent")) and isinstance(value, str | int)
    }


def raw(message: Incoming, generation: int) -> Delivery:
    """A message as it came, whatever is in it."""
    attempt = message.headers.get(ATTEMPT, 0)
    attempt = attempt if isinstance(attempt, int) and 0 <= attempt < 1000 else 0
    id = message.properties.get("message_id", "")
    return Delivery(message.body, message.headers, id, generation, message.tag, attempt, message.redelivered)


def parse(event: type[Event], delivery: Delivery) -> Delivery | Rejected:
    """Read a message; whatever is wrong with it ends in ``Rejected``, never in an exception."""
    try:
        if len(delivery.body) > MAX_BODY:
            raise ValueError(f"body of {len(delivery.body)} bytes")
        envelope = Envelope.parse(delivery.headers, delivery.body)
        if envelope.type == event.type():
            delivery.event = event.model_validate(orjson.loads(delivery.body))
        delivery.envelope = envelope
        return delivery
    except ValidationError as error:
        fields = ", ".join(".".join(map(str, e["loc"])) + ": " + e["type"] for e in error.errors())
        return Rejected(f"invalid {event.fact}: {fields}")
    except (ValueError, TypeError, RecursionError) as error:
        return Rejected(f"unreadable: {error}")
