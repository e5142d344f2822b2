"""Whom an order is offered to, and why, as staff, leaders and residents see it."""

from typing import Any

import pytest
from pymongo import MongoClient

from services.contracts.registry import Category, OfferMode, PublishItem, Risk, TargetGroup, Tier
from tests.e2e.steps import COUNTY, EVERYBODY, TEAMS, VILLAGE, WISH, Steps, ask_registry, settings_of
from tests.support.processes import eventually
from tests.support.system import System

AWAY, AWAY_CENTER = "130824100203", "130824"
"""A village of another county, where ``leader-county`` has the only team."""
ZHIXIN, YIXING = TEAMS["leader1"], TEAMS["leader2"]


def decisions(system: System, order: dict[str, Any], who: str) -> list[dict[str, Any]]:
    """Newest first."""
    items: list[dict[str, Any]] = system.person(who).read(f"/v1/orders/{order['id']}/decision")["items"]
    return items


def asked(order: dict[str, Any]) -> set[str]:
    return {offer["team"] for offer in order["offers"]}


def _known(system: System, collection: str, id: str) -> dict[str, Any]:
    """What dispatch knows of the registry."""
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        return client[f"{system.prefix}dispatch"][collection].find_one({"_id": id}) or {}


def test_staff_reads_why_and_a_team_reads_its_own_part(steps: Steps, system: System) -> None:
    order = steps.place()
    (decision,) = decisions(system, order, "station")
    assert (decision["by"], decision["mode"], decision["tier"], decision["site"]) == (
        "system", "fan_out", "station", VILLAGE,
    )  # fmt: skip
    assert set(decision["chosen"]) == asked(order) == {ZHIXIN, YIXING}
    (judged,) = [c for c in decision["candidates"] if c["team"] == ZHIXIN]  # a lot orders equals
    assert (judged["verdict"], judged["fit"], judged["borrowed"]) == ("approved", 5, False)
    assert judged["why"][0]["text"] and set(judged["values"]) == {"skill", "distance", "slot"}
    (own,) = decisions(system, order, "leader1")
    assert [c["team"] for c in own["candidates"]] == own["chosen"] == [ZHIXIN]
    (told,) = decisions(system, order, "resident")
    assert (told["candidates"], told["chosen"], told["considered"]) == ([], [], decision["considered"])


def test_a_countys_rules_leave_to_a_person_whom_none_of_them_approves(steps: Steps, system: System) -> None:
    center = system.person("center-county")
    path = f"/v1/sites/{AWAY_CENTER}/matching-rules"
    proven = {"name": "proven", "title": "服务过一百单以上", "when": {"experience_from": 100}}
    response = center.post(path, {"approve": [proven]})
    assert response.status_code == 201
    published = center.read(response.headers["location"])
    try:
        assert published["approve"] == [proven]
        order = steps.place("resident-county")
        assert (order["state"], asked(order)) == ("placed", set())
        (decision,) = decisions(system, order, "station-county")
        assert (decision["rules"], decision["chosen"]) == (published["id"], [])
        assert decision["candidates"][0]["verdict"] == "undecided"
        offered = steps.take("station-county", order, "offer")
        assert asked(offered) == {TEAMS["leader-county"]}
        assert decisions(system, order, "center-county")[0]["mode"] == "by_hand"
    finally:
        center.do(path, EVERYBODY)
    assert steps.place("resident-county")["state"] == "offered"
    assert center.read(path)["in_force"]["approve"][0]["title"] == "符合条件的队伍"


def test_a_rule_that_blocks_is_overridden_with_a_reason_which_is_kept(steps: Steps, system: System) -> None:
    center, path = system.person("center-county"), f"/v1/sites/{AWAY_CENTER}/matching-rules"
    alone = {"name": "alone", "title": "上门服务至少四人", "when": {"people_below": 4}}
    center.do(path, {"block": [alone], **EVERYBODY})
    try:
        order = steps.place("resident-county")
        body: dict[str, Any] = {"teams": [TEAMS["leader-county"]]}
        refused = system.person("station-county").post(f"/v1/orders/{order['id']}/offer", body)
        assert refused.status_code == 422
        (field,) = refused.json()["fields"]
        assert field["path"] == "teams.0" and "上门服务至少四人" in field["message"] and "reason" in field["message"]
        steps.take("station-county", order, "offer", **body, reason="邻居一起去，人手够")
        newest = decisions(system, order, "station-county")[0]
        assert (newest["reason"], newest["candidates"][0]["verdict"]) == ("邻居一起去，人手够", "blocked")
    finally:
        center.do(path, EVERYBODY)


