"""The unit of work: what one handler loads and changes is committed together or not at all.

A change of one aggregate is one document write, since its events travel inside the document; as soon as
more is written (a second aggregate, an inbox row, an idempotency record) it is one transaction. Parts that may
run again and change one aggregate each need none, however many they are. Reads are
outside of it: every write compares the version that was loaded, and a loser runs again from the start.
Inside a unit of work nothing leaves the process except through the events given to ``save``.
"""

import itertools
import math
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeVar, cast

import eventlet
import orjson
import pymongo
from bson.codec_options import TypeRegistry
from pymongo import InsertOne, MongoClient, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError
from ulid import ULID

from services.chassis import telemetry
from services.chassis.clock import now
from services.chassis.crashpoints import crashpoint
from services.chassis.messages import dump
from services.chassis.outbox import READ, Waiting
from services.chassis.personal import decrypt, encrypt
from services.chassis.repository import OF, OUTBOX, OUTBOX_SINCE, Document, Repository, Tracked, united
from services.contracts.errors import IdempotencyKeyReused, ServiceError, Unavailable

R = TypeVar("R")
INBOX, IDEMPOTENCY = "inbox", "idempotency"
LONGEST_PAUSE = 0.1  # seconds between two tries of a unit of work that loses against others
DUPLICATE_KEY = 11000
TRANSIENT, UNKNOWN_OUTCOME = "TransientTransactionError", "UnknownTransactionCommitResult"
"""The driver's labels: run again from the start; ask for the commit again."""

Write = InsertOne[Document] | UpdateOne


class Stale(Exception):
    """Another writer came first: run again on what is there now."""


@dataclass(frozen=True)
class Idempotency:
    """A client's key for one request; ``fingerprint`` tells the same request from another one."""

    key: str
    fingerprint: str


