"""Quality figures of service items: what is counted, the median from its steps, and which months may be asked for."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.chassis.repository import Tracked, from_document, to_document
from services.contracts.actor import SYSTEM
from services.contracts.errors import Forbidden, Invalid
from services.contracts.wording import MONTH
from services.contracts.zone import CHINA
from services.dispatch import permissions
from services.dispatch.domain import FINAL, Order, State
from services.dispatch.quality import FACTS, Figures, Life, Tally, by_item, figures_of, month_of, period, seconds_of
from services.dispatch.quality import step_of as step
from services.dispatch.repository import FOR_FIGURES
from services.dispatch.views import quality_view
from tests.builders import (
    ADMIN,
    CITY,
    COUNTY,
    DEADLINES,
    HOUR,
    MINUTE,
    MORNING,
    NOBODY,
    TOWNSHIP,
    VILLAGE,
    WEEK,
    Known,
    a_place,
    a_placed_order,
    a_resident,
    a_team,
    a_volunteer,
    an_item,
    an_order,
    leader_of,
    staff_of,
)
from tests.support.rings import use_ring

YEAR = 366 * 24 * 3600


@pytest.fixture(autouse=True)
def ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """The notes of a timeline are encrypted in a document."""
    use_ring(monkeypatch)


def tally_of(*orders: Order) -> Tally:
    tally = Tally()
    for order in orders:
        tally.count(stored(order))
    return tally


def stored(order: Order) -> Life:
    return from_document(Life, to_document(order))


def taken_after(wait: timedelta) -> Order:
    team = a_team()
    order = a_placed_order(teams=[team])
    order.accept(leader_of(team), team, [], NOBODY, MORNING + wait)
    return order


# -- what is counted ----------------------------------------------------------------------------------

SERVED = {"placed": 1, "accepted": 1, "completed": 1}
COUNTED = {
    State.PLACED: {"placed": 1},
    State.OFFERED: {"placed": 1},
    State.ACCEPTED: {"placed": 1, "accepted": 1},
    State.IN_SERVICE: {"placed": 1, "accepted": 1},
    State.COMPLETED: SERVED,
    State.RATED: SERVED,
    State.CLOSED: {**SERVED, "closed": 1},
    State.REJECTED: {"placed": 1, "rejected": 1},
    State.CANCELLED: {"placed": 1, "cancelled": 1},
    State.UNMET: {"placed": 1, "escalated": 1, "unmet": 1},
}


@pytest.mark.parametrize("state", State)
def test_an_order_is_counted_by_what_has_happened_to_it(state: State) -> None:
    assert tally_of(an_order(state)).facts == COUNTED[state]


def test_what_happens_twice_to_an_order_is_counted_once_and_the_first_acceptance_is_measured() -> None:
    one, other = a_team("t1"), a_team("t2")
    order = a_placed_order(teams=[one, other])
    for hours, team in ((1, one), (5, other)):
        order.accept(leader_of(team), team, [], NOBODY, MORNING + hours * HOUR)
        order.withdraw(leader_of(team), team, "生病", MORNING + hours * HOUR)
    found = tally_of(order)
    assert found.facts == {"placed": 1, "accepted": 1}
    assert found.waits == {step(3600): 1}


def test_an_order_that_was_given_up_and_then_served_is_both() -> None:
    team = a_team()
    order = an_order(State.UNMET)
    order.look_again(team, Known([team]), MORNING)
    order.accept(leader_of(team), team, [], NOBODY, MORNING)
    assert tally_of(order).facts == {"placed": 1, "escalated": 1, "unmet": 1, "accepted": 1}


def test_a_reopened_order_stays_as_it_was_counted_and_the_new_cycle_is_an_order_of_its_own() -> None:
    order = an_order(State.CLOSED)
    before = tally_of(order)
    again, _ = order.reopen(a_resident(), "还没有理完", NOBODY, DEADLINES, MORNING + WEEK)
    assert tally_of(order) == before
    assert tally_of(again).facts == {"placed": 1, "reopened": 1}


def test_default_ratings_are_counted_apart_and_are_in_no_score() -> None:
    said, silent = an_order(State.COMPLETED), an_order(State.COMPLETED)
    said.rate(a_resident(), 2, None, MORNING)
    silent.rate(SYSTEM, 5, None, MORNING)
    found = tally_of(said, silent)
    assert (found.score, found.ratings, found.default_ratings) == (2.0, 1, 1)
    assert tally_of(silent).score is None
    assert tally_of(an_order()).ratings == tally_of(an_order()).default_ratings == 0


def test_the_score_is_a_mean_of_two_decimals() -> None:
    assert Tally(ratings=3, score_sum=14).score == 4.67


@pytest.mark.parametrize("state", State)
def test_only_what_has_ended_waits_to_be_counted(state: State) -> None:
    assert an_order(state).uncounted_since == (MORNING if state in FINAL else None)


def test_counting_an_order_writes_nothing_else_of_it() -> None:
    """Least of all its timeline, of which only a part was read."""
    document = to_document(an_order(State.CLOSED))
    read = {name: document[name] for name in ("_id", *FOR_FIGURES) if name in document}
    read["timeline"] = [{"event": entry["event"], "time": entry["time"]} for entry in document["timeline"]]
    life = from_document(Life, read)
    life.uncounted_since = None
    assert Tracked(life, read).changes() == {"uncounted_since": None}


# -- the median ---------------------------------------------------------------------------------------


def test_the_median_of_waits_is_that_of_the_order_in_the_middle() -> None:
    waits = [MINUTE, 2 * HOUR, 30 * HOUR]
    found = tally_of(*map(taken_after, waits))
    assert found.median_wait == pytest.approx(7200, rel=0.05)
    assert tally_of(taken_after(MINUTE), taken_after(2 * HOUR)).median_wait == pytest.approx(60, rel=0.05)
    assert tally_of(an_order()).median_wait is None


@given(some.lists(some.floats(0, YEAR), min_size=1, max_size=50))
def test_a_median_is_within_five_percent_or_a_second_however_the_tallies_are_put_together(waits: list[float]) -> None:
    one, other = Tally(), Tally()
    for number, wait in enumerate(waits):
        (one if number % 2 else other).add(Tally(waits={step(wait): 1}))
    one.add(other)
    assert one.median_wait == pytest.approx(sorted(waits)[(len(waits) - 1) // 2], rel=0.05, abs=1)


def test_the_longest_waits_are_few_steps() -> None:
    assert (seconds_of(step(0)), seconds_of(step(1))) == (1, 1)
    assert int(step(YEAR)) < 200


# -- by item, place and month -------------------------------------------------------------------------


def test_tallies_of_months_and_of_what_goes_on_are_one_by_item_the_most_ordered_first() -> None:
    def kept(item: str, month: str, placed: int) -> Figures:
        return Figures("", VILLAGE, month, item, Tally(facts={"placed": placed}, ratings=1, score_sum=4))

    months = [kept("b", "2026-01", 1), kept("a", "2026-01", 2), kept("b", "2026-02", 3)]
    lives = [stored(a_placed_order(item=an_item(id=item))) for item in ("a", "c")]
    found = by_item(months, lives)
    assert [(item, tally.facts["placed"]) for item, tally in found.items()] == [("b", 4), ("a", 3), ("c", 1)]
    assert (found["b"].ratings, found["b"].score) == (2, 4.0)
    assert months[0].tally.facts == {"placed": 1}, "what is kept is not changed by reading it"
    assert by_item([], []) == {}


def test_an_order_is_counted_at_every_place_that_it_belongs_to_by_its_chinese_month() -> None:
    late = datetime(2026, 6, 30, 16, 30, tzinfo=MORNING.tzinfo)
    ids = figures_of(stored(a_placed_order(now=late, item=an_item(id="hair/cut"))))
    assert ids == [f"{site}/2026-07/hair/cut" for site in (VILLAGE, TOWNSHIP, COUNTY, CITY)]
    figures = Figures.none_yet(ids[0])
    assert (figures.site, figures.month, figures.item_id) == (VILLAGE, "2026-07", "hair/cut")


def test_figures_are_kept_as_they_are() -> None:
    figures = Figures.none_yet(figures_of(stored(an_order()))[0])
    figures.tally.count(stored(an_order(State.CLOSED)))
    assert from_document(Figures, to_document(figures)) == figures


def test_the_view_tells_each_figure_also_where_it_is_none() -> None:
    item = an_item()
    seen = quality_view(item, tally_of(a_placed_order()))
    assert seen.pop("service_item_name") == item.name
    assert seen == {
        "service_item": item.id, "category": item.category, "placed": 1, "taken": 0,
        "median_seconds_to_acceptance": None, **dict.fromkeys(FACTS[2:], 0), "score": None, "ratings": 0,
        "default_ratings": 0,
    }  # fmt: skip


# -- which months -------------------------------------------------------------------------------------


def test_a_period_is_of_whole_chinese_months_by_default_the_current_one() -> None:
    now = datetime(2026, 6, 30, 16, 30, tzinfo=MORNING.tzinfo)
    current = period(None, None, now)
    assert (current.first, current.last) == ("2026-07", "2026-07")
    assert (current.begin, current.end) == (datetime(2026, 7, 1, tzinfo=CHINA), datetime(2026, 8, 1, tzinfo=CHINA))
    assert month_of(current.begin) == "2026-07" != month_of(current.end)
    assert period("2026-05", None, now).last == "2026-07"
    assert period(None, "2026-05", now).first == "2026-05"
    year = period("2025-01", "2025-12", now)
    assert (year.begin, year.end) == (datetime(2025, 1, 1, tzinfo=CHINA), datetime(2026, 1, 1, tzinfo=CHINA))


@pytest.mark.parametrize(
    "wrong", ["2026", "2026-13", "2026-1", "202601", "2026-01-01", "٢٠٢٦-01", "1899-12", "2200-01"]
)
@pytest.mark.parametrize("path", ["from", "to"])
def test_a_month_that_is_none_is_told_with_its_path(path: str, wrong: str) -> None:
    given: dict[str, Any] = {"from": None, "to": None, path: wrong}
    with pytest.raises(Invalid) as refused:
        period(given["from"], given["to"], MORNING)
    assert refused.value.problem()["fields"] == [{"path": path, "message": MONTH}]


@pytest.mark.parametrize(("first", "last"), [("2026-02", "2026-01"), ("2025-01", "2026-01"), ("2026-07", None)])
def test_a_period_goes_forward_and_is_a_year_at_most(first: str, last: str | None) -> None:
    with pytest.raises(Invalid) as refused:
        period(first, last, MORNING)
    assert [field["path"] for field in refused.value.problem()["fields"]] == ["from"]


# -- who sees them ------------------------------------------------------------------------------------


def test_staff_of_the_place_and_above_see_its_figures() -> None:
    place = a_place()
    for actor in (ADMIN, staff_of(VILLAGE), staff_of(TOWNSHIP), staff_of(COUNTY)):
        permissions.check_figures(actor, place, "")
    for actor in (staff_of("130802103201"), a_resident(), a_volunteer("v1")):
        with pytest.raises(Forbidden):
            permissions.check_figures(actor, place, "")
