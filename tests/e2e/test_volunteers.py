"""What is known of volunteers decides whom an order is offered to, as soon as somebody says it."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from pymongo import MongoClient

from services.contracts.registry import Category, PublishItem, Risk, TargetGroup, Tier
from tests.e2e.steps import MEMBERS, TEAMS, WISH, Steps, ask_registry, newcomer
from tests.support.processes import eventually
from tests.support.system import Events, System

CENTER, TEAM, LEADER = "130824", TEAMS["leader-county"], "vol-leader-county"
"""A county whose only active team is ``leader-county``'s."""
PATH = f"/v1/volunteers/{LEADER}"


def an_item(id: str, **asks: Any) -> PublishItem:
    return PublishItem(
        id=id, name="修自行车", category=Category.COMMUNITY, tier=Tier.STATION, site=CENTER,
        target_groups=list(TargetGroup), **asks,
    )  # fmt: skip


BICYCLES = an_item("bicycles", skills=["修车"])
LADDERS = an_item("ladders", risk=Risk.HIGH, qualifications=["登高"])


TAXES = PublishItem(
    id="taxes",
    name="办税咨询",
    category=Category.TAX,
    tier=Tier.STATION,
    site="130802",
    target_groups=list(TargetGroup),
)


@pytest.fixture(scope="module", autouse=True)
def items(system: System) -> None:
    for item in (BICYCLES, LADDERS, TAXES):
        ask_registry(system, "publish_item", item)
        eventually(lambda item=item: _known(system, "items", item.id), what="the item is known")


@pytest.fixture
def mechanic(system: System) -> Iterator[None]:
    """The leader can repair bicycles, until the end of the test."""
    leader = system.person("leader-county")
    leader.do(f"{PATH}/profile", {"skills": ["修车"]})
    eventually(lambda: _known(system, "volunteers", LEADER).get("skills") == ["修车"], what="the skill is known")
    yield
    leader.do(f"{PATH}/profile", {"skills": []})
    eventually(lambda: _known(system, "volunteers", LEADER).get("skills") == [], what="the skill is gone")


def _known(system: System, collection: str, id: str, service: str = "dispatch") -> dict[str, Any]:
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        return client[f"{system.prefix}{service}"][collection].find_one({"_id": id}) or {}


def place(steps: Steps, item: PublishItem = BICYCLES) -> dict[str, Any]:
    return steps.place("resident-county", **{**WISH, "service_item": item.id})


def asked(order: dict[str, Any]) -> list[str]:
    return [offer["team"] for offer in order["offers"]]


def against(system: System, order: dict[str, Any]) -> dict[str, int]:
    """What keeps how many members of the team back, in the newest decision."""
    newest = system.person("station-county").read(f"/v1/orders/{order['id']}/decision")["items"][0]
    (judged,) = (candidate for candidate in newest["candidates"] if candidate["team"] == TEAM)
    return {why["code"]: why["count"] for why in judged["members"]}


def test_unmet_demand_is_offered_when_a_volunteer_learns_what_it_needs(steps: Steps, system: System) -> None:
    order = place(steps)
    assert (order["state"], against(system, order)) == ("placed", {"unskilled": 3})
    for staff in ("station-county", "institute-county", "center-county"):
        order = steps.escalate(order, staff)
    assert order["state"] == "unmet"
    leader = system.person("leader-county")
    try:
        assert leader.do(f"{PATH}/profile", {"skills": ["修车"]})["skills"] == ["修车"]
        eventually(lambda: asked(steps.order(order)) == [TEAM], what="the team is asked")
        assert steps.accept(order, "leader-county")["state"] == "accepted"
    finally:
        leader.do(f"{PATH}/profile", {"skills": []})
        eventually(lambda: _known(system, "volunteers", LEADER).get("skills") == [], what="the skill is gone")


