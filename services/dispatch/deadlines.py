"""Deadline tables, in working time of a calendar or on wall time; data with a version (domain, section 4)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import holidays

from services.contracts.registry import Category, OpeningHours, Tier
from services.contracts.zone import CHINA
from services.dispatch.domain import Clock

HERE = Path(__file__).parent
OVERRIDES, DEADLINES = HERE / "working_days.json", HERE / "deadlines.json"
REST = "*"
"""Every category that a table does not name."""


class WallTime:
    """Runs day and night."""

    def add(self, start: datetime, duration: timedelta) -> datetime:
        return start + duration

    def between(self, start: datetime, end: datetime) -> timedelta:
        return max(end - start, timedelta())


@dataclass(frozen=True)
class WorkingTime:
    """Opening hours on working days in China: official holidays and shifted work days."""

    opens: time = time(8, 30)
    closes: time = time(17, 30)

    def add(self, start: datetime, duration: timedelta) -> datetime:
        """The moment when ``duration`` of working time has passed since ``start``."""
        local, left = start.astimezone(CHINA), duration
        day = local.date()
        begin = max(local, self._at(day, self.opens))
        while True:
            if is_working_day(day):
                available = self._at(day, self.closes) - begin
                if left <= available:
                    return (begin + left).astimezone(UTC)
                left -= max(timedelta(), available)
            day += timedelta(days=1)
            begin = self._at(day, self.opens)

    def between(self, start: datetime, end: datetime) -> timedelta:
        """Working time from ``start`` to ``end``; nothing when ``end`` is not later."""
        first, last = start.astimezone(CHINA), end.astimezone(CHINA)
        day, passed = first.date(), timedelta()
        while day <= last.date():
            if is_working_day(day):
                begin = max(first, self._at(day, self.opens))
                passed += max(timedelta(), min(last, self._at(day, self.closes)) - begin)
            day += timedelta(days=1)
        return passed

    @staticmethod
    def _at(day: date, hour: time) -> datetime:
        return datetime.combine(day, hour, CHINA)


OFFICE = WorkingTime()


@cache
def is_working_day(day: date) -> bool:
    """Overrides first, then the official list; years without one are estimated by the library."""
    override = _overrides().get(day.isoformat())
    if override is not None:
        return override
    return bool(_calendar(day.year).is_working_day(day))


def add_working_days(day: date, count: int) -> date:
    while count:
        day += timedelta(days=1)
        count -= is_working_day(day)
    return day


@cache
def _calendar(year: int) -> holidays.HolidayBase:
    return holidays.country_holidays("CN", years=year)


@cache
def _overrides() -> dict[str, bool]:
    return dict(json.loads(OVERRIDES.read_text())["days"])


Limits = Mapping[Tier, Mapping[str, timedelta]]
"""By tier and category, or ``REST``."""


@dataclass(frozen=True)
class Table:
    """Time that each tier has to find a team. Urgent orders run on wall time."""

    version: str
    regular: Limits
    urgent: Limits
    working: bool = True
    """False: wall time for all."""

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> "Table":
        """Hours as numbers; raise ``KeyError`` or ``ValueError`` for what is incomplete or not known."""
        return cls(told["version"], _limits(told["regular"]), _limits(told["urgent"]))

    def due(
        self, tier: Tier, category: Category, urgent: bool, hours: OpeningHours | None, start: datetime
    ) -> datetime:
        """When the tier's time is over."""
        limits = (self.urgent if urgent else self.regular)[tier]
        return self.clock(urgent, hours).add(start, limits.get(category, limits[REST]))

    def clock(self, urgent: bool, hours: OpeningHours | None) -> Clock:
        """What a tier's time is measured by; ``hours`` are those of the site, if it has its own."""
        if urgent or not self.working:
            return WallTime()
        return WorkingTime(time.fromisoformat(hours.opens), time.fromisoformat(hours.closes)) if hours else OFFICE


def _limits(told: Mapping[str, Mapping[str, float]]) -> Limits:
    tiers = (Tier.STATION, Tier.INSTITUTE, Tier.CENTER)
    return {tier: {_category(name): _hours(value) for name, value in _with_rest(told[tier]).items()} for tier in tiers}


def _with_rest(told: Mapping[str, float]) -> Mapping[str, float]:
    told[REST]
    return told


def _category(name: str) -> str:
    return name if name == REST else Category(name)


def _hours(value: float) -> timedelta:
    if value <= 0:
        raise ValueError(f"{value} hours are no time to find a team in")
    return timedelta(hours=value)


@cache
def tables() -> tuple[tuple[date, Table], ...]:
    """The standard tables with the day from which each holds for new orders, newest first."""
    told = json.loads(DEADLINES.read_text())["tables"]
    return tuple(sorted(((date.fromisoformat(t["from"]), Table.read(t)) for t in told), key=_day, reverse=True))


def _day(dated: tuple[date, Table]) -> date:
    return dated[0]


def table(profile: str, now: datetime) -> Table:
    """What holds for an order that sits down at a tier now."""
    if profile == "demo":
        return DEMO
    today = now.astimezone(CHINA).date()
    return next(table for day, table in tables() if day <= today)


FIVE_SECONDS = {tier: {REST: timedelta(seconds=5)} for tier in (Tier.STATION, Tier.INSTITUTE, Tier.CENTER)}
DEMO = Table(version="demo", regular=FIVE_SECONDS, urgent=FIVE_SECONDS, working=False)
