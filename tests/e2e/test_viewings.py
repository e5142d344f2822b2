"""Who has read of a volunteer in clear is kept, before the answer leaves, and told to the volunteer."""

from datetime import timedelta
from typing import Any

from pymongo import MongoClient

from deploy.reference import demo
from services.contracts.privacy import VIEWINGS_KEPT
from tests.e2e.steps import MEMBERS, VILLAGE, Steps, newcomer
from tests.support.failpoints import failing
from tests.support.system import CHINA, System

LEADER, MATE = MEMBERS["leader-county"]
WHOLE = ["name", "abilities", "file"]
HOME = "庄头营村 8 号"


def lines(system: System, volunteer: str = LEADER, who: str = "admin", count: int = 1) -> list[tuple[Any, ...]]:
    page = system.person(who).read(f"/v1/volunteers/{volunteer}/views?limit={count}")
    return [(line["by"], line["request"], line["fields"]) for line in page["items"]]


def stored(system: System) -> int:
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        return client[f"{system.prefix}registry"]["volunteer_views"].count_documents({})


def test_every_way_to_read_of_another_is_told_to_the_one_who_was_read_of(system: System) -> None:
    station, leader, path = system.person("station-county"), system.person("leader-county"), f"/v1/volunteers/{LEADER}"
    station.read(path)
    station.read(f"{path}/log")
    assert LEADER in [found["id"] for found in station.read("/v1/volunteers?q=dlx")["items"]]
    (found,) = station.do("/v1/volunteers/lookup", {"phone": _phone()})["items"]
    assert found["id"] == LEADER
    station.do(f"{path}/profile")
    ways = [("change", WHOLE), ("look_up", WHOLE), ("search", WHOLE), ("log", ["notes"]), ("read", WHOLE)]
    assert lines(system, who="leader-county", count=5) == [("station-county", *way) for way in ways]
    leader.read(f"/v1/volunteers/{MATE}")
    assert lines(system, MATE) == [("leader-county", "read", ["name", "abilities"])]


def test_a_page_of_many_is_one_line_and_oneself_or_masked_is_none(system: System) -> None:
    before = stored(system)
    for who in ("leader-county", "admin", "resident"):
        system.person(who).get(f"/v1/volunteers/{LEADER}/views")
    system.person("leader-county").read(f"/v1/volunteers/{LEADER}")
    name = system.person("volunteer1").read("/v1/volunteers/vol-leader1")["name"]
    assert name.endswith("*") and stored(system) == before
    page = system.person("center").read("/v1/volunteers")["items"]
    assert len(page) > 30 and stored(system) == before + 1
    assert {line for who in page for line, *_ in lines(system, who["id"])} == {"center"}


def test_what_cannot_be_kept_is_not_told(system: System) -> None:
    before, station = lines(system), system.person("station-county")
    with (
        MongoClient[dict[str, Any]](system.mongo_uri) as client,
        failing(client, ["insert"], "alwaysOn", errorCode=262, appName="sidan-registry"),
    ):
        refused = station.get(f"/v1/volunteers/{LEADER}")
    assert refused.status_code == 503 and "丁立新" not in refused.text
    assert lines(system) == before


def test_the_lines_outlive_an_erasure_and_end_after_three_years(system: System) -> None:
    person, station = system.person("resident-county"), system.person("station-county")
    path = person.post("/v1/volunteers", newcomer()).headers["location"]
    station.read(path)
    person.do(f"{path}/erase")
    assert station.read(path)["erased"]
    assert lines(system, path.rsplit("/")[-1], count=9) == [("station-county", "read", WHOLE)]
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        indexes = client[f"{system.prefix}registry"]["volunteer_views"].index_information()
    assert indexes["at_1"]["expireAfterSeconds"] == VIEWINGS_KEPT >= 3 * 365 * 24 * 3600


# -- orders -----------------------------------------------------------------------------------------------


def order_lines(system: System, order: dict[str, Any], who: str = "resident") -> list[tuple[str, str]]:
    """Newest first."""
    page = system.person(who).read(f"/v1/orders/{order['id']}/views?limit=200")
    return [(line["by"], line["request"]) for line in page["items"]]


def test_every_way_to_read_of_an_order_in_clear_is_told_to_who_has_ordered(steps: Steps, system: System) -> None:
    order = steps.place(address=HOME)
    path, leader = f"/v1/orders/{order['id']}", system.person("leader1")
    before = order_lines(system, order)
    assert leader.read(path)["address"] is None
    assert order_lines(system, order) == before, "masked is none"
    steps.accept(order)
    photo = steps.photograph(order, "resident")
    assert leader.read(path)["address"] == HOME
    leader.read(f"{path}/messages")
    leader.get(photo["url"]).raise_for_status()
    assert order["id"] in [one["id"] for one in system.person("center").read("/v1/orders?limit=200")["items"]]
    for who in ("resident", "resident2", "leader2"):
        system.person(who).get(path)
    seen = [("center", "list"), ("leader1", "photo"), ("leader1", "messages"), ("leader1", "read")]
    assert order_lines(system, order)[:4] == seen
    assert order_lines(system, order, "station")[:4] == seen
    assert [system.person(who).get(f"{path}/views").status_code for who in ("leader1", "resident2")] == [403, 404]


def test_a_list_of_a_day_is_one_line_for_all_that_are_on_it(steps: Steps, system: System) -> None:
    when = {"preferred": {"from": soon(system, 60), "to": soon(system, 120)}}
    first, second = steps.place(**when), steps.place(**when)
    day = system.now().astimezone(CHINA).date()
    listed = [line["order"] for line in system.person("institute").read(f"/v1/sites/{VILLAGE}/day?date={day}")["items"]]
    assert {first["id"], second["id"]} <= set(listed)
    assert order_lines(system, first)[0] == order_lines(system, second)[0] == ("institute", "day")


def test_of_an_order_what_cannot_be_kept_is_not_told(steps: Steps, system: System) -> None:
    order, station = steps.place(address=HOME), system.person("station")
    before = order_lines(system, order)
    with (
        MongoClient[dict[str, Any]](system.mongo_uri) as client,
        failing(client, ["insert"], "alwaysOn", errorCode=262, appName="sidan-dispatch"),
    ):
        refused = station.get(f"/v1/orders/{order['id']}")
    assert refused.status_code == 503 and HOME not in refused.text
    assert order_lines(system, order) == before


def soon(system: System, minutes: int) -> str:
    return (system.now() + timedelta(minutes=minutes)).isoformat()


def _phone() -> str:
    return next(volunteer.phone for volunteer in demo.volunteers() if volunteer.id == LEADER)