@pytest.mark.usefixtures("mechanic")
def test_the_team_of_an_absent_member_is_not_asked_until_the_absence_is_withdrawn(steps: Steps, system: System) -> None:
    assert asked(place(steps)) == [TEAM]
    leader, today = system.person("leader-county"), system.midnight().date()
    mate = MEMBERS["leader-county"][1]
    body = {"from": today.isoformat(), "to": (today + timedelta(days=1)).isoformat(), "stand_in": mate}
    (absence,) = leader.do(f"{PATH}/absences", body)["absences"]
    try:
        eventually(lambda: _known(system, "volunteers", LEADER)["absences"], what="the absence is known")
        order = place(steps)
        assert (order["state"], asked(order)) == ("placed", [])
        assert against(system, order) == {"unskilled": 2, "absent": 1}
    finally:
        leader.do(f"{PATH}/absences/{absence['id']}/withdraw")
    eventually(lambda: not _known(system, "volunteers", LEADER)["absences"], what="the absence is withdrawn")
    assert asked(place(steps)) == [TEAM]


def test_who_stands_in_for_a_leader_leads_the_team_until_the_absence_is_withdrawn(steps: Steps, system: System) -> None:
    order, team = steps.place("resident"), TEAMS["leader1"]
    leader, mate = system.person("leader1"), system.person("volunteer1")
    path, accept = "/v1/volunteers/vol-leader1", {"team": team}
    assert mate.post(f"/v1/orders/{order['id']}/accept", accept).status_code == 403
    assert "accept" not in {line["what"] for line in mate.read("/v1/inbox")["items"]}
    today = system.midnight().date().isoformat()
    body = {"from": today, "to": today, "stand_in": "vol-volunteer1"}
    (absence,) = leader.do(f"{path}/absences", body)["absences"]
    try:
        eventually(lambda: _known(system, "volunteers", "vol-leader1")["absences"], what="the absence is known")
        assert "accept" in {line["what"] for line in mate.read("/v1/inbox")["items"]}
        assert mate.do(f"/v1/orders/{order['id']}/accept", accept)["state"] == "accepted"
        assert steps.take("leader1", order, "start")["state"] == "in_service", "nobody has taken it from the leader"
    finally:
        leader.do(f"{path}/absences/{absence['id']}/withdraw")
    eventually(lambda: not _known(system, "volunteers", "vol-leader1")["absences"], what="the absence is withdrawn")
    record = {"records": [system.segment("vol-volunteer1")], "summary": "理发一次"}
    assert mate.post(f"/v1/orders/{order['id']}/complete", record).status_code == 403
    assert steps.complete(order)["state"] == "completed"


@pytest.mark.usefixtures("mechanic")
def test_who_is_suspended_is_sent_to_nothing_and_reads_why(steps: Steps, system: System) -> None:
    station, leader = system.person("station-county"), system.person("leader-county")
    assert leader.post(f"{PATH}/suspend", {"reason": "x"}).status_code == 403, "nobody decides about oneself"
    station.do(f"{PATH}/suspend", {"reason": "三次没有到场"})
    try:
        assert leader.read(PATH)["suspension_reason"] == "三次没有到场"
        eventually(lambda: _known(system, "volunteers", LEADER)["suspended"], what="the suspension is known")
        assert against(system, place(steps)) == {"unskilled": 2, "suspended": 1}
        assert station.post(f"{PATH}/suspend", {"reason": "x"}).status_code == 409
    finally:
        station.do(f"{PATH}/resume", {"reason": "已经说明情况"})
    eventually(lambda: not _known(system, "volunteers", LEADER)["suspended"], what="the suspension is lifted")
    assert asked(place(steps)) == [TEAM]
    lines = leader.read(f"{PATH}/log?limit=2")["items"]
    assert [(line["what"], line["note"], line["by"]) for line in lines] == [
        ("resumed", "已经说明情况", "station-county"), ("suspended", "三次没有到场", "station-county"),
    ]  # fmt: skip


def test_staff_vouches_for_what_the_law_asks(steps: Steps, system: System) -> None:
    station, leader = system.person("station-county"), system.person("leader-county")
    assert against(system, place(steps, LADDERS)) == {"unqualified": 3, "uninsured": 3}
    yesterday, later = (system.midnight() - timedelta(days=1)).date().isoformat(), "2099-12-31"
    for change, body in (("qualifications", {"kind": "登高"}), ("insurance", {})):
        assert leader.post(f"{PATH}/{change}", {**body, "until": later}).status_code == 403
        station.do(f"{PATH}/{change}", {**body, "until": later})
    try:
        eventually(
            lambda: _known(system, "volunteers", LEADER)["insured_until"] == later, what="the insurance is known"
        )
        assert asked(place(steps, LADDERS)) == [TEAM]
    finally:
        for change, body in (("qualifications", {"kind": "登高"}), ("insurance", {})):
            station.do(f"{PATH}/{change}", {**body, "until": yesterday})
    eventually(lambda: _known(system, "volunteers", LEADER)["insured_until"] == yesterday, what="it has ended")
    assert asked(place(steps, LADDERS)) == []


