"""Two small services on the chassis, for the tests of what the chassis promises."""

import time
from dataclasses import dataclass, field
from typing import Any, ClassVar

import eventlet
from pydantic import Field

from services.chassis.clock import now
from services.chassis.messages import Command, Event
from services.chassis.process import UnitOfWork
from services.chassis.repository import Repository
from services.chassis.rpc import command, query
from services.chassis.subscriber import subscribe
from services.chassis.telemetry import Trace, current_trace, enter
from services.contracts.actor import Actor
from services.contracts.errors import Conflict

SITE = "130802103202"


class ThingHappened(Event):
    """``note`` tells the subscriber how to behave."""

    owner: ClassVar[str] = "alpha"
    fact: ClassVar[str] = "thing.happened"
    subject: ClassVar[str] = "thing_id"

    thing_id: str
    counter: str
    note: str = ""
    tags: list[str] = Field(default=[])


class AddThing(Command):
    id: str
    counter: str = "counter"
    note: str = ""
    twin: str | None = None
    """A second thing in the same unit of work."""
    refuse: bool = False
    seconds: float = 0
    """That it takes."""


class TouchThing(Command):
    id: str


@dataclass
class Thing:
    id: str
    counter: str
    touched: int = 0
    version: int = 0


class Things(Repository[Thing]):
    collection = "things"
    aggregate = Thing
    publishes = True


class AlphaService:
    name = "alpha"

    uow = UnitOfWork(things=Things)

    @command(AddThing)
    def add(self, actor: Actor, command: AddThing) -> dict[str, Any]:
        for id in filter(None, (command.id, command.twin)):
            event = ThingHappened(site=SITE, thing_id=id, counter=command.counter, note=command.note)
            self.uow.things.add(Thing(id, command.counter), event)
        eventlet.sleep(command.seconds)
        if command.refuse:
            raise Conflict("refused")
        return {"id": command.id}

    @command(TouchThing)
    def touch(self, actor: Actor, command: TouchThing) -> dict[str, Any]:
        thing = self.uow.things.get(command.id)
        thing.touched += 1
        self.uow.things.save(thing, ThingHappened(site=SITE, thing_id=thing.id, counter=thing.counter))
        return {"touched": thing.touched}

    @command()
    def slow(self, actor: Actor, seconds: float) -> dict[str, Any]:
        eventlet.sleep(seconds)
        return {"slept": seconds}

    @query
    def thing(self, actor: Actor, id: str) -> dict[str, Any]:
        return {"touched": self.uow.things.get(id).touched}

    @query
    def unspeakable(self, actor: Actor) -> dict[str, Any]:
        """What no message can hold."""
        return {"it": object()}


@dataclass
class Counter:
    """What was counted: one line per effect."""

    id: str
    applied: list[str] = field(default_factory=list)
    sequences: list[int] = field(default_factory=list)
    version: int = 0


class Counters(Repository[Counter]):
    collection = "counters"
    aggregate = Counter


class BetaService:
    name = "beta"

    uow = UnitOfWork(counters=Counters)

    @subscribe(ThingHappened)
    def count(self, event: ThingHappened) -> None:
        self._log_attempt(event)
        if event.note.startswith("slow"):
            eventlet.sleep(float(event.note.partition(":")[2]))
        if event.note.startswith("burn"):
            _burn(float(event.note.partition(":")[2]))
        if event.note == "meddle":
            event.tags.append("mine")
            enter(Trace("mine", "mine"))
        if event.note.startswith("dawdle") and self._attempts(event) == 1:
            eventlet.sleep(float(event.note.partition(":")[2]))
        if event.note == "stats":
            self.uow.database.command("dbStats")  # which nothing else does, so that a test may let it fail
        if event.note == "poison" and not self._healed():
            raise ValueError("cannot count this, call 13812345678")
        if event.note == "once" and self._attempts(event) == 1:
            raise ValueError("not the first time")
        if event.note == "meddle" and self._attempts(event) < 3:
            raise ValueError("not the first two times")
        counter = self.uow.counters.find(event.counter)
        if counter is None:
            counter = Counter(event.counter)
            self.uow.counters.track_new(counter)
        counter.applied.append(event.thing_id)
        counter.sequences.append(self.uow.sequence)
        self.uow.counters.save(counter)

    def _log_attempt(self, event: ThingHappened) -> None:
        """Outside of the unit of work: a failed attempt leaves its trace too."""
        trace = current_trace()
        seen = {"note": event.note, "tags": event.tags, "trace": [trace.correlation_id, trace.causation_id]}
        self.uow.database["attempts"].insert_one(
            {"thing_id": event.thing_id, "sequence": self.uow.sequence, "at": now(), **seen}
        )

    def _attempts(self, event: ThingHappened) -> int:
        own = {"thing_id": event.thing_id, "sequence": self.uow.sequence}
        return int(self.uow.database["attempts"].count_documents(own))

    def _healed(self) -> bool:
        return self.uow.database["healed"].find_one() is not None


class GammaService:
    """A second subscriber, which comes later."""

    name = "gamma"

    uow = UnitOfWork(counters=Counters)

    @subscribe(ThingHappened)
    def note(self, event: ThingHappened) -> None:
        counter = self.uow.counters.find("counter")
        if counter is None:
            counter = Counter("counter")
            self.uow.counters.track_new(counter)
        counter.applied.append(event.thing_id)
        self.uow.counters.save(counter)


def _burn(seconds: float) -> None:
    """Compute without ever giving way to others."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass
