"""Later events of a failing aggregate wait behind it, as Axon's sequenced dead letter queue has it (docs/adr/0005).

A row for a handler's queue and an aggregate names the events that have failed or wait, lowest sequence
first. The first is the head: it alone is handled; what comes behind it goes where it went, to a retry level
or to the dead letters. The row is written before the copy of a message is made, and an event leaves it after
its success and before its acknowledgement, so a crash between is healed by the redelivery.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import eventlet
import pymongo
from pymongo import ReturnDocument
from pymongo.database import Database
from pymongo.errors import PyMongoError

from services.chassis import telemetry

PARKING = "parking"
READ = 0.5
"""Seconds between two looks at the rows; until then another process may let a later event pass."""
READ_SHARE = 10
"""Reading many rows takes at most one part in so many of the time."""
LOST_AFTER = 600.0
"""Seconds, beyond the longest retry delay, after which a head that never came back is taken for lost."""
DEADLINE = 5.0  # seconds

log = telemetry.logger("parking")
Document = dict[str, Any]


@dataclass(slots=True, frozen=True)
class Place:
    """Where an event stands among those of its aggregate."""

    head: str
    """Id of the event that must be handled first."""
    dead: bool
    """It waits behind a dead letter."""
    level: int
    """The retry level that the head is in."""


@dataclass(slots=True)
class _Head:
    """The head of a row as it was read, and in how many looks in a row it has not moved."""

    id: str
    at: Any
    dead: bool
    looks: int = 0


def put_back(database: Database[Document], queue: str, subject: str, event_id: str) -> None:
    """A dead letter goes back to its queue: what arrives behind it waits again, instead of dying too.

    ``database`` is that of the subscribing service, ``queue`` the handler's queue, ``subject`` and ``event_id``
    are the event's attributes. Call it before the message is put back. Idempotent; nothing happens for an
    event that is not parked. Raise ``PyMongoError``.
    """
    alive = {"$set": {"events.$.dead": False}, "$currentDate": {"events.$.at": True}}
    database[PARKING].update_one({"_id": _key(queue, subject), "events.id": event_id}, alive)


def release(database: Database[Document], queue: str, subject: str, event_id: str) -> None:
    """An event is dropped for good: what waits behind it is free.

    Arguments and errors as in ``put_back``. Call it before the message is dropped: after a crash between, it
    can be dropped again, while a row without its message would hold the aggregate for ever.
    """
    _take_out(database, _key(queue, subject), event_id)


def dead_events(database: Database[Document], queue: str, subjects: Iterable[str]) -> set[str]:
    """Ids of events of these aggregates that are dead, or on their way there. Raise ``PyMongoError``."""
    rows = database[PARKING].find({"_id": {"$in": [_key(queue, subject) for subject in subjects]}})
    return {event["id"] for row in rows for event in row["events"] if event["dead"]}


def _take_out(database: Database[Document], key: str, event_id: str) -> bool:
    """Whether nothing is left of the row."""
    rows, pulled = database[PARKING], {"$pull": {"events": {"id": event_id}}}
    row = rows.find_one_and_update({"_id": key}, pulled, {"events.id": 1}, return_document=ReturnDocument.AFTER)
    if row is not None and row["events"]:
        return False
    rows.delete_one({"_id": key, "events": []})
    return True


def _key(queue: str, subject: str) -> str:
    return f"{queue}:{subject}"


class Parking:
    """The rows of a service, and what this process knows of them without asking.

    Methods that write raise ``PyMongoError``.
    """

    def __init__(
        self,
        database: Database[Document],
        longest_delay: float,
        lost_after: float = LOST_AFTER,
        paused: Callable[[str], bool] = lambda _queue: False,
    ) -> None:
        self._database, self._rows, self._paused = database, database[PARKING], paused
        self._held: dict[str, _Head | None] = {}
        self._entered: dict[str, _Head | None] = {}
        """What was entered since the last look began."""
        self._lost = (longest_delay + lost_after) / READ
        telemetry.PARKED.set_function(lambda: len(self._held))

    def holds(self, queue: str, subject: str) -> bool:
        return bool(self._held) and _key(queue, subject) in self._held

    def look_up(self, queue: str, subjects: set[str]) -> None:
        """Learn of the rows of these aggregates now, for messages that may be in them."""
        with pymongo.timeout(DEADLINE):
            for row in self._rows.find({"_id": {"$in": [_key(queue, s) for s in subjects]}}, {"_id": 1}):
                self._hold(row["_id"])

    def enter(self, queue: str, subject: str, event_id: str, sequence: int, *, level: int, dead: bool) -> None:
        """A failed event, which goes to that retry level or to the dead letters."""
        self._put(_key(queue, subject), event_id, sequence, dead, level)

    def arrive(self, queue: str, subject: str, event_id: str, sequence: int, *, level: int) -> Place:
        """An event of an aggregate that is held takes its place; ``level`` is for when it is the head."""
        before = {"$lt": [{"$ifNull": [{"$first": "$events.sequence"}, sequence]}, sequence]}
        dead = {"$cond": [before, {"$first": "$events.dead"}, False]}
        behind = {"$cond": [before, {"$first": "$events.level"}, level]}
        row = self._put(_key(queue, subject), event_id, sequence, dead, behind)
        (mine,) = (event for event in row["events"] if event["id"] == event_id)
        return Place(row["events"][0]["id"], mine["dead"], mine["level"])

    def leave(self, queue: str, subject: str, event_id: str) -> None:
        """An event that is handled."""
        key = _key(queue, subject)
        with pymongo.timeout(DEADLINE):
            if _take_out(self._database, key, event_id):
                self._held.pop(key, None)

    def read(self) -> None:
        """Learn of all rows; let go of heads that do not come back."""
        self._entered = {}
        with pymongo.timeout(DEADLINE):
            found = list(self._rows.find({}, {"head": {"$first": "$events"}}))
            seen = {row["_id"]: self._seen(row["_id"], row["head"]) for row in found if "head" in row}
            self._held = {**self._entered, **seen}
            telemetry.PARKED_BEHIND_DEAD.set(sum(head.dead for head in seen.values()))
            for key, head in seen.items():
                if not head.dead and head.looks > self._lost:
                    log.error("event did not come back, later ones go on", row=key, event_id=head.id)
                    _take_out(self._database, key, head.id)

    def keep(self) -> None:
        """Read for ever; run in a greenthread of its own."""
        while True:
            began, pause = time.monotonic(), READ
            try:
                self.read()
                pause = max(READ, READ_SHARE * (time.monotonic() - began))
            except PyMongoError as error:
                log.warning("parking not read", error=repr(error))
            eventlet.sleep(pause)

    def _put(self, key: str, event_id: str, sequence: int, dead: Any, level: Any) -> Document:
        # Texts from messages are literals, or a leading $ would make them paths.
        event = {"id": {"$literal": event_id}, "sequence": sequence, "dead": dead, "level": level, "at": "$$NOW"}
        known = {"$ifNull": ["$events", []]}
        others = {"$filter": {"input": known, "cond": {"$ne": ["$$this.id", {"$literal": event_id}]}}}
        both = {"$concatArrays": [others, [event]]}
        events = {"$sortArray": {"input": both, "sortBy": {"sequence": 1, "id": 1}}}
        with pymongo.timeout(DEADLINE):
            row = self._rows.find_one_and_update(
                {"_id": key}, [{"$set": {"events": events}}], upsert=True, return_document=ReturnDocument.AFTER
            )
        self._hold(key)
        return row

    def _hold(self, key: str) -> None:
        self._held.setdefault(key, None)
        self._entered[key] = None

    def _seen(self, key: str, head: Document) -> _Head:
        known = None if self._paused(key.partition(":")[0]) else self._held.get(key)  # it waits, nothing is lost
        looks = known.looks + 1 if known and (known.id, known.at) == (head["id"], head["at"]) else 0
        return _Head(head["id"], head["at"], head["dead"], looks)
