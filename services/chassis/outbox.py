"""The relay: publishes the events that wait inside committed documents.

The scan of documents with unsent events is the truth; a wake-up after a commit only makes it prompt. An
event is published after every earlier one of its aggregate was confirmed, whoever publishes, so first
publications are in order even when two relays run; a crash before the mark means a duplicate with the
same id, which the inbox absorbs.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import count
from typing import Any

import eventlet
from eventlet.event import Event as Signal
from pymongo import ASCENDING, IndexModel, UpdateOne
from pymongo.database import Database
from pymongo.errors import PyMongoError

from services.chassis import telemetry
from services.chassis.broker import Outgoing, Publisher
from services.chassis.crashpoints import crashpoint
from services.chassis.lease import Lease
from services.chassis.messages import Envelope
from services.chassis.repository import OUTBOX, OUTBOX_SINCE

BATCH = 500
POLL = 0.2
"""Seconds between scans without a wake-up: after commits of other replicas, or a crash."""
GATHER = 0.008
"""Seconds to let more commits come in under load."""
PAUSE_AFTER_FAILURE = 0.5  # seconds
OLDEST = datetime.fromtimestamp(0, UTC)
INDEX = IndexModel([(OUTBOX_SINCE, ASCENDING)], sparse=True)

log = telemetry.logger("outbox")
Document = dict[str, Any]


class Relay:
    def __init__(
        self, database: Database[Document], collections: Sequence[str], publisher: Publisher, lease: Lease
    ) -> None:
        # Marks wait for the majority too: scans read what it has, and would find unmarked events again.
        self._collections = {name: database[name] for name in collections}
        self._publisher, self._lease = publisher, lease
        self._changed: set[str] = set()
        self._wake = Signal()

    def wake(self, collections: Iterable[str]) -> None:
        self._changed.update(collections)
        if not self._wake.ready():
            self._wake.send()

    def run(self) -> None:
        """For ever, in a greenthread of its own."""
        while True:
            self._await_work()
            try:
                sent = self._round()
            except PyMongoError as error:
                log.warning("outbox not read", error=repr(error))
                eventlet.sleep(PAUSE_AFTER_FAILURE)
                continue
            if sent > 1:
                eventlet.sleep(GATHER)

    def drain(self, seconds: float) -> None:
        """Before a stop: send what is there, as far as it goes."""
        until = time.monotonic() + seconds
        while self._lease.held and time.monotonic() < until:
            try:
                if self._scan_all() == 0:
                    return
            except PyMongoError:
                return  # the next process finds it

    def _await_work(self) -> None:
        with eventlet.Timeout(POLL, False):
            self._wake.wait()

    def _round(self) -> int:
        woken, self._wake = self._wake.ready(), Signal()
        changed, self._changed = self._changed, set()
        if not self._lease.held:
            return 0
        if woken:
            return sum(self._pump(name) for name in changed)
        return self._scan_all()

    def _scan_all(self) -> int:
        telemetry.OUTBOX_AGE.set(0)
        return sum(self._pump(name) for name in self._collections)

    def _pump(self, name: str) -> int:
        """Publish what waits in a collection; more than a batch is left to the next round."""
        collection = self._collections[name]
        documents = list(
            collection.find({OUTBOX_SINCE: {"$gt": OLDEST}}, {OUTBOX: 1, OUTBOX_SINCE: 1, "version": 1})
            .sort(OUTBOX_SINCE)
            .limit(BATCH)
        )
        if not documents:
            return 0
        age = (datetime.now(UTC) - documents[0][OUTBOX_SINCE]).total_seconds()
        telemetry.OUTBOX_AGE.set(max(0.0, age))
        sent = self._publish(documents)
        crashpoint("after_confirm")
        self._mark(collection, documents, sent)
        if len(documents) == BATCH or any(len(d[OUTBOX]) > len(s) for d, s in zip(documents, sent, strict=True)):
            self.wake([name])
        return sum(map(len, sent))

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

    def _mark(self, collection: Any, documents: list[Document], sent: list[list[str]]) -> None:
        """Take sent events out of their documents; the version tells whether others were added since."""
        done, rest = [], []
        for document, ids in zip(documents, sent, strict=True):
            if len(ids) == len(document.get(OUTBOX, ())):
                unchanged = {"_id": document["_id"], "version": document["version"]}
                done.append(UpdateOne(unchanged, {"$unset": {OUTBOX: "", OUTBOX_SINCE: ""}}))
            if ids:
                rest.append(UpdateOne({"_id": document["_id"]}, {"$pull": {OUTBOX: {"id": {"$in": ids}}}}))
        matched = collection.bulk_write(done, ordered=False).matched_count if done else 0
        if rest and matched < len(documents):
            collection.bulk_write(rest, ordered=False)


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
