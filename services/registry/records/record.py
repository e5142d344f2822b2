"""Plain records: one aggregate for all kinds, with its place in lists and its history."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.chassis.messages import Event
from services.contracts.actor import Actor
from services.contracts.errors import Conflict, invalid
from services.contracts.privacy import Secret
from services.contracts.records import (
    BODIES,
    RecordAdded,
    RecordBody,
    RecordChanged,
    RecordQuestion,
    RecordRetired,
    RecordState,
    Scope,
    read_body,
)
from services.registry.domain import Site, is_staff_over
from services.registry.records.kind import Beside, Figures, Kind

Fields = dict[str, Any]
NOTHING = "{}"
IN, AT = "in", "at"
"""A record is listed in its site and all above it; it is at its site only."""


@dataclass
class Record:
    """``body`` is JSON, encrypted as a whole, since any text may hold what is personal; it is listed by ``terms``."""

    id: str
    kind: str
    site: str
    path: list[str]
    created_at: datetime
    created_by: str
    changed_at: datetime
    changed_by: str
    body: Secret = NOTHING
    part_of: str = ""
    state: RecordState = RecordState.ACTIVE
    terms: list[str] = field(default_factory=list)
    unique: str = ""
    """A keyed hash."""
    figures: Figures = field(default_factory=dict)
    """Sums over its parts."""
    became: str | None = None
    version: int = 0

    @classmethod
    def begin(
        cls, id: str, kind: Kind[Any], site: Site, whole: "Record | None", actor_id: str, at: datetime
    ) -> "Record":
        """Without anything in it; see ``settle``."""
        part_of = whole.id if whole else ""
        return cls(id, kind.name, site.id, site.path, at, actor_id, at, actor_id, part_of=part_of)

    @property
    def fields(self) -> Fields:
        fields: Fields = json.loads(self.body)
        return fields

    def read(self) -> Any:
        return read_body(BODIES[self.kind], self.fields)

    def settle(
        self, kind: Kind[Any], body: RecordBody, whole: "Record | None", rivals: Sequence["Record"]
    ) -> dict[str, list[Any]]:
        """Take the fields on where the rules hold; what has changed of them, by name.

        The sums of what it is a part of (``whole``) follow.
        """
        known = self.fields
        before = self.read() if known else None
        if whole and before:
            whole.count(kind.figures(before), -1)
        others = [rival.read() for rival in rivals if rival.id != self.id]
        settled = kind.settle(body, Beside(before, *((whole.read(), whole.figures, others) if whole else ())))
        if whole:
            whole.count(kind.figures(settled), +1)
        self.body = json.dumps(_stored(settled), ensure_ascii=False)
        self._relist(kind)
        return _differences(known, self.fields)

    def changed(self, kind: Kind[Any], actor_id: str, at: datetime) -> list[Event]:
        """After ``settle``; first that it has changed, then what its kind tells of it."""
        told = RecordAdded if self.version == 0 else RecordChanged
        self.changed_by, self.changed_at = actor_id, at
        return [
            told(site=self.site, record_id=self.id, kind=self.kind), *kind.tells(self.id, self.site, self.read())
        ]  # fmt: skip

    def retire(self, kind: Kind[Any], whole: "Record | None", actor_id: str, at: datetime) -> list[Event]:
        self.state, self.unique = RecordState.RETIRED, ""
        self.changed_by, self.changed_at = actor_id, at
        self._relist(kind)
        if whole:
            whole.count(kind.figures(self.read()), -1)
        if kind.forgets:
            self.body = NOTHING
        return [
            RecordRetired(site=self.site, record_id=self.id, kind=self.kind), *kind.tells(self.id, self.site, None)
        ]  # fmt: skip

    def turns_into(self, kind: Kind[Any]) -> RecordBody | None:
        """Once, at its own place; raise ``Conflict`` when that is to be taken back."""
        turned = kind.becomes(self.read(), self.id)
        if self.became is None:
            return turned and turned.model_copy(update={"site": self.site})
        if turned is None:
            raise Conflict(f"这个{kind.title}已经立项，决定不能再改；需要时请停用立项后的记录")
        return None

    def can_be_referred_to(self, kind: Kind[Any], actor: Actor) -> bool:
        right = self.kind == kind.name and self.state is RecordState.ACTIVE
        return right and kind.read.admits(actor, self.path)

    def must_be_active(self, kind: Kind[Any]) -> None:
        if self.state is not RecordState.ACTIVE:
            raise Conflict(f"这个{kind.title}已经停用，不能再改；需要时请重新登记")

    def count(self, figures: Figures, sign: int) -> None:
        """Of one of its parts."""
        self.figures = {n: self.figures.get(n, 0) + sign * figures.get(n, 0) for n in {*self.figures, *figures}}

    def _relist(self, kind: Kind[Any]) -> None:
        body = self.read()
        values = {**self.fields, **kind.computed(body, self.figures)}
        listed = {name: values.get(name) for name in kind.body.filters}
        terms = [*_listed_as(self.state, self.site, self.path, listed)]
        if self.state is RecordState.ACTIVE:
            meets = kind.meets(body)
            terms += [*map(naming, kind.accounts(body).values()), *([met_as(meets)] if meets else [])]
        self.terms = sorted(set(terms))


@dataclass
class RecordEntry:
    """A line of a record's history. What stood there before is encrypted as what stands there now."""

    id: str
    record_id: str
    at: datetime
    by: str
    """Account id."""
    what: str
    changes: Secret
    """JSON: by field what was there and what came; also the reason why it was retired."""
    version: int = 0

    @classmethod
    def of(cls, id: str, record: Record, event: Event, changes: Mapping[str, Any]) -> "RecordEntry":
        told = json.dumps(changes, ensure_ascii=False)
        return cls(id, record.id, record.changed_at, record.changed_by, event.fact.rpartition(".")[2], told)

    def forget(self) -> None:
        self.changes = NOTHING


