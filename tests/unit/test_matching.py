"""Who may be sent, who comes first, and what is said about it: a test per rule."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from services.contracts.dispatch import Condition, PublishRules, Rule, Wave, Weights
from services.contracts.errors import Conflict, Invalid
from services.contracts.registry import (
    Absence,
    AgeBand,
    Category,
    OfferMode,
    Qualification,
    Risk,
    Slot,
    TargetGroup,
    Tier,
)
from services.dispatch.domain import Order, Seat, State
from services.dispatch.known import Team, Volunteer
from services.dispatch.matching import (
    KEPT,
    WORDS,
    Candidate,
    Facts,
    History,
    Need,
    RuleBook,
    RuleSet,
    Task,
    Verdict,
    Why,
    against,
    applies,
    distance,
)
from tests.builders import (
    COUNTY,
    DEADLINES,
    HOUR,
    MINUTE,
    MORNING,
    NOBODY,
    PATH,
    RULES,
    SITE_OF,
    TOWNSHIP,
    VILLAGE,
    Known,
    a_chain,
    a_person,
    a_place,
    a_team,
    a_wish,
    an_item,
    leader_of,
    staff_of,
)

TODAY = date(2026, 6, 3)
SISTER = "130802103203"
FIT = Rule(name="fit", title="符合条件的队伍")
SAFE = {"age_band": AgeBand.ADULT, "insured_until": TODAY, "skills": ["理发"]}


def a_need(**changed: object) -> Need:
    known = {
        "order_id": "o1", "site": VILLAGE, "county": COUNTY, "tier": Tier.STATION, "sites": frozenset({VILLAGE}),
        "category": Category.COMMUNITY, "target_group": TargetGroup.ELDERLY, "urgent": False, "skills": [],
        "qualifications": [], "risk": Risk.LOW, "day": TODAY, "mode": OfferMode.FAN_OUT,
    }  # fmt: skip
    return Need(**known | changed)  # type: ignore[arg-type]


def a_rule_set(block: Iterable[Rule] = (), approve: Iterable[Rule] = (FIT,), **changed: Any) -> RuleSet:
    return replace(RULES, block=list(block), approve=list(approve), **changed)


def a_waiting_order(
    known: Known, mode: OfferMode = OfferMode.FAN_OUT, sisters: Iterable[str] = (), auto_offer: bool = True,
    **item: Any,
) -> Order:  # fmt: skip
    chain = [Seat(SITE_OF[Tier.STATION], Tier.STATION, auto_offer, mode=mode, sisters=list(sisters)), *a_chain()[1:]]
    order, _ = Order.place("o1", an_item(**item), a_place(), chain, a_wish(), known, DEADLINES, MORNING)
    return order


def candidate(order: Order, team: str = "t1") -> Candidate:
    return next(c for c in order.decisions[-1].candidates if c.team == team)


def asked(order: Order) -> set[str]:
    return {offer.team for offer in order.offers}


# -- persons --------------------------------------------------------------------------------------------

HINDRANCES = [
    ({}, {}, []),
    ({}, {"suspended": True}, [Why.SUSPENDED]),
    ({"risk": Risk.HIGH}, {"age_band": AgeBand.UNDER_18, "insured_until": TODAY}, [Why.MINOR]),
    ({"category": Category.RESCUE}, {"age_band": AgeBand.UNDER_14}, [Why.MINOR]),
    ({"category": Category.FIRE}, {"age_band": AgeBand.UNDER_16}, [Why.MINOR]),
    ({"category": Category.RESCUE}, {"age_band": AgeBand.OVER_70}, []),
    ({}, {"age_band": AgeBand.UNDER_14}, []),
    ({"risk": Risk.HIGH}, {"insured_until": TODAY}, []),
    ({"risk": Risk.HIGH}, {"insured_until": TODAY - timedelta(days=1)}, [Why.UNINSURED]),
    ({"risk": Risk.HIGH}, {}, [Why.UNINSURED]),
    ({"skills": ["理发"]}, {"skills": ["理发", "缝纫"]}, []),
    ({"skills": ["理发", "缝纫"]}, {"skills": ["理发"]}, [Why.UNSKILLED]),
    ({"qualifications": ["急救员"]}, {"qualifications": [Qualification(kind="急救员", until=TODAY)]}, []),
    (
        {"qualifications": ["急救员"]},
        {"qualifications": [Qualification(kind="急救员", until=TODAY - timedelta(days=1))]},
        [Why.UNQUALIFIED],
    ),
    ({"qualifications": ["急救员"]}, {"skills": ["急救员"]}, [Why.UNQUALIFIED]),
    ({}, {"absences": [Absence(start=TODAY, end=TODAY)]}, [Why.ABSENT]),
    ({}, {"absences": [Absence(start=date(2026, 6, 4), end=date(2026, 6, 9))]}, []),
    ({}, {"absences": [Absence(start=date(2026, 5, 1), end=date(2026, 6, 2))]}, []),
]


def test_who_stands_in_leads_the_team_while_its_leader_is_away() -> None:
    team = a_team()
    away = a_person(absences=[Absence(start=TODAY, end=TODAY + timedelta(days=1), stand_in="t1-member")])
    led = {day: team.as_led_by("t1-member", away, TODAY + timedelta(days=day)).leader_id for day in (-1, 0, 1, 2)}
    assert led == {-1: "t1-leader", 0: "t1-member", 1: "t1-member", 2: "t1-leader"}
    assert team.leader_id == "t1-leader", "the team itself stays as it is"
    nobody = a_person(absences=[Absence(start=TODAY, end=TODAY)])
    for volunteer, leader in (("t1-other", away), (None, away), ("t1-member", nobody), (None, nobody), ("x", None)):
        assert team.as_led_by(volunteer, leader, TODAY) is team


@pytest.mark.parametrize(("need", "person", "found"), HINDRANCES)
def test_what_stands_against_a_person(need: dict[str, object], person: dict[str, object], found: list[Why]) -> None:
    assert against(a_need(**need), a_person(**person)) == found


@pytest.mark.parametrize(
    ("need", "found"),
    [
        ({}, []),
        ({"skills": ["理发"]}, [Why.UNSKILLED]),
        ({"risk": Risk.HIGH}, [Why.UNKNOWN]),
        ({"category": Category.RESCUE}, [Why.UNKNOWN]),
        ({"qualifications": ["急救员"], "skills": ["理发"]}, [Why.UNKNOWN, Why.UNSKILLED]),
    ],
)
def test_of_whom_nothing_is_known_nothing_is_taken_for_granted(need: dict[str, object], found: list[Why]) -> None:
    assert against(a_need(**need), None) == found


def test_the_day_is_the_one_that_the_resident_prefers() -> None:
    person = a_person(absences=[Absence(start=date(2026, 6, 10), end=date(2026, 6, 10))])
    team = a_team(member_ids=["t1-leader"])
    late_evening = datetime(2026, 6, 9, 17, 0, tzinfo=UTC)  # the 10th in China
    wish = a_wish(preferred_from=late_evening, preferred_to=late_evening + HOUR)
    order, _ = Order.place("o1", an_item(), a_place(), a_chain(), wish, Known([team], [person]), DEADLINES, MORNING)
    assert candidate(order).members == {Why.ABSENT: 1}


@pytest.mark.parametrize(
    ("start", "end", "busy"),
    [
        (0, 1, True),
        (-1, 0, False),
        (1, 2, False),
        (-1, 0.5, True),
        (0.5, 9, True),
        (0, None, True),
        (None, None, False),
    ],
)
def test_who_has_something_else_at_that_time_is_busy(start: float | None, end: float | None, busy: bool) -> None:
    """Half-open; without an end it is taken to last an hour."""
    begin = None if start is None else MORNING + start * HOUR
    task = Task("t1", ["t1-leader"], begin, None if end is None else MORNING + end * HOUR)
    assert task.clashes(a_need(start=MORNING, end=MORNING + HOUR)) is busy


# -- teams ----------------------------------------------------------------------------------------------


def test_a_team_is_fit_if_one_of_its_members_is() -> None:
    team = a_team(member_ids=["able", "away", "new"])
    people = [
        a_person("able", skills=["理发"]),
        a_person("away", skills=["理发"], absences=[Absence(start=TODAY, end=TODAY)]),
    ]
    order = a_waiting_order(Known([team], people), skills=["理发"])
    assert asked(order) == {"t1"}
    assert candidate(order).fit == 1
    assert candidate(order).members == {Why.ABSENT: 1, Why.UNSKILLED: 1}


@pytest.mark.parametrize(
    ("team", "why", "firm"),
    [
        ({"active": False}, Why.INACTIVE, True),
        ({"categories": [Category.LAW]}, Why.OTHER_CATEGORY, False),
        ({"member_ids": []}, Why.NOBODY, True),
    ],
)
def test_what_stands_against_a_team(team: dict[str, object], why: Why, firm: bool) -> None:
    order = a_waiting_order(Known([a_team(**team)]))
    assert (order.state, candidate(order).verdict) == (State.PLACED, Verdict.BLOCKED)
    assert (candidate(order).rules, candidate(order).firm) == ([why], firm)


def test_the_law_cannot_be_overridden_and_the_rest_only_with_a_reason() -> None:
    staff, team = staff_of(VILLAGE), a_team(member_ids=["young"])
    unskilled = a_waiting_order(Known([team], [a_person("young")]), skills=["理发"])
    with pytest.raises(Invalid) as refused:
        unskilled.offer(staff, ["t1"], None, Known([team], [a_person("young")]), MORNING)
    assert refused.value.extra["fields"][0]["path"] == "teams.0"
    assert "不具备所需技能" in refused.value.extra["fields"][0]["message"]
    unskilled.offer(staff, ["t1"], "刚学会，由师傅带着", Known([team], [a_person("young")]), MORNING)
    assert asked(unskilled) == {"t1"}
    decision = unskilled.decisions[-1]
    assert (decision.by, decision.mode, decision.reason) == (staff.id, "by_hand", "刚学会，由师傅带着")
    assert candidate(unskilled).verdict is Verdict.BLOCKED

    minors = Known([team], [a_person("young", **{**SAFE, "age_band": AgeBand.UNDER_18})])
    dangerous = a_waiting_order(minors, risk=Risk.HIGH)
    with pytest.raises(Invalid) as refused:
        dangerous.offer(staff, ["t1"], "他很能干", minors, MORNING)
    assert "未成年人" in refused.value.extra["fields"][0]["message"]
    assert asked(dangerous) == set()


def test_who_declined_is_not_asked_again_whatever_the_reason() -> None:
    team = a_team()
    known = Known([team, a_team("t2")])
    order = a_waiting_order(known)
    order.decline(leader_of(team), team, "没有空", MORNING)
    with pytest.raises(Invalid) as refused:
        order.offer(staff_of(VILLAGE), ["t1"], "请再考虑", known, MORNING)
    assert "谢绝" in refused.value.extra["fields"][0]["message"]


def test_a_stranger_of_a_team_cannot_be_chosen() -> None:
    order = a_waiting_order(Known([a_team()]))
    with pytest.raises(Invalid) as refused:
        order.offer(staff_of(VILLAGE), ["nobody"], None, NOBODY, MORNING)
    assert "不是本级的队伍" in refused.value.extra["fields"][0]["message"]


# -- who goes -------------------------------------------------------------------------------------------


def test_a_team_sends_nobody_whom_the_law_keeps_back() -> None:
    team = a_team(member_ids=["adult", "minor"])
    known = Known([team], [a_person("adult", **SAFE), a_person("minor", **{**SAFE, "age_band": AgeBand.UNDER_18})])
    order = a_waiting_order(known, risk=Risk.HIGH)
    with pytest.raises(Invalid) as refused:
        order.accept(leader_of(team), team, ["adult", "minor"], known, MORNING)
    assert refused.value.extra["fields"][0]["path"] == "volunteers.1"
    order.accept(leader_of(team), team, ["adult"], known, MORNING)
    assert order.accepted_by == "t1"


def test_a_team_in_which_nobody_may_go_any_more_cannot_accept() -> None:
    team = a_team(member_ids=["adult"])
    order = a_waiting_order(Known([team], [a_person("adult", **SAFE)]), risk=Risk.HIGH)
    lapsed = Known([team], [a_person("adult", **{**SAFE, "insured_until": TODAY - timedelta(days=1)})])
    with pytest.raises(Conflict, match="没有有效的保险"):
        order.accept(leader_of(team), team, [], lapsed, MORNING)
    assert order.state is State.OFFERED


def test_the_leader_may_send_somebody_whom_only_a_hint_keeps_back() -> None:
    team = a_team(member_ids=["t1-leader", "away"])
    known = Known([team], [a_person("away", absences=[Absence(start=TODAY, end=TODAY)])])
    order = a_waiting_order(known)
    order.accept(leader_of(team), team, ["away"], known, MORNING)
    assert order.volunteers == ["away"]


# -- rules of the county --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "need", "holds"),
    [
        ({}, {}, True),
        ({"categories": ["社区服务"]}, {}, True),
        ({"categories": ["法律服务"]}, {}, False),
        ({"target_groups": ["elderly", "children"]}, {}, True),
        ({"target_groups": ["children"]}, {}, False),
        ({"tiers": ["center"]}, {}, False),
        ({"risks": ["high"]}, {"risk": Risk.HIGH}, True),
        ({"risks": ["high"]}, {}, False),
        ({"urgent": True}, {}, False),
        ({"urgent": False}, {}, True),
        ({"people_below": 3}, {}, True),
        ({"people_below": 2}, {}, False),
        ({"distance_from": 1}, {}, True),
        ({"distance_from": 2}, {}, False),
        ({"load_from": 4}, {}, True),
        ({"load_from": 5}, {}, False),
        ({"experience_below": 8}, {}, True),
        ({"experience_below": 7}, {}, False),
        ({"experience_from": 7}, {}, True),
        ({"experience_from": 8}, {}, False),
        ({"people_below": 3, "load_from": 5}, {}, False),
    ],
)
def test_a_condition_holds_when_all_of_it_does(when: dict[str, object], need: dict[str, object], holds: bool) -> None:
    facts = Facts(people=2, distance=1, load=4, experience=7)
    assert applies(Condition.model_validate(when), a_need(**need), facts) is holds


def test_a_block_rule_comes_before_every_approve_rule() -> None:
    alone = Rule(name="alone", title="上门服务要两个人", when=Condition(people_below=2))
    teams = [a_team("one", member_ids=["a"]), a_team("two", member_ids=["b", "c"])]
    order = a_waiting_order(Known(teams, rules=a_rule_set(block=[alone])))
    assert asked(order) == {"two"}
    assert (candidate(order, "one").verdict, candidate(order, "one").rules) == (Verdict.BLOCKED, ["alone"])
    assert (candidate(order, "two").verdict, candidate(order, "two").rules) == (Verdict.APPROVED, ["fit"])


def test_whom_no_rule_approves_waits_for_a_person() -> None:
    proven = Rule(name="proven", title="服务过三次以上", when=Condition(experience_from=3))
    known = Known(
        [a_team("old"), a_team("new")], rules=a_rule_set(approve=[proven]), history=History(served={"old": 3, "new": 2})
    )
    order = a_waiting_order(known)
    assert asked(order) == {"old"}
    assert candidate(order, "new").verdict is Verdict.UNDECIDED
    order.offer(staff_of(VILLAGE), None, None, known, MORNING)
    assert asked(order) == {"old", "new"}


def test_a_blocked_team_may_be_chosen_with_a_reason() -> None:
    busy = Rule(name="busy", title="手上已有三单", when=Condition(load_from=3))
    tasks = [Task("t1", [], None, None)] * 3
    known = Known([a_team()], rules=a_rule_set(block=[busy]), history=History(tasks))
    order = a_waiting_order(known)
    with pytest.raises(Invalid) as refused:
        order.offer(staff_of(VILLAGE), ["t1"], None, known, MORNING)
    assert refused.value.extra["fields"][0]["message"].startswith("手上已有三单；")
    order.offer(staff_of(VILLAGE), ["t1"], "队长说忙得过来", known, MORNING)
    assert asked(order) == {"t1"}


def test_rules_hold_from_their_day_and_the_latest_counts() -> None:
    book, staff = RuleBook(COUNTY), staff_of(COUNTY)
    first = book.publish(staff, PublishRules(approve=[FIT]), MORNING)
    planned = book.publish(staff, PublishRules(valid_from=MORNING + HOUR), MORNING + MINUTE)
    assert [rules.version for rules in book.sets] == ["130802-1", "130802-2"]
    assert book.in_force(MORNING - MINUTE) is None
    assert book.in_force(MORNING + HOUR - MINUTE) is first
    assert book.in_force(MORNING + HOUR) is planned
    assert book.of_version("130802-2") is planned and book.of_version("130802-3") is None


@pytest.mark.parametrize(
    "given",
    [
        PublishRules(valid_from=MORNING - MINUTE),
        PublishRules(block=[FIT], approve=[FIT]),
        PublishRules(block=[Rule(name="minor", title="未成年")]),
    ],
)
def test_rules_of_the_past_and_names_used_twice_are_refused(given: PublishRules) -> None:
    book = RuleBook(COUNTY)
    with pytest.raises(Invalid):
        book.publish(staff_of(COUNTY), given, MORNING)
    assert book.sets == []


def test_everything_that_stands_against_somebody_has_words() -> None:
    assert set(WORDS) == set(Why)


# -- ranking --------------------------------------------------------------------------------------------


def ranked(known: Known, **need: Any) -> list[str]:
    return [c.team for c in known.match(a_need(**need)).candidates]


def only(name: str) -> RuleSet:
    return a_rule_set(weights=Weights(**{**dict.fromkeys(Weights.model_fields, 0), name: 1}))


def test_who_has_more_able_members_comes_first() -> None:
    teams = [a_team("few", member_ids=["a", "b", "c"]), a_team("all", member_ids=["d", "e"])]
    people = [a_person(id, skills=["理发"]) for id in "ade"]
    assert ranked(Known(teams, people, rules=only("skill")), skills=["理发"]) == ["all", "few"]


def test_who_is_near_comes_first() -> None:
    teams = [a_team("far", site=SISTER), a_team("near")]
    known = Known(teams, rules=only("distance"), distances={SISTER: 1})
    assert ranked(known, sites=frozenset({VILLAGE, SISTER})) == ["near", "far"]


def test_who_is_free_in_that_slot_comes_first() -> None:
    teams = [a_team("weekend", member_ids=["a"]), a_team("morning", member_ids=["b"])]
    people = [a_person("a", availability=["sat_morning"]), a_person("b", availability=["wed_morning"])]
    assert ranked(Known(teams, people, rules=only("slot")), start=MORNING) == ["morning", "weekend"]


def test_who_has_less_to_do_comes_first() -> None:
    tasks = [Task("busy", [], None, None)]
    assert ranked(Known([a_team("busy"), a_team("idle")], rules=only("load"), history=History(tasks))) == [
        "idle",
        "busy",
    ]


def test_who_knows_the_target_group_comes_first() -> None:
    known = Known([a_team("new"), a_team("old")], rules=only("experience"), history=History(served={"old": 4}))
    assert ranked(known) == ["old", "new"]


def test_among_equals_the_first_is_another_each_time_but_for_one_order_the_same() -> None:
    known = Known([a_team(f"t{n}") for n in range(4)])
    firsts = [ranked(known, order_id=f"o{n}")[0] for n in range(100)]
    assert set(firsts) == {"t0", "t1", "t2", "t3"}
    assert firsts == [ranked(known, order_id=f"o{n}")[0] for n in range(100)]


@pytest.mark.parametrize(
    ("start", "is_holiday", "slot"),
    [
        (datetime(2026, 6, 3, 1, tzinfo=UTC), False, "wed_morning"),
        (datetime(2026, 6, 3, 4, tzinfo=UTC), False, "wed_afternoon"),
        (datetime(2026, 6, 3, 10, tzinfo=UTC), False, "wed_evening"),
        (datetime(2026, 6, 6, 17, tzinfo=UTC), False, "sun_morning"),
        (datetime(2026, 10, 1, 1, tzinfo=UTC), True, "holiday_morning"),
        (None, False, None),
    ],
)
def test_a_time_falls_into_one_of_24_slots(start: datetime | None, is_holiday: bool, slot: str | None) -> None:
    assert a_need(start=start).slot(is_holiday) == slot


def test_every_slot_that_volunteers_name_is_that_of_some_time() -> None:
    week = [MORNING + timedelta(days=day, hours=hour) for day in range(7) for hour in (0, 6, 12)]
    assert {a_need(start=start).slot(is_holiday) for start in week for is_holiday in (False, True)} == set(Slot)


def test_the_distance_is_how_far_up_one_has_to_go() -> None:
    assert distance(PATH, PATH) == 0
    assert distance(PATH, [SISTER, TOWNSHIP, COUNTY, "1308"]) == 1
    assert distance(PATH, ["130802102202", "130802102", COUNTY, "1308"]) == 2
    assert distance(PATH, ["1309"]) == 4


# -- how sites offer ------------------------------------------------------------------------------------


def test_in_waves_the_best_few_come_first_and_the_next_after_a_while() -> None:
    teams = [a_team(f"t{n}") for n in range(5)]
    known = Known(teams, rules=a_rule_set(wave=Wave(size=2, minutes=30)), history=History(served={"t3": 9, "t1": 5}))
    order = a_waiting_order(known, OfferMode.WAVES)
    assert asked(order) == {"t3", "t1"} and order.wave_at == MORNING + 30 * MINUTE
    assert order.offer_next(known, MORNING + 29 * MINUTE) == []
    assert order.offer_next(known, MORNING + 30 * MINUTE)
    assert len(asked(order)) == 4 and order.wave_at == MORNING + 60 * MINUTE
    assert order.offer_next(known, MORNING + 60 * MINUTE)
    assert len(asked(order)) == 5 and order.wave_at is None
    assert [len(decision.chosen) for decision in order.decisions] == [2, 2, 1]


@pytest.mark.parametrize("end", ["accept", "cancel", "escalate"])
def test_no_wave_follows_when_the_order_has_moved_on(end: str) -> None:
    teams = [a_team(f"t{n}") for n in range(3)]
    known = Known(teams, rules=a_rule_set(wave=Wave(size=1)))
    order = a_waiting_order(known, OfferMode.WAVES)
    first = next(team for team in teams if team.id in asked(order))
    staff = staff_of(VILLAGE)
    {
        "accept": lambda: order.accept(leader_of(first), first, [], known, MORNING),
        "cancel": lambda: order.cancel(staff, "不用了", MORNING),
        "escalate": lambda: order.escalate(staff, "没有空", NOBODY, DEADLINES, MORNING),
    }[end]()
    assert order.wave_at is None
    assert order.offer_next(known, MORNING + 9 * HOUR) == []


def test_waves_go_on_when_a_team_gives_the_order_back() -> None:
    teams = [a_team(f"t{n}") for n in range(2)]
    known = Known(teams, rules=a_rule_set(wave=Wave(size=1)))
    order = a_waiting_order(known, OfferMode.WAVES)
    first = next(team for team in teams if team.id in asked(order))
    order.accept(leader_of(first), first, [], known, MORNING)
    order.withdraw(leader_of(first), first, "队员生病", MORNING + MINUTE)
    assert order.offer_next(known, MORNING + MINUTE)
    assert asked(order) == {"t0", "t1"} and order.state is State.OFFERED


def test_no_wave_follows_an_order_that_had_been_given_up_before_a_team_gave_it_back() -> None:
    team = a_team(tier=Tier.CENTER)
    known = Known([team], rules=a_rule_set(wave=Wave(size=1)))
    chain = [Seat(COUNTY, Tier.CENTER, True, mode=OfferMode.WAVES)]
    order, _ = Order.place("o1", an_item(), a_place(), chain, a_wish(), known, DEADLINES, MORNING)
    order.escalate(staff_of(COUNTY), "没有队伍", known, DEADLINES, MORNING)
    order.accept(leader_of(team), team, [], known, MORNING)
    order.withdraw(leader_of(team), team, "队员生病", MORNING)
    assert (order.state, order.wave_at) == (State.UNMET, None)


def test_from_the_pool_any_fitting_team_may_take_it_and_nobody_else() -> None:
    fitting, other = a_team(), a_team("other", categories=[Category.LAW])
    known = Known([fitting, other])
    order = a_waiting_order(known, OfferMode.POOL)
    assert (order.state, order.pool_at, order.offers) == (State.OFFERED, [order.seat.site], [])
    with pytest.raises(Conflict):
        order.accept(leader_of(other), other, [], known, MORNING)
    foreign = a_team("foreign", site=SISTER)
    with pytest.raises(Conflict):
        order.accept(leader_of(foreign), foreign, [], known, MORNING)
    order.accept(leader_of(fitting), fitting, [], known, MORNING)
    assert (order.accepted_by, asked(order)) == ("t1", {"t1"})
    assert order.decisions[-1].mode == OfferMode.POOL


def test_who_is_not_fit_cannot_claim_from_the_pool() -> None:
    team = a_team(member_ids=["a"])
    known = Known([team], [a_person("a")])
    order = a_waiting_order(known, OfferMode.POOL, skills=["理发"])
    with pytest.raises(Conflict, match="不具备所需技能"):
        order.accept(leader_of(team), team, [], known, MORNING)
    assert order.offers == [] and order.state is State.OFFERED


def test_what_is_given_back_lies_in_the_pool_again_and_climbs_out_of_it() -> None:
    team, next_team = a_team(), a_team("t2")
    known = Known([team, next_team])
    order = a_waiting_order(known, OfferMode.POOL)
    order.accept(leader_of(team), team, [], known, MORNING)
    order.withdraw(leader_of(team), team, "队员生病", MORNING)
    assert (order.state, order.is_in_reach(next_team)) == (State.OFFERED, True)
    order.escalate(staff_of(VILLAGE), "没有空", NOBODY, DEADLINES, MORNING)
    assert (order.pool_at, order.is_in_reach(next_team)) == ([], False)


def test_a_team_is_borrowed_where_the_site_has_none() -> None:
    own, borrowed = a_team(), a_team("t2", site=SISTER)
    near = {SISTER: 1}
    assert asked(a_waiting_order(Known([own, borrowed], distances=near), sisters=[SISTER])) == {"t1"}
    order = a_waiting_order(Known([borrowed], distances=near), sisters=[SISTER])
    assert asked(order) == {"t2"} and candidate(order, "t2").distance == 1
    assert asked(a_waiting_order(Known([borrowed], distances=near))) == set()


def test_a_person_may_borrow_at_any_time() -> None:
    known = Known([a_team(), a_team("t2", site=SISTER)], distances={SISTER: 1})
    order = a_waiting_order(known, sisters=[SISTER], auto_offer=False)
    order.offer(staff_of(VILLAGE), ["t2"], None, known, MORNING)
    assert asked(order) == {"t2"}


# -- the why --------------------------------------------------------------------------------------------


def test_every_decision_keeps_what_it_was_made_of() -> None:
    order = a_waiting_order(Known([a_team(), a_team("idle", active=False)]))
    (decision,) = order.decisions
    assert (decision.at, decision.by, decision.mode, decision.rules) == (MORNING, "system", "fan_out", RULES.version)
    assert (decision.site, decision.tier, decision.chosen) == (VILLAGE, Tier.STATION, ["t1"])
    assert [(c.team, c.verdict) for c in decision.candidates] == [("t1", Verdict.APPROVED), ("idle", Verdict.BLOCKED)]
    assert candidate(order).values == {"skill": 1, "distance": 1, "slot": 1}, "what was looked at"
    assert candidate(order).score == 1.0


def test_a_decision_that_finds_nobody_is_kept_too() -> None:
    order = a_waiting_order(NOBODY)
    assert [(decision.chosen, decision.candidates) for decision in order.decisions] == [([], [])]


def test_a_decision_among_very_many_names_the_best_and_counts_the_rest() -> None:
    order = a_waiting_order(
        Known([a_team(f"t{n}") for n in range(KEPT + 7)], rules=a_rule_set(wave=Wave(size=3))), OfferMode.WAVES
    )
    (decision,) = order.decisions
    assert (len(decision.candidates), decision.others) == (KEPT, 7)
    assert set(decision.chosen) <= {c.team for c in decision.candidates}


def test_a_reason_is_kept_without_numbers_of_persons() -> None:
    known = Known([a_team()], rules=a_rule_set(approve=[]))
    order = a_waiting_order(known)
    order.offer(staff_of(VILLAGE), ["t1"], "家属 13900001234 同意", known, MORNING)
    assert "13900001234" not in order.decisions[-1].reason


around_today = some.dates(TODAY - timedelta(days=9), TODAY + timedelta(days=9))
people = some.builds(
    a_person, some.sampled_from(["a", "b", "c"]), age_band=some.sampled_from(AgeBand),
    insured_until=some.none() | around_today, suspended=some.booleans(),
)  # fmt: skip


@given(
    some.lists(people, unique_by=lambda person: person.id),
    some.lists(some.sampled_from(["a", "b", "c"]), unique=True, min_size=1),
    some.sampled_from(Risk), some.sampled_from([Category.COMMUNITY, Category.RESCUE]), some.sampled_from(OfferMode),
)  # fmt: skip
def test_nobody_unfit_by_law_is_ever_sent(
    persons: list[Volunteer], members: list[str], risk: Risk, category: Category, mode: OfferMode
) -> None:
    """However an order is offered and taken, whoever goes to danger is of age, and insured where it is risky."""
    team: Team = a_team(member_ids=members, categories=list(Category))
    known = Known([team], persons, rules=a_rule_set(approve=[FIT]))
    order = a_waiting_order(known, mode, risk=risk, category=category)
    for volunteers in ([], members):
        try:
            order.accept(leader_of(team), team, volunteers, known, MORNING)
        except (Conflict, Invalid):
            continue
        break
    if order.accepted_by is None or not (risk is Risk.HIGH or category is Category.RESCUE):
        return
    able = {
        p.id for p in persons if p.age_band in (AgeBand.ADULT, AgeBand.OVER_70) and not p.suspended
        and (risk is Risk.LOW or (p.insured_until or date.min) >= TODAY)
    }  # fmt: skip
    assert able & set(members)
    assert set(order.volunteers) <= able
