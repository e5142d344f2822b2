"""Cases: who looks into what, who sees it, and that it is settled once."""

import pytest

from services.contracts.cases import CaseOpened, CaseSettled, Complaint
from services.contracts.errors import Conflict, Forbidden, NotFound
from services.contracts.registry import Tier
from services.dispatch.cases import SERVED, TITLES, Case
from services.dispatch.domain import State
from tests.builders import (
    ADMIN,
    CITY,
    COUNTY,
    HOUR,
    MORNING,
    TOWNSHIP,
    VILLAGE,
    Known,
    a_resident,
    a_team,
    an_order,
    leader_of,
    staff_of,
)


def a_case(about: Complaint = Complaint.CONDUCT) -> Case:
    case, _ = Case.complain("c1", an_order(State.CLOSED), about, a_resident(), "态度不好", MORNING)
    return case


def test_a_complaint_is_looked_into_where_the_team_was_sent_from() -> None:
    case, (told,) = Case.complain("c1", an_order(State.CLOSED), Complaint.CONDUCT, a_resident(), "态度不好", MORNING)
    assert (case.site, case.path, case.is_open) == (VILLAGE, [VILLAGE, TOWNSHIP, COUNTY, CITY], True)
    assert told == CaseOpened(case_id="c1", order_id="o1", kind="conduct", team_id="t1", site=VILLAGE, to_site=VILLAGE)


def test_one_about_money_goes_a_tier_up_and_at_the_center_stays_there() -> None:
    case = a_case(Complaint.FEE)
    assert (case.site, case.path) == (TOWNSHIP, [TOWNSHIP, COUNTY, CITY])
    team = a_team(tier=Tier.CENTER)
    order = an_order(State.UNMET, team=team)
    order.accept(leader_of(team), team, [], Known([team]), MORNING)
    at_the_top, _ = Case.complain("c1", order, Complaint.FEE, a_resident(), "收了钱", MORNING)
    assert at_the_top.site == COUNTY


@pytest.mark.parametrize("state", [state for state in State if state not in SERVED])
def test_without_a_service_there_is_nothing_to_complain_about(state: State) -> None:
    with pytest.raises(Conflict):
        Case.complain("c1", an_order(state), Complaint.OTHER, a_resident(), "慢", MORNING)


def test_a_low_rating_is_one_case_an_order_in_the_words_of_the_resident() -> None:
    order = an_order(State.COMPLETED)
    order.rate(a_resident(), 1, "剪坏了", MORNING)
    case, _ = Case.after_rating(order, MORNING)
    assert (case.id, case.kind, case.text, case.opened_by) == ("o1-low_rating", "low_rating", "剪坏了", "r1")


def test_staff_of_the_place_settle_it_once() -> None:
    case = a_case()
    (told,) = case.settle(staff_of(VILLAGE), "已上门致歉", MORNING + HOUR)
    assert isinstance(told, CaseSettled)
    assert (case.is_open, case.settled_at, case.outcome) == (False, MORNING + HOUR, "已上门致歉")
    with pytest.raises(Conflict):
        case.settle(staff_of(VILLAGE), "再来一次", MORNING + HOUR)


@pytest.mark.parametrize("actor", [staff_of(TOWNSHIP), a_resident(), ADMIN, leader_of(a_team())])
def test_nobody_else_settles_it(actor: object) -> None:
    with pytest.raises(Forbidden):
        a_case().settle(actor, "已办", MORNING)


def test_who_sees_it() -> None:
    case = a_case(Complaint.FEE)
    for actor in (a_resident(), staff_of(TOWNSHIP), staff_of(COUNTY), staff_of(CITY), ADMIN):
        case.must_be_seen_by(actor)
    for actor in (a_resident("r2"), staff_of(VILLAGE), leader_of(a_team()), staff_of("130803")):
        with pytest.raises(NotFound):
            case.must_be_seen_by(actor)


def test_each_kind_has_its_words() -> None:
    assert set(TITLES) == {"low_rating", *Complaint}
