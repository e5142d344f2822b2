"""An order's whole life through the HTTP interface: who holds it, what it leads to, and what happens once only."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.e2e.steps import (
    COUNTY,
    MEMBERS,
    POINTS_AN_HOUR,
    TEAMS,
    TOWNSHIP,
    VILLAGE,
    WISH,
    Steps,
    ask_registry,
    settings_of,
)
from tests.support.processes import eventually
from tests.support.system import Events, System, record

ACCEPTS = 20
RACES = 10


def offers(order: dict[str, Any]) -> dict[str, str]:
    return {offer["team"]: offer["state"] for offer in order["offers"]}


def holder(order: dict[str, Any]) -> tuple[str, str] | None:
    return (order["holder"]["kind"], order["holder"]["id"]) if order["holder"] else None


def problem(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["type"].rpartition("/")[2]


# -- the plain way ------------------------------------------------------------------------------------


def test_an_order_lives_its_whole_life_at_the_station(steps: Steps, system: System) -> None:
    with Events(system.amqp_uri) as events:
        order = steps.place()
        assert (order["state"], order["tier"], order["site"], order["cycle"]) == ("offered", "station", VILLAGE, 1)
        assert holder(order) == ("site", VILLAGE)
        assert offers(order) == {TEAMS["leader1"]: "open", TEAMS["leader2"]: "open"}

        accepted = steps.accept(order)
        assert (accepted["state"], accepted["accepted_by"]) == ("accepted", TEAMS["leader1"])
        assert holder(accepted) == ("team", TEAMS["leader1"])
        assert offers(accepted) == {TEAMS["leader1"]: "accepted", TEAMS["leader2"]: "lapsed"}

        assert steps.start(order)["state"] == "in_service"
        assert steps.complete(order)["state"] == "completed"
        rated = steps.rate(order, score=4)
        assert (rated["state"], rated["rating"]["score"], rated["rating"]["by"]) == ("rated", 4, "resident")
        assert holder(rated) == ("site", VILLAGE)

        closed = steps.close(order)
        assert (closed["state"], closed["holder"], closed["due_at"]) == ("closed", None, None)
        assert steps.order(order, "resident") == steps.order(order, "station") | {"possible": closed["possible"]}

        life = ["placed", "offered", "accepted", "started", "completed", "rated", "closed"]
        assert steps.facts(order) == life
        eventually(lambda: events.of(order["id"]) == [f"order.{fact}" for fact in life], what="the facts as events")


def test_the_creation_says_where_the_order_is(system: System, steps: Steps) -> None:
    wish = {"service_item": "sewing", "description": "缝补棉被", "target_group": "in_need", "address": "村东头"}
    response = system.person("resident").post("/v1/orders", wish)
    assert response.status_code == 201
    assert response.headers["location"] == f"/v1/orders/{response.json()['id']}"
    found = system.person("resident").read(response.headers["location"])
    assert (found["service_item"], found["address"], found["resident"]["id"]) == ("sewing", "村东头", "resident")


def test_the_timeline_tells_who_did_what_oldest_first_and_in_pages(steps: Steps, system: System) -> None:
    order = steps.reach("closed")
    path = f"/v1/orders/{order['id']}/timeline"
    whole = system.person("resident").read(path)["items"]
    assert [entry["time"] for entry in whole] == sorted(entry["time"] for entry in whole)
    assert [entry["actor"] for entry in whole] == [
        "resident", "system", "leader1", "leader1", "leader1", "resident", "station"
    ]  # fmt: skip
    first = system.person("resident").read(f"{path}?limit=3")
    rest = system.person("resident").read(f"{path}?cursor={first['next']}")
    assert first["items"] + rest["items"] == whole
    assert rest["next"] is None


def test_staff_order_for_a_resident_and_both_are_recorded(steps: Steps) -> None:
    order = steps.place("station", on_behalf_of="resident2", site=VILLAGE)
    assert order["resident"]["id"] == "resident2"
    assert steps.timeline(order)[0]["actor"] == "station"
    steps.accept(order)
    steps.start(order)
    steps.complete(order)
    assert steps.rate(order, who="resident2")["state"] == "rated"


def test_the_proxy_of_a_household_orders_for_who_lives_in_it_until_the_station_ends_it(
    steps: Steps, system: System
) -> None:
    proxy, station = system.person("resident-county"), system.person("station")
    wish = {**WISH, "on_behalf_of": "resident2"}
    assert proxy.post("/v1/orders", wish).status_code == 403
    members = [
        {"name": "赵秀兰", "account": "resident2"},
        {"name": "赵小红", "relation": "女儿", "account": "resident-county", "proxy": True},
    ]
    household = station.do("/v1/households", {"site": VILLAGE, "number": "代办一号", "members": members})["id"]
    assert proxy.read("/v1/beneficiaries")["items"] == [{"id": "resident2", "name": "赵秀兰", "relation": None}]
    assert system.person("resident2").read("/v1/beneficiaries")["items"] == []
    eventually(lambda: proxy.post("/v1/orders", wish).status_code == 201, what="dispatch to learn of it")
    order = steps.place("resident-county", on_behalf_of="resident2")
    assert (order["site"], order["resident"]["id"]) == (VILLAGE, "resident2")
    assert steps.timeline(order)[0]["actor"] == "resident-county"
    assert [system.person(who).get(f"/v1/orders/{order['id']}").status_code for who in ("resident2", "resident")] == [
        200, 404
    ]  # fmt: skip
    steps.accept(order)
    other = steps.place("resident")
    assert proxy.do(f"/v1/orders/{other['id']}/join", {"on_behalf_of": "resident2"})["needed_by"] == 2
    assert proxy.post("/v1/orders", {**WISH, "on_behalf_of": "resident"}).status_code == 403
    station.do(f"/v1/households/{household}/change", {"members": members[:1]})
    eventually(lambda: proxy.post("/v1/orders", wish).status_code == 403, what="dispatch to learn of the end")


def test_a_household_names_accounts_that_there_are(system: System) -> None:
    members = [{"name": "赵秀兰", "account": "resident2"}, {"name": "某某", "account": "nobody-at-all"}]
    household = {"site": VILLAGE, "number": "代办二号", "members": members}
    answer = system.person("station").post("/v1/households", household)
    assert (answer.status_code, answer.json()["fields"][0]["path"]) == (422, "members.1.account")


def test_whom_to_ask_for_and_where_to_call_is_for_those_who_come(steps: Steps, system: System) -> None:
    contact = {"name": "赵秀兰", "phone": "0314-2020202"}
    order = steps.place("station", on_behalf_of="resident2", site=VILLAGE, contact=contact)
    assert order["resident"] == {"id": "resident2", **contact}
    assert steps.order(order, "leader1")["resident"] is None
    steps.accept(order)
    assert steps.order(order, "leader1")["resident"]["phone"] == "0314-2020202"
    steps.message(order, "station", needs_reply=True)
    assert steps.messages(order, "station")[-1]["by"] == "site", "who has ordered for somebody speaks for the station"
    past = {"from": "2020-01-01T09:00:00+08:00", "to": "2020-01-01T10:00:00+08:00"}
    wrong = system.person("resident").post("/v1/orders", {**WISH, "preferred": past})
    assert (wrong.status_code, wrong.json()["fields"][0]["path"]) == (422, "preferred.from")


# -- offers -------------------------------------------------------------------------------------------


def test_the_first_acceptance_wins_and_the_others_learn_why(steps: Steps, system: System) -> None:
    order = steps.place()
    steps.accept(order, "leader2")
    late = system.person("leader1").post(f"/v1/orders/{order['id']}/accept", {"team": TEAMS["leader1"]})
    again = system.person("leader2").post(f"/v1/orders/{order['id']}/accept", {"team": TEAMS["leader2"]})
    assert problem(late) == problem(again) == (409, "already-accepted")
    assert late.json()["state"] == "accepted"
    assert ("其他队伍" in late.json()["detail"], "您的队伍" in again.json()["detail"]) == (True, True)
    assert steps.order(order)["accepted_by"] == TEAMS["leader2"]


def test_of_twenty_acceptances_at_once_exactly_one_wins(steps: Steps, system: System) -> None:
    order = steps.place()
    leaders = ["leader1", "leader2"] * (ACCEPTS // 2)
    people = [system.person(leader) for leader in leaders]
    assert all(person.token for person in people)
    with ThreadPoolExecutor(ACCEPTS) as pool:
        answers = list(pool.map(
            lambda person: person.post(f"/v1/orders/{order['id']}/accept", {"team": TEAMS[person.username]}), people
        ))  # fmt: skip
    statuses = [answer.status_code for answer in answers]
    assert sorted(statuses) == [200] + [409] * (ACCEPTS - 1)
    assert {problem(answer)[1] for answer in answers if answer.status_code == 409} == {"already-accepted"}
    assert steps.order(order)["accepted_by"] == TEAMS[leaders[statuses.index(200)]]
    assert steps.facts(order).count("accepted") == 1


def test_of_an_acceptance_and_an_escalation_in_the_same_instant_exactly_one_wins(steps: Steps, system: System) -> None:
    leader, station = system.person("leader1"), system.person("station")
    assert leader.token and station.token
    with ThreadPoolExecutor(2) as pool:
        for _ in range(RACES):
            path = f"/v1/orders/{steps.place()['id']}"
            accepting = pool.submit(leader.post, f"{path}/accept", {"team": TEAMS["leader1"]})
            escalating = pool.submit(station.post, f"{path}/escalate", {"reason": "没有人接"})
            answers = {"accept": accepting.result(), "escalate": escalating.result()}
            assert sorted(answer.status_code for answer in answers.values()) == [200, 409]
            lost = next(answer.json() for answer in answers.values() if answer.status_code == 409)
            (winner,) = [command for command, answer in answers.items() if answer.status_code == 200]
            found = system.person("admin").read(path)
            assert (found["state"], found["tier"]) == (
                ("accepted", "station") if winner == "accept" else ("offered", "institute")
            )
            assert lost["state"] == found["state"], "the loser learns why"


def test_of_many_completions_at_once_exactly_one_counts(steps: Steps, system: System) -> None:
    order, leader = steps.reach("in_service"), system.person("leader1")
    body = {"records": [system.segment(volunteer) for volunteer in MEMBERS["leader1"]], "summary": "理发一次"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: leader.post(f"/v1/orders/{order['id']}/complete", body), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    steps.rate(order)
    steps.close(order)
    assert [steps.credited(order, volunteer) for volunteer in MEMBERS["leader1"]] == [1, 1]


def test_a_team_that_declined_is_not_asked_again(steps: Steps, system: System) -> None:
    order = steps.place()
    assert offers(steps.decline(order))[TEAMS["leader1"]] == "declined"
    station = system.person("station")
    again = station.post(f"/v1/orders/{order['id']}/offer", {"teams": [TEAMS["leader1"]]})
    assert problem(again) == (422, "invalid")
    everybody = station.post(f"/v1/orders/{order['id']}/offer")
    assert problem(everybody) == (409, "conflict")
    accepting = system.person("leader1").post(f"/v1/orders/{order['id']}/accept", {"team": TEAMS["leader1"]})
    assert accepting.status_code == 409
    steps.accept(order, "leader2")
    steps.withdraw(order, "leader2")
    assert offers(steps.order(order)) == {TEAMS["leader1"]: "declined", TEAMS["leader2"]: "withdrawn"}


def test_an_order_that_all_declined_waits_at_the_station(steps: Steps) -> None:
    order = steps.place()
    steps.decline(order, "leader1")
    declined = steps.decline(order, "leader2")
    assert holder(declined) == ("site", VILLAGE)
    assert declined["due_at"] == order["due_at"]
    assert steps.escalate(order)["tier"] == "institute"


def test_a_withdrawal_gives_the_order_back_with_its_original_deadline(steps: Steps) -> None:
    order = steps.place()
    assert steps.accept(order)["due_at"] is None
    withdrawn = steps.withdraw(order)
    assert (withdrawn["state"], withdrawn["accepted_by"]) == ("offered", None)
    assert withdrawn["due_at"] == order["due_at"]
    assert holder(withdrawn) == ("site", VILLAGE)
    assert offers(withdrawn) == {TEAMS["leader1"]: "withdrawn", TEAMS["leader2"]: "open"}
    assert steps.serve(order, "leader2")["state"] == "closed"


def test_a_team_may_withdraw_after_it_has_started(steps: Steps) -> None:
    order = steps.reach("in_service")
    withdrawn = steps.withdraw(order)
    assert (withdrawn["state"], withdrawn["accepted_by"]) == ("offered", None)


def test_a_team_names_only_its_own_members(steps: Steps, system: System) -> None:
    order = steps.place()
    body = {"team": TEAMS["leader1"], "volunteers": ["vol-leader2"]}
    assert problem(system.person("leader1").post(f"/v1/orders/{order['id']}/accept", body)) == (422, "invalid")
    accepted = steps.take("leader1", order, "accept", **{**body, "volunteers": ["vol-volunteer1"]})
    assert accepted["volunteers"] == ["vol-volunteer1"]


def test_where_offers_are_made_by_hand_the_order_waits_for_them(steps: Steps, system: System) -> None:
    with settings_of(system, "130824100203", auto_offer=False):
        order = steps.place("resident-county")
        assert (order["state"], order["offers"], order["due_at"] is None) == ("placed", [], False)
        assert system.person("leader-county").get(f"/v1/orders/{order['id']}").status_code == 404
        offered = steps.take("station-county", order, "offer", teams=[TEAMS["leader-county"]])
        assert (offered["state"], offers(offered)) == ("offered", {TEAMS["leader-county"]: "open"})
        assert steps.accept(order, "leader-county")["state"] == "accepted"
    assert steps.place("resident-county")["offers"], "the setting is gone again"


# -- up the tiers -------------------------------------------------------------------------------------


def test_nobody_takes_it_so_it_climbs_by_hand_to_the_center_and_is_kept_as_unmet(steps: Steps, system: System) -> None:
    with Events(system.amqp_uri) as events:
        order = steps.place()
        at_institute = steps.escalate(order, "station")
        assert (at_institute["tier"], at_institute["state"]) == ("institute", "offered")
        assert holder(at_institute) == ("site", TOWNSHIP)
        assert offers(at_institute) == {
            TEAMS["leader1"]: "lapsed", TEAMS["leader2"]: "lapsed", TEAMS["leader3"]: "open"
        }  # fmt: skip
        at_center = steps.escalate(order, "institute")
        assert (at_center["tier"], holder(at_center)) == ("center", ("site", COUNTY))
        unmet = steps.escalate(order, "center")
        assert (unmet["state"], unmet["tier"], unmet["due_at"]) == ("unmet", "center", None)
        assert holder(unmet) == ("site", COUNTY)
        assert steps.facts(order) == ["placed", "offered", "escalated", "offered", "escalated", "offered", "unmet"]
        eventually(lambda: "order.unmet" in events.of(order["id"]), what="the alert of unmet demand")
    assert steps.order(order, "station")["id"] == order["id"], "the station keeps seeing it"


def test_unmet_demand_is_counted_and_offered_to_a_team_that_is_formed_later(steps: Steps, system: System) -> None:
    def counted(who: str, site: str = VILLAGE) -> int:
        found = system.person(who).read(f"/v1/sites/{site}/demand")
        rows = [row["count"] for row in found["items"] if (row["site"], row["category"]) == (VILLAGE, "扶贫减贫")]
        assert sum(row["count"] for row in found["items"]) == found["total"]
        return sum(rows)

    before = counted("center", COUNTY)
    order = steps.place(service_item="hardship-relief", address="村东头")
    for staff in ("station", "institute", "center"):
        steps.escalate(order, staff)
    assert counted("center", COUNTY) == counted("station") == before + 1
    assert system.person("resident").get(f"/v1/sites/{VILLAGE}/demand").status_code == 403
    team = {"id": "late-helpers", "name": "后来的帮扶队", "site": VILLAGE, "categories": ["扶贫减贫"]}
    command = {**team, "leader_id": "vol-pingan-2", "member_ids": ["vol-pingan-1", "vol-pingan-2"]}
    ask_registry(system, "form_team", command)
    asked = eventually(lambda: offers(found := steps.order(order)).get("late-helpers") and found, what="the new team")
    assert (asked["state"], offers(asked)["late-helpers"]) == ("unmet", "open")
    assert steps.facts(order)[-2:] == ["unmet", "offered"]
    assert counted("station") == before + 1, "offered is not yet met"


def test_an_unmet_order_can_still_be_accepted_and_served(steps: Steps, system: System) -> None:
    order = steps.place()
    for staff in ("station", "institute", "center"):
        steps.escalate(order, staff)
    assert offers(steps.order(order))[TEAMS["leader4"]] == "open"
    further = system.person("center").post(f"/v1/orders/{order['id']}/escalate", {"reason": "再上报"})
    assert problem(further) == (409, "illegal-transition")
    accepted = steps.accept(order, "leader4")
    assert (accepted["state"], accepted["tier"]) == ("accepted", "center")
    steps.start(order, "leader4")
    steps.complete(order, "leader4")
    steps.rate(order)
    assert steps.close(order, "center")["state"] == "closed"
    assert steps.credited(order, "vol-leader4") == 1


def test_an_unmet_order_that_is_given_back_is_unmet_again(steps: Steps) -> None:
    order = steps.place()
    for staff in ("station", "institute", "center"):
        steps.escalate(order, staff)
    steps.accept(order, "leader4")
    withdrawn = steps.withdraw(order, "leader4")
    assert (withdrawn["state"], withdrawn["due_at"], holder(withdrawn)) == ("unmet", None, ("site", COUNTY))


def test_only_the_tier_that_accepted_closes(steps: Steps, system: System) -> None:
    order = steps.place()
    steps.escalate(order)
    steps.accept(order, "leader3")
    steps.start(order, "leader3")
    steps.complete(order, "leader3")
    steps.rate(order)
    for other in ("station", "center"):
        assert system.person(other).post(f"/v1/orders/{order['id']}/close").status_code == 403
    assert steps.close(order, "institute")["state"] == "closed"


# -- side exits ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("who", "stage"), [("resident", "offered"), ("resident", "accepted"), ("station", "offered")])
def test_an_order_is_cancelled_with_a_reason_and_nothing_follows(
    steps: Steps, system: System, who: str, stage: str
) -> None:
    order = steps.reach(stage)
    cancelled = steps.take(who, order, "cancel", reason="家里人已经理好了")
    assert (cancelled["state"], cancelled["holder"], cancelled["due_at"]) == ("cancelled", None, None)
    assert "open" not in offers(cancelled).values()
    last = steps.timeline(order)[-1]
    assert (last["event"], last["actor"], last["note"]) == ("cancelled", who, "家里人已经理好了")
    late = system.person("leader1").post(f"/v1/orders/{order['id']}/accept", {"team": TEAMS["leader1"]})
    assert late.status_code == 409


def test_the_station_rejects_what_it_does_not_take_in(steps: Steps) -> None:
    order = steps.place()
    rejected = steps.take("station", order, "reject", reason="不属于志愿服务")
    assert (rejected["state"], rejected["holder"], rejected["possible"]) == ("rejected", None, [])
    assert steps.timeline(order)[-1]["note"] == "不属于志愿服务"


@pytest.mark.parametrize("stage", ["rated", "closed"])
def test_a_reopened_order_is_a_new_cycle_linked_to_the_old_one_and_only_once(
    steps: Steps, system: System, stage: str
) -> None:
    order = steps.reach(stage)
    before = steps.order(order)
    response = system.person("resident").post(f"/v1/orders/{order['id']}/reopen", {"reason": "还没有理完"})
    assert response.status_code == 201
    again = response.json()
    assert response.headers["location"] == f"/v1/orders/{again['id']}"
    assert (again["cycle"], again["reopens"], again["state"]) == (2, order["id"], "offered")
    assert offers(again) == {TEAMS["leader1"]: "open", TEAMS["leader2"]: "open"}, "all are asked again"
    assert steps.order(order) == before, "the old one stays as it is"
    twice = system.person("station").post(f"/v1/orders/{order['id']}/reopen", {"reason": "再来一次"})
    assert twice.status_code == 409
    assert steps.serve(again)["state"] == "closed"
    assert steps.reopen(again)["cycle"] == 3


def test_two_who_reopen_at_once_make_one_new_cycle(steps: Steps, system: System) -> None:
    order = steps.reach("closed")
    people = [system.person(name) for name in ("resident", "station", "institute", "center")]
    with ThreadPoolExecutor(len(people)) as pool:
        answers = list(pool.map(lambda p: p.post(f"/v1/orders/{order['id']}/reopen", {"reason": "还没好"}), people))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


# -- hours and points ---------------------------------------------------------------------------------


def test_hours_and_points_arrive_exactly_once_for_each_volunteer(steps: Steps, system: System) -> None:
    segments = [system.segment("vol-leader1", 45), system.segment("vol-volunteer1", 20)]
    order = steps.reach("in_service")
    steps.complete(order, records=segments)
    for volunteer in MEMBERS["leader1"]:
        steps.settled(order, volunteer, "open")
        assert steps.awards(steps.hours(order, volunteer)[0] | {"volunteer": volunteer}) == []
    steps.rate(order)
    steps.close(order)
    assert steps.credited(order, "vol-leader1") == 8, "0.75 h are 7.5 points, rounded half up"
    assert steps.credited(order, "vol-volunteer1") == 3, "0.33 h"
    hours = [steps.settled(order, volunteer) for volunteer in MEMBERS["leader1"]]
    assert [h["hours"] for h in hours] == [0.75, 0.33]
    assert [_same_times(h, s) for h, s in zip(hours, segments, strict=True)] == [True, True]


def _same_times(hours: dict[str, Any], segment: dict[str, str]) -> bool:
    return all(datetime.fromisoformat(hours[end]) == datetime.fromisoformat(segment[end]) for end in ("from", "to"))


def test_the_totals_of_a_volunteer_follow_hours_and_points(steps: Steps, system: System) -> None:
    volunteer = "vol-yixing-1"
    before = _totals(system, volunteer)
    order = steps.place()
    steps.serve(order, "leader2", records=[system.segment(volunteer, 60), system.segment(volunteer, 30)])
    after = (round(before[0] + 1.5, 2), before[1] + 15)
    eventually(lambda: _totals(system, volunteer) == after, what=f"totals {after}")
    account = system.person("admin").read(f"/v1/accounts/{volunteer}")
    assert account["balance"] == after[1]


def _totals(system: System, volunteer: str) -> tuple[float, int]:
    found = system.person("admin").read(f"/v1/volunteers/{volunteer}")
    return found["hours"], found["points"]


def test_a_reversal_of_hours_takes_the_points_back_once(steps: Steps, system: System) -> None:
    volunteer = "vol-yixing-2"
    before = _totals(system, volunteer)
    order = steps.place()
    steps.serve(order, "leader2", records=[system.segment(volunteer, 30)])
    assert steps.credited(order, volunteer) == 5
    hours = steps.settled(order, volunteer)
    path = f"/v1/hours/{hours['id']}/reverse"
    reversed_ = system.person("station").do(path, {"reason": "记错了人"})
    assert (reversed_["state"], reversed_["reason"]) == ("reversed", "记错了人")
    assert system.person("station").post(path, {"reason": "再撤一次"}).status_code == 409
    amounts = eventually(
        lambda: len(steps.awards(hours)) == 2 and [entry["amount"] for entry in steps.awards(hours)],
        what="the entry that takes the points back",
    )
    assert sorted(amounts) == [-5, 5]
    eventually(lambda: _totals(system, volunteer) == before, what="totals as before")
    assert system.person("admin").read(f"/v1/accounts/{volunteer}")["balance"] == before[1]


def test_hours_that_overlap_those_of_another_order_are_refused_with_the_reason(steps: Steps, system: System) -> None:
    volunteer, segment = "vol-volunteer2", system.segment("vol-volunteer2", 30)
    first, second = steps.place(), steps.place()
    steps.serve(first, "leader2", records=[segment])
    assert steps.credited(first, volunteer) == 5
    steps.serve(second, "leader2", records=[segment])
    refused = steps.settled(second, volunteer, "refused")
    assert (refused["hours"], "重叠" in refused["reason"]) == (0, True)
    assert steps.awards(refused) == []


def test_touching_segments_do_not_overlap(steps: Steps, system: System) -> None:
    volunteer = "vol-zhixin-2"
    segments = [system.segment(volunteer, 30), system.segment(volunteer, 30)]
    assert segments[0]["to"] == segments[1]["from"]
    for segment in segments:
        order = steps.place()
        steps.serve(order, records=[segment])
        assert steps.credited(order, volunteer) == 5


def test_no_more_than_eight_hours_of_a_day_count(steps: Steps, system: System) -> None:
    volunteer, midnight = "vol-zhixin-3", system.midnight()
    morning = record(volunteer, midnight, midnight + timedelta(hours=5))
    noon = record(volunteer, midnight + timedelta(hours=5), midnight + timedelta(hours=9, minutes=30))
    first, second = steps.place(), steps.place()
    steps.serve(first, records=[morning])
    assert steps.credited(first, volunteer) == 5 * POINTS_AN_HOUR
    steps.serve(second, records=[noon])
    assert steps.credited(second, volunteer) == 3 * POINTS_AN_HOUR
    capped = steps.settled(second, volunteer)
    assert (capped["hours"], capped["raw_hours"]) == (3.0, 4.5)


# -- talking ------------------------------------------------------------------------------------------


def test_resident_and_holder_talk_and_nobody_else_reads_it(steps: Steps, system: System) -> None:
    order = steps.place()
    steps.message(order, "station", "请问门牌号是多少", needs_reply=True)
    assert steps.message(order, "station", "电话里说是八号", channel="phone")["waiting_for"] is None
    offered = system.person("leader1").post(f"/v1/orders/{order['id']}/message", {"text": "我们队可以去"})
    assert problem(offered) == (403, "forbidden"), "an offer is no part in the conversation"
    steps.accept(order)
    steps.message(order, "leader1", "明天上午到")
    told = [(m["by"], m["text"], m["needs_reply"], m["channel"]) for m in steps.messages(order, "resident")]
    assert told == [
        ("site", "请问门牌号是多少", True, None),
        ("resident", "电话里说是八号", False, "phone"),
        ("team", "明天上午到", False, None),
    ]
    assert steps.messages(order, "leader1") == steps.messages(order, "station") == steps.messages(order, "resident")
    for stranger, status in (("leader2", 403), ("leader3", 404), ("resident2", 404)):
        assert system.person(stranger).get(f"/v1/orders/{order['id']}/messages").status_code == status


def test_the_resident_asks_nobody_to_wait(steps: Steps, system: System) -> None:
    order = steps.place()
    refused = system.person("resident").post(
        f"/v1/orders/{order['id']}/message", {"text": "什么时候来", "needs_reply": True}
    )
    assert problem(refused)[0] == 422 and refused.json()["fields"][0]["path"] == "needs_reply"
    assert steps.messages(order, "resident") == []


def test_an_urgent_order_is_told_to_institute_and_center_at_once(steps: Steps, system: System) -> None:
    with Events(system.amqp_uri) as events:
        order = steps.place(urgent=True)
        eventually(lambda: events.of(order["id"])[:3] == ["order.placed", "order.alerted", "order.offered"])
    assert steps.facts(order) == ["placed", "alerted", "offered"]


# -- the clock ----------------------------------------------------------------------------------------


def test_an_order_that_nobody_takes_climbs_by_its_deadlines_exactly_once_per_hop(hasty: System) -> None:
    steps = Steps(hasty)
    with Events(hasty.amqp_uri) as events:
        order = steps.place()
        eventually(lambda: steps.order(order)["state"] == "unmet", 40, "unmet")
        timeline = steps.timeline(order)
        assert [(entry["event"], entry["tier"]) for entry in timeline] == [
            ("placed", "station"), ("offered", "station"),
            ("escalated", "institute"), ("offered", "institute"),
            ("escalated", "center"), ("offered", "center"),
            ("unmet", "center"),
        ]  # fmt: skip
        assert {entry["actor"] for entry in timeline if entry["event"] in ("escalated", "unmet")} == {"system"}
        hops = [datetime.fromisoformat(e["time"]) for e in timeline if e["event"] in ("placed", "escalated", "unmet")]
        waits = [(later - earlier).total_seconds() for earlier, later in pairwise(hops)]
        assert all(5 <= wait < 20 for wait in waits), waits
        facts = ["placed", "offered", "escalated", "offered", "escalated", "offered", "unmet"]
        eventually(lambda: events.of(order["id"]) == [f"order.{fact}" for fact in facts], what="the facts as events")
    assert holder(steps.order(order)) == ("site", COUNTY)


def test_a_deadline_that_passed_while_dispatch_was_away_is_kept_when_it_is_back(hasty: System) -> None:
    steps = Steps(hasty)
    order = steps.place()
    for process in ("dispatch", "dispatch-2"):
        hasty.kill(process)
    eventually(lambda: hasty.now() > datetime.fromisoformat(order["due_at"]), what="the deadline")
    for process in ("dispatch", "dispatch-2"):
        hasty.restart(process)
    hasty.wait_ready()
    eventually(lambda: steps.order(order)["tier"] == "institute", what="it climbs")
    assert steps.facts(order).count("escalated") == 1


def test_a_silent_residents_order_is_rated_by_the_system(hasty: System) -> None:
    steps = Steps(hasty)
    order = steps.reach("completed")
    rated = eventually(lambda: _in_state(steps, order, "rated"), what="the default rating")
    assert rated["rating"] == {"score": 5, "comment": None, "by": "system"}
    assert steps.timeline(order)[-1]["actor"] == "system"
    late = hasty.person("resident").post(f"/v1/orders/{order['id']}/rate", {"score": 1})
    assert problem(late) == (409, "illegal-transition")
    assert steps.close(order)["state"] == "closed"
    assert steps.credited(order, "vol-leader1") == 1


def test_an_accepted_order_does_not_climb_and_a_withdrawn_one_does_at_its_old_deadline(hasty: System) -> None:
    steps = Steps(hasty)
    kept, given_back = steps.place(), steps.place()
    steps.accept(kept)
    steps.accept(given_back)
    assert steps.withdraw(given_back)["due_at"] == given_back["due_at"]
    eventually(lambda: steps.order(given_back)["tier"] == "institute", what="it climbs")
    assert steps.order(kept)["state"] == "accepted"


def test_the_clock_stands_still_while_the_resident_is_asked_and_goes_on_with_the_reply(hasty: System) -> None:
    steps = Steps(hasty)
    order = steps.place()
    asked = steps.message(order, "station", needs_reply=True)
    assert (asked["due_at"], asked["target_at"], asked["waiting_for"]) == (None, None, "resident")
    time.sleep(2 * 5)
    assert (waiting := steps.order(order))["tier"] == "station" and waiting["waiting_for"] == "resident"
    answered = steps.message(order, "resident", "上午都在家")
    left = datetime.fromisoformat(answered["due_at"]) - datetime.fromisoformat(answered["placed_at"])
    assert left.total_seconds() > 2 * 5 and answered["waiting_for"] is None
    eventually(lambda: steps.order(order)["tier"] == "institute", what="it climbs")
    assert steps.facts(order)[:4] == ["placed", "offered", "messaged", "messaged"]


def _in_state(steps: Steps, order: dict[str, Any], state: str) -> dict[str, Any] | None:
    found = steps.order(order)
    return found if found["state"] == state else None


def test_hours_too_short_for_a_point_are_awarded_nothing_and_can_be_reversed(system: System, steps: Steps) -> None:
    volunteer = "vol-leader1"
    order = steps.reach("in_service")
    order = steps.complete(order, records=[system.segment(volunteer, minutes=1)])
    steps.rate(order)
    steps.close(order)
    record = steps.settled(order, volunteer)
    (award,) = eventually(lambda: steps.awards(record))
    assert (record["hours"], award["amount"]) == (0.02, 0)
    system.person("station").do(f"/v1/hours/{record['id']}/reverse", {"reason": "填错了"})
    eventually(lambda: len(steps.awards(record)) == 2)