def test_a_team_is_proposed_approved_joined_and_asked_until_it_is_dissolved(steps: Steps, system: System) -> None:
    """Its running order goes back to the station."""
    founder, station = system.person("volunteer1"), system.person("station")
    response = founder.post("/v1/teams", {"name": "帮税队", "categories": ["税收服务"]})
    assert response.status_code == 201
    path = response.headers["location"]
    id = founder.read(path)["id"]
    assert system.person("leader2").get(path).status_code == 404, "not approved yet"
    try:
        assert asked(_place_tax(steps)) == []
        assert founder.post(f"{path}/approve").status_code == 403
        assert station.do(f"{path}/approve")["state"] == "active"
        founder.do(f"{path}/invite", {"volunteer": "vol-leader2"})
        joined = system.person("leader2").do(f"{path}/join")
        assert (joined["membership"], joined["member_ids"]) == ("joined", ["vol-volunteer1", "vol-leader2"])
        founder.do(f"{path}/hand-over", {"volunteer": "vol-leader2"})
        eventually(lambda: _known(system, "teams", id).get("leader_id") == "vol-leader2", what="the leader is known")
        order = _place_tax(steps)
        assert asked(order) == [id]
        assert system.person("volunteer1").post(f"/v1/orders/{order['id']}/accept", {"team": id}).status_code == 403
        for move in ("accept", "start"):
            order = steps.take("leader2", order, move, **({"team": id} if move == "accept" else {}))
        waiting = _place_tax(steps)
    finally:
        station.do(f"{path}/dissolve", {"reason": "并入别队"})
    eventually(lambda: steps.order(order)["state"] == "placed", what="the order is handed back")
    back = steps.order(order)
    assert (back["accepted_by"], back["holder"]["id"]) == (None, back["site"])
    entry = steps.timeline(order, "station")[-1]
    assert (entry["event"], entry["actor"], "停止活动" in entry["note"]) == ("withdrawn", "system", True)
    late = system.person("leader2").post(f"/v1/orders/{waiting['id']}/accept", {"team": id})
    assert late.status_code == 409 and "停止活动" in late.json()["detail"]
    assert asked(_place_tax(steps)) == []
    assert id not in [team["id"] for team in founder.read("/v1/me")["teams"]]


def test_a_site_tells_which_of_its_standing_teams_are_missing(system: System) -> None:
    center = system.person("center")

    def wanted(code: str) -> dict[str, Any]:
        told: dict[str, Any] = center.read(f"/v1/sites/{code}")["teams_wanted"]
        return told

    assert [(wanted(code)["rule"]["title"], wanted(code)["met"]) for code in ("130802", "130802103")] == [
        ("10+N", True), ("5+N", True),
    ]  # fmt: skip
    bare = wanted(CENTER)
    assert (bare["there"], bare["missing"], bare["to_choose"]) == ([], bare["rule"]["named"], 7)
    assert center.read("/v1/sites/130802103202")["teams_wanted"] is None
    path = "/v1/teams/shuangqiao-wenyi"
    center.do(f"{path}/suspend", {"reason": "换届"})
    try:
        assert (wanted("130802")["missing"], wanted("130802")["met"]) == (["文化文艺服务"], False)
    finally:
        center.do(f"{path}/resume", {"reason": "换届完成"})
    assert wanted("130802")["met"]


def _place_tax(steps: Steps) -> dict[str, Any]:
    return steps.place(service_item=TAXES.id)


