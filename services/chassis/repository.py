"""Repositories: aggregates by id, kept as one document each, with their unsent events inside."""

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from pydantic import TypeAdapter
from pymongo import IndexModel
from pymongo.collection import Collection
from pymongo.cursor import Cursor

from services.chassis.later import Written
from services.chassis.messages import Event
from services.chassis.personal import personal_fields, seal, unseal
from services.chassis.telemetry import Trace, current_trace
from services.contracts.errors import Invalid, NotFound

if TYPE_CHECKING:
    from services.chassis.unit_of_work import Work

OUTBOX, OUTBOX_SINCE = "outbox", "outbox_since"
INTERNAL = {OUTBOX: 0}
OF = "_of"
"""The part of a united query that has found a document."""
PAGE_LIMIT = 200
MAX_POSITION_DIGITS = 18
"""What the database has room for in a number."""


class Aggregate(Protocol):
    id: str
    version: int


A = TypeVar("A", bound=Aggregate)
Document = dict[str, Any]


@cache
def _adapter(aggregate: type) -> TypeAdapter[Any]:
    return TypeAdapter(aggregate)


def to_document(aggregate: Aggregate) -> Document:
    dumped: Document = _adapter(type(aggregate)).dump_python(aggregate)
    document = {name: value.document if isinstance(value, Written) else value for name, value in dumped.items()}
    document["_id"] = document.pop("id")
    return document


def from_document(aggregate: type[A], document: Document) -> A:
    fields = dict(document)
    fields["id"] = fields.pop("_id")
    return _adapter(aggregate).validate_python(fields)  # type: ignore[no-any-return]


def united(parts: Mapping[str, tuple[str, list[Document]]]) -> tuple[str, list[Document]]:
    """Several queries in one round trip: the collection to ask, and the pipeline.

    A part is a collection and what to do there; every document that is found names its part in ``OF``.
    """
    (first, pipeline), *others = ((name, [*stages, {"$set": {OF: part}}]) for part, (name, stages) in parts.items())
    return first, pipeline + [{"$unionWith": {"coll": name, "pipeline": stages}} for name, stages in others]


@dataclass(slots=True)
class Tracked:
    """An aggregate in a unit of work: as it was loaded, and the events that its change caused."""

    aggregate: Aggregate
    loaded: Document | None
    """None: it is new."""
    events: list[tuple[int, Event, Trace]] = field(default_factory=list)
    dirty: bool = False
    once: bool = False
    """It is written only where nothing is yet."""
    rows: list[Document] = field(default_factory=list)
    """The events as they are written."""

    def changes(self) -> Document:
        """What to write, personal data encrypted."""
        document = to_document(self.aggregate)
        if self.loaded is not None:
            document = {k: v for k, v in document.items() if self.loaded.get(k) != v}
        return seal(document, personal_fields(type(self.aggregate)) & document.keys())

    @property
    def loaded_version(self) -> int:
        return self.loaded["version"] if self.loaded else 0


@dataclass(frozen=True)
class Page(Generic[A]):
    """``next`` is the cursor of the following page, None on the last."""

    items: list[A]
    next: str | None