def _stored(body: RecordBody) -> Fields:
    """Without its place, which the record has."""
    return body.model_dump(mode="json", by_alias=True, exclude={"site"}, exclude_none=True)


def _differences(old: Fields, new: Fields) -> dict[str, list[Any]]:
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return {name: [old.get(name), new.get(name)] for name in names}


def merged(kind: Kind[Any], known: Fields, changes: Mapping[str, Any]) -> RecordBody:
    """Raise ``Invalid``, also for what stays as it was added."""
    for name in ("site", kind.body.part_of):
        if name in changes:
            raise invalid(name, f"登记以后不能改；请停用这个{kind.title}，再重新登记")
    body: RecordBody = read_body(kind.body, {**known, **changes})
    return body


# -- lists ------------------------------------------------------------------------------------------------


def _listed_as(state: RecordState, site: str, path: Sequence[str], values: Mapping[str, Any]) -> Iterator[str]:
    """Terms of a record: its places, and these with each value that it is filtered by."""
    for place in (f"{AT}:{site}", *(f"{IN}:{code}" for code in path)):
        yield _term(state, place)
        yield from (_term(state, place, name, value) for name, value in values.items() if value is not None)


def _term(state: RecordState, place: str, name: str = "", value: Any = "") -> str:
    return f"{state}|{place}|{name}={value}"


def wanted_terms(kind: Kind[Any], asked: RecordQuestion, path: Sequence[str], actor: Actor) -> list[list[str]]:
    """Of each of these a record must have one. ``path`` is that of the place that is asked for.

    Raise ``Forbidden``.
    """
    kind.must_list(actor, path)
    places = [f"{IN}:{path[0]}"]
    if asked.scope is Scope.ABOVE:
        places = [f"{AT}:{code}" for n, code in enumerate(path) if kind.read.admits(actor, path[n:])]
    filters = asked.filters() or {"": ""}
    return [[_term(asked.state, place, name, value) for place in places] for name, value in filters.items()]


def naming(account_id: str) -> str:
    """Term of the records that name an account."""
    return f"account:{account_id}"


def met_as(meets: str) -> str:
    return f"meets|{meets}"


# -- how it looks -----------------------------------------------------------------------------------------


def record_view(kind: Kind[Any], record: Record, actor: Actor) -> dict[str, Any]:
    told: Fields = {}
    if record.body != NOTHING:
        body = record.read()
        told = body.model_dump(mode="json", by_alias=True, exclude={"site"}) | dict(kind.computed(body, record.figures))
    hidden = frozenset() if is_staff_over(actor, record.path) else kind.body.personal
    return {
        "id": record.id,
        "site": record.site,
        "state": record.state,
        **{name: None if name in hidden else value for name, value in told.items()},
        "became": record.became,
        "created_at": record.created_at.isoformat(),
        "changed_at": record.changed_at.isoformat(),
    }


def record_entry_view(entry: RecordEntry) -> dict[str, Any]:
    about = {"id": entry.id, "at": entry.at.isoformat(), "by": entry.by, "what": entry.what}
    return {**about, "changes": json.loads(entry.changes)}
