"""Service hours: what counts, what is refused, and what a correction leaves."""

from contextlib import suppress
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import combinations

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.activities import domain
from services.activities.domain import CHINA, DAILY_CAP, State, Timesheet, Volunteer, hours_between, record_id
from services.chassis.messages import Event
from services.contracts import activities as facts
from services.contracts.dispatch import Segment
from services.contracts.errors import Conflict, Forbidden, NotFound
from services.contracts.registry import Category
from tests.builders import (
    ADMIN,
    CITY,
    HOUR,
    MINUTE,
    MORNING,
    PATH,
    VILLAGE,
    a_told_segment,
    a_volunteer,
    an_order_source,
    staff_of,
)


def a_timesheet() -> Timesheet:
    return Timesheet.begin("v1", MORNING)


def record(sheet: Timesheet, id: str = "h1", start: datetime = MORNING, end: datetime | None = None) -> list[Event]:
    segment = a_told_segment(start, end)
    return [*sheet.record(id, an_order_source(), segment, Category.COMMUNITY, VILLAGE)]


def test_a_segment_is_recorded_open_with_its_hours() -> None:
    sheet = a_timesheet()
    assert record(sheet, end=MORNING + 90 * MINUTE) == [
        facts.HoursRecorded(
            record_id="h1", volunteer_id="v1", hours=1.5, site=VILLAGE, source=an_order_source(),
            start=MORNING, end=MORNING + 90 * MINUTE, state="open",
        )
    ]  # fmt: skip
    assert domain.total(sheet.records) == 0


def test_hours_count_when_they_take_effect_and_once() -> None:
    sheet = a_timesheet()
    record(sheet)
    assert sheet.take_effect("h1") == [
        facts.HoursEffective(
            record_id="h1", volunteer_id="v1", hours=1.0, site=VILLAGE, source=an_order_source(),
            category=Category.COMMUNITY,
        )
    ]  # fmt: skip
    assert sheet.take_effect("h1") == []
    assert domain.total(sheet.records) == 1.0


def test_the_same_record_is_entered_once() -> None:
    sheet = a_timesheet()
    record(sheet)
    assert record(sheet, end=MORNING + 2 * HOUR) == []
    assert len(sheet.records) == 1


def test_a_record_that_is_not_there_takes_no_effect() -> None:
    assert a_timesheet().take_effect("h1") == []


@pytest.mark.parametrize(
    ("start", "end"),
    [(0, 60), (-30, 30), (30, 90), (15, 45), (-30, 90), (59, 61)],
    ids=["the same", "before", "after", "inside", "around", "by a minute"],
)
def test_an_overlapping_segment_is_kept_as_refused_with_the_reason(start: int, end: int) -> None:
    sheet = a_timesheet()
    record(sheet)
    (recorded,) = record(sheet, "h2", MORNING + start * MINUTE, MORNING + end * MINUTE)
    assert (recorded.state, recorded.hours) == ("refused", 0.0)
    refused = sheet.find("h2")
    assert refused is not None and refused.reason
    assert sheet.take_effect("h2") == []


def test_touching_segments_do_not_overlap() -> None:
    sheet = a_timesheet()
    for n, start in enumerate((MORNING, MORNING + HOUR, MORNING - HOUR)):
        (recorded,) = record(sheet, f"h{n}", start)
        assert recorded.state == "open"


def test_a_segment_overlaps_effective_hours_too_but_not_refused_or_reversed_ones() -> None:
    sheet = a_timesheet()
    record(sheet)
    sheet.take_effect("h1")
    assert record(sheet, "h2")[0].state == "refused"
    sheet.reverse("h1", "填错了")
    assert record(sheet, "h3")[0].state == "open"


def test_eight_hours_a_day_count_and_what_was_served_is_kept() -> None:
    sheet = a_timesheet()
    record(sheet, "h1", MORNING, MORNING + 6 * HOUR)
    record(sheet, "h2", MORNING + 6 * HOUR, MORNING + 10 * HOUR)
    record(sheet, "h3", MORNING + 10 * HOUR, MORNING + 11 * HOUR)
    assert [(r.raw_hours, r.hours) for r in sheet.records] == [(6, 6), (4, 2), (1, 0)]


def test_a_reversal_frees_the_cap_for_what_is_entered_later() -> None:
    sheet = a_timesheet()
    record(sheet, "h1", MORNING, MORNING + 8 * HOUR)
    sheet.reverse("h1", "填错了")
    record(sheet, "h2", MORNING, MORNING + 5 * HOUR)
    assert [(r.state, r.hours) for r in sheet.records] == [(State.REVERSED, 8), (State.OPEN, 5)]


@pytest.mark.parametrize(
    ("seconds", "hours"),
    [
        (60, "0.02"),
        (18, "0.01"),
        (17, "0.00"),
        (54, "0.02"),
        (900, "0.25"),
        (1200, "0.33"),
        (2400, "0.67"),
        (3600, "1"),
    ],
)
def test_hours_have_two_decimals_rounded_half_up(seconds: int, hours: str) -> None:
    assert hours_between(MORNING, MORNING + timedelta(seconds=seconds)) == Decimal(hours)


def test_many_small_segments_add_up_without_a_rounding_error() -> None:
    sheet = a_timesheet()
    for n in range(10):
        record(sheet, f"h{n}", MORNING + n * 6 * MINUTE, MORNING + (n + 1) * 6 * MINUTE)
        sheet.take_effect(f"h{n}")
    assert domain.total(sheet.records) == 1.0


