"""Around the service: the visit, who did not come, low ratings and complaints, notes, many orders at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from services.contracts.zone import CHINA
from tests.e2e.steps import EVERYBODY, TEAMS, TOWNSHIP, VILLAGE, Steps
from tests.support.processes import eventually
from tests.support.system import Events, System

AWAY_CENTER, COUNTY_TEAM = "130824", TEAMS["leader-county"]


def soon(system: System, seconds: float = 0, minutes: float = 60) -> dict[str, str]:
    start: datetime = system.now() + timedelta(seconds=seconds, minutes=minutes)
    return {"from": start.isoformat(), "to": (start + timedelta(hours=1)).isoformat()}


@contextmanager
def rules(system: System, who: str, center: str, **changes: Any) -> Iterator[None]:
    path = f"/v1/sites/{center}/matching-rules"
    system.person(who).do(path, {**EVERYBODY, **changes})
    try:
        yield
    finally:
        system.person(who).do(path, EVERYBODY)


# -- the visit ------------------------------------------------------------------------------------------


def test_team_and_resident_agree_on_a_time_and_the_timeline_shows_each_change(steps: Steps, system: System) -> None:
    order = steps.reach("accepted")
    first, second = soon(system), soon(system, minutes=120)
    visit = steps.take("leader1", order, "appoint", **first)
    assert (visit["appointed_by"], visit["preferred"]["from"]) == ("team", first["from"])
    assert steps.timeline(order)[-1]["actor"] == "leader1"
    visit = steps.take("resident", order, "appoint", **second)
    assert (visit["appointed_by"], visit["preferred"]["from"]) == ("resident", second["from"])
    assert steps.facts(order)[-2:] == ["appointed", "appointed"]


@pytest.mark.parametrize(("minutes", "path"), [(-60, "from"), (600_000, "from")])
def test_a_visit_is_neither_in_the_past_nor_years_ahead(steps: Steps, system: System, minutes: int, path: str) -> None:
    order = steps.reach("accepted")
    refused = system.person("leader1").post(f"/v1/orders/{order['id']}/appoint", soon(system, minutes=minutes))
    assert (refused.status_code, refused.json()["fields"][0]["path"]) == (422, path)
    assert steps.facts(order)[-1] == "accepted"


def test_who_does_not_come_loses_the_order_and_after_too_often_is_not_asked(steps: Steps, system: System) -> None:
    with rules(system, "center-county", AWAY_CENTER, no_shows={"limit": 1, "days": 30}):
        order = steps.accept(steps.place("resident-county"), "leader-county")
        path = f"/v1/orders/{order['id']}/no-show"
        early = system.person("resident-county").post(path, {"reason": "没有人来"})
        assert early.status_code == 409 and "约定" in early.json()["detail"]
        visit = soon(system, seconds=1, minutes=0)
        steps.take("leader-county", order, "appoint", **visit)
        eventually(lambda: system.now() > datetime.fromisoformat(visit["from"]), what="the time of the visit")
        back = steps.take("resident-county", order, "no-show", reason="没有人来")
        assert (back["state"], back["accepted_by"], back["due_at"]) == ("placed", None, order["target_at"])
        assert [offer["state"] for offer in back["offers"]] == ["missed"]
        assert steps.facts(order)[-2:] == ["missed", "withdrawn"]
        assert system.person("leader-county").post(
            f"/v1/orders/{order['id']}/accept", {"team": COUNTY_TEAM}
        ).status_code == 409  # fmt: skip
        later = steps.place("resident-county")
        assert (later["state"], later["offers"]) == ("placed", [])
        decision = system.person("station-county").read(f"/v1/orders/{later['id']}/decision")["items"][0]
        (judged,) = (candidate for candidate in decision["candidates"] if candidate["team"] == COUNTY_TEAM)
        assert judged["why"][0]["code"] == "stays_away"
        given = steps.take("station-county", later, "offer", teams=[COUNTY_TEAM], reason="队长保证到场")
        assert given["state"] == "offered"
        assert steps.accept(later, "leader-county")["state"] == "accepted"
    assert steps.place("resident-county")["state"] == "offered"


# -- low ratings and complaints -------------------------------------------------------------------------


def follow_ups(system: System, who: str) -> int:
    (item,) = [i for i in system.person(who).read("/v1/inbox")["items"] if i["what"] == "follow_up"]
    count: int = item["count"]
    return count


def test_a_low_rating_waits_for_staff_until_it_is_settled(steps: Steps, system: System) -> None:
    before = follow_ups(system, "station")
    order = steps.reach("completed")
    steps.take("resident", order, "rate", score=2, comment="等了很久")
    assert follow_ups(system, "station") == before + 1
    station = system.person("station")
    (case, *_) = station.read("/v1/cases?state=open&kind=low_rating")["items"]
    assert (case["order"], case["text"], case["team"]) == (order["id"], "等了很久", TEAMS["leader1"])
    assert system.person("leader1").get(f"/v1/cases/{case['id']}").status_code == 404
    settled = station.do(f"/v1/cases/{case['id']}/settle", {"outcome": "已电话回访，队伍下次早到"})
    assert (settled["state"], settled["settled_by"]) == ("settled", "station")
    assert station.post(f"/v1/cases/{case['id']}/settle", {"outcome": "再办一次"}).status_code == 409
    assert follow_ups(system, "station") == before
    assert steps.take("station", order, "close")["state"] == "closed"


def test_a_good_rating_calls_for_nothing(steps: Steps, system: System) -> None:
    before = follow_ups(system, "station")
    steps.take("resident", steps.reach("completed"), "rate", score=3)
    assert follow_ups(system, "station") == before


def test_a_complaint_about_money_goes_above_the_tier_that_served(steps: Steps, system: System) -> None:
    order = steps.reach("closed")
    path = f"/v1/orders/{order['id']}/complain"
    case = system.person("resident").do(path, {"about": "fee", "text": "向老人收了二十元"})
    assert (case["site"], case["kind"], case["state"]) == (TOWNSHIP, "fee", "open")
    where = f"/v1/cases/{case['id']}"
    assert [system.person(who).get(where).status_code for who in ("resident", "institute", "center")] == [200] * 3
    assert [system.person(who).get(where).status_code for who in ("station", "leader1", "resident2")] == [404] * 3
    assert case["id"] in [c["id"] for c in system.person("institute").read("/v1/cases?state=open")["items"]]
    assert case["id"] not in [c["id"] for c in system.person("station").read("/v1/cases?limit=200")["items"]]
    assert steps.order(order, "resident") == order


def test_what_nobody_has_served_is_nothing_to_complain_about(steps: Steps, system: System) -> None:
    order = steps.place()
    refused = system.person("resident").post(f"/v1/orders/{order['id']}/complain", {"about": "other", "text": "慢"})
    assert refused.status_code == 409


def test_cases_are_told_as_events(steps: Steps, system: System) -> None:
    order = steps.reach("closed")
    complaint = {"about": "quality", "text": "剪坏了"}
    with Events(system.amqp_uri) as events:
        case = system.person("resident").do(f"/v1/orders/{order['id']}/complain", complaint)
        system.person("station").do(f"/v1/cases/{case['id']}/settle", {"outcome": "已重剪"})
        eventually(lambda: events.of(case["id"]) == ["case.opened", "case.settled"], what="both events")


def test_a_quarrel_is_reported_taken_referred_and_mediated(system: System) -> None:
    before, quarrel = follow_ups(system, "station"), {"kind": "mediation", "text": "两家为院墙吵起来了", "urgent": True}
    station, institute = system.person("station"), system.person("institute")
    with Events(system.amqp_uri) as events:
        case = system.person("volunteer1").do("/v1/cases", quarrel)
        assert (case["state"], case["site"], case["order"], case["urgent"]) == ("open", VILLAGE, None, True)
        (item,) = [i for i in station.read("/v1/inbox")["items"] if i["what"] == "follow_up"]
        assert item["count"] == before + 1 and item["urgent"] >= 1 and item["due_at"] <= case["due_at"]
        path = f"/v1/cases/{case['id']}"
        assert station.do(f"{path}/take")["taken_by"] == "station"
        assert case["id"] in [c["id"] for c in station.read("/v1/cases?state=taken")["items"]]
        assert case["id"] not in [c["id"] for c in station.read("/v1/cases?state=open")["items"]]
        above = station.do(f"{path}/refer", {"reason": "两家都不让步"})
        assert (above["site"], above["state"], above["taken_by"]) == (TOWNSHIP, "open", None)
        assert follow_ups(system, "station") == before and station.read(path)["site"] == TOWNSHIP
        settled = institute.do(f"{path}/settle", {"outcome": "请村委会和司法所一起说好了"})
        assert [entry["event"] for entry in settled["timeline"]] == ["opened", "taken", "referred", "settled"]
        assert system.person("volunteer1").read(path)["outcome"] == "请村委会和司法所一起说好了"
        assert [system.person(who).get(path).status_code for who in ("resident", "leader1")] == [404, 404]
        steps = ["case.opened", "case.taken", "case.referred", "case.settled"]
        eventually(lambda: events.of(case["id"]) == steps, what="each step is told")
    assert "院墙" not in events.text()


@pytest.mark.parametrize(
    ("given", "path"), [({"kind": "fee", "text": "收费"}, "kind"), ({"kind": "breach", "text": ""}, "text")]
)
def test_a_wrong_report_is_told_by_its_field(system: System, given: dict[str, Any], path: str) -> None:
    answer = system.person("resident").post("/v1/cases", given)
    assert answer.status_code == 422 and [field["path"] for field in answer.json()["fields"]] == [path]


def test_the_team_rates_the_visit_for_staff_and_a_low_one_is_followed_up(steps: Steps, system: System) -> None:
    order = steps.reach("completed")
    path, visit = f"/v1/orders/{order['id']}/rate-visit", {"score": 2, "comment": "院里的狗没有拴"}
    assert system.person("resident").post(path, visit).status_code == 403
    rated = system.person("leader1").do(path, visit)
    assert (rated["state"], rated["visit_rating"]) == ("completed", visit)
    assert system.person("leader1").post(path, visit).status_code == 409
    seen = {who: steps.order(order, who)["visit_rating"] for who in ("station", "center", "resident")}
    assert seen == {"station": visit, "center": visit, "resident": None}
    (case,) = [
        c for c in system.person("station").read("/v1/cases?kind=low_visit")["items"] if c["order"] == order["id"]
    ]
    assert (case["text"], case["opened_by"]) == ("院里的狗没有拴", "leader1")
    assert system.person("resident").get(f"/v1/cases/{case['id']}").status_code == 404
    steps.take("resident", order, "rate", score=5)
    assert "狗" not in system.person("resident").get(f"/v1/orders/{order['id']}/timeline").text


# -- at the desk ----------------------------------------------------------------------------------------


def test_a_note_is_for_staff(steps: Steps, system: System) -> None:
    order = steps.place()
    steps.take("station", order, "note", text="老人耳背，请大声些")
    path = f"/v1/orders/{order['id']}/notes"
    (note,) = system.person("institute").read(path)["items"]
    assert (note["text"], note["by"]) == ("老人耳背，请大声些", "station")
    assert [system.person(who).get(path).status_code for who in ("resident", "leader1")] == [403, 403]
    assert "耳背" not in system.person("resident").get(f"/v1/orders/{order['id']}/timeline").text


def test_many_orders_are_closed_at_once_and_what_cannot_be_says_why(steps: Steps, system: System) -> None:
    rated, rated_too, placed = steps.reach("rated"), steps.reach("rated"), steps.place()
    foreign = steps.place("resident-county")
    ids = [order["id"] for order in (rated, placed, foreign, rated_too, rated)]
    answer = system.person("station").do("/v1/orders/batch", {"step": "close", "orders": ids})
    assert answer["done"] == 2
    by_order = {item["order"]: item for item in answer["items"]}
    assert [by_order[order["id"]]["done"] for order in (rated, rated_too, placed, foreign)] == [1, 1, 0, 0]
    assert by_order[placed["id"]]["problem"]["status"] == 409
    assert by_order[foreign["id"]]["problem"]["status"] == 404
    assert [steps.order(order)["state"] for order in (rated, rated_too, placed)] == ["closed", "closed", "offered"]
    steps.settled(rated, "vol-leader1")


def test_many_orders_climb_at_once_with_a_reason(steps: Steps, system: System) -> None:
    orders = [steps.place(), steps.place()]
    body = {"step": "escalate", "orders": [order["id"] for order in orders]}
    assert system.person("station").post("/v1/orders/batch", body).status_code == 422
    assert system.person("station").do("/v1/orders/batch", {**body, "reason": "今天站里停电"})["done"] == 2
    assert [steps.order(order)["tier"] for order in orders] == ["institute", "institute"]
    assert steps.facts(orders[0]).count("escalated") == 1


def test_a_batch_that_is_sent_again_gives_the_first_answer(steps: Steps, system: System) -> None:
    order = steps.reach("rated")
    body = {"step": "close", "orders": [order["id"]]}
    first, again = (system.person("station").post("/v1/orders/batch", body, "batch-1") for _ in range(2))
    assert first.json() == again.json() and first.json()["done"] == 1


def test_the_same_wish_within_a_day_is_pointed_out_and_not_merged(steps: Steps, system: System) -> None:
    first, second = steps.place("resident-village"), steps.place("resident-village")
    assert first["id"] in second["similar"] and first["id"] != second["id"]
    steps.take("resident-village", first, "cancel", reason="点重了")
    third = steps.place("resident-village")
    assert first["id"] not in third["similar"] and second["id"] in third["similar"]
    other = steps.place("resident-village", service_item="sewing")
    assert other["similar"] == []


# -- neighbours who need the same --------------------------------------------------------------------------


def _similar(system: System, who: str, order: dict[str, Any], query: str = "") -> dict[str, Any] | None:
    found = system.person(who).read(f"/v1/orders/similar?service_item=home-haircut{query}")["items"]
    return next((one for one in found if one["id"] == order["id"]), None)


def test_a_neighbour_needs_the_same_and_is_counted_once(steps: Steps, system: System) -> None:
    order = steps.place()
    join, leave = (f"/v1/orders/{order['id']}/{command}" for command in ("join", "leave"))
    seen = _similar(system, "resident2", order)
    assert seen == {
        "id": order["id"], "service_item": "home-haircut", "service_item_name": "上门理发", "state": "offered",
        "placed_on": str(system.now().astimezone(CHINA).date()), "needed_by": 1, "own": False, "joined": False,
    }  # fmt: skip
    assert (_similar(system, "resident", order) or {})["own"]
    neighbour = system.person("resident2")
    name = neighbour.read("/v1/me")["name"]
    with Events(system.amqp_uri) as events:
        for _ in range(2):
            assert neighbour.do(join) == {**seen, "needed_by": 2, "joined": True}
        assert system.person("resident").do(join)["needed_by"] == 2, "who has placed it counts already"
        (mine,) = [one for one in neighbour.read("/v1/orders/joined")["items"] if one["id"] == order["id"]]
        assert mine["joined"] and neighbour.get(f"/v1/orders/{order['id']}").status_code == 404
        told = {who: steps.order(order, who) for who in ("resident", "leader1", "station")}
        assert {who: (o["needed_by"], o["joined"]) for who, o in told.items()} == {
            "resident": (2, []), "leader1": (2, []), "station": (2, ["resident2"]),
        }  # fmt: skip
        entry = system.person("resident").read(f"/v1/orders/{order['id']}/timeline?limit=200")["items"][-1]
        assert (entry["event"], entry["actor"]) == ("joined", None)
        neighbour.do(leave), neighbour.do(leave)
        assert steps.order(order)["needed_by"] == 1
        eventually(lambda: events.of(order["id"])[-1:] == ["order.left"], what="it is told")
        assert events.of(order["id"]).count("order.joined") == 1 and name not in events.text()
    steps.take("resident", order, "cancel", reason="不需要了")
    assert (neighbour.post(join).status_code, _similar(system, "resident2", order)) == (409, None)


def test_staff_joins_for_a_resident_who_calls_and_unmet_demand_counts_people(steps: Steps, system: System) -> None:
    order, station = steps.place("resident-village"), system.person("station-village")
    join = f"/v1/orders/{order['id']}/join"
    before = station.read("/v1/sites/130802103201/demand")
    for nobody in ({}, {"on_behalf_of": "resident2"}, {"on_behalf_of": "nobody"}):
        refused = station.post(join, nobody)
        assert (refused.status_code, refused.json()["fields"][0]["path"]) == (422, "on_behalf_of")
    assert station.do(join, {"on_behalf_of": "resident-village"})["needed_by"] == 1
    for tier in ("station-village", "institute", "center"):
        steps.take(tier, order, "escalate", reason="没有队伍")
    after = station.read("/v1/sites/130802103201/demand")
    assert after["total"] - before["total"] == 1 and sum(row["people"] for row in after["items"]) >= after["total"]
