"""Deadline tables, in working time of a calendar or on wall time; data with a version (domain, section 4)."""

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from pathlib import Path

import holidays

from services.contracts.registry import Tier
from services.dispatch.domain import CHINA

OVERRIDES = Path(__file__).with_name("working_days.json")


@dataclass(frozen=True)
class WorkingTime:
    """Office hours on working days in China: official holidays and shifted work days."""

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

    @staticmethod
    def _at(day: date, hour: time) -> datetime:
        return datetime.combine(day, hour, CHINA)


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


@dataclass(frozen=True)
class Table:
    """Time that each tier has to find a team. Urgent orders run on wall time."""

    version: str
    regular: dict[Tier, timedelta]
    urgent: dict[Tier, timedelta]
    working_time: WorkingTime | None = WorkingTime()
    """None: wall time for all."""

    def due(self, tier: Tier, urgent: bool, start: datetime) -> datetime:
        if urgent or self.working_time is None:
            return start + (self.urgent if urgent else self.regular)[tier]
        return self.working_time.add(start, self.regular[tier])


STATION, INSTITUTE, CENTER = Tier.STATION, Tier.INSTITUTE, Tier.CENTER
STANDARD = Table(
    version="2026-1",
    regular={STATION: timedelta(hours=9), INSTITUTE: timedelta(hours=9), CENTER: timedelta(hours=18)},
    urgent={STATION: timedelta(minutes=30), INSTITUTE: timedelta(minutes=30), CENTER: timedelta(hours=1)},
)
FIVE_SECONDS = dict.fromkeys((STATION, INSTITUTE, CENTER), timedelta(seconds=5))
DEMO = Table(version="demo", regular=FIVE_SECONDS, urgent=FIVE_SECONDS, working_time=None)
TABLES = {"standard": STANDARD, "demo": DEMO}
