"""Cases: who looks into what, who sees it, and that it is settled once."""

import pytest

from services.contracts.actor import Actor, Role
from services.contracts.cases import (
    LOW_RATING,
    LOW_VISIT,
    CaseOpened,
    CaseReferred,
    CaseSettled,
    CaseTaken,
    Complaint,
    Report,
    ReportCase,
)
from services.contracts.dispatch import Concern
from services.contracts.errors import Conflict, Forbidden, Invalid, NotFound
from services.contracts.registry import Tier
from services.dispatch.cases import SERVED, TITLES, Case
from services.dispatch.domain import State
from tests.builders import (
    ADMIN,
    CITY,
    COUNTY,
    DEADLINES,
    HOUR,
    MORNING,
    TOWNSHIP,
    VILLAGE,
    Known,
    a_chain,
    a_place,
    a_resident,
    a_team,
    a_volunteer,
    an_actor,
    an_order,
    leader_of,
    staff_of,
)


def a_case(about: Complaint = Complaint.CONDUCT) -> Case:
    case, _ = Case.complain("c1", an_order(State.CLOSED), about, a_resident(), "态度不好", DEADLINES, MORNING)
    return case


def test_a_complaint_is_looked_into_where_the_team_was_sent_from() -> None:
    case, (told,) = Case.complain(
        "c1", an_order(State.CLOSED), Complaint.CONDUCT, a_resident(), "态度不好", DEADLINES, MORNING
    )
    assert (case.site, case.path, case.is_open) == (VILLAGE, [VILLAGE, TOWNSHIP, COUNTY, CITY], True)
    assert told == CaseOpened(
        case_id="c1", order_id="o1", kind="conduct", team_id="t1", site=VILLAGE, to_site=VILLAGE,
        concerns=Concern(resident="r1", placed_by="r1", held_at=VILLAGE),
    )  # fmt: skip
    assert case.due_at == MORNING + HOUR


def test_one_about_money_goes_a_tier_up_and_at_the_center_stays_there() -> None:
    case = a_case(Complaint.FEE)
    assert (case.site, case.path) == (TOWNSHIP, [TOWNSHIP, COUNTY, CITY])
    team = a_team(tier=Tier.CENTER)
    order = an_order(State.UNMET, team=team)
    order.accept(leader_of(team), team, [], Known([team]), MORNING)
    at_the_top, _ = Case.complain("c1", order, Complaint.FEE, a_resident(), "收了钱", DEADLINES, MORNING)
    assert at_the_top.site == COUNTY


@pytest.mark.parametrize("state", [state for state in State if state not in SERVED])
def test_without_a_service_there_is_nothing_to_complain_about(state: State) -> None:
    with pytest.raises(Conflict):
        Case.complain("c1", an_order(state), Complaint.OTHER, a_resident(), "慢", DEADLINES, MORNING)


def test_a_low_rating_is_one_case_an_order_in_the_words_of_the_resident() -> None:
    order = an_order(State.COMPLETED)
    order.rate(a_resident(), 1, "剪坏了", MORNING)
    case, _ = Case.follow_up(order, LOW_RATING, "r1", "剪坏了", DEADLINES, MORNING)
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


# -- what is reported -----------------------------------------------------------------------------------


def a_report(actor: Actor | None = None, urgent: bool = False) -> Case:
    given = ReportCase(kind=Report.MEDIATION, text="两家为院墙吵起来了", urgent=urgent)
    return Case.report("c1", actor or a_resident(), a_place(), a_chain(), given, DEADLINES, MORNING)[0]


def events_of(case: Case) -> list[str]:
    return [entry.event for entry in case.timeline]


@pytest.mark.parametrize("actor", [a_resident(), a_volunteer("v1"), staff_of(VILLAGE), staff_of(COUNTY)])
def test_people_of_a_place_and_staff_above_report_to_its_station(actor: Actor) -> None:
    case = a_report(actor)
    assert (case.site, case.order_id, case.opened_by, case.state) == (VILLAGE, "", actor.id, "open")
    assert case.due_at == MORNING + HOUR and events_of(case) == ["opened"]
    case.must_be_seen_by(actor)


@pytest.mark.parametrize("actor", [a_resident(site=TOWNSHIP), a_volunteer("v1", "130803001001"), ADMIN])
def test_nobody_else_does(actor: Actor) -> None:
    with pytest.raises(Forbidden):
        a_report(actor)


def test_where_there_is_no_post_nobody_would_look_into_it() -> None:
    given = ReportCase(kind=Report.BREACH, text="大操大办")
    with pytest.raises(Invalid):
        Case.report("c1", a_resident(), a_place(), [], given, DEADLINES, MORNING)
    higher = a_chain()[1:]
    case, (told,) = Case.report("c1", a_resident(), a_place(), higher, given, DEADLINES, MORNING)
    assert (case.site, case.path[0], told.site) == (TOWNSHIP, TOWNSHIP, VILLAGE)


def test_somebody_takes_it_and_says_so_once() -> None:
    case, staff = a_report(), staff_of(VILLAGE)
    (told,) = case.take(staff, MORNING)
    assert isinstance(told, CaseTaken) and (case.state, case.taken_by) == ("taken", staff.id)
    assert case.take(staff, MORNING) == []
    with pytest.raises(Conflict):
        case.take(an_actor("colleague", Role.STAFF), MORNING)
    for actor in (a_resident(), staff_of(TOWNSHIP), ADMIN):
        with pytest.raises(Forbidden):
            case.take(actor, MORNING)


def test_what_a_place_cannot_settle_goes_up_tier_by_tier_and_no_further() -> None:
    case = a_report()
    case.take(staff_of(VILLAGE), MORNING)
    (told,) = case.refer(staff_of(VILLAGE), "两家都不让步", DEADLINES, MORNING + HOUR)
    assert isinstance(told, CaseReferred) and (told.from_site, told.to_site) == (VILLAGE, TOWNSHIP)
    assert (case.site, case.state, case.due_at) == (TOWNSHIP, "open", MORNING + 2 * HOUR)
    case.must_be_seen_by(staff_of(VILLAGE))
    with pytest.raises(Forbidden):
        case.settle(staff_of(VILLAGE), "说好了", MORNING)
    case.refer(staff_of(TOWNSHIP), "需要司法所", DEADLINES, MORNING + HOUR)
    with pytest.raises(Conflict):
        case.refer(staff_of(COUNTY), "还是不行", DEADLINES, MORNING + HOUR)
    case.settle(staff_of(COUNTY), "调解成功", MORNING + 2 * HOUR)
    assert events_of(case) == ["opened", "taken", "referred", "referred", "settled"]
    assert (case.due_at, [e.note for e in case.timeline][2]) == (None, "两家都不让步")


def test_what_is_settled_stays_settled() -> None:
    case = a_report()
    case.settle(staff_of(VILLAGE), "说好了", MORNING)
    for move in (
        lambda: case.take(staff_of(VILLAGE), MORNING),
        lambda: case.refer(staff_of(VILLAGE), "再议", DEADLINES, MORNING),
        lambda: case.settle(staff_of(VILLAGE), "再办", MORNING),
    ):
        with pytest.raises(Conflict):
            move()


def test_each_kind_has_its_words() -> None:
    assert set(TITLES) == {LOW_RATING, LOW_VISIT, *Complaint, *Report}