@pytest.mark.parametrize(
    "body", [{"approve": [{"name": "x"}]}, {"block": [{"name": "a b", "title": "x"}]}, {"size": 1}]
)
def test_rules_that_are_none_are_refused(system: System, body: dict[str, Any]) -> None:
    assert system.person("center").post(f"/v1/sites/{COUNTY}/matching-rules", body).status_code == 422


def test_a_station_has_no_rules_of_its_own(system: System) -> None:
    refused = system.person("admin").post(f"/v1/sites/{VILLAGE}/matching-rules", EVERYBODY)
    assert refused.status_code == 409 and "中心" in refused.json()["detail"]


def test_from_the_open_pool_a_team_of_the_place_claims(steps: Steps, system: System) -> None:
    with settings_of(system, AWAY, mode=OfferMode.POOL):
        order = steps.place("resident-county")
        assert (order["state"], order["pool"], order["offers"]) == ("offered", True, [])
        listed = system.person("leader-county").read("/v1/orders?state=offered&limit=200")["items"]
        assert order["id"] in [item["id"] for item in listed]
        assert steps.order(order, "leader-county")["address"] is None
        told = system.person("leader-county")
        eventually(lambda: order["id"] in [n["subject"]["id"] for n in told.read("/v1/notifications")["items"]])
        assert system.person("leader1").get(f"/v1/orders/{order['id']}").status_code == 404
        taken = steps.accept(order, "leader-county")
        assert (taken["state"], asked(taken)) == ("accepted", {TEAMS["leader-county"]})
        assert decisions(system, order, "station-county")[0]["mode"] == "pool"


def test_a_borrowed_team_finds_and_claims_what_lies_in_the_pool_of_its_sister(steps: Steps, system: System) -> None:
    leader = system.person("leader1")
    with settings_of(system, AWAY, mode=OfferMode.POOL, sisters=[VILLAGE]):
        order = steps.place("resident-county")
        for found in ("/v1/orders?limit=200", "/v1/orders?waiting=claim&limit=200"):
            assert order["id"] in [item["id"] for item in leader.read(found)["items"]]
        taken = steps.accept(order, "leader1")
        assert (taken["accepted_by"], asked(taken)) == (ZHIXIN, {ZHIXIN})
        assert leader.read("/v1/inbox")["items"]


def test_in_waves_the_next_team_is_asked_after_a_while(steps: Steps, system: System) -> None:
    center, path = system.person("center"), f"/v1/sites/{COUNTY}/matching-rules"
    center.do(path, {**EVERYBODY, "wave": {"size": 1, "minutes": 0.1}})
    try:
        with settings_of(system, VILLAGE, mode=OfferMode.WAVES):
            order = steps.place()
            assert len(asked(order)) == 1 and order["next_offer_at"] is not None
            eventually(lambda: asked(steps.order(order)) == {ZHIXIN, YIXING}, what="the second wave")
            assert steps.order(order)["next_offer_at"] is None
            assert steps.facts(order) == ["placed", "offered", "offered"]
            assert [len(decision["chosen"]) for decision in decisions(system, order, "station")] == [1, 1]
    finally:
        center.do(path, EVERYBODY)


def test_nobody_is_sent_to_danger_without_insurance(steps: Steps, system: System) -> None:
    roof = PublishItem(
        id="roof-repair", name="修屋顶", category=Category.COMMUNITY, tier=Tier.STATION, site=AWAY_CENTER,
        target_groups=list(TargetGroup), risk=Risk.HIGH,
    )  # fmt: skip
    ask_registry(system, "publish_item", roof)
    eventually(lambda: _known(system, "items", roof.id), what="the item is known")
    order = steps.place("resident-county", **{**WISH, "service_item": roof.id})
    assert (order["state"], order["needs"]["risk"]) == ("placed", "high")
    (decision,) = decisions(system, order, "station-county")
    (judged,) = [candidate for candidate in decision["candidates"] if candidate["team"] == TEAMS["leader-county"]]
    assert [(why["code"], why["count"]) for why in judged["members"]] == [("uninsured", 3)]
    body = {"teams": [TEAMS["leader-county"]], "reason": "急"}
    refused = system.person("station-county").post(f"/v1/orders/{order['id']}/offer", body)
    assert refused.status_code == 422 and "保险" in refused.json()["fields"][0]["message"]