class Work:
    """One unit of work, with the repositories of its service as attributes."""

    def __init__(
        self,
        database: Database[Document],
        repositories: dict[str, type[Repository[Any]]],
        committed: Callable[[Mapping[str, Mapping[str, Waiting]]], None] = lambda _changes: None,
        until: float = math.inf,
        leads: Callable[[], bool] = lambda: True,
    ) -> None:
        self.database = database
        self.leads = leads
        """Whether this replica is the one that does the work of timers."""
        self.sequence = 0
        """Of the event that is handled: the version of the aggregate that it tells of."""
        self.event_id, self.event_time = "", datetime.min.replace(tzinfo=UTC)
        """Of the event that is handled: the same however often it comes."""
        self.until = until
        """When whoever waits for it stops waiting, by the monotonic clock."""
        self._committed = committed
        self._tracked: dict[tuple[str, str], Tracked] = {}
        self._rows: list[tuple[str, Document]] = []
        self._missing: set[tuple[str, str]] = set()
        self._parts = 0
        self._in_part: set[tuple[str, str]] = set()
        self._is_wide = False
        self._repositories = repositories

    def __getattr__(self, name: str) -> Any:
        """A repository, made when it is asked for: most work needs few of them."""
        if name not in self._repositories:
            raise AttributeError(f"no repository {name!r} in this unit of work")
        repository = self._repositories[name](self)
        setattr(self, name, repository)
        return repository

    def tracked(self, collection: str, id: str) -> Tracked | None:
        return self._tracked.get((collection, id))

    def track(self, collection: str, id: str, tracked: Tracked) -> None:
        self._tracked[collection, id] = tracked

    def begin_part(self) -> None:
        """What is saved until the next part begins may be committed without the other parts: it can run again."""
        self._parts += 1
        self._in_part.clear()

    def saved(self, collection: str, id: str) -> None:
        self._in_part.add((collection, id))
        self._is_wide |= len(self._in_part) > 1

    def load(self, wanted: Mapping[str, Iterable[str]]) -> None:
        """Aggregates by the names of their repositories, all in one round trip; what is not there is not asked
        for again.
        """
        repositories: dict[str, Repository[Any]] = {name: getattr(self, name) for name in wanted}
        asked = {name: ids for name, of in wanted.items() if (ids := repositories[name].unasked(set(of)))}
        if not asked:
            return
        parts = {name: (repositories[name].collection, repositories[name].by_ids(ids)) for name, ids in asked.items()}
        collection, pipeline = united(parts)
        for document in self.database[collection].aggregate(pipeline, batchSize=sum(map(len, asked.values())) + 1):
            repositories[document.pop(OF)].take(document)
        for name, ids in asked.items():
            repository = repositories[name]
            self._missing.update((repository.collection, id) for id in repository.unasked(ids))

    def is_missing(self, collection: str, id: str) -> bool:
        return (collection, id) in self._missing

    def run(self, work: Callable[[], R], deadline: float, idempotency: Idempotency | None = None) -> R:
        """Run ``work`` and commit; again from the start when another writer came first.

        ``deadline`` is in seconds. Raise ``Unavailable`` when it passes.
        """
        until = time.monotonic() + deadline
        with pymongo.timeout(deadline):
            for attempt in itertools.count():
                self._begin()
                try:
                    # The first time nobody asks whether it is a repetition: the record's key will tell.
                    if attempt and idempotency and (answered := self._answered(idempotency)):
                        return cast(R, _first_answer(answered, idempotency))
                    return self._once(work, idempotency)
                except Stale:
                    telemetry.CONFLICTS.inc()
                if time.monotonic() > until:
                    break
                eventlet.sleep(random.uniform(0, LONGEST_PAUSE * 2.0 ** (min(attempt, 6) - 6)))
        raise Unavailable("该记录正被频繁修改，请稍后再试")

    def _once(self, work: Callable[[], R], idempotency: Idempotency | None) -> R:
        try:
            result = work()
        except ServiceError:
            # What stands in the way may be the effect of the same request, done before.
            if idempotency and (answered := self._answered(idempotency)):
                return cast(R, _first_answer(answered, idempotency))
            raise
        if idempotency:
            self.insert(IDEMPOTENCY, _record(idempotency, result))
        self.commit()
        return result

    def _answered(self, idempotency: Idempotency) -> Document | None:
        return self.database[IDEMPOTENCY].find_one({"_id": idempotency.key})

    def insert(self, collection: str, row: Document) -> None:
        """A plain row that is committed with the rest."""
        self._rows.append((collection, row))

    def _begin(self) -> None:
        self._tracked.clear()
        self._rows.clear()
        self._missing.clear()
        self._in_part.clear()
        self._parts, self._is_wide = 0, False

    def commit(self) -> None:
        """Raise ``Stale`` when another writer came first; then nothing is written."""
        writes = self._writes()
        count = sum(map(len, writes.values()))
        if count == 0:
            return
        crashpoint("before_commit")
        if count == 1:
            self._write(writes, None)
        elif self._parts and not self._is_wide and not self._rows:
            self._write_parts(writes)
        else:
            self._write_in_transaction(writes)
        crashpoint("after_commit")
        self._announce()

    def commit_each(self) -> int:
        """Commit every aggregate by itself, in one round trip; the number that was not overtaken.

        For timers that move many independent aggregates. Rows are not allowed here.
        """
        assert not self._rows
        done = 0
        for collection, writes in self._writes().items():
            try:
                result = self.database[collection].bulk_write(writes, ordered=False)
                done += result.inserted_count + result.modified_count
            except BulkWriteError as error:
                if any(e["code"] != DUPLICATE_KEY for e in error.details["writeErrors"]):
                    raise
                done += error.details["nInserted"] + error.details["nModified"]
        # Which were overtaken is not known here, so the relay reads what there is to send.
        self._announce(read=True)
        self._begin()
        return done

    def _announce(self, read: bool = False) -> None:
        """Tell the relay what was committed; of a document that had nothing waiting it knows the events."""
        changed = defaultdict[str, dict[str, Waiting]](dict)
        for (name, id), tracked in self._tracked.items():
            if tracked.rows:
                clean = tracked.loaded is None or OUTBOX_SINCE not in tracked.loaded
                changed[name][id] = READ if read else Waiting(tracked.rows, clean)
        if changed:
            self._committed(changed)

    def _writes(self) -> dict[str, list[Write]]:
        at = now()
        writes: dict[str, list[Write]] = defaultdict(list)
        for collection, row in self._rows:
            writes[collection].append(InsertOne(row))
        for (collection, id), tracked in self._tracked.items():
            if tracked.dirty:
                writes[collection].append(_write_of(id, tracked, at))
        return writes

    def _write_parts(self, writes: dict[str, list[Write]]) -> None:
        try:
            self._write(writes, None)
        except Stale:
            self._announce(read=True)  # what was not overtaken is committed
            raise

    def _write_in_transaction(self, writes: dict[str, list[Write]]) -> None:
        """The driver's own loop would try again without a pause for 120 s, whatever the deadline."""
        with self.database.client.start_session() as session:
            try:
                session.start_transaction()
                self._write(writes, session)
                _commit(session)
            except PyMongoError as error:
                if error.has_error_label(TRANSIENT) and not error.timeout:
                    raise Stale from error
                raise

    def _write(self, writes: dict[str, list[Write]], session: ClientSession | None) -> None:
        for collection, batch in writes.items():
            try:
                if not _apply(self.database[collection], batch, session):
                    raise Stale
            except DuplicateKeyError:
                raise Stale from None
            except BulkWriteError as error:
                # Only a duplicate key means "somebody was first"; anything else is an error of its own,
                # and the driver wants to see those that it may retry.
                if all(e["code"] == DUPLICATE_KEY for e in error.details["writeErrors"]):
                    raise Stale from None
                raise
            crashpoint("in_transaction", collection)


