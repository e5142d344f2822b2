"""The relay: publishes the events that wait inside committed documents.

Every process relays what it has committed itself, at once. What a dead process left is found by a sweep
that one replica does under a lease; the sweep is the truth, and needs no clock: it publishes what it saw
waiting four times in a row. An event is published after every earlier one of its aggregate was confirmed, whoever
publishes, so first publications are in order even when two relays meet at one document; a crash before the
mark means a duplicate with the same id, which the inbox absorbs. So the mark is in no hurry: it is made
for many documents at once, when nothing has come of them for a while – earlier it would meet the next command's
transaction at the same document – and until then the relay remembers what it has sent.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import eventlet
from eventlet import GreenPool
from eventlet.event import Event as Signal
from pymongo import ASCENDING, IndexModel
from pymongo.command_cursor import CommandCursor
from pymongo.database import Database

from services.chassis import telemetry
from services.chassis.broker import Publisher
from services.chassis.clock import now
from services.chassis.crashpoints import crashpoint
from services.chassis.frames import Outgoing
from services.chassis.lease import Lease
from services.chassis.messages import Envelope
from services.chassis.repository import OF, OUTBOX, OUTBOX_SINCE, united

BATCH = 500
TASKS = 3
"""Batches under way at a time: one is read while another is confirmed."""
SWEEP = 0.5  # seconds
MARK = 0.15  # seconds
QUIET, LONGEST = 0.8, 2.0
"""Seconds without an event after which a document is marked, and for which it is not in any case."""
SIGHTINGS = 4
"""Sweeps in a row that must see something wait before it counts as left behind: a mark takes less time."""
GATHER = 0.005
"""Seconds to let more commits come in while others are under way."""
PAUSE_AFTER_FAILURE = 0.5  # seconds
OLDEST = datetime.fromtimestamp(0, UTC)
WAITS = {OUTBOX_SINCE: {"$gt": OLDEST}}
OLDEST_FIRST = [(OUTBOX_SINCE, ASCENDING)]
INDEX = IndexModel(OLDEST_FIRST, sparse=True)

log = telemetry.logger("outbox")
Document = dict[str, Any]


@dataclass(slots=True)
class Waiting:
    """Events that a commit has put into a document; ``clean``: nothing else was waiting there."""

    rows: list[Document] = field(default_factory=list)
    clean: bool = False

    def then(self, later: "Waiting") -> "Waiting":
        """Both, if the later ones follow at once; otherwise the document has to be read."""
        if self.rows and later.rows and self.rows[-1]["sequence"] + 1 == later.rows[0]["sequence"]:
            return Waiting(self.rows + later.rows, self.clean)
        return READ


READ = Waiting()
"""What a document has to send is not known here."""


@dataclass(slots=True)
class Sent:
    """What is confirmed of a document, but not marked in it yet."""

    sequence: int = 0
    ids: set[str] = field(default_factory=set)
    first: float = 0.0
    """When the first one was confirmed, and the last one, by the monotonic clock."""
    last: float = 0.0

    def is_to_mark(self, moment: float) -> bool:
        return moment - self.last >= QUIET or moment - self.first >= LONGEST


class Relay:
    def __init__(
        self, database: Database[Document], collections: Sequence[str], publisher: Publisher, lease: Lease
    ) -> None:
        self._collections = {name: database[name] for name in collections}
        self._publisher, self._lease = publisher, lease
        self._changed: dict[str, dict[str, Waiting]] = defaultdict(dict)
        self._under_way: dict[str, set[str]] = defaultdict(set)
        self._sent: dict[str, dict[str, Sent]] = defaultdict(dict)
        self._seen: dict[str, dict[str, int]] = defaultdict(dict)
        """Documents that waited at the last sweep, and at how many in a row."""
        self._tasks = GreenPool(TASKS)
        self._wake = Signal()

    def wake(self, changes: Mapping[str, Mapping[str, Waiting]]) -> None:
        """Documents of this process that have events to send, by collection."""
        for name, documents in changes.items():
            known = self._changed[name]
            for id, waiting in documents.items():
                known[id] = known[id].then(waiting) if id in known else waiting
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
            if time.monotonic() >= next_sweep:
                self._attempt(self._look)
                next_sweep = time.monotonic() + SWEEP

    def keep_marking(self) -> None:
        """For ever, in a greenthread of its own."""
        while True:
            eventlet.sleep(MARK)
            self._attempt(self._mark)

    def drain(self, seconds: float) -> None:
        """Before a stop: send what is there, as far as it goes; the rest is found by the next sweep."""
        with eventlet.Timeout(seconds, False):
            while any(self._changed.values()) or self._tasks.running():
                self._relay_own()
                self._tasks.waitall()
            self._attempt(self._mark, True)

    def _relay_own(self) -> None:
        changed, self._changed = self._changed, defaultdict(dict)
        for name, documents in changed.items():
            busy = documents.keys() & self._under_way[name]
            # What is under way is looked at again when that is done.
            self._changed[name].update({id: documents.pop(id) for id in busy})
            if documents:
                self._start(name, documents)

    def _look(self) -> None:
        """How long something waits is told by every replica: the alarm must not depend on the one that sweeps."""
        if not self._collections:
            return
        oldest = self._sweep() if self._lease.held else self._measure()
        telemetry.OUTBOX_AGE.set(max(0.0, (now() - oldest).total_seconds()) if oldest else 0)

    def _measure(self) -> datetime | None:
        shown = {OUTBOX_SINCE: 1}
        return min((d[OUTBOX_SINCE] for d in self._waiting(shown, {"$limit": 1})), default=None)

    def _sweep(self) -> datetime | None:
        """Start what nobody else publishes. What has not waited for long is left to who committed it."""
        oldest: datetime | None = None
        left: dict[str, dict[str, int]] = defaultdict(dict)
        own = {name: self._own(name) for name in self._collections}
        with self._waiting({OUTBOX: 1, OUTBOX_SINCE: 1}) as cursor:
            while self._lease.held and (batch := list(islice(cursor, BATCH))):
                found: dict[str, dict[str, list[Document]]] = defaultdict(dict)
                for document in batch:
                    found[document[OF]][document["_id"]] = document.get(OUTBOX, [])
                    oldest = min(oldest or document[OUTBOX_SINCE], document[OUTBOX_SINCE])
                for name, documents in found.items():
                    # A mark may come between the server's answer and ours, so what is our own was noted before.
                    ids = documents.keys() - own[name] - self._own(name)
                    seen = {id: self._seen[name].get(id, 0) + 1 for id in ids}
                    is_backlog = len(ids) == BATCH
                    stuck = {id for id, times in seen.items() if is_backlog or times >= SIGHTINGS}
                    if stuck:
                        self._start(name, {id: Waiting(documents[id], clean=True) for id in stuck})
                    left[name] |= {id: times for id, times in seen.items() if id not in stuck}
                own = {name: self._own(name) for name in self._collections}
        self._seen = left
        return oldest

    def _waiting(self, shown: Document, *stages: Document) -> CommandCursor[Document]:
        """What waits in all collections, in each by age."""
        of_each: list[Document] = [{"$match": WAITS}, {"$sort": dict(OLDEST_FIRST)}, *stages, {"$project": shown}]
        first, pipeline = united({name: (name, of_each) for name in self._collections})
        return self._collections[first].aggregate(pipeline, batchSize=BATCH)

    def _own(self, name: str) -> set[str]:
        return self._under_way[name] | self._sent[name].keys()

    def _start(self, name: str, documents: dict[str, Waiting]) -> None:
        """A batch as a task of its own; waits when enough are under way."""
        self._under_way[name] |= documents.keys()
        self._tasks.spawn(self._attempt, self._pump, name, documents)

    def _attempt(self, work: Callable[..., None], *arguments: Any) -> None:
        try:
            work(*arguments)
        except Exception as error:  # whatever it is, the relay goes on: what waits is found again
            log.warning("outbox not read or not marked", error=repr(error))
            eventlet.sleep(PAUSE_AFTER_FAILURE)

    def _pump(self, name: str, documents: dict[str, Waiting]) -> None:
        try:
            waiting = {id: w.rows for id, w in documents.items() if self._is_all(name, id, w)}
            waiting |= self._read(name, [id for id in documents if id not in waiting])
            self._remember(name, waiting, self._publish(list(waiting.values())))
            crashpoint("after_confirm")
        finally:
            self._under_way[name] -= documents.keys()
        if again := {id: READ for id, rows in waiting.items() if rows and not self._is_sent(name, id, rows[-1])}:
            self.wake({name: again})
        elif self._changed[name]:
            self.wake({})

    def _is_all(self, name: str, id: str, waiting: Waiting) -> bool:
        """Whether nothing else waits in the document: it was clean, or what came before is confirmed."""
        sent = self._sent[name].get(id)
        follows = sent is not None and bool(waiting.rows) and sent.sequence + 1 == waiting.rows[0]["sequence"]
        return bool(waiting.rows) and (waiting.clean or follows)

    def _is_sent(self, name: str, id: str, row: Document) -> bool:
        sent = self._sent[name].get(id)
        return sent is None or row["sequence"] <= sent.sequence

    def _read(self, name: str, ids: list[str]) -> dict[str, list[Document]]:
        if not ids:
            return {}
        # A mark may come between the server's answer and ours, so what was sent is noted before.
        sent = {event for id in ids for event in self._sent[name].get(id, Sent()).ids}
        found = self._collections[name].find({"_id": {"$in": ids}, **WAITS}, {OUTBOX: 1})
        return {d["_id"]: [row for row in d.get(OUTBOX, ()) if row["id"] not in sent] for d in found}

    def _remember(self, name: str, waiting: dict[str, list[Document]], confirmed: list[int]) -> None:
        for (id, rows), done in zip(waiting.items(), confirmed, strict=True):
            sent = self._sent[name].setdefault(id, Sent())
            sent.ids |= {row["id"] for row in rows[:done]}
            sent.last = time.monotonic()
            sent.first = sent.first or sent.last
            if done:
                sent.sequence = rows[done - 1]["sequence"]

    def _publish(self, waiting: list[list[Document]]) -> list[int]:
        """How many were confirmed of each document. One wave carries at most one event of each."""
        confirmed = [0] * len(waiting)
        for wave in range(max(map(len, waiting), default=0)):
            going = [i for i, rows in enumerate(waiting) if confirmed[i] == wave < len(rows)]
            outcome = self._publisher.publish([outgoing(waiting[i][wave]) for i in going])
            for i, ok in zip(going, outcome, strict=True):
                confirmed[i] += ok
            telemetry.PUBLISHED.inc(sum(outcome))
            if not all(outcome):
                log.warning("events not confirmed, they stay in the outbox", count=outcome.count(False))
                eventlet.sleep(PAUSE_AFTER_FAILURE)
        return confirmed

    def _mark(self, all_of_it: bool = False) -> None:
        """Take what is confirmed out of the documents, and then out of memory."""
        moment = time.monotonic()
        for name in self._collections:
            sent = self._sent[name].items()
            confirmed = [(id, set(one.ids)) for id, one in sent if all_of_it or one.is_to_mark(moment)]
            for start in range(0, len(confirmed), BATCH):
                marked = dict(confirmed[start : start + BATCH])
                self._mark_documents(name, marked)
                self._forget(name, marked)

    def _mark_documents(self, name: str, marked: dict[str, set[str]]) -> None:
        collection, ids = self._collections[name], list(marked)
        events = [event for of_document in marked.values() for event in of_document]
        nothing_else = {OUTBOX: {"$not": {"$elemMatch": {"id": {"$nin": events}}}}}
        unset = {"$unset": {OUTBOX: "", OUTBOX_SINCE: ""}}
        done = collection.update_many({"_id": {"$in": ids}, **nothing_else}, unset)
        if done.matched_count < len(ids):
            pulled = {"$pull": {OUTBOX: {"id": {"$in": events}}}}
            collection.update_many({"_id": {"$in": ids}, OUTBOX: {"$exists": True}}, pulled)

    def _forget(self, name: str, marked: dict[str, set[str]]) -> None:
        for id, ids in marked.items():
            sent = self._sent[name][id]
            sent.ids -= ids
            sent.first = sent.last
            if not sent.ids:
                del self._sent[name][id]


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
