"""Where days begin and end: all of China has one time, and no clock is ever put forward or back."""

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

CHINA = ZoneInfo("Asia/Shanghai")
FIRST_YEAR, LAST_YEAR = 1900, 2199
"""Days at the ends of the calendar lie in no other zone."""


def midnight(day: date) -> datetime:
    """When the day begins."""
    return datetime.combine(day, time(), CHINA)


def read_day(text: str) -> date:
    """As ``2026-10-01``; raise ``ValueError`` for what is no day, or is too far away."""
    day = date.fromisoformat(text)
    if not FIRST_YEAR <= day.year <= LAST_YEAR:
        raise ValueError
    return day
