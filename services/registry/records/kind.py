"""What a kind of plain records is, beside its fields: who may read and write, what must hold, what is computed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic

from services.chassis.messages import Event
from services.contracts.actor import Actor
from services.contracts.errors import Forbidden, NotFound
from services.contracts.records import B, RecordBody
from services.registry.domain import is_staff_over

Figures = dict[str, int]
CENTER_AND_CITY = 2
"""Sites at the end of every path, which runs from a site to the city."""


class Right(StrEnum):
    EVERYBODY = "everybody"
    """Who is signed in."""
    STAFF = "staff"
    """Of the place and of all above it."""
    CENTER = "center"
    """Staff of the place's center, and of the city."""

    def admits(self, actor: Actor, path: Sequence[str]) -> bool:
        match self:
            case Right.EVERYBODY:
                return True
            case Right.STAFF:
                return is_staff_over(actor, path)
            case Right.CENTER:
                return is_staff_over(actor, path[-CENTER_AND_CITY:])


WRITERS = {Right.STAFF: "本站点和上级站点的工作人员", Right.CENTER: "县中心的工作人员", Right.EVERYBODY: "所有人"}


@dataclass(frozen=True)
class Beside:
    """What a record is judged beside."""

    before: Any = None
    """Its own body, where it is changed."""
    whole: Any = None
    """The body of the record that it is a part of."""
    figures: Figures = field(default_factory=dict)
    """Sums over the other parts of that."""
    rivals: Sequence[Any] = ()
    """Bodies of others with the same ``meets``."""


def _as_it_is(body: B, _beside: Beside) -> B:
    return body


@dataclass(frozen=True)
class Kind(Generic[B]):
    body: type[B]
    write: Right = Right.STAFF
    read: Right = Right.EVERYBODY
    unique: Callable[[B, str], str] = lambda _body, _site: ""
    """What no other record of the kind may share."""
    settle: Callable[[B, Beside], B] = _as_it_is
    """The body in its one form; raise ``Invalid`` or ``Conflict`` where a rule does not hold."""
    computed: Callable[[B, Figures], Mapping[str, Any]] = lambda _body, _figures: {}
    """What is shown beside the fields, and may be a filter."""
    figures: Callable[[B], Figures] = lambda _body: {}
    """What it adds to the sums of the record that it is a part of."""
    meets: Callable[[B], str] = lambda _body: ""
    """Those for which this is the same are judged beside each other. They must be parts of the same record: it is
    written with each of them, so of two at a time one is judged again."""
    becomes: Callable[[B, str], RecordBody | None] = lambda _body, _id: None
    """The record that it turns into, once."""

    accounts: Callable[[B], Mapping[str, str]] = lambda _body: {}
    """The accounts that it names, by the path of the field: they are there, and the record is found by them."""
    tells: Callable[[str, str, B | None], Sequence[Event]] = lambda _id, _site, _body: ()
    """Beside that the record has changed, with its id and its site; without a body when it is retired."""
    forgets: bool = False
    """Whether what was in a record, and in its history, goes when it is retired: it is about persons."""

    @property
    def name(self) -> str:
        return self.body.kind

    @property
    def title(self) -> str:
        return self.body.title

    def must_write(self, actor: Actor, path: Sequence[str]) -> None:
        """Places are known to everybody; who changes a record must be able to read it first."""
        if not self.write.admits(actor, path):
            raise Forbidden(f"只有{WRITERS[self.write]}可以登记和修改{self.title}")

    def must_read(self, actor: Actor, path: Sequence[str]) -> None:
        if not self.read.admits(actor, path):
            raise self.unknown()

    def must_list(self, actor: Actor, path: Sequence[str]) -> None:
        if not self.read.admits(actor, path):
            raise Forbidden(f"只能查看自己站点和下级站点的{self.title}")

    def unknown(self) -> NotFound:
        return NotFound(f"没有这个{self.title}")
