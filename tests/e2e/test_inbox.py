"""What waits for whom: each step of an order moves it from one inbox to another."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from services.contracts.registry import OfferMode
from tests.e2e.steps import TEAMS, Steps, newcomer, settings_of
from tests.support.system import System

AWAY = "130824100203"
RESIDENT, STATION, LEADER = "resident-county", "station-county", "leader-county"
OF_STAFF, OF_A_LEADER = ["offer", "watch", "arrange", "close"], ["accept", "claim", "start", "complete"]
OF_A_RESIDENT = ["reply", "rate"]


def inbox(system: System, who: str) -> dict[str, dict[str, Any]]:
    return {item["what"]: item for item in system.person(who).read("/v1/inbox")["items"]}


def listed(system: System, who: str, item: dict[str, Any]) -> list[str]:
    return [order["id"] for order in system.person(who).read(f"{item['orders']}&limit=200")["items"]]


@contextmanager
def grown(system: System, **by: list[str]) -> Iterator[list[str]]:
    """These matters of these people grow by the order whose id is put into the list, and no other does."""
    people = (RESIDENT, STATION, LEADER)
    before = {who: inbox(system, who) for who in people}
    ids: list[str] = []
    yield ids
    for who in people:
        for what, item in inbox(system, who).items():
            if "orders" not in item:
                continue
            there = what in by.get(who.partition("-")[0], [])
            found = listed(system, who, item)
            assert (ids[0] in found) is there, f"{what} of {who}"
            assert len(found) == item["count"], f"{what} of {who}"
            assert item["count"] - before[who][what]["count"] <= there, f"{what} of {who}"


def test_an_order_waits_for_one_after_the_other(steps: Steps, system: System) -> None:
    with grown(system, station=["watch"], leader=["accept"]) as ids:
        order = steps.place(RESIDENT)
        ids.append(order["id"])
    for step, matters in {
        "accept": {"leader": ["start"]},
        "start": {"leader": ["complete"]},
        "complete": {"resident": ["rate"]},
        "rate": {"station": ["close"]},
        "close": {},
    }.items():
        with grown(system, **matters) as ids:
            ids.append(order["id"])
            who = {"rate": RESIDENT, "close": STATION}.get(step, LEADER)
            getattr(steps, step)(order, who)


def test_what_nobody_takes_waits_for_staff_above(steps: Steps, system: System) -> None:
    order = steps.place(RESIDENT)
    for staff, next_staff, what in (
        (STATION, "institute-county", "offer"), ("institute-county", "center-county", "offer"),
        ("center-county", "center-county", "arrange"),
    ):  # fmt: skip
        steps.take(staff, order, "escalate", reason="本级没有队伍")
        item = inbox(system, next_staff)[what]
        assert order["id"] in listed(system, next_staff, item)
        assert order["id"] not in [id for w in OF_STAFF for id in listed(system, STATION, inbox(system, STATION)[w])]
    steps.take("center-county", order, "reject", reason="试一试")


def test_a_question_waits_for_the_resident(steps: Steps, system: System) -> None:
    order = steps.place(RESIDENT)
    steps.message(order, STATION, needs_reply=True)
    assert order["id"] in listed(system, RESIDENT, inbox(system, RESIDENT)["reply"])
    steps.message(order, RESIDENT, "上午都在")
    assert order["id"] not in listed(system, RESIDENT, inbox(system, RESIDENT)["reply"])


def test_what_was_declined_waits_no_more_and_urgent_ones_are_told(steps: Steps, system: System) -> None:
    before = inbox(system, LEADER)["accept"]
    order = steps.place(RESIDENT, urgent=True)
    asked = inbox(system, LEADER)["accept"]
    assert (asked["count"], asked["urgent"]) == (before["count"] + 1, before["urgent"] + 1)
    assert asked["due_at"] <= order["due_at"] and asked["title"] == "派给本队，待接单"
    steps.take(LEADER, order, "decline", team=TEAMS[LEADER], reason="都在地里")
    assert inbox(system, LEADER)["accept"]["count"] == before["count"]


def test_an_order_of_the_pool_can_be_claimed(steps: Steps, system: System) -> None:
    with settings_of(system, AWAY, mode=OfferMode.POOL):
        order = steps.place(RESIDENT)
        assert order["id"] in listed(system, LEADER, inbox(system, LEADER)["claim"])
        steps.accept(order, LEADER)
        assert order["id"] not in listed(system, LEADER, inbox(system, LEADER)["claim"])


@pytest.mark.parametrize(
    ("who", "matters"),
    [
        ("resident", OF_A_RESIDENT),
        ("station", [*OF_STAFF, "follow_up", "approve", "check"]),
        ("leader1", [*OF_A_LEADER, "admit", "join"]),
        ("volunteer1", ["admit", "join"]),
        ("municipal", []),
    ],
)
def test_everybody_is_told_of_what_could_wait_also_when_nothing_does(
    system: System, who: str, matters: list[str]
) -> None:
    found = inbox(system, who)
    assert list(found) == matters
    assert all(item["title"] and item["count"] >= 0 for item in found.values())


def test_what_is_not_the_callers_cannot_be_listed(system: System) -> None:
    refused = system.person("resident").get("/v1/orders?waiting=close")
    assert refused.status_code == 422
    assert refused.json()["fields"] == [{"path": "waiting", "message": "可以填：reply、rate"}]
    assert system.person("municipal").get("/v1/orders?waiting=close").status_code == 422


def test_a_new_volunteer_waits_for_the_real_name_check(system: System) -> None:
    person, station = system.person(RESIDENT), system.person(STATION)
    path = person.post("/v1/volunteers", newcomer()).headers["location"]
    id = path.rsplit("/")[-1]
    assert id in inbox(system, STATION)["check"]["volunteers"]
    station.do(f"{path}/real-name", {"result": "passed"})
    assert id not in inbox(system, STATION)["check"]["volunteers"]
    person.do(f"{path}/erase")


def test_who_wants_to_join_waits_for_the_leader_and_an_invitation_for_the_invited(system: System) -> None:
    guest, leader, team = system.person("volunteer1"), system.person("leader2"), TEAMS["leader2"]
    guest.do(f"/v1/teams/{team}/join")
    assert team in [waiting["id"] for waiting in inbox(system, "leader2")["admit"]["teams"]]
    leader.do(f"/v1/teams/{team}/remove", {"volunteer": "vol-volunteer1"})
    assert inbox(system, "leader2")["admit"]["count"] == 0
    leader.do(f"/v1/teams/{team}/invite", {"volunteer": "vol-volunteer1"})
    assert [waiting["id"] for waiting in inbox(system, "volunteer1")["join"]["teams"]] == [team]
    guest.do(f"/v1/teams/{team}/leave")
    assert inbox(system, "volunteer1")["join"]["count"] == 0


def test_a_proposed_team_waits_for_staff(system: System) -> None:
    team = system.person("volunteer2").do("/v1/teams", {"name": "护林队", "categories": ["环境保护"]})
    assert {"id": team["id"], "name": "护林队"} in inbox(system, "station")["approve"]["teams"]
    system.person("station").do(f"/v1/teams/{team['id']}/refuse", {"reason": "试一试"})
    assert team["id"] not in [waiting["id"] for waiting in inbox(system, "station")["approve"]["teams"]]
