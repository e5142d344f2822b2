"""Working time: official holidays, shifted work days, office hours; wall time for what is urgent."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.contracts.registry import Category, OpeningHours, Tier
from services.dispatch.deadlines import (
    DEADLINES,
    DEMO,
    OFFICE,
    Table,
    WallTime,
    add_working_days,
    is_working_day,
    table,
)
from services.dispatch.domain import CHINA
from tests.builders import HOUR, MINUTE

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


# -- how much of it has passed --------------------------------------------------------------------------


@given(start=moments, span=spans)
def test_what_is_added_has_passed(start: datetime, span: timedelta) -> None:
    assert OFFICE.between(start, OFFICE.add(start, span)) == span


@given(start=moments, one=spans, other=spans)
def test_time_that_stood_still_costs_nothing(start: datetime, one: timedelta, other: timedelta) -> None:
    """A clock that is stopped and started again has the same time left."""
    due = OFFICE.add(start, one + other)
    stopped = OFFICE.add(start, one)
    assert OFFICE.between(stopped, due) == other


@pytest.mark.parametrize(
    ("start", "end", "passed"),
    [
        (china(6, 5, 16, 30), china(6, 8, 9, 0), 90),  # over a week-end
        (china(9, 30, 17, 0), china(10, 8, 9, 0), 60),  # over the National Day, with its shifted work days
        (china(10, 10, 8, 0), china(10, 10, 12, 0), 210),  # a working Saturday
        (china(6, 3, 20, 0), china(6, 3, 23, 0), 0),  # after hours
        (china(6, 3, 12, 0), china(6, 3, 9, 0), 0),  # backwards
    ],
)
def test_working_time_between(start: datetime, end: datetime, passed: int) -> None:
    assert OFFICE.between(start, end) == timedelta(minutes=passed)


def test_wall_time_runs_day_and_night() -> None:
    night = china(10, 1, 23, 45)
    assert WallTime().between(night, WallTime().add(night, timedelta(hours=9))) == timedelta(hours=9)
    assert WallTime().between(night, night - timedelta(hours=1)) == timedelta()


# -- the tables -----------------------------------------------------------------------------------------

NOVEMBER, DECEMBER = (table("standard", china(month, 1, 12, 0)) for month in (11, 12))
LATE_SHIFT = OpeningHours(opens="13:00", closes="21:00")


def due(
    told: Table, tier: Tier, start: datetime, category: Category = Category.OTHER, urgent: bool = False
) -> datetime:
    return told.due(tier, category, urgent, None, start)


def test_each_tier_has_its_working_time() -> None:
    friday = china(6, 5, 16, 30)
    assert due(NOVEMBER, Tier.STATION, friday) == china(6, 8, 16, 30)
    assert due(NOVEMBER, Tier.INSTITUTE, friday) == china(6, 8, 16, 30)
    assert due(NOVEMBER, Tier.CENTER, friday) == china(6, 9, 16, 30)


def test_a_site_is_measured_by_its_own_opening_hours() -> None:
    friday = china(6, 5, 16, 30)
    assert NOVEMBER.due(Tier.STATION, Category.OTHER, False, LATE_SHIFT, friday) == china(6, 8, 17, 30)


def test_a_category_may_have_a_time_of_its_own() -> None:
    morning = china(12, 2, 9, 0)
    assert due(DECEMBER, Tier.STATION, morning, Category.HEALTH) == china(12, 2, 13, 30)
    assert due(DECEMBER, Tier.STATION, morning, Category.CULTURE) == china(12, 3, 9, 0)
    assert due(DECEMBER, Tier.CENTER, morning, Category.RESCUE, urgent=True) == china(12, 2, 9, 30)


def test_a_table_holds_from_its_day_in_china() -> None:
    last = datetime(2026, 11, 30, 23, 59, tzinfo=CHINA)
    assert (table("standard", last).version, table("standard", last + timedelta(minutes=1)).version) == (
        "2026-1",
        "2026-2",
    )


@pytest.mark.parametrize("wrong", ["negative", "no rest", "no tier", "no such category"])
def test_a_table_that_is_incomplete_is_refused(wrong: str) -> None:
    told = json.loads(DEADLINES.read_text())["tables"][0]
    match wrong:
        case "negative":
            told["regular"]["station"]["*"] = -1
        case "no rest":
            del told["urgent"]["center"]["*"]
        case "no tier":
            del told["regular"]["institute"]
        case "no such category":
            told["regular"]["station"]["理发"] = 3
    with pytest.raises((KeyError, ValueError)):
        Table.read(told)


def test_an_urgent_order_runs_on_wall_time_also_in_the_night_of_a_holiday() -> None:
    night = china(10, 1, 23, 45)
    assert due(NOVEMBER, Tier.STATION, night, urgent=True) == china(10, 2, 0, 15)
    assert due(NOVEMBER, Tier.INSTITUTE, night, urgent=True) == china(10, 2, 0, 15)
    assert due(NOVEMBER, Tier.CENTER, night, urgent=True) == china(10, 2, 0, 45)


@pytest.mark.parametrize("urgent", [False, True])
@pytest.mark.parametrize("tier", [Tier.STATION, Tier.INSTITUTE, Tier.CENTER])
def test_the_demo_gives_five_seconds_on_wall_time(tier: Tier, urgent: bool) -> None:
    night = china(10, 1, 23, 45)
    demo = table("demo", night)
    assert demo is DEMO and due(demo, tier, night, urgent=urgent) == night + timedelta(seconds=5)
