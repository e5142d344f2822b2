"""Quality figures: how the orders of a service item went, by the month that they were placed in (docs/adr/0014).

A figure is what the timelines of orders say happened, however often: an order that two teams took was taken once.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from math import log2

from services.contracts.errors import invalid
from services.contracts.wording import MONTH
from services.contracts.zone import CHINA, midnight, read_day

FACTS = (
    "placed", "accepted", "escalated", "unmet", "completed", "closed", "cancelled", "rejected", "reopened"
)  # fmt: skip
"""Of how many orders they are told. ``reopened``: it is another cycle of an earlier order, and an order of its own."""
STEPS_A_DOUBLING = 8
"""Of the time until somebody takes an order: so a median is within 5 % of the true one (2 ** (1 / 16) = 1.044)."""
LONGEST = 12
"""Months of a period."""


@dataclass
class Step:
    """Of a timeline: what happened, and when."""

    event: str
    time: datetime


@dataclass
class Life:
    """What figures need of an order. ``uncounted_since``: when it ended, until it is in them."""

    id: str
    item_id: str
    path: list[str]
    placed_at: datetime
    timeline: list[Step]
    score: int | None = None
    rated_by: str | None = None
    uncounted_since: datetime | None = None
    version: int = 0


@dataclass
class Tally:
    """``waits``: how many orders were taken after about so long (see ``step_of``)."""

    facts: dict[str, int] = field(default_factory=dict)
    ratings: int = 0
    score_sum: int = 0
    default_ratings: int = 0
    waits: dict[str, int] = field(default_factory=dict)

    def count(self, order: Life) -> None:
        first: dict[str, datetime] = {}
        for entry in order.timeline:
            first.setdefault(entry.event, entry.time)
        _add(self.facts, {fact: 1 for fact in FACTS if fact in first})
        if "accepted" in first:
            _add(self.waits, {step_of((first["accepted"] - first["placed"]).total_seconds()): 1})
        if order.score is None:
            return
        if order.rated_by == "system":
            self.default_ratings += 1
        else:
            self.ratings += 1
            self.score_sum += order.score

    def add(self, other: "Tally") -> None:
        _add(self.facts, other.facts)
        _add(self.waits, other.waits)
        self.ratings += other.ratings
        self.score_sum += other.score_sum
        self.default_ratings += other.default_ratings

    @property
    def score(self) -> float | None:
        """The mean of what residents said; who said nothing is not in it."""
        return round(self.score_sum / self.ratings, 2) if self.ratings else None

    @property
    def median_wait(self) -> int | None:
        """Seconds by the clock on the wall from placing to the first acceptance, nights and holidays included."""
        left = (sum(self.waits.values()) + 1) // 2
        for step in sorted(self.waits, key=int):
            left -= self.waits[step]
            if left <= 0:
                return seconds_of(step)
        return None


@dataclass
class Figures:
    """Of the orders of an item at a place and below it that were placed in a month and have ended."""

    id: str
    site: str
    month: str
    item_id: str
    tally: Tally = field(default_factory=Tally)
    version: int = 0

    @classmethod
    def none_yet(cls, id: str) -> "Figures":
        site, month, item = id.split("/", 2)
        return cls(id, site, month, item)


@dataclass(frozen=True)
class Period:
    """Whole months of China; ``end`` is when the one after the last begins."""

    first: str
    last: str
    begin: datetime
    end: datetime


def figures_of(order: Life) -> list[str]:
    """Ids: those of every place whose staff may read the order."""
    return [f"{site}/{month_of(order.placed_at)}/{order.item_id}" for site in order.path]


def by_item(kept: Iterable[Figures], lives: Iterable[Life]) -> dict[str, Tally]:
    """What has ended and what goes on, together; the items with the most orders first."""
    tallies: dict[str, Tally] = {}
    for figures in kept:
        tallies.setdefault(figures.item_id, Tally()).add(figures.tally)
    for life in lives:
        tallies.setdefault(life.item_id, Tally()).count(life)
    return dict(sorted(tallies.items(), key=lambda pair: (-pair[1].facts["placed"], pair[0])))


def month_of(moment: datetime) -> str:
    return f"{moment.astimezone(CHINA):%Y-%m}"


def period(first: str | None, last: str | None, now: datetime) -> Period:
    """By default the current month, or ``first`` until then; raise ``Invalid``."""
    end = _month("to", last or month_of(now))
    begin = _month("from", first) if first else end
    if begin > end:
        raise invalid("from", "开始月份不能晚于结束月份")
    if (end.year - begin.year) * 12 + end.month - begin.month >= LONGEST:
        raise invalid("from", f"一次最多看 {LONGEST} 个月")
    following = date(end.year + end.month // 12, end.month % 12 + 1, 1)
    return Period(f"{begin:%Y-%m}", f"{end:%Y-%m}", midnight(begin), midnight(following))


def step_of(seconds: float) -> str:
    """As text, since it is the name of a field."""
    return str(round(STEPS_A_DOUBLING * log2(max(seconds, 1))))


def seconds_of(step: str) -> int:
    return round(2 ** (int(step) / STEPS_A_DOUBLING))


def _month(path: str, text: str) -> date:
    try:
        return read_day(f"{text}-01")
    except ValueError:
        raise invalid(path, MONTH) from None


def _add(counts: dict[str, int], more: dict[str, int]) -> None:
    for name, count in more.items():
        counts[name] = counts.get(name, 0) + count
