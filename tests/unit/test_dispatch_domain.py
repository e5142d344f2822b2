"""The life of an order, transition by transition."""

from collections.abc import Callable
from copy import deepcopy
from datetime import UTC, datetime, timedelta

import pytest

from services.contracts import dispatch as facts
from services.contracts.actor import SYSTEM, Actor
from services.contracts.errors import AlreadyAccepted, Conflict, Forbidden, IllegalTransition, Invalid, NotFound
from services.contracts.registry import Category, Risk, TargetGroup, Tier
from services.dispatch import domain, known, permissions
from services.dispatch.domain import Holder, OfferState, Order, Seat, Side, State
from services.dispatch.known import Team
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
    a_beneficiary,
    a_chain,
    a_message,
    a_person,
    a_place,
    a_placed_order,
    a_resident,
    a_segment,
    a_team,
    a_volunteer,
    a_wish,
    an_actor,
    an_item,
    an_order,
    leader_of,
    staff_of,
)

S = State
FINAL = {S.CLOSED, S.REJECTED, S.CANCELLED}

ALLOWED = {
    (S.PLACED, "offer"): S.OFFERED,
    (S.PLACED, "escalate"): S.PLACED,
    (S.PLACED, "cancel"): S.CANCELLED,
    (S.PLACED, "reject"): S.REJECTED,
    (S.OFFERED, "offer"): S.OFFERED,
    (S.OFFERED, "accept"): S.ACCEPTED,
    (S.OFFERED, "decline"): S.OFFERED,
    (S.OFFERED, "escalate"): S.PLACED,
    (S.OFFERED, "cancel"): S.CANCELLED,
    (S.OFFERED, "reject"): S.REJECTED,
    (S.ACCEPTED, "withdraw"): S.PLACED,
    (S.ACCEPTED, "start"): S.IN_SERVICE,
    (S.ACCEPTED, "cancel"): S.CANCELLED,
    (S.IN_SERVICE, "withdraw"): S.PLACED,
    (S.IN_SERVICE, "complete"): S.COMPLETED,
    (S.COMPLETED, "rate"): S.RATED,
    **{(state, "rate-visit"): state for state in (S.COMPLETED, S.RATED)},
    (S.RATED, "close"): S.CLOSED,
    (S.RATED, "reopen"): S.RATED,
    (S.CLOSED, "reopen"): S.CLOSED,
    (S.UNMET, "offer"): S.UNMET,
    (S.UNMET, "accept"): S.ACCEPTED,
    (S.UNMET, "decline"): S.UNMET,
    (S.UNMET, "cancel"): S.CANCELLED,
    (S.UNMET, "reject"): S.REJECTED,
    **{(state, "message"): state for state in State if state not in FINAL},
    **{(state, "appoint"): state for state in (S.PLACED, S.OFFERED, S.UNMET, S.ACCEPTED)},
    (S.ACCEPTED, "no-show"): S.PLACED,
    **{(s, "photos"): s for s in (S.PLACED, S.OFFERED, S.UNMET, S.ACCEPTED, S.IN_SERVICE, S.COMPLETED)},
    **{(s, c): s for s in (S.PLACED, S.OFFERED, S.UNMET, S.ACCEPTED) for c in ("join", "leave")},
}
"""Where each command leads, with one team that was offered the order. What is missing is refused."""

COMMANDS = sorted({command for _, command in ALLOWED})


def facts_of(events: list) -> list:
    """Without whom they concern, which is the same for all."""
    return [event.model_copy(update={"concerns": None}) for event in events]


def give(command: str, order: Order, now: datetime = MORNING) -> list:
    """The command as the right person gives it."""
    team = a_team(tier=order.tier)
    leader, staff = leader_of(team), staff_of(order.seat.site)
    commands: dict[str, Callable[[], list]] = {
        "offer": lambda: order.offer(staff, None, None, Known([a_team("new", order.tier)]), now),
        "accept": lambda: order.accept(leader, team, [], NOBODY, now),
        "decline": lambda: order.decline(leader, team, "没有时间", now),
        "withdraw": lambda: order.withdraw(leader, team, "有人病了", now),
        "escalate": lambda: order.escalate(staff, "本站做不了", NOBODY, DEADLINES, now),
        "cancel": lambda: order.cancel(a_resident(), "不用了", now),
        "reject": lambda: order.reject(staff, "不属于志愿服务", now),
        "start": lambda: order.start(leader, team, now),
        "complete": lambda: order.complete(
            leader, team, [a_segment(start=now - HOUR, end=now)], "已理发", [], WEEK, now
        ),
        "rate": lambda: order.rate(a_resident(), 4, None, now),
        "rate-visit": lambda: order.rate_visit(leader, 4, None, now),
        "close": lambda: order.close(staff, now),
        "message": lambda: order.message(a_message(), DEADLINES, now),
        "reopen": lambda: order.reopen(a_resident(), "没理好", NOBODY, DEADLINES, now)[1],
        "appoint": lambda: order.appoint(leader, Side.TEAM, now, now + HOUR, now),
        "no-show": lambda: order.miss(a_resident(), "没有人来", now),
        "photos": lambda: order.photograph(leader, Side.TEAM, "p1", now),
        "join": lambda: order.join(a_resident("r2"), "r2", now),
        "leave": lambda: order.leave(a_resident("r2"), "r2", now),
    }
    if (order.state, command) == (S.ACCEPTED, "no-show"):
        order.preferred_from = now  # only a visit that was to be can be missed
    if (order.state, command) in ALLOWED and command == "leave":
        order.joined = ["r2"]  # only who has joined can leave
    return commands[command]()


# -- the table ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "command"), ALLOWED, ids=lambda part: str(part))
def test_an_allowed_command_leads_to_its_state_and_says_so(state: State, command: str) -> None:
    order = an_order(state)
    before = len(order.timeline)
    events = give(command, order)
    assert order.state is ALLOWED[state, command]
    assert events
    if command != "reopen":
        told = [event.fact.removeprefix("order.") for event in events]
        assert told == [entry.event for entry in order.timeline[before:]]


@pytest.mark.parametrize(
    ("state", "command"), [(s, c) for s in State for c in COMMANDS if (s, c) not in ALLOWED], ids=lambda part: str(part)
)
def test_any_other_command_is_refused_with_what_is_possible_and_changes_nothing(state: State, command: str) -> None:
    order = an_order(state)
    before = deepcopy(order)
    with pytest.raises(Conflict) as refused:
        give(command, order)
    assert isinstance(refused.value, IllegalTransition | AlreadyAccepted)
    assert refused.value.problem()["state"] == state
    assert refused.value.problem()["possible"] == [c for c in domain.TRANSITIONS if (state, c) in ALLOWED]
    assert order == before


def test_no_state_and_no_command_is_missing_from_the_table() -> None:
    assert set(domain.TRANSITIONS) == set(COMMANDS)
    assert set(domain.STATE_NAMES) == set(State)