class Repository(Generic[A]):
    """``get``, ``add``, ``save`` aggregates of one kind inside a unit of work.

    A subclass names ``collection``, ``aggregate`` and the ``indexes`` of its queries. Queries do not
    see what the same unit of work has changed but not committed; look-ups by id do.
    """

    collection: ClassVar[str]
    aggregate: ClassVar[type]
    indexes: ClassVar[Sequence[IndexModel]] = ()
    publishes: ClassVar[bool] = False
    """Whether its aggregates have events; the relay looks into these collections."""
    shown: ClassVar[Document] = INTERNAL
    """The projection of its queries. One that leaves out fields makes it a repository of partial aggregates: what it
    does not read it does not write either.
    """
    unknown: ClassVar[str] = ""
    """What is said of one that is not there; without it only that."""

    def __init__(self, work: "Work") -> None:
        self._work = work
        self._documents: Collection[Document] = work.database[self.collection]

    def find(self, id: str) -> A | None:
        tracked = self._work.tracked(self.collection, id)
        if tracked is not None:
            return tracked.aggregate  # type: ignore[return-value]
        if self._work.is_missing(self.collection, id):
            return None
        document = self._documents.find_one({"_id": id}, self.shown)
        return self.take(document) if document else None

    def get(self, id: str) -> A:
        """Raise ``NotFound``."""
        found = self.find(id)
        if found is None:
            raise NotFound(self.unknown)
        return found

    def find_or_new(self, id: str, begin: Callable[[], A]) -> A:
        """Where nothing yet is as good as an empty one: it is inserted if it is saved later."""
        found = self.find(id)
        if found is None:
            found = begin()
            self.track_new(found)
        return found

    def find_many(self, ids: Iterable[str]) -> dict[str, A]:
        """Those of ``ids`` that exist, in one round trip."""
        if missing := self.unasked(ids):
            for document in self._with_ids(missing):
                self.take(document)
        tracked = {id: self._work.tracked(self.collection, id) for id in ids}
        return {id: t.aggregate for id, t in tracked.items() if t is not None}  # type: ignore[misc]

    def unasked(self, ids: Iterable[str]) -> list[str]:
        """Those of which this unit of work knows neither what they are nor that they are not there."""
        work, name = self._work, self.collection
        return [id for id in ids if work.tracked(name, id) is None and not work.is_missing(name, id)]

    def read_many(self, ids: Iterable[str], where: Document | None = None) -> dict[str, A]:
        """As ``find_many``, and cheaper: for what is only looked at. A change of these could not be saved.

        ``where`` leaves out those that it does not hold for, unless they are known already.
        """
        wanted = set(ids)
        known: dict[str, Any] = {id: t.aggregate for id in wanted if (t := self._work.tracked(self.collection, id))}
        missing, sealed = list(wanted - known.keys()), personal_fields(self.aggregate)
        found = self._with_ids(missing, where) if missing else ()
        return known | {d["_id"]: from_document(self.aggregate, unseal(d, sealed)) for d in found}

    def select(self, query: Document, sort: list[tuple[str, int]] | None = None, limit: int = 0) -> list[A]:
        cursor = self._documents.find(query, self.shown, limit=limit)
        return [self.take(document) for document in (cursor.sort(sort) if sort else cursor)]

    def page(self, query: Document, limit: int, cursor: str | None, newest_first: bool = True) -> Page[A]:
        """By id, which sorts by time of creation."""
        limit = max(1, min(limit, PAGE_LIMIT))
        direction = -1 if newest_first else 1
        if cursor:
            bound = {"_id": {"$lt" if newest_first else "$gt": decode_cursor(cursor)}}
            query = {"$and": [query, bound]}
        found = self.select(query, [("_id", direction)], limit + 1)
        more = len(found) > limit
        return Page(found[:limit], encode_cursor(found[limit - 1].id) if more else None)

    def add(self, aggregate: A, *events: Event) -> None:
        """Insert a new aggregate with the events that tell of it."""
        self.track_new(aggregate)
        self.save(aggregate, *events)

    def add_once(self, aggregate: A) -> None:
        """Insert a new aggregate unless there is one with its id: whoever runs again adds nothing.

        It asks for nothing first, and it is committed by itself, so a handler needs no inbox for it.
        """
        self._work.track(self.collection, aggregate.id, Tracked(aggregate, None, dirty=True, once=True))

    def track_new(self, aggregate: A) -> None:
        """An aggregate that is inserted if it is saved later."""
        self._work.track(self.collection, aggregate.id, Tracked(aggregate, None))

    def save(self, aggregate: A, *events: Event) -> None:
        """Write the change with its events, all or nothing, when the unit of work commits.

        Each event takes the next version of the aggregate as its sequence.
        """
        tracked = self._work.tracked(self.collection, aggregate.id)
        assert tracked is not None, "save() of an aggregate that was neither loaded nor added"
        assert self.publishes or not events, f"{type(self).__name__} does not say that it publishes"
        tracked.dirty = True
        self._work.saved(self.collection, aggregate.id)
        for event in events:
            aggregate.version += 1
            tracked.events.append((aggregate.version, event, current_trace()))
        if not events:
            aggregate.version += 1

    def by_ids(self, ids: list[str]) -> list[Document]:
        """The stages of an aggregation that finds these."""
        return [{"$match": {"_id": {"$in": ids}}}, {"$project": self.shown}]

    def _with_ids(self, ids: list[str], where: Document | None = None) -> Cursor[Document]:
        """In one batch, of which the server would else make several."""
        return self._documents.find({"_id": {"$in": ids}, **(where or {})}, self.shown, batch_size=len(ids) + 1)

    def take(self, document: Document) -> A:
        """The aggregate of a document, from now on the one of this unit of work."""
        known = self._work.tracked(self.collection, document["_id"])
        if known is None:
            plain = unseal(document, personal_fields(self.aggregate))
            known = Tracked(from_document(self.aggregate, plain), plain)
            self._work.track(self.collection, document["_id"], known)
        return known.aggregate  # type: ignore[return-value]


def encode_cursor(position: str) -> str:
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """Raise ``Invalid`` when it is none of ours."""
    try:
        position = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError:
        raise _foreign_cursor() from None
    if encode_cursor(position) != cursor:  # the decoder skips what it does not know
        raise _foreign_cursor()
    return position


def decode_position(cursor: str) -> int:
    """Of a cursor that counts; raise ``Invalid`` as ``decode_cursor`` does."""
    position = decode_cursor(cursor)
    if not (position.isascii() and position.isdecimal() and len(position) <= MAX_POSITION_DIGITS):
        raise _foreign_cursor()
    return int(position)


def _foreign_cursor() -> Invalid:
    return Invalid("翻页游标无效，请从第一页重新开始", fields=[{"path": "cursor", "message": "无效"}])


def slice_page(items: Sequence[Any], limit: int, cursor: str | None) -> tuple[list[Any], str | None]:
    """A page of a list that is part of an aggregate; the cursor is the position."""
    start, limit = decode_position(cursor) if cursor else 0, max(1, min(limit, PAGE_LIMIT))
    end = start + limit
    return list(items[start:end]), encode_cursor(str(end)) if end < len(items) else None