def _commit(session: ClientSession) -> None:
    """Until the outcome is known, or the time of the unit of work is over."""
    while True:
        try:
            return session.commit_transaction()
        except PyMongoError as error:
            if not error.has_error_label(UNKNOWN_OUTCOME) or error.timeout:
                raise
        eventlet.sleep(random.uniform(0, LONGEST_PAUSE))


def _apply(collection: Any, batch: list[Write], session: ClientSession | None) -> bool:
    """Whether every write found what it had loaded."""
    if session is None and all(isinstance(write, _Once) for write in batch):
        _insert_missing(collection, [write.document for write in batch if isinstance(write, _Once)])
        return True
    if len(batch) > 1:
        result = collection.bulk_write(batch, session=session)
        return bool(result.inserted_count + result.matched_count + result.upserted_count == len(batch))
    (write,) = batch
    if isinstance(write, InsertOne):
        collection.insert_one(write._doc, session=session)
        return True
    updated = collection.update_one(write._filter, write._doc, upsert=bool(write._upsert), session=session)
    return bool(updated.matched_count or updated.upserted_id is not None)


class _Once(UpdateOne):
    """Inserts a document where there is none with its id: as a write among others, also in a transaction."""

    def __init__(self, document: Document) -> None:
        self.document = document
        rest = {name: value for name, value in document.items() if name != "_id"}  # that comes from the filter
        super().__init__({"_id": document["_id"]}, {"$setOnInsert": rest}, upsert=True)


def _insert_missing(collection: Any, documents: list[Document]) -> None:
    """All at once, which costs the database less than each by itself."""
    try:
        collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        others = [e for e in error.details["writeErrors"] if e["code"] != DUPLICATE_KEY]
        if others or error.details["writeConcernErrors"]:
            raise


def _write_of(id: str, tracked: Tracked, time: datetime) -> Write:
    rows = tracked.rows = [_outbox_row(sequence, event, time, trace) for sequence, event, trace in tracked.events]
    changes = tracked.changes()
    if tracked.once:
        return _Once(changes)
    if tracked.loaded is None:
        return InsertOne(changes | ({OUTBOX: rows, OUTBOX_SINCE: time} if rows else {}))
    update: Document = {"$set": changes}
    if rows:
        update["$push"] = {OUTBOX: {"$each": rows}}
        update["$min"] = {OUTBOX_SINCE: time}
    return UpdateOne({"_id": id, "version": tracked.loaded_version}, update)


def _outbox_row(sequence: int, event: Any, time: datetime, trace: telemetry.Trace) -> Document:
    return {
        "id": str(ULID()),
        "type": event.type(),
        "source": f"/sidan/{event.owner}",
        "subject": event.subject_id(),
        "time": time,
        "sequence": sequence,
        "site": event.site,
        "data": dump(event),
        "correlation_id": trace.correlation_id,
        "causation_id": trace.causation_id,
        "traceparent": trace.traceparent,
    }


def _record(idempotency: Idempotency, result: Any) -> Document:
    # The answer may hold an address or a name.
    answer = encrypt(orjson.dumps(result).decode())
    return {"_id": idempotency.key, "fingerprint": idempotency.fingerprint, "answer": answer, "at": now()}


def _first_answer(record: Document, idempotency: Idempotency) -> Any:
    if record["fingerprint"] != idempotency.fingerprint:
        raise IdempotencyKeyReused("这个 Idempotency-Key 已经用于另一个内容不同的请求，请换一个新的")
    return orjson.loads(decrypt(record["answer"]))


def connect(uri: str, service: str) -> MongoClient[Document]:
    """Explicit concerns and bounded waits (docs/adr/0003)."""
    return MongoClient(
        uri,
        tz_aware=True,
        w="majority",
        journal=True,
        readConcernLevel="majority",
        retryWrites=True,
        retryReads=True,
        serverSelectionTimeoutMS=2500,
        connectTimeoutMS=2500,
        socketTimeoutMS=20000,
        maxPoolSize=30,
        waitQueueTimeoutMS=2500,
        appName=f"sidan-{service}",
        type_registry=TypeRegistry(fallback_encoder=_of_a_day),
    )


def _of_a_day(value: Any) -> Any:
    """The database knows moments and no days: these are kept as text, which sorts as they do."""
    return value.isoformat() if isinstance(value, date) else value
