"""Service hours: one record per volunteer and segment, never edited, reversed to correct (domain, section 6)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum

from services.contracts import activities as facts
from services.contracts.activities import Source
from services.contracts.actor import Actor, Role
from services.contracts.dispatch import Segment
from services.contracts.errors import Conflict, Forbidden, NotFound
from services.contracts.registry import Category
from services.contracts.zone import CHINA

DAILY_CAP = Decimal(8)
"""Hours a day that count (reference city)."""
HUNDREDTH = Decimal("0.01")
UNKNOWN_RECORD = "没有这条时长记录"
"""The same of a record that is not there and of one that the caller may not know of."""


class State(StrEnum):
    OPEN = "open"
    EFFECTIVE = "effective"
    REFUSED = "refused"
    REVERSED = "reversed"


@dataclass
class Volunteer:
    """What activities knows of a volunteer; ``path`` runs from home to the city."""

    id: str
    path: list[str]
    version: int = 0


@dataclass
class Record:
    """A volunteer's time on one source. ``hours`` counts, ``raw_hours`` is what was served."""

    id: str
    source_type: str
    source_id: str
    start: datetime
    end: datetime
    raw_hours: float
    hours: float
    category: Category
    site: str
    state: State
    reason: str = ""

    @property
    def counts(self) -> bool:
        return self.state in (State.OPEN, State.EFFECTIVE)

    @property
    def source(self) -> Source:
        return Source(type=self.source_type, id=self.source_id)


@dataclass
class Timesheet:
    """A volunteer's records of one calendar day in China: what may not overlap, and what the cap is for."""

    id: str
    volunteer_id: str
    day: datetime
    records: list[Record] = field(default_factory=list)
    version: int = 0

    @classmethod
    def key(cls, volunteer_id: str, start: datetime) -> str:
        return f"{volunteer_id}:{day_of(start).isoformat()}"

    @classmethod
    def begin(cls, volunteer_id: str, start: datetime) -> "Timesheet":
        day = day_of(start)
        midnight = datetime(day.year, day.month, day.day, tzinfo=CHINA)
        return cls(cls.key(volunteer_id, start), volunteer_id, midnight)

    def record(
        self, id: str, source: Source, segment: Segment, category: Category, site: str
    ) -> list[facts.HoursRecorded]:
        """Enter a segment once; one that overlaps is kept as refused, with the reason."""
        if self.find(id) is not None:
            return []
        raw = hours_between(segment.start, segment.end)
        overlapping = any(r.counts and r.start < segment.end and segment.start < r.end for r in self.records)
        record = Record(
            id, source.type, source.id, segment.start, segment.end, float(raw), float(self._capped(raw)),
            category, site, State.OPEN,
        )  # fmt: skip
        if overlapping:
            record.state, record.hours, record.reason = State.REFUSED, 0.0, "与已登记的服务时间重叠"
        self.records.append(record)
        return [facts.HoursRecorded(
            **self._about(record), source=source, start=record.start, end=record.end, state=record.state
        )]  # fmt: skip

    def take_effect(self, id: str) -> list[facts.HoursEffective]:
        record = self.find(id)
        if record is None or record.state is not State.OPEN:
            return []
        record.state = State.EFFECTIVE
        return [facts.HoursEffective(**self._about(record), source=record.source, category=record.category)]

    def reverse(self, id: str, reason: str) -> list[facts.HoursReversed]:
        record = self.find(id)
        if record is None or not record.counts:
            raise Conflict("这条时长记录已经撤销或未被接受，不能再撤销")
        was_effective = record.state is State.EFFECTIVE
        record.state, record.reason = State.REVERSED, reason
        return [facts.HoursReversed(**self._about(record), source=record.source, was_effective=was_effective)]

    def find(self, id: str) -> Record | None:
        return next((record for record in self.records if record.id == id), None)

    def _capped(self, raw: Decimal) -> Decimal:
        counted = sum((Decimal(str(r.hours)) for r in self.records if r.counts), Decimal(0))
        return max(Decimal(0), min(raw, DAILY_CAP - counted))

    def _about(self, record: Record) -> dict[str, object]:
        return {
            "record_id": record.id, "volunteer_id": self.volunteer_id, "hours": record.hours, "site": record.site,
        }  # fmt: skip


def day_of(time: datetime) -> date:
    return time.astimezone(CHINA).date()


def hours_between(start: datetime, end: datetime) -> Decimal:
    """To two decimals, rounded half up. ⚖"""
    seconds = Decimal(int((end - start).total_seconds()))
    return (seconds / 3600).quantize(HUNDREDTH, ROUND_HALF_UP)


def record_id(source_id: str, position: int) -> str:
    """The same segment of the same order is the same record, however often it is told."""
    return f"h-{source_id}-{position}"


def may_see(actor: Actor, volunteer: Volunteer) -> bool:
    """Hours are seen by the volunteer, by staff of the volunteer's place and above, and by the administrator."""
    staff = actor.has(Role.STAFF) and actor.site in volunteer.path
    return actor.volunteer == volunteer.id or staff or actor.is_admin


def check_reading(actor: Actor, volunteer: Volunteer | None) -> None:
    if volunteer is None or not may_see(actor, volunteer):
        raise NotFound("没有找到这位志愿者")


def check_correcting(actor: Actor, volunteer: Volunteer | None) -> None:
    if volunteer is None or not may_see(actor, volunteer):
        raise NotFound(UNKNOWN_RECORD)
    if not actor.has(Role.STAFF) and not actor.is_admin:
        raise Forbidden("撤销时长要由工作人员来做")


def total(records: Iterable[Record]) -> float:
    return float(sum((Decimal(str(r.hours)) for r in records if r.state is State.EFFECTIVE), Decimal(0)))