@pytest.mark.parametrize("state", State)
def test_one_site_or_team_holds_the_order_in_every_state_but_a_final_one(state: State) -> None:
    order = an_order(state)
    if state in FINAL:
        assert order.holder is None
    elif state in (S.ACCEPTED, S.IN_SERVICE, S.COMPLETED):
        assert order.holder == Holder("team", "t1")
    else:
        assert order.holder == Holder("site", COUNTY if state is S.UNMET else VILLAGE)


@pytest.mark.parametrize("state", State)
def test_the_clock_runs_only_while_the_order_waits(state: State) -> None:
    order = an_order(state)
    due = {S.PLACED: HOUR, S.OFFERED: HOUR, S.COMPLETED: WEEK}.get(state)
    assert order.due_at == (None if due is None else MORNING + due)


# -- waiting for the resident -----------------------------------------------------------------------------

QUESTION, REPLY = a_message(needs_reply=True), a_message(Side.RESIDENT)


def test_a_question_stops_the_clock_and_the_reply_gives_back_what_was_left() -> None:
    order = a_placed_order(teams=[a_team()])
    (asked,) = order.message(QUESTION, DEADLINES, MORNING + 20 * MINUTE)
    assert (order.due_at, order.tier_due_at, asked.waiting, asked.due_at) == (None, None, True, None)
    assert order.move_when_due(NOBODY, DEADLINES, MORNING + 10 * HOUR) == []
    (answered,) = order.message(REPLY, DEADLINES, MORNING + 10 * HOUR)
    assert order.due_at == order.tier_due_at == answered.due_at == MORNING + 10 * HOUR + 40 * MINUTE
    assert not answered.waiting


def test_asking_again_takes_no_time_and_gives_none() -> None:
    order = a_placed_order(teams=[a_team()])
    order.message(QUESTION, DEADLINES, MORNING + 20 * MINUTE)
    order.message(QUESTION, DEADLINES, MORNING + 30 * MINUTE)
    order.message(REPLY, DEADLINES, MORNING + HOUR)
    assert order.due_at == MORNING + HOUR + 40 * MINUTE


def test_what_the_holder_says_without_a_question_does_not_touch_the_clock() -> None:
    order = a_placed_order(teams=[a_team()])
    order.message(a_message(), DEADLINES, MORNING)
    assert order.due_at == MORNING + HOUR
    order.message(QUESTION, DEADLINES, MORNING)
    order.message(a_message(), DEADLINES, MORNING)
    assert order.due_at is None, "only the resident's side restarts it"


def test_a_team_accepts_a_waiting_order_and_gives_it_back_waiting() -> None:
    team = a_team()
    order = a_placed_order(teams=[team])
    order.message(QUESTION, DEADLINES, MORNING + 20 * MINUTE)
    order.accept(leader_of(team), team, [], NOBODY, MORNING + HOUR)
    order.withdraw(leader_of(team), team, "有人病了", MORNING + 2 * HOUR)
    assert (order.state, order.due_at, order.seconds_left) == (S.PLACED, None, 40 * 60)
    order.message(REPLY, DEADLINES, MORNING + 3 * HOUR)
    assert order.due_at == MORNING + 3 * HOUR + 40 * MINUTE


def test_a_reply_while_a_team_has_the_order_counts_for_the_time_after_it() -> None:
    team = a_team()
    order = a_placed_order(teams=[team])
    order.message(QUESTION, DEADLINES, MORNING + 20 * MINUTE)
    order.accept(leader_of(team), team, [], NOBODY, MORNING + HOUR)
    order.message(REPLY, DEADLINES, MORNING + 2 * HOUR)
    assert order.due_at is None and order.asked_at is None
    order.withdraw(leader_of(team), team, "有人病了", MORNING + 2 * HOUR)
    assert order.due_at == MORNING + 2 * HOUR + 40 * MINUTE, "the deadline that it had"


def test_a_tier_up_the_clock_runs_anew() -> None:
    order = a_placed_order()
    order.message(QUESTION, DEADLINES, MORNING)
    order.escalate(staff_of(VILLAGE), "本站做不了", NOBODY, DEADLINES, MORNING)
    assert (order.tier, order.due_at, order.asked_at) == (Tier.INSTITUTE, MORNING + HOUR, None)


def test_staff_who_have_ordered_for_somebody_speak_for_the_site() -> None:
    staff = staff_of(VILLAGE)
    order = a_placed_order(placed_by=staff.id)
    assert permissions.side_of(staff, order, [], heard=False) is Side.SITE
    assert permissions.side_of(staff, order, [], heard=True) is Side.RESIDENT
    proxy = a_resident("daughter")
    order = a_placed_order(placed_by=proxy.id)
    assert permissions.side_of(proxy, order, [], heard=False) is Side.RESIDENT


# -- who may do it by law -------------------------------------------------------------------------------

TOMORROW = MORNING + timedelta(days=1)
LAST_DAY = MORNING.date()


def a_risky_order(*named: str) -> tuple[Order, Team, Known]:
    """Accepted; of the team one is insured, today only, and one is not."""
    team = a_team(member_ids=["t1-leader", "careless"])
    known = Known([team], [a_person(insured_until=LAST_DAY), a_person("careless")])
    order = a_placed_order(item=an_item(risk=Risk.HIGH), auto_offer=False)
    order.offer(staff_of(VILLAGE), None, None, known, MORNING)
    order.accept(leader_of(team), team, named, known, MORNING)
    return order, team, known


def test_only_who_may_do_it_by_law_is_recorded_to_have_done_it() -> None:
    order, team, known = a_risky_order()
    order.check_who_served(team, [a_segment("t1-leader")], known, MORNING)
    for number, segments in enumerate(([a_segment("careless")], [a_segment("t1-leader"), a_segment("careless")])):
        with pytest.raises(Invalid, match="没有有效的保险") as refused:
            order.check_who_served(team, segments, known, MORNING)
        assert refused.value.extra["fields"][0]["path"] == f"records.{number}.volunteer"
    with pytest.raises(Invalid):
        order.check_who_served(team, [a_segment("t1-leader", TOMORROW)], known, TOMORROW)


@pytest.mark.parametrize("named", [("t1-leader",), ()])
def test_a_visit_is_not_moved_to_a_day_on_which_nobody_of_those_may_go(named: tuple[str, ...]) -> None:
    order, team, known = a_risky_order(*named)
    order.check_moved(team, MORNING + HOUR, MORNING + 2 * HOUR, known, MORNING)
    with pytest.raises(Conflict, match="没有有效的保险"):
        order.check_moved(team, TOMORROW, TOMORROW + HOUR, known, MORNING)


def test_what_everybody_may_do_needs_no_look_at_persons() -> None:
    order, team = an_order(S.ACCEPTED), a_team()
    order.check_moved(team, TOMORROW, TOMORROW + HOUR, NOBODY, MORNING)
    order.check_who_served(team, [a_segment("t1-leader")], NOBODY, MORNING)