def test_every_change_is_told_once_with_all_facts_and_nothing_personal(system: System) -> None:
    station, about = system.person("station-county"), MEMBERS["leader-county"][1]
    with Events(system.amqp_uri) as events:
        for _ in range(3):
            station.do(f"/v1/volunteers/{about}/profile", {"availability": ["sat_morning", "holiday_evening"]})
        station.do(f"/v1/volunteers/{about}/real-name", {"result": "failed", "reason": "姓名与身份证号不符"})
        station.do(f"/v1/volunteers/{about}/real-name", {"result": "passed"})
        station.do(f"/v1/volunteers/{about}/profile", {"availability": []})
        eventually(lambda: len(events.of(about)) == 4, what="four changes are told")
        told = events.text()
    assert events.of(about) == ["volunteer.updated"] * 4
    assert "holiday_evening" in told and "姓名" not in told and "birth" not in told


def test_who_is_erased_leaves_an_id_that_leads_to_nobody_and_may_begin_anew(system: System) -> None:
    person, station = system.person("resident-county"), system.person("station-county")
    wish = newcomer(skills=["修车"])
    ids = []
    for _ in range(2):
        response = person.post("/v1/volunteers", wish)
        assert response.status_code == 201, response.text
        path, id = response.headers["location"], response.json()["id"]
        person.do(f"{path}/consents", {"purpose": "publication", "version": "1"})
        eventually(lambda id=id: _known(system, "volunteers", id), what="dispatch knows of it")
        assert person.do(f"{path}/erase")["erased"]
        assert person.read("/v1/me")["volunteer"] is None
        seen = station.read(path)
        assert (seen["name"], seen["erased"], seen["skills"], seen["consents"]) == ("已注销", True, [], [])
        assert station.post(f"{path}/resume", {"reason": "x"}).status_code == 409
        assert not [line for line in station.read(f"{path}/log")["items"] if line["note"] or line["by"] != id]
        eventually(lambda id=id: _known(system, "volunteers", id)["skills"] == [], what="dispatch has forgotten")
        assert station.get(f"/v1/accounts/{id}").status_code == 200, "the ledger is kept"
        ids.append(id)
    assert ids[0] != ids[1]


def test_a_consent_that_is_withdrawn_is_told_at_once(system: System) -> None:
    leader = system.person("leader-county")
    with Events(system.amqp_uri) as events:
        given = leader.do(f"{PATH}/consents", {"purpose": "publication", "version": "1"})["consents"]
        assert [(consent["purpose"], consent["version"]) for consent in given] == [("publication", "1")]
        assert system.person("center-county").post(f"{PATH}/consents", {"purpose": "province", "version": "1"}).is_error
        assert leader.do(f"{PATH}/consents/withdraw", {"purpose": "publication"})["consents"] == []
        eventually(lambda: events.of(LEADER) == ["volunteer.updated"] * 2, what="both are told")
    log = leader.read(f"{PATH}/log?limit=2")["items"]
    assert [line["what"] for line in log] == ["consent_withdrawn", "consent"]


def test_skills_that_could_be_something_personal_are_refused(system: System) -> None:
    wish = newcomer(skills=["理发", "13912345678"])
    for path, body in (("/v1/volunteers", wish), (f"{PATH}/profile", {"skills": ["理发", "13912345678"]})):
        person = system.person("resident-county" if "name" in body else "leader-county")
        refused = person.post(path, body)
        assert refused.status_code == 422
        assert [(f["path"], "文字" in f["message"]) for f in refused.json()["fields"]] == [("skills.1", True)]


def test_a_birthday_is_told_by_the_clock(system: System) -> None:
    """As if the last look had been before it."""
    about = MEMBERS["leader-county"][1]
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        volunteers = client[f"{system.prefix}registry"]["volunteers"]
        before = volunteers.find_one({"_id": about}) or {}
        assert before["band_ends_on"][-2:] == "01", "no more than the month"
        volunteers.update_one({"_id": about}, {"$set": {"age_band": "under_18", "band_ends_on": "2020-01-01"}})
    with Events(system.amqp_uri) as events:
        eventually(lambda: events.of(about) == ["volunteer.updated"], what="the birthday is told")
    after = _known(system, "volunteers", about, "registry")
    assert (after["age_band"], after["band_ends_on"]) == (before["age_band"], before["band_ends_on"])
    assert _known(system, "volunteers", about)["age_band"] == before["age_band"] == "adult"