def test_a_sum_over_nothing_is_zero() -> None:
    assert domain.total([]) == 0


@pytest.mark.parametrize("effective", [False, True])
def test_a_reversal_tells_whether_the_hours_had_counted(effective: bool) -> None:
    sheet = a_timesheet()
    record(sheet)
    if effective:
        sheet.take_effect("h1")
    assert sheet.reverse("h1", "填错了") == [
        facts.HoursReversed(
            record_id="h1", volunteer_id="v1", hours=1.0, site=VILLAGE, source=an_order_source(),
            was_effective=effective,
        )
    ]  # fmt: skip
    assert domain.total(sheet.records) == 0
    assert sheet.take_effect("h1") == []
    with pytest.raises(Conflict):
        sheet.reverse("h1", "再来一次")


def test_what_is_unknown_or_refused_cannot_be_reversed() -> None:
    sheet = a_timesheet()
    record(sheet)
    record(sheet, "refused")
    for id in ("unknown", "refused"):
        with pytest.raises(Conflict):
            sheet.reverse(id, "填错了")


def test_a_reversed_record_is_not_entered_again_by_a_late_duplicate() -> None:
    sheet = a_timesheet()
    record(sheet)
    sheet.reverse("h1", "填错了")
    assert record(sheet) == []


def test_a_timesheet_is_of_a_day_in_china() -> None:
    evening = datetime(2026, 6, 3, 23, 59, tzinfo=CHINA)
    assert Timesheet.key("v1", evening) == Timesheet.key("v1", MORNING) == "v1:2026-06-03"
    assert Timesheet.key("v1", evening + MINUTE) == "v1:2026-06-04"
    assert a_timesheet().day == datetime(2026, 6, 3, tzinfo=CHINA)


def test_the_id_of_a_record_follows_from_the_order_and_the_position() -> None:
    assert record_id("o1", 0) == record_id("o1", 0)
    assert len({record_id("o1", 0), record_id("o1", 1), record_id("o1.2", 0)}) == 3


# -- who may --------------------------------------------------------------------------------------------

VOLUNTEER = Volunteer("v1", PATH)


@pytest.mark.parametrize("actor", [a_volunteer("v1"), *map(staff_of, PATH), ADMIN], ids=lambda actor: actor.id)
def test_the_volunteer_and_the_staff_above_see_the_hours(actor: object) -> None:
    domain.check_reading(actor, VOLUNTEER)


@pytest.mark.parametrize("actor", [a_volunteer("v2"), staff_of("130803")], ids=lambda actor: actor.id)
def test_others_do_not_learn_whether_the_volunteer_exists(actor: object) -> None:
    for volunteer in (VOLUNTEER, None):
        for check in (domain.check_reading, domain.check_correcting):
            with pytest.raises(NotFound):
                check(actor, volunteer)


def test_only_staff_correct_hours() -> None:
    for actor in (staff_of(VILLAGE), staff_of(CITY), ADMIN):
        domain.check_correcting(actor, VOLUNTEER)
    with pytest.raises(Forbidden):
        domain.check_correcting(a_volunteer("v1"), VOLUNTEER)


# -- whatever happens -----------------------------------------------------------------------------------

MIDNIGHT = datetime(2026, 6, 3, tzinfo=CHINA)
IDS = some.sampled_from([f"h{n}" for n in range(12)])


class ADayOfRecords(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.sheet = Timesheet.begin("v1", MIDNIGHT)
        self.effective: list[str] = []
        self.reversed: list[str] = []

    @rule(id=IDS, start=some.integers(0, 23 * 60), length=some.integers(1, 600))
    def record(self, id: str, start: int, length: int) -> None:
        end = min(start + length, 24 * 60)
        segment = Segment(volunteer_id="v1", start=MIDNIGHT + start * MINUTE, end=MIDNIGHT + end * MINUTE)
        known = self.sheet.find(id) is not None
        events = self.sheet.record(id, an_order_source(), segment, Category.COMMUNITY, VILLAGE)
        assert len(events) == (0 if known else 1)

    @rule(id=IDS)
    def take_effect(self, id: str) -> None:
        self.effective += [event.record_id for event in self.sheet.take_effect(id)]

    @rule(id=IDS)
    def reverse(self, id: str) -> None:
        with suppress(Conflict):
            self.reversed += [event.record_id for event in self.sheet.reverse(id, "填错了")]

    @invariant()
    def what_counts_never_overlaps(self) -> None:
        counted = [record for record in self.sheet.records if record.counts]
        assert not [1 for one, two in combinations(counted, 2) if one.start < two.end and two.start < one.end]

    @invariant()
    def no_more_than_the_cap_counts(self) -> None:
        assert sum(Decimal(str(record.hours)) for record in self.sheet.records if record.counts) <= DAILY_CAP
        assert all(0 <= record.hours <= record.raw_hours for record in self.sheet.records)

    @invariant()
    def each_record_is_there_once_and_takes_effect_and_is_reversed_once(self) -> None:
        for ids in ([record.id for record in self.sheet.records], self.effective, self.reversed):
            assert len(ids) == len(set(ids))

    @invariant()
    def the_total_is_what_took_effect_and_was_not_reversed(self) -> None:
        standing = {r.id for r in self.sheet.records if r.state is State.EFFECTIVE}
        assert standing == set(self.effective) - set(self.reversed)


TestADayOfRecords = ADayOfRecords.TestCase
TestADayOfRecords.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
