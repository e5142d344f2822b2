"""Goods, and help with the system, that a center gives to its stations and teams."""

from typing import Any

import pytest

from tests.support.processes import eventually
from tests.support.system import Events, Person, System

CHAIRS = [{"name": "椅子", "count": 20}]
GOODS = {"kind": "material", "text": "会场没有椅子", "goods": CHAIRS}
HELP = {"kind": "technical", "text": "叫号机连不上网"}


def waiting(center: Person) -> dict[str, Any]:
    return next(item for item in center.read("/v1/inbox")["items"] if item["what"] == "support")


def listed(person: Person, query: str = "") -> list[str]:
    return [one["id"] for one in person.read(f"/v1/support-requests?limit=200{query}")["items"]]


def test_a_station_asks_for_chairs_and_the_center_sends_them(system: System) -> None:
    station, center = system.person("station"), system.person("center")
    before = waiting(center)
    with Events(system.amqp_uri) as events:
        response = station.post("/v1/support-requests", GOODS)
        request = response.raise_for_status().json()
        path = response.headers["location"]
        assert (request["state"], request["center"], request["goods"]) == ("requested", "130802", CHAIRS)
        assert request["due_at"] and waiting(center)["count"] == before["count"] + 1
        assert request["id"] in listed(center, "&state=waiting&kind=material")
        assert center.do(f"{path}/take")["taken_by"] == "center"
        answered = center.do(f"{path}/answer", {"text": "下午送到", "goods": CHAIRS})
        assert (answered["state"], answered["due_at"], answered["sent"]) == ("answered", None, CHAIRS)
        assert waiting(center)["count"] == before["count"]
        rated = station.do(f"{path}/rate", {"score": 5, "comment": "很及时"})
        assert rated["rating"] == {"score": 5, "comment": "很及时"} and rated["possible"] == []
        told = ["support.requested", "support.taken", "support.answered", "support.rated"]
        eventually(lambda: events.of(request["id"]) == told, what="each fact is told")
        assert "椅子" not in events.text()
    assert [step["event"] for step in station.read(path)["timeline"]] == [fact.split(".")[1] for fact in told]


def test_everybody_sees_what_is_theirs(system: System) -> None:
    leader = system.person("leader1")
    request = leader.do("/v1/support-requests", HELP)["id"]
    for name in ("leader1", "station", "institute", "center", "admin"):
        assert request in listed(system.person(name)), name
    for name in ("leader2", "resident", "station-village", "center-county", "municipal"):
        assert request not in listed(system.person(name)), name
    assert leader.do(f"/v1/support-requests/{request}/withdraw")["state"] == "withdrawn"
    assert request not in listed(leader, "&state=waiting")


@pytest.mark.parametrize(("body", "path"), [
    ({**GOODS, "goods": []}, "goods"), ({**HELP, "goods": CHAIRS}, "goods"), ({**GOODS, "kind": "cash"}, "kind"),
    ({**GOODS, "goods": [{"name": "椅子", "count": 0}]}, "goods.0.count"), ({"kind": "technical"}, "text"),
])  # fmt: skip
def test_what_is_wrong_is_named_and_nothing_is_asked(system: System, body: dict[str, Any], path: str) -> None:
    station = system.person("station")
    before = listed(station)
    refused = station.post("/v1/support-requests", body)
    assert (refused.status_code, [error["path"] for error in refused.json()["fields"]]) == (422, [path])
    assert listed(station) == before
    assert station.get("/v1/support-requests?state=gone").status_code == 422
