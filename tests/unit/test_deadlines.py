"""Working time: official holidays, shifted work days, office hours; wall time for what is urgent."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.contracts.registry import Tier
from services.dispatch.deadlines import DEMO, STANDARD, TABLES, WorkingTime, add_working_days, is_working_day
from services.dispatch.domain import CHINA
from tests.builders import HOUR, MINUTE

OFFICE = WorkingTime()
DAY = timedelta(hours=9)
"""Working time of one day, 8:30 to 17:30."""


def china(month: int, day: int, hour: int = 0, minute: int = 0, year: int = 2026) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=CHINA)


@pytest.mark.parametrize(
    ("end", "due"),
    [
        (date(2026, 9, 30), date(2026, 10, 20)),
        (date(2026, 2, 13), date(2026, 3, 5)),
        (date(2026, 4, 30), date(2026, 5, 18)),
        (date(2026, 11, 20), date(2026, 12, 4)),
    ],
    ids=str,
)
def test_ten_working_days_later(end: date, due: date) -> None:
    assert add_working_days(end, 10) == due


def test_no_working_days_later_is_the_same_day() -> None:
    assert add_working_days(date(2026, 10, 1), 0) == date(2026, 10, 1)


def test_the_weekends_that_are_worked_in_2026_are_the_official_ones() -> None:
    days = (date(2026, 1, 1) + timedelta(days=n) for n in range(365))
    worked = [day.strftime("%m-%d") for day in days if day.weekday() >= 5 and is_working_day(day)]
    assert worked == ["01-04", "02-14", "02-28", "05-09", "09-20", "10-10"]


@pytest.mark.parametrize("day", [date(2026, 10, 1), date(2026, 10, 7), date(2026, 2, 17), date(2026, 1, 1)], ids=str)
def test_holidays_on_weekdays_are_free(day: date) -> None:
    assert not is_working_day(day)


@pytest.mark.parametrize(
    ("start", "hours", "due"),
    [
        (china(6, 3, 9), HOUR, china(6, 3, 10)),
        (china(6, 3, 7), HOUR, china(6, 3, 9, 30)),
        (china(6, 3, 8, 30), DAY, china(6, 3, 17, 30)),
        (china(6, 3, 8, 30), DAY + MINUTE, china(6, 4, 8, 31)),
        (china(6, 3, 17), HOUR, china(6, 4, 9)),
        (china(6, 3, 17, 30), HOUR, china(6, 4, 9, 30)),
        (china(6, 3, 23, 59), HOUR, china(6, 4, 9, 30)),
        (china(6, 4), HOUR, china(6, 4, 9, 30)),
        (china(6, 5, 17), HOUR, china(6, 8, 9)),
        (china(6, 6, 12), HOUR, china(6, 8, 9, 30)),
        (china(6, 3, 12), 2 * DAY, china(6, 5, 12)),
        (china(9, 30, 17), HOUR, china(10, 8, 9)),
        (china(10, 9, 17), HOUR, china(10, 10, 9)),
        (china(10, 10, 17), HOUR, china(10, 12, 9)),
        (china(2, 13, 17), HOUR, china(2, 14, 9)),
        (china(2, 14, 17), HOUR, china(2, 24, 9)),
        (china(12, 31, 17), HOUR, china(1, 4, 9, year=2027)),
        (china(12, 31, 17, year=2025), HOUR, china(1, 4, 9)),
    ],
    ids=[
        "in office hours",
        "before opening",
        "exactly one day ends at closing",
        "one minute more is the next morning",
        "over the night",
        "at closing",
        "just before midnight",
        "at midnight",
        "over the weekend",
        "on a Saturday",
        "two days",
        "over the National Day",
        "into a working Saturday",
        "from a working Saturday",
        "into a working Saturday before the Spring Festival",
        "over the Spring Festival",
        "over the end of the year, estimated",
        "into a working Sunday",
    ],
)
def test_time_runs_only_in_office_hours(start: datetime, hours: timedelta, due: datetime) -> None:
    assert OFFICE.add(start, hours) == due


def test_the_zone_of_the_start_makes_no_difference_and_the_answer_is_in_utc() -> None:
    due = OFFICE.add(china(6, 3, 9).astimezone(UTC), HOUR)
    assert due == OFFICE.add(china(6, 3, 9), HOUR)
    assert due.tzinfo is UTC


moments = some.datetimes(datetime(2026, 1, 1), datetime(2027, 6, 30)).map(lambda time: time.replace(tzinfo=CHINA))
spans = some.timedeltas(timedelta(seconds=1), timedelta(days=3))


@given(start=moments, span=spans)
def test_what_is_due_is_later_and_in_office_hours_of_a_working_day(start: datetime, span: timedelta) -> None:
    due = OFFICE.add(start, span).astimezone(CHINA)
    assert due >= start + span
    assert is_working_day(due.date())
    assert OFFICE.opens <= due.time() <= OFFICE.closes


@given(start=moments, one=spans, other=spans)
def test_two_spans_in_turn_are_their_sum(start: datetime, one: timedelta, other: timedelta) -> None:
    assert OFFICE.add(OFFICE.add(start, one), other) == OFFICE.add(start, one + other)


@given(start=moments, later=spans, span=spans)
def test_who_comes_later_is_due_no_earlier(start: datetime, later: timedelta, span: timedelta) -> None:
    assert OFFICE.add(start, span) <= OFFICE.add(start + later, span)


def test_days_are_estimated_where_there_is_no_official_list() -> None:
    assert not is_working_day(date(2027, 10, 1))
    assert is_working_day(date(2027, 6, 2))


# -- the tables -----------------------------------------------------------------------------------------


def test_each_tier_has_its_working_time() -> None:
    friday = china(6, 5, 16, 30)
    assert STANDARD.due(Tier.STATION, False, friday) == china(6, 8, 16, 30)
    assert STANDARD.due(Tier.INSTITUTE, False, friday) == china(6, 8, 16, 30)
    assert STANDARD.due(Tier.CENTER, False, friday) == china(6, 9, 16, 30)


def test_an_urgent_order_runs_on_wall_time_also_in_the_night_of_a_holiday() -> None:
    night = china(10, 1, 23, 45)
    assert STANDARD.due(Tier.STATION, True, night) == china(10, 2, 0, 15)
    assert STANDARD.due(Tier.INSTITUTE, True, night) == china(10, 2, 0, 15)
    assert STANDARD.due(Tier.CENTER, True, night) == china(10, 2, 0, 45)


@pytest.mark.parametrize("urgent", [False, True])
@pytest.mark.parametrize("tier", [Tier.STATION, Tier.INSTITUTE, Tier.CENTER])
def test_the_demo_gives_five_seconds_on_wall_time(tier: Tier, urgent: bool) -> None:
    night = china(10, 1, 23, 45)
    assert DEMO.due(tier, urgent, night) == night + timedelta(seconds=5)


def test_a_profile_names_its_table() -> None:
    assert TABLES == {"standard": STANDARD, "demo": DEMO}
