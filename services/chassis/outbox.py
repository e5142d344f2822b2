"""The relay: publishes the events that wait inside committed documents.

Every process relays what it has committed itself, at once. What a dead process left is found by a sweep
that one replica does under a lease; the sweep is the truth, and needs no clock: it publishes what it saw
waiting twice. An event is published after every earlier one of its aggregate was confirmed, whoever
publishes, so first publications are in order even when two relays meet at one document; a crash before the
mark means a duplicate with the same id, which the inbox absorbs.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

import eventlet
from eventlet import GreenPool
from eventlet.event import Event as Signal
from pymongo import ASCENDING, IndexModel
from pymongo.database import Database
from pymongo.errors import PyMongoError

from services.chassis import telemetry
from services.chassis.broker import Outgoing, Publisher
from services.chassis.clock import now
from services.chassis.crashpoints import crashpoint
from services.chassis.lease import Lease
from services.chassis.messages import Envelope
from services.chassis.repository import OUTBOX, OUTBOX_SINCE

BATCH = 500
TASKS = 3
"""Batches under way at a time: one is read while another is confirmed and a third is marked."""
SWEEP = 0.5  # seconds
GATHER = 0.005
"""Seconds to let more commits come in while others are under way."""
PAUSE_AFTER_FAILURE = 0.5  # seconds
OLDEST = datetime.fromtimestamp(0, UTC)
INDEX = IndexModel([(OUTBOX_SINCE, ASCENDING)], sparse=True)

log = telemetry.logger("outbox")
Document = dict[str, Any]
Changes = dict[str, list[Document] | None]
"""Document ids with their unsent events; None: they have to be read."""


class Relay:
    def __init__(
        self, database: Database[Document], collections: Sequence[str], publisher: Publisher, lease: Lease
    ) -> None:
        self._collections = {name: database[name] for name in collections}
        self._publisher, self._lease = publisher, lease
        self._changed: dict[str, Changes] = defaultdict(dict)
        self._under_way: dict[str, set[str]] = defaultdict(set)
        self._seen: dict[str, set[str]] = defaultdict(set)
        """Documents that waited at the last sweep."""
        self._tasks = GreenPool(TASKS)
        self._wake = Signal()

    def wake(self, changes: Mapping[str, Changes]) -> None:
        """Documents of this process that have events to send, by collection."""
        for name, documents in changes.items():
            known = self._changed[name]
            for id, rows in documents.items():
                # Changed twice before it was looked at: what it has to send is read.
                known[id] = None if id in known else rows
        if not self._wake.ready():
            self._wake.send()

    def run(self) -> None:
        """For ever, in a greenthread of its own."""
        next_sweep = 0.0
        while True:
            with eventlet.Timeout(SWEEP, False):
                self._wake.wait()
            if self._tasks.running():
                eventlet.sleep(GATHER)
            self._wake = Signal()
            self._relay_own()
            if time.monotonic() >= next_sweep and self._lease.held:
                self._attempt(self._sweep)
                next_sweep = time.monotonic() + SWEEP

    def drain(self, seconds: float) -> None:
        """Before a stop: send what is there, as far as it goes; the rest is found by the next sweep."""
        with eventlet.Timeout(seconds, False):
            while any(self._changed.values()) or self._tasks.running():
                self._relay_own()
                self._tasks.waitall()

    def _relay_own(self) -> None:
        changed, self._changed = self._changed, defaultdict(dict)
        for name, documents in changed.items():
            busy = self._under_way[name]
            # What is under way is looked at again when that is done.
            self._changed[name].update(dict.fromkeys(documents.keys() & busy))
            if free := {id: rows for id, rows in documents.items() if id not in busy}:
                self._start(name, free)

    def _sweep(self) -> None:
        telemetry.OUTBOX_AGE.set(0)
        for name, collection in self._collections.items():
            while True:
                waiting = collection.find({OUTBOX_SINCE: {"$gt": OLDEST}}, {OUTBOX_SINCE: 1}).sort(OUTBOX_SINCE)
                found = list(waiting.limit(BATCH + len(self._under_way[name])))
                if not self._relay_swept(name, found):
                    break

    def _relay_swept(self, name: str, found: list[Document]) -> bool:
        """Whether there is a backlog, so that the next batch is wanted at once."""
        if found:
            telemetry.OUTBOX_AGE.set(max(0.0, (now() - found[0][OUTBOX_SINCE]).total_seconds()))
        ids = {document["_id"] for document in found} - self._under_way[name]
        backlog = len(ids) >= BATCH
        stuck = ids if backlog else ids & self._seen[name]
        self._seen[name] = ids
        if stuck:
            self._start(name, dict.fromkeys(stuck))
        return backlog

    def _start(self, name: str, changes: Changes) -> None:
        """A batch as a task of its own; waits when enough are under way."""
        self._under_way[name] |= changes.keys()
        self._tasks.spawn(self._attempt, self._pump, name, changes)

    def _attempt(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        except PyMongoError as error:
            log.warning("outbox not read or not marked", error=repr(error))
            eventlet.sleep(PAUSE_AFTER_FAILURE)

    def _pump(self, name: str, changes: Changes) -> None:
        collection, left = self._collections[name], True
        try:
            documents = [{"_id": id, OUTBOX: rows} for id, rows in changes.items() if rows]
            if unknown := [id for id, rows in changes.items() if not rows]:
                documents += collection.find({"_id": {"$in": unknown}, OUTBOX_SINCE: {"$gt": OLDEST}}, {OUTBOX: 1})
            sent = self._publish(documents)
            crashpoint("after_confirm")
            left = not self._mark(collection, documents, sent)
        finally:
            self._under_way[name] -= changes.keys()
        if left or self._changed[name].keys() & changes.keys():
            self.wake({name: dict.fromkeys(changes)})

    def _publish(self, documents: list[Document]) -> list[list[str]]:
        """The ids that were confirmed, per document. One wave carries at most one event of each."""
        sent: list[list[str]] = [[] for _ in documents]
        going = list(range(len(documents)))
        for wave in count():
            going = [i for i in going if wave < len(documents[i].get(OUTBOX, ()))]
            if not going:
                return sent
            rows = [documents[i][OUTBOX][wave] for i in going]
            confirmed = self._publisher.publish([outgoing(row) for row in rows])
            for i, row, ok in zip(going, rows, confirmed, strict=True):
                if ok:
                    sent[i].append(row["id"])
            telemetry.PUBLISHED.inc(sum(confirmed))
            if not all(confirmed):
                log.warning("events not confirmed, they stay in the outbox", count=confirmed.count(False))
                eventlet.sleep(PAUSE_AFTER_FAILURE)
            going = [i for i, ok in zip(going, confirmed, strict=True) if ok]
        return sent

    def _mark(self, collection: Any, documents: list[Document], sent: list[list[str]]) -> bool:
        """Take sent events out of their documents; whether nothing is left to send in any of them."""
        ids = [document["_id"] for document, events in zip(documents, sent, strict=True) if events]
        events = [event for of_document in sent for event in of_document]
        if not ids:
            return not documents
        nothing_else = {OUTBOX: {"$not": {"$elemMatch": {"id": {"$nin": events}}}}}
        done = collection.update_many(
            {"_id": {"$in": ids}, **nothing_else}, {"$unset": {OUTBOX: "", OUTBOX_SINCE: ""}}
        )
        if done.matched_count < len(ids):
            pulled = {"$pull": {OUTBOX: {"id": {"$in": events}}}}
            collection.update_many({"_id": {"$in": ids}, OUTBOX: {"$exists": True}}, pulled)
        return bool(done.matched_count == len(documents))


def outgoing(row: Document) -> Outgoing:
    envelope = Envelope(**row)
    return Outgoing(
        exchange=envelope.exchange,
        routing_key=envelope.routing_key,
        body=envelope.data,
        headers=envelope.headers(),
        id=envelope.id,
        properties={"type": envelope.type},
    )
