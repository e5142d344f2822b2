"""Handlers that an operator has stopped: a row for each queue, which every replica reads once a second.

The messages of a paused queue are in the queue, not in hand: the broker closes channels that hold some for
half an hour. The row survives restarts of everything.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import eventlet
import pymongo
from pymongo.database import Database
from pymongo.errors import DuplicateKeyError, PyMongoError

from services.chassis import telemetry
from services.chassis.clock import now
from services.chassis.parking import Parking

PAUSED = "paused"
READ = 1.0  # seconds
DEADLINE = 5.0  # seconds

log = telemetry.logger("pauses")
Document = dict[str, Any]


class Pausable(Protocol):
    queue: str

    def pause(self) -> None: ...
    def resume(self) -> None: ...


def pause(database: Database[Document], queue: str, by: str, reason: str) -> bool:
    """Stop the handler of a queue in all replicas; whether it was not stopped already.

    ``database`` is that of the subscribing service. Raise ``PyMongoError``.
    """
    try:
        database[PAUSED].insert_one({"_id": queue, "by": by, "reason": reason, "at": now()})
        return True
    except DuplicateKeyError:
        return False


def resume(database: Database[Document], queue: str) -> bool:
    """Whether it was paused. Raise ``PyMongoError``."""
    return bool(database[PAUSED].delete_one({"_id": queue}).deleted_count)


class Pauses:
    """Which queues of a service are paused, as this process last read it."""

    def __init__(self, database: Database[Document], handlers: Sequence[Pausable], parking: Parking) -> None:
        self._rows, self._handlers, self._parking = database[PAUSED], handlers, parking
        self.queues: frozenset[str] = frozenset()

    def read(self) -> None:
        """Learn of all rows, and follow them. Raise ``PyMongoError``."""
        with pymongo.timeout(DEADLINE):
            queues = frozenset(row["_id"] for row in self._rows.find({}, {"_id": 1}))
        if self.queues - queues:
            self._parking.read()  # what waits behind what is known before anything goes on
        before, self.queues = self.queues, queues
        for handler in self._handlers:
            self._follow(handler, before)

    def keep(self) -> None:
        """Read for ever; run in a greenthread of its own."""
        while True:
            try:
                self.read()
            except PyMongoError as error:
                log.warning("pauses not read", error=repr(error))
            eventlet.sleep(READ)

    def _follow(self, handler: Pausable, before: frozenset[str]) -> None:
        paused = handler.queue in self.queues
        telemetry.PAUSED.labels(handler.queue).set(paused)
        if paused == (handler.queue in before):
            return
        log.warning("queue paused" if paused else "queue goes on", queue=handler.queue)
        # Not here: whoever waits for one queue's answer would keep the others waiting.
        eventlet.spawn(handler.pause if paused else handler.resume)