@pytest.mark.parametrize(
    ("start", "end", "path"),
    [
        (MORNING - 2 * MINUTE, MORNING + HOUR, "preferred.from"),
        (MORNING + timedelta(days=367), MORNING + timedelta(days=368), "preferred.from"),
        (MORNING + HOUR, MORNING + HOUR, "preferred.to"),
    ],
)
def test_a_visit_is_wished_for_in_the_time_to_come(start: datetime, end: datetime, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        domain.check_preferred(a_wish(preferred_from=start, preferred_to=end), MORNING)
    assert refused.value.extra["fields"][0]["path"] == path
    domain.check_preferred(a_wish(preferred_from=MORNING, preferred_to=MORNING + HOUR), MORNING)
    domain.check_preferred(a_wish(), MORNING)


def test_what_no_team_was_asked_for_is_told_to_be_offered_by_hand() -> None:
    for auto_offer, by_hand in ((True, False), (False, True)):
        team, chain = a_team(), a_chain(auto_offer)
        _, (placed, *_) = Order.place(
            "o1", an_item(), a_place(), chain, a_wish(), Known([team]), DEADLINES, MORNING
        )  # fmt: skip
        assert isinstance(placed, facts.OrderPlaced) and placed.by_hand is by_hand


def test_whose_offers_were_open_is_told_when_it_is_cancelled() -> None:
    order = a_placed_order(teams=[a_team("first"), a_team("second")])
    order.decline(leader_of(a_team("first")), a_team("first"), "没有时间", MORNING)
    (cancelled,) = order.cancel(a_resident(), "不用了", MORNING)
    assert isinstance(cancelled, facts.OrderCancelled) and cancelled.asked == ["second"]


def test_the_timeline_does_not_show_what_was_said() -> None:
    order = a_placed_order()
    order.message(QUESTION, DEADLINES, MORNING)
    assert (order.timeline[-1].event, order.timeline[-1].note) == ("messaged", domain.NEEDS_REPLY)


@pytest.mark.parametrize(
    ("actor", "heard", "side"),
    [
        (a_resident(), False, Side.RESIDENT),
        (staff_of(VILLAGE), False, Side.SITE),
        (staff_of(VILLAGE), True, Side.RESIDENT),
        (leader_of(a_team()), False, Side.TEAM),
        (staff_of(COUNTY), False, None),
        (leader_of(a_team()), True, None),
        (a_resident(), True, None),
        (ADMIN, False, None),
    ],
)
def test_who_speaks_for_whom(actor: Actor, heard: bool, side: Side | None) -> None:
    order = an_order(S.ACCEPTED)
    own = [a_team()] if actor.volunteer else []
    if side:
        assert permissions.side_of(actor, order, own, heard) is side
        return
    with pytest.raises(Forbidden):
        permissions.side_of(actor, order, own, heard)


def test_a_team_with_an_offer_only_has_no_part_in_the_conversation_and_a_stranger_knows_of_nothing() -> None:
    order = a_placed_order(teams=[a_team()])
    with pytest.raises(Forbidden):
        permissions.side_of(leader_of(a_team()), order, [a_team()], False)
    with pytest.raises(NotFound):
        permissions.side_of(a_resident("somebody else"), order, [], False)


# -- unmet demand ---------------------------------------------------------------------------------------


def test_unmet_demand_is_offered_to_a_team_that_is_formed_later_at_any_site_of_its_way() -> None:
    for tier in (Tier.STATION, Tier.INSTITUTE, Tier.CENTER):
        order, late = an_order(S.UNMET), a_team("late", tier)
        (offered,) = order.look_again(late, Known([late]), MORNING)
        assert offered.team_ids == ["late"] and order.state is S.UNMET
        order.accept(leader_of(late), late, [], NOBODY, MORNING)
        assert order.holder == Holder("team", "late")


@pytest.mark.parametrize("wrong", [{"active": False}, {"site": "130824"}, {"categories": [Category.LAW]}])
def test_unmet_demand_is_not_offered_to_a_team_that_cannot_serve_it(wrong: dict) -> None:
    order, late = an_order(S.UNMET), a_team("late")
    vars(late).update(wrong)
    assert order.look_again(late, Known([late]), MORNING) == [] and order.offer_of("late") is None


def test_nobody_is_asked_twice_and_only_unmet_demand_is_looked_at_again() -> None:
    order, late = an_order(S.UNMET), a_team("late")
    order.look_again(late, Known([late]), MORNING)
    assert order.look_again(late, Known([late]), MORNING) == []
    assert an_order(S.OFFERED).look_again(late, Known([late]), MORNING) == []


# -- urgent ---------------------------------------------------------------------------------------------


def test_an_urgent_order_alerts_the_tiers_above_at_once() -> None:
    order = a_placed_order(teams=[a_team()], urgent=True)
    assert [entry.event for entry in order.timeline] == ["placed", "alerted", "offered"]
    closed = an_order(S.CLOSED)
    closed.urgent = True
    again, events = closed.reopen(a_resident(), "没理好", NOBODY, DEADLINES, MORNING)
    (alert,) = [event for event in events if isinstance(event, facts.OrderAlerted)]
    assert alert.sites == [TOWNSHIP, COUNTY] and again.urgent


def test_an_order_that_is_not_urgent_or_is_at_the_center_already_alerts_nobody() -> None:
    assert [entry.event for entry in a_placed_order().timeline] == ["placed"]
    at_center = a_placed_order(chain=a_chain(tiers=[Tier.CENTER]), urgent=True)
    assert [entry.event for entry in at_center.timeline] == ["placed"]


# -- placing and fan-out --------------------------------------------------------------------------------


def test_placing_offers_to_every_fitting_team_of_the_station_at_once() -> None:
    teams = [
        a_team("fits"),
        a_team("fits-too"),
        a_team("idle", active=False),
        a_team("other-trade", categories=[Category.LAW]),
        a_team("other-village", site="130802103203"),
        a_team("institute", Tier.INSTITUTE),
    ]
    order, events = Order.place("o1", an_item(), a_place(), a_chain(), a_wish(), Known(teams), DEADLINES, MORNING)
    assert [offer.team for offer in order.offers] == ["fits", "fits-too"]
    assert facts_of(events) == [
        facts.OrderPlaced(
            order_id="o1", site=VILLAGE, tier=Tier.STATION, item_id="home-haircut", category=Category.COMMUNITY,
            target_group=TargetGroup.ELDERLY, urgent=False, cycle=1, due_at=MORNING + HOUR,
        ),
        facts.OrderOffered(order_id="o1", site=VILLAGE, tier=Tier.STATION, team_ids=["fits", "fits-too"]),
    ]  # fmt: skip


def test_without_auto_offer_the_order_waits_for_the_station() -> None:
    order = a_placed_order(teams=[a_team()], auto_offer=False)
    assert order.state is S.PLACED
    assert order.offers == []


def test_an_order_without_fitting_teams_is_placed_and_waits() -> None:
    order, events = Order.place("o1", an_item(), a_place(), a_chain(), a_wish(), NOBODY, DEADLINES, MORNING)
    assert order.state is S.PLACED
    assert [event.fact for event in events] == ["order.placed"]


def test_the_place_and_not_the_holder_stays_the_site_of_the_order() -> None:
    order = an_order(S.UNMET)
    assert order.seat.site == COUNTY
    assert order.site == VILLAGE


@pytest.mark.parametrize(
    ("item", "wish", "path"),
    [
        (an_item(site="130803"), a_wish(), "service_item"),
        (an_item(active=False), a_wish(), "service_item"),
        (an_item(target_groups=[TargetGroup.CHILDREN]), a_wish(), "target_group"),
        (an_item(needs_address=True), a_wish(address=None), "address"),
        (an_item(needs_address=True), a_wish(address=""), "address"),
        (an_item(), a_wish(preferred_from=MORNING, preferred_to=MORNING), "preferred.to"),
        (an_item(), a_wish(preferred_from=MORNING, preferred_to=MORNING - HOUR), "preferred.to"),
    ],
    ids=[
        "item of another county", "item withdrawn", "group not served", "no address", "empty address",
        "no time at all", "backwards",
    ],
)  # fmt: skip
def test_a_wish_that_cannot_be_served_is_refused_with_the_field(item: known.Item, wish: domain.Wish, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        Order.place("o1", item, a_place(), a_chain(), wish, NOBODY, DEADLINES, MORNING)
    assert [field["path"] for field in refused.value.extra["fields"]] == [path]


def test_a_place_where_nobody_works_yet_takes_no_orders() -> None:
    with pytest.raises(Invalid):
        Order.place("o1", an_item(), a_place(), [], a_wish(), NOBODY, DEADLINES, MORNING)


# -- offers ---------------------------------------------------------------------------------------------


def test_the_first_acceptance_wins_and_the_other_offers_lapse() -> None:
    first, second = a_team("first"), a_team("second")
    order = a_placed_order(teams=[first, second])
    assert facts_of(order.accept(leader_of(first), first, ["first-member"], NOBODY, MORNING)) == [
        facts.OrderAccepted(
            order_id="o1", site=VILLAGE, tier=Tier.STATION, team_id="first", volunteers=["first-member"]
        )
    ]
    assert order.volunteers == ["first-member"]
    assert {offer.team: offer.state for offer in order.offers} == {
        "first": OfferState.ACCEPTED,
        "second": OfferState.LAPSED,
    }
    with pytest.raises(AlreadyAccepted, match="其他队伍"):
        order.accept(leader_of(second), second, [], NOBODY, MORNING)
    assert order.accepted_by == "first"


def test_a_team_that_accepts_again_is_told_that_it_has_the_order() -> None:
    order = an_order(S.ACCEPTED)
    with pytest.raises(AlreadyAccepted, match="您的队伍已经接了这一单"):
        order.accept(leader_of(a_team()), a_team(), [], NOBODY, MORNING)
    assert order.accepted_by == a_team().id


def test_only_members_can_be_sent() -> None:
    order = an_order(S.OFFERED)
    with pytest.raises(Invalid):
        order.accept(leader_of(a_team()), a_team(), ["stranger"], NOBODY, MORNING)
    assert order.state is S.OFFERED
    assert order.offers[0].state is OfferState.OPEN


def test_a_team_without_an_open_offer_cannot_accept_or_decline() -> None:
    order, stranger = an_order(S.OFFERED), a_team("stranger")
    with pytest.raises(Conflict):
        order.accept(leader_of(stranger), stranger, [], NOBODY, MORNING)
    with pytest.raises(Conflict):
        order.decline(leader_of(stranger), stranger, "没有时间", MORNING)


def test_a_team_that_declined_is_not_offered_the_order_again() -> None:
    team = a_team()
    order = an_order(S.OFFERED)
    order.decline(leader_of(team), team, "没有时间", MORNING)
    with pytest.raises(Conflict):
        order.offer(staff_of(VILLAGE), None, None, Known([team]), MORNING)
    with pytest.raises(Conflict):
        order.accept(leader_of(team), team, [], NOBODY, MORNING)


def test_declining_costs_nothing_and_the_deadline_runs_on() -> None:
    order, team = an_order(S.OFFERED), a_team()
    order.decline(leader_of(team), team, "没有时间", MORNING + MINUTE)
    assert order.state is S.OFFERED
    assert order.due_at == MORNING + HOUR


def test_a_team_is_offered_the_same_order_once() -> None:
    order = an_order(S.OFFERED)
    with pytest.raises(Conflict):
        order.offer(staff_of(VILLAGE), None, None, Known([a_team()]), MORNING)
    order.offer(staff_of(VILLAGE), None, None, Known([a_team(), a_team("new")]), MORNING)
    assert [offer.team for offer in order.offers] == ["t1", "new"]


def test_a_withdrawal_opens_the_lapsed_offers_again_and_keeps_the_deadline() -> None:
    team, other, declined = a_team("team"), a_team("other"), a_team("declined")
    order = a_placed_order(teams=[team, other, declined])
    order.decline(leader_of(declined), declined, "没有时间", MORNING)
    order.accept(leader_of(team), team, [], NOBODY, MORNING + MINUTE)
    assert order.due_at is None
    events = order.withdraw(leader_of(team), team, "有人病了", MORNING + 2 * MINUTE)
    assert order.due_at == MORNING + HOUR
    assert order.accepted_by is None
    assert order.volunteers == []
    assert {offer.team: offer.state for offer in order.offers} == {
        "team": OfferState.WITHDRAWN, "other": OfferState.OPEN, "declined": OfferState.DECLINED,
    }  # fmt: skip
    assert facts_of(events) == [
        facts.OrderWithdrawn(order_id="o1", site=VILLAGE, tier=Tier.STATION, team_id="team", due_at=MORNING + HOUR),
        facts.OrderOffered(order_id="o1", site=VILLAGE, tier=Tier.STATION, team_ids=["other"]),
    ]
    order.accept(leader_of(other), other, [], NOBODY, MORNING + 3 * MINUTE)


def test_a_withdrawal_does_not_open_the_offers_of_the_tier_below() -> None:
    order, team = an_order(S.OFFERED), a_team("t2", Tier.INSTITUTE)
    order.escalate(staff_of(VILLAGE), "本站做不了", Known([team]), DEADLINES, MORNING)
    order.accept(leader_of(team), team, [], NOBODY, MORNING)
    order.withdraw(leader_of(team), team, "有人病了", MORNING)
    assert order.state is S.PLACED
    assert order.holder == Holder("site", TOWNSHIP)
    assert {offer.team: offer.state for offer in order.offers} == {
        "t1": OfferState.LAPSED, "t2": OfferState.WITHDRAWN,
    }  # fmt: skip


def test_a_withdrawal_after_the_deadline_lets_the_order_climb_at_once() -> None:
    order, team = an_order(S.ACCEPTED), a_team()
    order.withdraw(leader_of(team), team, "有人病了", MORNING + 2 * HOUR)
    assert order.move_when_due(NOBODY, DEADLINES, MORNING + 2 * HOUR)
    assert order.tier is Tier.INSTITUTE


# -- the visit ------------------------------------------------------------------------------------------


def test_the_last_word_about_the_time_of_the_visit_stands() -> None:
    order = an_order(S.ACCEPTED)
    (told,) = facts_of(order.appoint(a_resident(), Side.RESIDENT, MORNING + HOUR, MORNING + 2 * HOUR, MORNING))
    assert told == facts.OrderAppointed(
        order_id="o1", site=VILLAGE, tier=Tier.STATION, by="resident", start=MORNING + HOUR, end=MORNING + 2 * HOUR
    )
    order.appoint(leader_of(a_team()), Side.TEAM, MORNING + 2 * HOUR, MORNING + 3 * HOUR, MORNING)
    assert (order.preferred_from, order.appointed_by) == (MORNING + 2 * HOUR, Side.TEAM)
    assert [entry.note for entry in order.timeline[-2:]] == ["06月03日 10:00–11:00", "06月03日 11:00–12:00"]


@pytest.mark.parametrize(
    ("start", "end", "path"),
    [
        (MORNING + HOUR, MORNING + HOUR, "to"),
        (MORNING - 2 * MINUTE, MORNING + HOUR, "from"),
        (MORNING + timedelta(days=367), MORNING + timedelta(days=368), "from"),
    ],
)
def test_a_visit_that_cannot_be_is_refused(start: datetime, end: datetime, path: str) -> None:
    order = an_order(S.ACCEPTED)
    before = deepcopy(order)
    with pytest.raises(Invalid) as refused:
        order.appoint(a_resident(), Side.RESIDENT, start, end, MORNING)
    assert refused.value.extra["fields"][0]["path"] == path
    assert order == before


@pytest.mark.parametrize(("agreed", "now"), [(None, MORNING), (MORNING + HOUR, MORNING)])
def test_only_a_visit_whose_time_has_come_can_be_missed(agreed: datetime | None, now: datetime) -> None:
    order = an_order(S.ACCEPTED)
    order.preferred_from = agreed
    with pytest.raises(Conflict, match="约定"):
        order.miss(a_resident(), "没有人来", now)
    assert order.state is S.ACCEPTED


def test_an_order_whose_team_did_not_come_goes_back_with_its_deadline_and_not_to_that_team() -> None:
    team, other = a_team("team"), a_team("other")
    order = a_placed_order(teams=[team, other], preferred_from=MORNING)
    order.accept(leader_of(team), team, [], NOBODY, MORNING)
    missed, withdrawn, offered = facts_of(order.miss(a_resident(), "没有人来", MORNING + MINUTE))
    assert missed == facts.OrderMissed(order_id="o1", site=VILLAGE, tier=Tier.STATION, team_id="team")
    assert isinstance(withdrawn, facts.OrderWithdrawn) and withdrawn.due_at == MORNING + HOUR
    assert isinstance(offered, facts.OrderOffered) and offered.team_ids == ["other"]
    assert {o.team: o.state for o in order.offers} == {"team": OfferState.MISSED, "other": OfferState.OPEN}
    with pytest.raises(Conflict):
        order.accept(leader_of(team), team, [], NOBODY, MORNING + MINUTE)


def test_a_team_that_stayed_away_too_often_accepts_only_what_a_person_gives_it() -> None:
    team = a_team()
    order = a_placed_order(teams=[team])
    for days in (1, 2, 3):
        team.miss(MORNING - timedelta(days=days))
    known = Known([team])
    with pytest.raises(Conflict, match="没有到场"):
        order.accept(leader_of(team), team, [], known, MORNING)
    by_hand = a_placed_order(teams=[team])
    assert by_hand.offers == []
    by_hand.offer(staff_of(VILLAGE), [team.id], "队长保证到场", known, MORNING)
    by_hand.accept(leader_of(team), team, [], known, MORNING)
    assert by_hand.accepted_by == team.id


def test_what_a_team_missed_long_ago_counts_no_more() -> None:
    team = a_team()
    for days in (400, 91, 92, 93, 1):
        team.miss(MORNING - timedelta(days=days))
    assert a_placed_order(teams=[team]).offers[0].team == team.id
    team.miss(MORNING)
    assert len(team.no_shows) == 5 and MORNING - timedelta(days=400) not in team.no_shows


@pytest.mark.parametrize("state", [S.ACCEPTED, S.IN_SERVICE])
def test_a_team_that_serves_no_more_is_relieved_of_what_it_has_not_completed(state: State) -> None:
    order, team = an_order(state), a_team(active=False)
    (withdrawn,) = order.withdraw(SYSTEM, team, domain.TEAM_GONE, MORNING)
    assert isinstance(withdrawn, facts.OrderWithdrawn) and withdrawn.team_id == team.id
    assert (order.state, order.holder, order.accepted_by) == (S.PLACED, Holder("site", VILLAGE), None)
    assert (order.timeline[-1].actor, order.timeline[-1].note) == (SYSTEM.id, domain.TEAM_GONE)


@pytest.mark.parametrize("state", [S.OFFERED, S.UNMET])
def test_a_team_that_serves_no_more_accepts_nothing(state: State) -> None:
    order = an_order(state)
    team = a_team(tier=Tier.CENTER if state is S.UNMET else Tier.STATION, active=False)
    with pytest.raises(Conflict, match="停止活动"):
        order.accept(leader_of(team), team, [], NOBODY, MORNING)
    assert order.state is state


def test_only_the_team_that_has_the_order_works_on_it() -> None:
    stranger = a_team("stranger")
    leader = leader_of(stranger)
    with pytest.raises(Conflict):
        an_order(S.ACCEPTED).start(leader, stranger, MORNING)
    with pytest.raises(Conflict):
        an_order(S.ACCEPTED).withdraw(leader, stranger, "", MORNING)
    with pytest.raises(Conflict):
        an_order(S.IN_SERVICE).complete(leader, stranger, [], "", [], WEEK, MORNING)


def test_a_cancelled_order_is_nobodys_any_more() -> None:
    order, team = an_order(S.ACCEPTED), a_team()
    order.cancel(a_resident(), "不用了", MORNING)
    assert order.accepted_by is None
    assert order.offers[0].state is OfferState.LAPSED
    assert not permissions.reads_in_clear(leader_of(team), order, [team])
    with pytest.raises(IllegalTransition):
        order.accept(leader_of(team), team, [], NOBODY, MORNING)


# -- climbing -------------------------------------------------------------------------------------------


def test_the_order_climbs_station_institute_center_and_is_unmet_only_above_the_center() -> None:
    order = a_placed_order()
    seen = []
    for hour in range(1, 6):
        events = order.move_when_due(NOBODY, DEADLINES, MORNING + hour * HOUR)
        seen.append((order.tier, order.state, [event.fact for event in events]))
    assert seen == [
        (Tier.INSTITUTE, S.PLACED, ["order.escalated"]),
        (Tier.CENTER, S.PLACED, ["order.escalated"]),
        (Tier.CENTER, S.UNMET, ["order.unmet"]),
        (Tier.CENTER, S.UNMET, []),
        (Tier.CENTER, S.UNMET, []),
    ]
    assert order.holder == Holder("site", COUNTY)


def test_an_escalation_and_the_offers_of_the_new_tier_are_one_transition() -> None:
    order, team = an_order(S.OFFERED), a_team("t2", Tier.INSTITUTE)
    events = order.escalate(staff_of(VILLAGE), "本站做不了", Known([team, a_team("t3")]), DEADLINES, MORNING + MINUTE)
    assert facts_of(events) == [
        facts.OrderEscalated(
            order_id="o1", site=VILLAGE, tier=Tier.INSTITUTE, from_tier=Tier.STATION, from_site=VILLAGE,
            to_site=TOWNSHIP, due_at=MORNING + MINUTE + HOUR,
        ),
        facts.OrderOffered(order_id="o1", site=VILLAGE, tier=Tier.INSTITUTE, team_ids=["t2"]),
    ]  # fmt: skip
    assert order.state is S.OFFERED
    assert order.holder == Holder("site", TOWNSHIP)
    assert {offer.team: offer.state for offer in order.offers} == {"t1": OfferState.LAPSED, "t2": OfferState.OPEN}


def test_a_team_of_the_tier_below_comes_too_late_after_the_escalation() -> None:
    order, team = an_order(S.OFFERED), a_team()
    order.move_when_due(NOBODY, DEADLINES, MORNING + HOUR)
    with pytest.raises(Conflict):
        order.accept(leader_of(team), team, [], NOBODY, MORNING + HOUR)


def test_a_timer_that_fires_early_twice_or_late_moves_the_order_once_per_hop() -> None:
    order = a_placed_order()
    assert order.move_when_due(NOBODY, DEADLINES, MORNING + HOUR - timedelta(microseconds=1)) == []
    assert order.move_when_due(NOBODY, DEADLINES, MORNING + 5 * HOUR) != []
    assert order.move_when_due(NOBODY, DEADLINES, MORNING + 5 * HOUR) == []
    assert order.tier is Tier.INSTITUTE
    assert order.due_at == MORNING + 6 * HOUR


def test_what_the_clock_has_given_up_nobody_escalates_by_hand() -> None:
    order = a_placed_order(chain=a_chain(tiers=[Tier.CENTER]))
    order.move_when_due(NOBODY, DEADLINES, MORNING + HOUR)
    with pytest.raises(IllegalTransition):
        order.escalate(staff_of(COUNTY), "", NOBODY, DEADLINES, MORNING + HOUR)


def test_the_clock_leaves_an_accepted_order_alone() -> None:
    order = an_order(S.ACCEPTED)
    assert order.move_when_due(NOBODY, DEADLINES, MORNING + 100 * HOUR) == []


def test_unmet_tells_the_center_and_the_category() -> None:
    order = a_placed_order(chain=a_chain(tiers=[Tier.CENTER]))
    assert facts_of(order.escalate(staff_of(COUNTY), "没有队伍", NOBODY, DEADLINES, MORNING)) == [
        facts.OrderUnmet(order_id="o1", site=VILLAGE, tier=Tier.CENTER, category=Category.COMMUNITY, center=COUNTY)
    ]


def test_an_unmet_order_is_still_accepted_by_a_team_that_was_asked() -> None:
    order, team = an_order(S.UNMET), a_team(tier=Tier.CENTER)
    order.accept(leader_of(team), team, [], NOBODY, MORNING)
    assert order.holder == Holder("team", "t1")


def test_an_unmet_order_is_offered_anew_to_who_did_not_answer_but_not_to_who_declined() -> None:
    order, team, declined = an_order(S.UNMET), a_team(tier=Tier.CENTER), a_team("declined", Tier.CENTER)
    order.offer(staff_of(COUNTY), None, None, Known([declined]), MORNING)
    order.decline(leader_of(declined), declined, "没有时间", MORNING)
    known = Known([team, declined])

    assert facts_of(order.offer(staff_of(COUNTY), None, None, known, MORNING)) == [
        facts.OrderOffered(order_id="o1", site=VILLAGE, tier=Tier.CENTER, team_ids=["t1"])
    ]
    assert [offer.team for offer in order.offers] == ["t1", "declined"]


def test_a_team_that_gives_an_unmet_order_back_leaves_it_unmet() -> None:
    order, team = an_order(S.UNMET), a_team(tier=Tier.CENTER)
    order.accept(leader_of(team), team, [], NOBODY, MORNING)
    events = order.withdraw(leader_of(team), team, "有人病了", MORNING)
    assert order.state is S.UNMET
    assert order.holder == Holder("site", COUNTY)
    assert order.due_at is None
    assert events[0].due_at is None


# -- the end --------------------------------------------------------------------------------------------


def test_the_completed_order_tells_the_service_record() -> None:
    order, team = an_order(S.IN_SERVICE), a_team()
    segments = [a_segment("t1-leader", MORNING, MORNING + HOUR), a_segment("t1-member", MORNING, MORNING + MINUTE)]
    (completed,) = order.complete(leader_of(team), team, segments, "已理发", [], WEEK, MORNING + HOUR)
    assert facts_of([completed])[0] == facts.OrderCompleted(
        order_id="o1", site=VILLAGE, tier=Tier.STATION, team_id="t1", category=Category.COMMUNITY, placed_on=MORNING,
        segments=[
            facts.Segment(volunteer_id="t1-leader", start=MORNING, end=MORNING + HOUR),
            facts.Segment(volunteer_id="t1-member", start=MORNING, end=MORNING + MINUTE),
        ],
    )  # fmt: skip
    order.rate(a_resident(), 5, None, MORNING + HOUR)
    (closed,) = order.close(staff_of(VILLAGE), MORNING + HOUR)
    assert closed.model_dump() == completed.model_dump()


def test_every_fact_says_whom_it_concerns_also_the_team_that_has_just_lost_the_order() -> None:
    order = a_placed_order(teams=[a_team()], urgent=True)
    (accepted,) = order.accept(leader_of(a_team()), a_team(), [], NOBODY, MORNING)
    (cancelled,) = order.cancel(a_resident(), "不需要了", MORNING)
    concern = facts.Concern(
        resident=order.resident_id, placed_by=order.placed_by, item_id="home-haircut", held_at=VILLAGE, team_id="t1",
        urgent=True,
    )  # fmt: skip
    assert accepted.concerns == cancelled.concerns == concern


def test_a_silent_resident_gives_the_default_rating_marked_system_after_the_silence() -> None:
    order = an_order(S.COMPLETED)
    assert order.move_when_due(NOBODY, DEADLINES, MORNING + WEEK - MINUTE) == []
    assert facts_of(order.move_when_due(NOBODY, DEADLINES, MORNING + WEEK)) == [
        facts.OrderRated(order_id="o1", site=VILLAGE, tier=Tier.STATION, score=5, by="system")
    ]
    assert order.timeline[-1].actor == SYSTEM.id
    assert order.move_when_due(NOBODY, DEADLINES, MORNING + 2 * WEEK) == []


def test_the_residents_own_rating_is_marked_so() -> None:
    order = an_order(S.COMPLETED)
    (rated,) = order.rate(a_resident(), 2, "来晚了", MORNING)
    assert (rated.score, rated.by) == (2, "resident")
    assert order.comment == "来晚了"
    assert order.holder == Holder("site", VILLAGE)


def test_a_reopened_order_is_a_new_cycle_with_the_same_id_for_everybody() -> None:
    order = an_order(S.CLOSED)
    before, team = deepcopy(order), a_team()
    again, events = order.reopen(a_resident(), "没理好", Known([team]), DEADLINES, MORNING + HOUR)
    assert order == before
    assert (again.id, again.cycle, again.reopens, again.state) == ("o1.2", 2, "o1", S.OFFERED)
    assert [event.fact for event in events] == ["order.placed", "order.reopened", "order.offered"]
    assert [entry.event for entry in again.timeline] == ["placed", "reopened", "offered"]
    assert again.due_at == MORNING + 2 * HOUR
    assert (again.resident_id, again.address) == (order.resident_id, order.address)
    assert order.reopen(staff_of(VILLAGE), "没理好", NOBODY, DEADLINES, MORNING + HOUR)[0].id == "o1.2"


def test_the_third_cycle_follows_the_second() -> None:
    order = an_order(S.CLOSED)
    order.id, order.cycle = "o1.2", 2
    again, _ = order.reopen(a_resident(), "没理好", NOBODY, DEADLINES, MORNING)
    assert (again.id, again.cycle, again.reopens) == ("o1.3", 3, "o1.2")


def test_a_reopened_order_starts_at_its_first_seat_and_asks_also_who_declined() -> None:
    order, team = an_order(S.RATED), a_team()
    order.tier = Tier.INSTITUTE
    order.offers[0].state = OfferState.DECLINED
    again, _ = order.reopen(a_resident(), "没理好", Known([team]), DEADLINES, MORNING)
    assert again.tier is Tier.STATION
    assert [offer.team for offer in again.offers] == ["t1"]


def test_notes_of_the_timeline_hide_numbers_of_people() -> None:
    order = an_order(S.OFFERED)
    order.cancel(a_resident(), "请打 13800138000，证号 11010519491231002X", MORNING)
    assert order.timeline[-1].note == "请打 138****8000，证号 110105*********02X"


# -- service records ------------------------------------------------------------------------------------

AT_NIGHT = datetime(2026, 6, 2, 15, 0, tzinfo=UTC)
"""23:00 in China."""


def refusal(*segments: domain.Segment, now: datetime = MORNING, placed: datetime = MORNING) -> list[str]:
    """The path that a record is refused for; empty when it is taken."""
    order, team = an_order(S.IN_SERVICE, now=placed), a_team()
    try:
        order.complete(leader_of(team), team, list(segments), "已理发", [], WEEK, now)
    except Invalid as error:
        assert order.state is S.IN_SERVICE
        return [field["path"] for field in error.extra["fields"]]
    return []


LATER = MORNING + 12 * HOUR
"""21:00 in China."""


@pytest.mark.parametrize(
    ("segments", "paths"),
    [
        ([a_segment()], []),
        ([a_segment("stranger")], ["records.0.volunteer"]),
        ([a_segment(), a_segment("stranger")], ["records.1.volunteer"]),
        ([a_segment(end=MORNING + MINUTE)], []),
        ([a_segment(end=MORNING + timedelta(seconds=59))], ["records.0.to"]),
        ([a_segment(end=MORNING - MINUTE)], ["records.0.to"]),
        ([a_segment(start=LATER, end=LATER + MINUTE)], []),
        ([a_segment(start=LATER, end=LATER + 2 * MINUTE)], ["records.0.to"]),
        ([a_segment(start=MORNING - 9 * HOUR)], []),
        ([a_segment(start=MORNING - 10 * HOUR)], ["records.0.from"]),
        ([a_segment(start=MORNING - 9 * HOUR - MINUTE)], ["records.0.to"]),
        ([a_segment(), a_segment(start=MORNING + HOUR)], []),
        ([a_segment(), a_segment(start=MORNING + HOUR - MINUTE)], ["records.1"]),
        ([a_segment(), a_segment("t1-member")], []),
        ([a_segment(), a_segment()], ["records.1"]),
    ],
    ids=[
        "an hour",
        "of a stranger",
        "of a stranger, second",
        "one minute",
        "59 seconds",
        "backwards",
        "a minute ahead, clocks differ",
        "in the future",
        "before the order, same day",
        "the day before",
        "over midnight",
        "touching",
        "overlapping",
        "two people at once",
        "the same twice",
    ],
)
def test_a_service_record_follows_the_rules_for_hours(segments: list[domain.Segment], paths: list[str]) -> None:
    assert refusal(*segments, now=LATER) == paths


def test_a_segment_may_end_at_midnight_but_not_a_microsecond_later() -> None:
    midnight = AT_NIGHT + HOUR
    assert refusal(a_segment(start=AT_NIGHT, end=midnight), placed=AT_NIGHT) == []
    after = midnight + timedelta(microseconds=1)
    assert refusal(a_segment(start=AT_NIGHT, end=after), placed=AT_NIGHT) == ["records.0.to"]


# -- the way up -----------------------------------------------------------------------------------------


def chain_of(*places: known.Place) -> list[Seat]:
    return domain.chain_of(places[0], {place.id: place for place in places})


def test_an_order_climbs_from_the_station_to_the_center_and_never_to_the_city() -> None:
    found = chain_of(a_place(), a_place(Tier.INSTITUTE, auto_offer=False), a_place(Tier.CENTER), a_place(Tier.CITY))
    assert found == [
        Seat(VILLAGE, Tier.STATION, True), Seat(TOWNSHIP, Tier.INSTITUTE, False), Seat(COUNTY, Tier.CENTER, True),
    ]  # fmt: skip


def test_a_village_without_a_station_starts_at_the_institute() -> None:
    found = chain_of(a_place(has_post=False), a_place(Tier.INSTITUTE), a_place(Tier.CENTER), a_place(Tier.CITY))
    assert [seat.tier for seat in found] == [Tier.INSTITUTE, Tier.CENTER]


def test_a_village_of_a_quasi_township_goes_from_the_station_to_the_center() -> None:
    path = ["130828450001", "130828450", "130828", CITY]
    found = chain_of(
        a_place(id=path[0], path=path),
        a_place(Tier.INSTITUTE, id=path[1], path=path[1:], has_post=False),
        a_place(Tier.CENTER, id=path[2], path=path[2:]),
        a_place(Tier.CITY),
    )
    assert [seat.site for seat in found] == ["130828450001", "130828"]


def test_a_town_of_the_high_tech_zone_climbs_to_the_center_that_is_configured() -> None:
    path = ["130871104201", "130871104", COUNTY, CITY]
    found = chain_of(
        a_place(id=path[0], path=path),
        a_place(Tier.INSTITUTE, id=path[1], path=path[1:]),
        a_place(Tier.CENTER),
        a_place(Tier.CITY),
    )
    assert [seat.site for seat in found] == path[:3]
    assert a_placed_order(chain=found).next_seat == Seat("130871104", Tier.INSTITUTE, True)


def test_an_order_that_starts_at_the_institute_is_held_there() -> None:
    order = a_placed_order(chain=a_chain(tiers=[Tier.INSTITUTE, Tier.CENTER]))
    assert order.tier is Tier.INSTITUTE
    assert order.holder == Holder("site", TOWNSHIP)
    assert order.site == VILLAGE


# -- who may --------------------------------------------------------------------------------------------

OUTSIDERS = {
    "another resident": a_resident("r2"),
    "staff of another village": staff_of("130802103203"),
    "staff of another county": staff_of("130803"),
    "a volunteer without a team": a_volunteer("v9"),
    "a resident with the code of the station": an_actor("r3", site=VILLAGE),
}
ABOVE = {"institute": staff_of(TOWNSHIP), "center": staff_of(COUNTY), "city": staff_of(CITY)}


@pytest.mark.parametrize("actor", OUTSIDERS.values(), ids=OUTSIDERS)
def test_who_has_nothing_to_do_with_the_order_does_not_learn_that_it_exists(actor: object) -> None:
    order = an_order(S.OFFERED)
    assert not permissions.may_read(actor, order, [])
    assert not permissions.reads_in_clear(actor, order, [])
    for command in permissions.ALLOWED:
        with pytest.raises(NotFound):
            permissions.permit(command, actor, order, [])
    with pytest.raises(NotFound):
        permissions.led_team(actor, order, [])


@pytest.mark.parametrize(
    ("actor", "commands"),
    [
        (a_resident(), {"rate", "cancel", "reopen", "complain", "no-show", "read_views"}),
        (
            staff_of(VILLAGE),
            {"offer", "escalate", "reject", "close", "cancel", "reopen", "no-show", "note", "read_notes", "read_views"},
        ),
        (staff_of(TOWNSHIP), {"reopen", "note", "read_notes", "read_views"}),
        (staff_of(COUNTY), {"reopen", "note", "read_notes", "read_views"}),
        (staff_of(CITY), {"reopen", "note", "read_notes", "read_views"}),
        (ADMIN, {"read_notes", "read_views"}),
        (leader_of(a_team()), set()),
    ],
    ids=["resident", "station", "institute", "center", "city", "admin", "leader"],
)
def test_each_may_do_what_is_theirs(actor: object, commands: set[str]) -> None:
    order, teams = an_order(S.OFFERED), [a_team()] if actor == leader_of(a_team()) else []
    for command in permissions.ALLOWED:
        if command in commands:
            permissions.permit(command, actor, order, teams)
        else:
            with pytest.raises(Forbidden):
                permissions.permit(command, actor, order, teams)


def test_after_an_escalation_the_institute_decides_and_the_station_keeps_seeing() -> None:
    order = an_order(S.OFFERED)
    order.escalate(staff_of(VILLAGE), "本站做不了", NOBODY, DEADLINES, MORNING)
    permissions.permit("offer", staff_of(TOWNSHIP), order, [])
    with pytest.raises(Forbidden):
        permissions.permit("offer", staff_of(VILLAGE), order, [])


def test_who_placed_it_for_the_resident_may_rate_and_cancel() -> None:
    order = a_placed_order(resident_id="r1", placed_by="daughter")
    for command in ("rate", "cancel", "reopen"):
        permissions.permit(command, a_resident("daughter", site="130803101001"), order, [])


@pytest.mark.parametrize("actor", [a_resident(), staff_of(VILLAGE), *ABOVE.values(), ADMIN], ids=lambda actor: actor.id)
def test_the_resident_the_staff_above_and_the_administrator_read_in_clear(actor: object) -> None:
    order = an_order(S.OFFERED)
    assert permissions.may_read(actor, order, [])
    assert permissions.reads_in_clear(actor, order, [])


def test_a_team_reads_with_its_offer_and_in_clear_only_after_its_acceptance() -> None:
    first, second = a_team("first"), a_team("second")
    order = a_placed_order(teams=[first, second])
    assert permissions.may_read(leader_of(first), order, [first])
    assert not permissions.reads_in_clear(leader_of(first), order, [first])
    order.accept(leader_of(first), first, [], NOBODY, MORNING)
    assert permissions.reads_in_clear(leader_of(first), order, [first])
    assert permissions.may_read(leader_of(second), order, [second])
    assert not permissions.reads_in_clear(leader_of(second), order, [second])


def test_the_leader_speaks_for_the_team_and_a_member_does_not() -> None:
    order, team = an_order(S.OFFERED), a_team()
    assert permissions.led_team(leader_of(team), order, [team]) == team
    assert permissions.led_team(leader_of(team), order, [team], "t1") == team
    with pytest.raises(Forbidden):
        permissions.led_team(a_volunteer("t1-member"), order, [team])
    with pytest.raises(Forbidden):
        permissions.led_team(leader_of(team), order, [team], "other")


def test_the_leader_of_two_teams_speaks_for_the_one_that_has_the_order() -> None:
    first, second = a_team("first"), a_team("second", leader_id="first-leader")
    order = a_placed_order(teams=[first, second])
    order.accept(leader_of(first), second, [], NOBODY, MORNING)
    assert permissions.led_team(leader_of(first), order, [first, second]) == second
    assert permissions.led_team(leader_of(first), order, [first, second], "first") == first


def test_a_resident_orders_at_home_for_themselves() -> None:
    permissions.check_placing(a_resident(), a_place(), None, None, False)
    permissions.check_placing(a_resident(), a_place(), a_beneficiary(), "r1", False)
    with pytest.raises(Forbidden):
        permissions.check_placing(a_resident(site="130802103203"), a_place(), None, None, False)
    with pytest.raises(Forbidden):
        permissions.check_placing(a_resident(), a_place(), a_beneficiary("r2"), "r2", False)


def test_a_proxy_orders_for_those_of_the_household_at_their_home() -> None:
    daughter = a_resident("daughter", site="130803101001")
    permissions.check_placing(daughter, a_place(), a_beneficiary(), "r1", True)
    for is_proxy, beneficiary in ((False, a_beneficiary()), (True, a_beneficiary(site="130802103203"))):
        with pytest.raises(Forbidden):
            permissions.check_placing(daughter, a_place(), beneficiary, "r1", is_proxy)


def test_staff_order_for_people_of_their_places_only() -> None:
    for code in (VILLAGE, TOWNSHIP, COUNTY):
        permissions.check_placing(staff_of(code), a_place(), a_beneficiary(), "r1", False)
    with pytest.raises(NotFound):
        permissions.check_placing(staff_of(VILLAGE), a_place(), None, "nobody", False)
    with pytest.raises(NotFound):
        permissions.check_placing(staff_of(VILLAGE), a_place(), a_beneficiary("r2", "130803101001"), "r2", False)
    with pytest.raises(Forbidden):
        permissions.check_placing(staff_of("130803"), a_place(), a_beneficiary(), "r1", False)


def test_who_is_neither_resident_nor_staff_places_no_orders() -> None:
    with pytest.raises(Forbidden):
        permissions.check_placing(an_actor("system"), a_place(), None, None, False)
