"""Recurring orders: rules, holidays, moves and skips, and what a downtime leaves."""

import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from services.chassis.repository import from_document, to_document
from services.contracts.dispatch import PlaceOrder
from services.contracts.errors import Conflict, Forbidden, Invalid, NotFound
from services.contracts.series import HolidayPolicy, StartSeries
from services.dispatch import permissions, series
from services.dispatch.domain import CHINA, Order, State
from services.dispatch.series import AT_ONCE, HORIZON, PARTS, PASSED, Series, call_off, days_of
from tests.builders import (
    ADMIN,
    COUNTY,
    DEADLINES,
    MORNING,
    NOBODY,
    TOWNSHIP,
    a_chain,
    a_place,
    a_resident,
    a_volunteer,
    a_wish,
    an_item,
    an_order,
    staff_of,
)

AS_PLANNED, SKIP, NEXT = HolidayPolicy
DAY = timedelta(days=1)
FIFTH, MEALS = "FREQ=MONTHLY;BYMONTHDAY=5", "FREQ=DAILY"


def china(month: int, day: int, hour: int = 0, minute: int = 0, year: int = 2026) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=CHINA)


def a_series(rule: str = FIFTH, now: datetime = MORNING, **changed: Any) -> Series:
    """A haircut at nine, on the fifth of each month from June 2026, ordered two days ahead."""
    given = {
        "service_item": "home-haircut", "description": "理发", "target_group": "elderly", "rule": rule,
        "start": china(6, 5, 9), **changed,
    }  # fmt: skip
    return Series.begin("s1", an_item(), a_place(), a_wish(), StartSeries(**given), now)


def days(rule: str, start: datetime, count: int | None = None) -> list[str]:
    return [day.isoformat() for day in days_of(rule, start)[:count]]


def told(found: Series) -> list[tuple[str, str]]:
    """Each occurrence: the day by the rule, and when it takes place."""
    return [(f"{one.day:%m-%d}", f"{one.start.astimezone(CHINA):%m-%d %H:%M}") for one in found.occurrences()]


def wrong(rule: str, start: datetime | None = None) -> str:
    with pytest.raises(Invalid) as refused:
        days_of(rule, start or china(6, 5, 9))
    (field,) = refused.value.extra["fields"]
    assert field["path"] == "rule"
    return str(field["message"])


# -- rules ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "start", "expected"),
    [
        (FIFTH, china(6, 1, 9), ["2026-06-05", "2026-07-05", "2026-08-05"]),
        (FIFTH, china(12, 1, 9), ["2026-12-05", "2027-01-05", "2027-02-05"]),
        (MEALS, china(12, 30, 10, 40), ["2026-12-30", "2026-12-31", "2027-01-01"]),
        ("FREQ=DAILY;BYDAY=MO,WE,FR", china(6, 3, 9), ["2026-06-03", "2026-06-05", "2026-06-08"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=TU", china(6, 2, 9), ["2026-06-02", "2026-06-16", "2026-06-30"]),
        ("FREQ=MONTHLY;BYDAY=2TU", china(6, 1, 9), ["2026-06-09", "2026-07-14", "2026-08-11"]),
        ("FREQ=MONTHLY;BYDAY=-1FR", china(6, 1, 9), ["2026-06-26", "2026-07-31", "2026-08-28"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", china(1, 1, 9), ["2026-01-30", "2026-02-27", "2026-03-31"]),
        ("FREQ=MONTHLY;BYMONTHDAY=31", china(12, 1, 9), ["2026-12-31", "2027-01-31", "2027-03-31"]),
        ("FREQ=MONTHLY;BYMONTHDAY=-1", china(1, 1, 9, year=2028), ["2028-01-31", "2028-02-29", "2028-03-31"]),
        ("FREQ=MONTHLY;BYMONTHDAY=29", china(1, 30, 9, year=2027), ["2027-03-29", "2027-04-29", "2027-05-29"]),
        ("FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", china(1, 1, 9, year=2028), ["2028-02-29"]),
        ("FREQ=YEARLY", china(2, 29, 9, year=2028), ["2028-02-29"]),
        ("FREQ=YEARLY;BYMONTH=10;BYDAY=1SU", china(6, 1, 9), ["2026-10-04", "2027-10-03"]),
        ("freq=daily;count=2", china(6, 3, 9), ["2026-06-03", "2026-06-04"]),
        ("RRULE:FREQ=DAILY;UNTIL=20260604", china(6, 3, 9), ["2026-06-03", "2026-06-04"]),
        ("FREQ=DAILY;UNTIL=20260604T080000", china(6, 3, 9), ["2026-06-03"]),
        ("FREQ=DAILY;UNTIL=20260604T010000Z", china(6, 3, 9), ["2026-06-03", "2026-06-04"]),
        ("FREQ=DAILY;BYMONTH=7,8", china(6, 3, 9), ["2026-07-01", "2026-07-02", "2026-07-03"]),
    ],
)  # fmt: skip
def test_a_rule_gives_the_days_of_the_standard(rule: str, start: datetime, expected: list[str]) -> None:
    assert days(rule, start, 3) == expected


def test_days_are_those_of_china_in_whatever_zone_the_start_is_given() -> None:
    early = china(6, 5, 0, 30)
    assert early.astimezone(UTC).day == 4
    assert days(FIFTH, early.astimezone(UTC), 1) == ["2026-06-05"]
    (first, *_) = a_series(start=early.astimezone(UTC)).occurrences()
    assert (first.day, first.start) == (date(2026, 6, 5), early)


def test_a_rule_without_an_end_has_one_at_the_horizon() -> None:
    found = days_of(MEALS, china(6, 3, 9))
    assert (len(found), found[-1]) == (732, (china(6, 3, 9) + HORIZON).date())
    assert a_series(MEALS).last_day == date(2028, 6, 5)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("FREQ=HOURLY", "最多每天一次"),
        ("FREQ=MINUTELY;INTERVAL=10000", "最多每天一次"),
        ("FREQ=SECONDLY", "最多每天一次"),
        ("FREQ=DAILY;BYHOUR=8,10,12", "最多每天一次"),
        ("", "不是重复规则"),
        ("每天", "不是重复规则"),
        ("FREQ=DAILY;", "不是重复规则"),
        ("FREQ=DAILY;FREQ=WEEKLY", "不是重复规则"),
        ("INTERVAL=2", "FREQ 要填"),
        ("FREQ=FORTNIGHTLY", "FREQ 要填"),
        ("FREQ=DAILY;BYEASTER=1", "只能再填"),
        ("FREQ=DAILY;BYMONTHDAY=5", "只能再填"),
        ("FREQ=YEARLY;INTERVAL=2", "只能再填"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL 要在 1 到 366 之间"),
        ("FREQ=DAILY;INTERVAL=x", "INTERVAL 要填数字"),
        ("FREQ=DAILY;INTERVAL=٣", "INTERVAL 要填数字"),
        ("FREQ=DAILY;COUNT=0", "COUNT 要在"),
        ("FREQ=DAILY;COUNT=-1", "COUNT 要在"),
        ("FREQ=DAILY;COUNT=1,2", "COUNT 要填数字"),
        ("FREQ=DAILY;COUNT=99999", "COUNT 要填数字"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY 要在"),
        ("FREQ=MONTHLY;BYMONTHDAY=32", "BYMONTHDAY 要在"),
        ("FREQ=MONTHLY;INTERVAL=13", "INTERVAL 最大填 12"),
        ("FREQ=WEEKLY;BYDAY=XX", "星期要填"),
        ("FREQ=WEEKLY;BYDAY=2TU", "第几个"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20261231", "只能填一个"),
        ("FREQ=MONTHLY;BYMONTHDAY=1;BYDAY=2MO", "只能填一个"),
        ("FREQ=DAILY;INTERVAL=7;BYDAY=MO", "不能填 INTERVAL"),
        ("FREQ=MONTHLY;INTERVAL=2;BYMONTH=6", "不能填 INTERVAL"),
        ("FREQ=YEARLY;BYDAY=20MO", "要填 BYMONTH"),
        ("FREQ=MONTHLY;BYMONTHDAY=5;BYSETPOS=2", "BYSETPOS"),
        ("FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30", "一次也没有"),
        ("FREQ=YEARLY;BYMONTH=4,6;BYMONTHDAY=31", "一次也没有"),
        ("FREQ=DAILY;UNTIL=20260604", "早于开始时间"),
        ("FREQ=DAILY;UNTIL=20260605T085959", "早于开始时间"),
        ("FREQ=DAILY;UNTIL=20261332", "UNTIL 要填日期"),
        ("FREQ=DAILY;UNTIL=tomorrow", "UNTIL 要填日期"),
        ("FREQ=DAILY;UNTIL=20990101", "最长 2 年"),
    ],
)  # fmt: skip
def test_a_rule_that_is_none_of_ours_is_refused_in_plain_words(rule: str, words: str) -> None:
    assert words in wrong(rule)


def test_a_day_that_the_months_of_a_rule_never_have_is_refused_at_once() -> None:
    """Without that the library would look for it until the year 9999."""
    assert "一次也没有" in wrong("FREQ=MONTHLY;INTERVAL=12;BYMONTHDAY=30", china(2, 3, 9, year=2027))
    assert "一次也没有" in wrong("FREQ=YEARLY;BYMONTH=2", china(6, 30, 9))


PART = {
    "INTERVAL": ["1", "2", "7", "12", "366"], "COUNT": ["1", "5", "731"], "UNTIL": ["20270101", "20280229T000000Z"],
    "BYDAY": ["MO", "TU,SU", "5MO", "-1FR", "1MO,3WE"], "BYMONTH": ["2", "2,6", "12"],
    "BYMONTHDAY": ["5", "29", "30", "31", "-31", "-1,15"], "BYSETPOS": ["1", "-1", "4", "-4,2"], "WKST": ["SU", "MO"],
}  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(some.data())
def test_whatever_rule_is_made_of_the_parts_is_answered_soon_with_days_in_order(data: some.DataObject) -> None:
    frequency = data.draw(some.sampled_from(sorted(PARTS)))
    names = data.draw(some.sets(some.sampled_from(sorted(PARTS[frequency]))))
    parts = [f"{name}={data.draw(some.sampled_from(PART[name]))}" for name in sorted(names)]
    first = data.draw(some.datetimes(datetime(2026, 6, 3), datetime(2028, 3, 1)))
    began = time.process_time()
    try:
        found = days_of(";".join([f"FREQ={frequency}", *parts]), first.replace(tzinfo=CHINA))
    except Invalid as error:
        assert error.detail
    else:
        assert found == sorted(set(found))
        assert all(first.date() <= day <= (first + HORIZON).date() for day in found)
    assert time.process_time() - began < 0.3


@given(some.text(max_size=60))
def test_whatever_text_is_sent_as_rule_is_taken_or_refused(text: str) -> None:
    try:
        days_of(text, china(6, 5, 9))
    except Invalid as error:
        assert error.extra["fields"][0]["path"] == "rule"


# -- holidays ---------------------------------------------------------------------------------------------

IN_2026 = "FREQ=MONTHLY;BYMONTHDAY=5;UNTIL=20261231"


def test_on_the_fifth_whatever_day_it_is() -> None:
    found = a_series(IN_2026)
    assert told(found) == [(f"{month:02}-05", f"{month:02}-05 09:00") for month in range(6, 13)]


def test_not_on_weekends_and_holidays() -> None:
    """5 July and 5 September and 5 December 2026 are weekends, 5 October is National Day's week."""
    assert [day for day, _ in told(a_series(IN_2026, holidays=SKIP))] == ["06-05", "08-05", "11-05"]


def test_on_the_next_working_day() -> None:
    assert told(a_series(IN_2026, holidays=NEXT)) == [
        ("06-05", "06-05 09:00"), ("07-05", "07-06 09:00"), ("08-05", "08-05 09:00"), ("09-05", "09-07 09:00"),
        ("10-05", "10-08 09:00"), ("11-05", "11-05 09:00"), ("12-05", "12-07 09:00"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("day", "on"),
    [
        (date(2026, 2, 17), date(2026, 2, 24)),  # Spring Festival
        (date(2026, 2, 15), date(2026, 2, 24)),
        (date(2026, 4, 5), date(2026, 4, 7)),  # Qingming on a Sunday
        (date(2026, 5, 5), date(2026, 5, 6)),
        (date(2026, 10, 1), date(2026, 10, 8)),  # National Day
        (date(2026, 10, 7), date(2026, 10, 8)),
        (date(2026, 1, 1), date(2026, 1, 4)),  # a Sunday that is worked
    ],
    ids=str,
)
def test_a_holiday_gives_way_to_the_next_working_day(day: date, on: date) -> None:
    assert series.settle([day], NEXT) == {day: on}
    assert series.settle([day], SKIP) == {}
    assert series.settle([day], AS_PLANNED) == {day: day}


@pytest.mark.parametrize("day", [date(2026, 2, 14), date(2026, 2, 28), date(2026, 10, 10)], ids=str)
def test_a_saturday_that_is_worked_is_a_working_day(day: date) -> None:
    assert series.settle([day], NEXT) == series.settle([day], SKIP) == {day: day}


def test_what_would_fall_on_the_day_of_another_falls_away() -> None:
    """Daily through National Day: one meal on the 8th, not eight."""
    found = a_series("FREQ=DAILY;UNTIL=20261009", start=china(9, 30, 10, 40), holidays=NEXT)
    assert told(found) == [("09-30", "09-30 10:40"), ("10-08", "10-08 10:40"), ("10-09", "10-09 10:40")]
    weekend = a_series("FREQ=WEEKLY;BYDAY=SA,SU;COUNT=2", start=china(6, 6, 9), holidays=NEXT)
    assert told(weekend) == [("06-06", "06-08 09:00")]


# -- beginning --------------------------------------------------------------------------------------------


def test_a_series_begins_with_the_time_of_its_first_order() -> None:
    found = a_series()
    assert found.next_at == china(6, 3)
    assert a_series(lead_days=0, now=china(6, 1)).next_at == china(6, 5)
    assert (found.site, found.resident_id, found.description) == (a_place().id, "r1", "理发")


LEAP = china(3, 1, 9, year=2028)
"""The day after 29 February."""


@pytest.mark.parametrize(
    ("changed", "path"),
    [
        ({"start": MORNING}, "start"),
        ({"start": MORNING - DAY}, "start"),
        ({"start": MORNING + timedelta(days=400)}, "start"),
        ({"rule": "FREQ=DAILY;BYDAY=SA;COUNT=3", "holidays": SKIP}, "rule"),
        ({"rule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29", "start": LEAP, "now": LEAP - DAY}, "rule"),
        ({"rule": "FREQ=DAILY;UNTIL=20260604"}, "rule"),
    ],
)
def test_a_series_that_cannot_be_is_refused(changed: dict[str, Any], path: str) -> None:
    with pytest.raises(Invalid) as refused:
        a_series(**changed)
    assert refused.value.extra["fields"][0]["path"] == path


def test_a_series_survives_the_database_where_days_are_text() -> None:
    found = a_series()
    found.move(date(2026, 7, 5), china(7, 6, 15), MORNING)
    found.skip(date(2026, 8, 5), a_resident(), "去女儿家", MORNING)
    found.take_due(china(6, 3))
    found.end(date(2027, 1, 1), "搬家", MORNING)
    document = to_document(found)
    stored = {**document, "placed": [day.isoformat() for day in document["placed"]]}
    assert from_document(Series, stored) == found


# -- occurrences become orders ----------------------------------------------------------------------------


def test_nothing_is_ordered_before_its_time_and_each_once() -> None:
    found = a_series()
    assert found.take_due(china(6, 3) - timedelta(seconds=1)) == []
    (first,) = found.take_due(china(6, 3))
    assert (first.day, found.next_at) == (date(2026, 6, 5), china(7, 3))
    assert found.take_due(china(6, 3)) == []
    (second,) = found.take_due(china(7, 3))
    assert found.order_id(first) != found.order_id(second)


def test_the_id_of_an_order_follows_from_series_and_day_and_sorts_by_the_day() -> None:
    """So two replicas that both place it write the same document."""
    one, again = a_series(), a_series()
    ids = [one.order_id(occurrence) for occurrence in one.occurrences()]
    assert ids == [again.order_id(occurrence) for occurrence in again.occurrences()] == sorted(set(ids))
    again.id = "s2"
    assert not {*ids} & {again.order_id(occurrence) for occurrence in again.occurrences()}


def test_an_order_says_what_series_it_is_of_and_when_it_is_wanted() -> None:
    found = a_series(minutes=45)
    (first,) = found.take_due(china(6, 3))
    id, wish = found.order_id(first), found.wish(first)
    order, _ = Order.place(id, an_item(), a_place(), a_chain(), wish, NOBODY, DEADLINES, china(6, 3))
    assert (order.id, order.series, order.preferred_from) == (id, "s1", china(6, 5, 9))
    assert order.preferred_to == china(6, 5, 9, 45)
    assert (order.description, order.address, order.resident_id) == ("理发", "庄头营村 12 号", "r1")


def test_after_ten_days_of_downtime_what_has_passed_is_told_and_what_lies_ahead_is_placed() -> None:
    """Daily at 10:40 from 5 June, two days ahead; the system was away from the 4th to noon of the 15th."""
    found = a_series(MEALS, start=china(6, 5, 10, 40))
    assert [one.day.day for one in found.take_due(china(6, 4))] == [5, 6]
    back = china(6, 15, 12)
    assert [one.day.day for one in found.take_due(back)] == [16, 17]
    assert [missed.day.day for missed in found.missed] == list(range(7, 16))
    assert {missed.why for missed in found.missed} == {PASSED}
    assert found.next_at == china(6, 16)
    assert found.take_due(back) == []
    assert [one.day.day for one in found.take_due(china(6, 16))] == [18]
    assert len(found.placed) == len(set(found.placed)) == 5


def test_a_long_lead_is_worked_off_in_parts() -> None:
    found = a_series(MEALS, start=china(6, 4, 10, 40), lead_days=31)
    placed = [len(found.take_due(MORNING)) for _ in range(5)]
    assert placed == [AT_ONCE, AT_ONCE, AT_ONCE, 1, 0]
    assert found.next_at == china(6, 4)


def test_what_cannot_be_ordered_any_more_is_told_with_the_reason() -> None:
    found = a_series()
    (first,) = found.take_due(china(6, 3))
    found.miss(first, "这项服务不面向该类人群")
    assert found.placed == [] and found.missed[0].why == "这项服务不面向该类人群"
    assert found.take_due(china(6, 3)) == []


def test_after_the_last_one_there_is_nothing_to_wait_for() -> None:
    found = a_series("FREQ=MONTHLY;BYMONTHDAY=5;COUNT=1")
    assert len(found.take_due(china(6, 4))) == 1
    assert found.next_at is None


# -- moves, skips, the end --------------------------------------------------------------------------------

JULY = date(2026, 7, 5)


def test_one_occurrence_is_moved_and_the_others_stay() -> None:
    found = a_series()
    assert found.move(JULY, china(7, 7, 14, 30), MORNING) is None
    assert told(found)[:3] == [("06-05", "06-05 09:00"), ("07-05", "07-07 14:30"), ("08-05", "08-05 09:00")]
    found.take_due(china(6, 4))
    assert found.next_at == china(7, 5), "two days before the new day"
    (moved,) = found.take_due(china(7, 5))
    assert (moved.day, moved.start) == (JULY, china(7, 7, 14, 30))


def test_one_that_was_moved_is_moved_again_under_the_same_name() -> None:
    found = a_series()
    found.move(JULY, china(8, 1, 9), MORNING)
    found.move(JULY, china(7, 1, 9), MORNING)
    assert [move.day for move in found.moves] == [JULY]
    assert told(found)[1] == ("07-05", "07-01 09:00")
    assert [one.day for one in found.take_due(china(7, 1))] == [JULY]


def test_one_that_has_an_order_gets_another_when_it_is_moved() -> None:
    found = a_series()
    (first,) = found.take_due(china(6, 3))
    old = found.order_id(first)
    assert found.move(first.day, china(6, 6, 9), MORNING) == old
    assert found.next_at == china(6, 4)
    (again,) = found.take_due(china(6, 4))
    assert (again.day, again.number) == (first.day, 2)
    assert found.order_id(again) != old
    assert found.move(first.day, china(6, 8, 9), MORNING) == found.order_id(again)


def test_a_skipped_one_does_not_take_place_and_is_not_moved_any_more() -> None:
    found = a_series()
    found.move(JULY, china(7, 7, 9), MORNING)
    assert found.skip(JULY, a_resident(), "打我电话 13912345678", MORNING) is None
    assert found.skipped[0].reason == "打我电话 139****5678"
    assert JULY not in {one.day for one in found.coming(MORNING)}
    for change in (lambda: found.move(JULY, china(7, 8, 9), MORNING), lambda: skip(found, JULY)):
        with pytest.raises(Conflict, match="已经取消"):
            change()
    found.take_due(china(6, 4))
    assert found.next_at == china(8, 3)


def test_one_that_has_an_order_is_skipped_with_it() -> None:
    found = a_series()
    (first,) = found.take_due(china(6, 3))
    assert skip(found, first.day) == found.order_id(first)
    assert found.placed == []
    assert found.take_due(china(6, 4)) == []


def skip(found: Series, day: date, now: datetime = MORNING) -> str | None:
    return found.skip(day, a_resident(), "不用了", now)


@pytest.mark.parametrize("day", [date(2026, 6, 4), date(2026, 7, 6), date(2030, 1, 5), date.min, date.max], ids=str)
def test_a_day_without_an_occurrence_is_refused(day: date) -> None:
    for change in (lambda: a_series().move(day, china(7, 8, 9), MORNING), lambda: skip(a_series(), day)):
        with pytest.raises(Invalid) as refused:
            change()
        assert refused.value.extra["fields"][0]["path"] == "occurrence"


def test_what_has_passed_stays() -> None:
    found = a_series()
    found.take_due(china(6, 6))
    for now in (china(6, 5, 9), china(6, 6)):
        with pytest.raises(Conflict, match="已经过了"):
            skip(found, date(2026, 6, 5), now)
    with pytest.raises(Conflict, match="已经过了"):
        found.move(date(2026, 6, 5), china(6, 9), china(6, 6))


@pytest.mark.parametrize(
    "to", [MORNING, MORNING - DAY, china(6, 5, 9) + HORIZON + DAY, china(1, 1, year=2199)], ids=str
)
def test_a_time_that_cannot_be_is_refused(to: datetime) -> None:
    with pytest.raises(Invalid) as refused:
        a_series().move(JULY, to, MORNING)
    assert refused.value.extra["fields"][0]["path"] == "to"


def test_from_a_day_on_there_is_nothing() -> None:
    found = a_series(MEALS, start=china(6, 4, 10, 40), lead_days=3)
    placed = found.take_due(MORNING)
    assert [one.day.day for one in placed] == [4, 5, 6]
    orders = found.end(date(2026, 6, 5), "住院了", MORNING)
    assert orders == [found.order_id(one) for one in placed[1:]]
    assert (found.placed, found.next_at) == ([date(2026, 6, 4)], None)
    assert [one.day.day for one in found.coming(MORNING)] == [4]


def test_it_may_end_sooner_and_never_later() -> None:
    found = a_series()
    assert found.end(date(2026, 9, 1), "搬家", MORNING) == []
    assert [day for day, _ in told(found)] == ["06-05", "07-05", "08-05"]
    found.end(date(2026, 8, 1), "提前搬家", MORNING)
    for day in (date(2026, 8, 1), date(2026, 12, 1)):
        with pytest.raises(Conflict, match="2026-08-01"):
            found.end(day, "不搬了", MORNING)
    with pytest.raises(Invalid):
        found.end(date(2026, 6, 2), "昨天", MORNING)
    with pytest.raises(Invalid):
        found.move(JULY, china(8, 2, 9), MORNING)


def test_who_moves_one_past_the_end_of_the_rule_but_not_past_the_horizon_may() -> None:
    found = a_series("FREQ=MONTHLY;BYMONTHDAY=5;COUNT=2")
    found.move(JULY, china(9, 1, 9), MORNING)
    assert told(found)[-1] == ("07-05", "09-01 09:00")


@pytest.mark.parametrize("state", State)
def test_the_order_of_an_occurrence_is_called_off_while_that_is_possible(state: State) -> None:
    order = an_order(state)
    if state in (State.CANCELLED, State.REJECTED):
        assert call_off(order, a_resident(), "改期", MORNING) == []
    elif state in (State.PLACED, State.OFFERED, State.ACCEPTED, State.UNMET):
        (event,) = call_off(order, a_resident(), "改期", MORNING)
        assert (event.fact, order.state) == ("order.cancelled", State.CANCELLED)
    else:
        with pytest.raises(Conflict, match="不能再改") as refused:
            call_off(order, a_resident(), "改期", MORNING)
        assert refused.value.extra["state"] == state


# -- who may ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("changes", [True, False])
def test_who_ordered_it_and_staff_of_the_place_or_above_may_change_it(changes: bool) -> None:
    found = a_series()
    for actor in (a_resident(), staff_of(found.site), staff_of(TOWNSHIP), staff_of(COUNTY)):
        permissions.permit_series(actor, found, changes)
    for stranger in (a_resident("r2"), a_volunteer("t1-leader"), staff_of("130824")):
        with pytest.raises(NotFound, match=series.UNKNOWN):
            permissions.permit_series(stranger, found, changes)


def test_the_administrator_only_reads() -> None:
    permissions.permit_series(ADMIN, a_series(), changes=False)
    with pytest.raises(Forbidden):
        permissions.permit_series(ADMIN, a_series(), changes=True)


def test_a_series_asks_for_what_an_order_does() -> None:
    of_time = {"preferred", "urgent"}
    given = {name: field.annotation for name, field in PlaceOrder.model_fields.items() if name not in of_time}
    assert given.items() <= {name: field.annotation for name, field in StartSeries.model_fields.items()}.items()
