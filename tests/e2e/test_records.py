"""Plain records: every kind is added, listed, changed and retired in the same way, also by several at once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

from services.contracts.records import BODIES
from tests.e2e.records import DAY, SAMPLES, Keeper, sample_of
from tests.e2e.steps import COUNTY, TOWNSHIP, VILLAGE
from tests.support.processes import eventually
from tests.support.system import Events, System

OTHER_VILLAGE = "130802103201"
AT_ONCE = 8


@pytest.fixture(scope="module")
def keeper(system: System) -> Keeper:
    return Keeper(system, "center", OTHER_VILLAGE)


def refused(response: httpx.Response, status: int = 422) -> list[str]:
    assert response.status_code == status, response.text
    return [field["path"] for field in response.json().get("fields", [])]


def all_at_once(keeper: Keeper, kind: str, bodies: list[dict[str, Any]]) -> Counter[int]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return Counter(pool.map(lambda body: keeper.person.post(f"/v1/{kind}", body).status_code, bodies))


def listed(system: System, who: str, path: str) -> list[str]:
    return [item["id"] for item in system.person(who).read(path)["items"]]


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_record_of_every_kind_lives_the_same_life(system: System, keeper: Keeper, kind: str) -> None:
    person, key = keeper.person, f"records-{kind}"
    sent = sample_of(kind, Keeper(system, "center", OTHER_VILLAGE))
    response = person.post(f"/v1/{kind}", sent, key)
    assert (response.status_code, person.post(f"/v1/{kind}", sent, key).json()) == (201, response.json())
    made, path = response.json(), response.headers["location"]
    assert path == f"/v1/{kind}/{made['id']}" and person.read(path) == made
    plain = {name: value for name, value in sent.items() if name not in ("members", "tasks", "decisions", *DAY)}
    assert {name: made[name] for name in plain} == plain
    assert made["id"] in listed(system, "center", f"/v1/{kind}?site={OTHER_VILLAGE}&limit=200")
    assert person.do(f"{path}/change") == made, "nothing to change"
    assert refused(person.post(f"{path}/change", {"colour": "red"})) == ["colour"]
    assert refused(person.post(f"/v1/{kind}", {**sent, "colour": "red"})) == ["colour"]
    assert refused(person.get(f"/v1/{kind}?colour=red")) == ["colour"]

    retired = person.do(f"{path}/retire", {"reason": "登记错了"})
    assert (retired["state"], person.read(path)) == ("retired", retired)
    assert person.post(f"{path}/change", {}).status_code == 409
    assert made["id"] not in listed(system, "center", f"/v1/{kind}?site={OTHER_VILLAGE}&limit=200")
    assert made["id"] in listed(system, "center", f"/v1/{kind}?site={OTHER_VILLAGE}&limit=200&state=retired")
    last, first = person.read(f"{path}/log")["items"]
    assert (last["what"], last["by"], last["changes"]) == ("retired", "center", {"reason": [None, "登记错了"]})
    assert first["what"] == "added" and all(old is None for old, _ in first["changes"].values())
    assert person.post(f"/v1/{kind}", sent).status_code == 201, "what was unique is free again"


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_list_without_anything_is_empty_by_every_filter(system: System, kind: str) -> None:
    for query in ["", *(f"&{name}=none" for name in BODIES[kind].filters)]:
        found = system.person("admin").read(f"/v1/{kind}?site=130802102202{query}")
        assert found == {"items": [], "next": None}


def test_lists_go_down_the_tree_by_pages_and_what_holds_comes_from_above(system: System) -> None:
    center, station = Keeper(system, "center", COUNTY), Keeper(system, "station", VILLAGE)
    at_center = center.add("projects")["id"]
    below = [station.add("projects", category="法律服务")["id"] for _ in range(3)]
    path, found = "/v1/projects?category=法律服务&limit=2", list[str]()
    page = system.person("center").read(path)
    while True:
        found += [item["id"] for item in page["items"]]
        if page["next"] is None:
            break
        page = system.person("center").read(f"{path}&cursor={page['next']}")
    assert found[:3] == below[::-1]
    assert at_center not in listed(system, "resident", "/v1/projects")
    holds = listed(system, "resident", "/v1/projects?scope=above&limit=200")
    assert {at_center, *below} <= set(holds)
    assert below[0] not in listed(system, "resident", f"/v1/projects?scope=above&site={TOWNSHIP}")
    assert at_center in listed(system, "resident", f"/v1/projects?scope=above&site={TOWNSHIP}&category=文化艺术")
    assert refused(system.person("resident").get("/v1/projects?scope=sideways")) == ["scope"]
    assert system.person("resident").get("/v1/projects?site=999999").status_code == 404


def test_of_bookings_at_the_same_time_one_is_made(keeper: Keeper) -> None:
    venue = keeper.add("venues")["id"]
    body = sample_of("bookings", keeper, venue=venue)
    assert all_at_once(keeper, "bookings", [body] * AT_ONCE) == {201: 1, 409: AT_ONCE - 1}
    hours = [
        {"from": f"2026-10-06T{h:02}:00:00+08:00", "to": f"2026-10-06T{h + 1:02}:00:00+08:00"} for h in range(9, 13)
    ]
    touching = [sample_of("bookings", keeper, venue=venue, **times) for times in hours]
    assert all_at_once(keeper, "bookings", touching) == {201: len(hours)}, "half-open"
    found = keeper.person.read(f"/v1/bookings?site={OTHER_VILLAGE}&venue={venue}&day=2026-10-06")["items"]
    assert len(found) == len(hours) and all(one["venue"] == venue for one in found)

    first = keeper.person.read(f"/v1/bookings?site={OTHER_VILLAGE}&venue={venue}&day=2026-10-05")["items"][0]
    moved = keeper.person.post(f"/v1/bookings/{first['id']}/change", hours[0])
    assert moved.status_code == 409 and "09:00—10:00 已有预约" in moved.json()["detail"]
    keeper.person.do(f"/v1/bookings/{first['id']}/retire", {"reason": "不用了"})
    keeper.add("bookings", venue=venue, **DAY)


def test_of_the_same_organisation_registered_at_once_there_is_one(keeper: Keeper) -> None:
    body = sample_of("organisations", keeper, credit_code="91110000600037341l")
    assert all_at_once(keeper, "organisations", [body] * AT_ONCE) == {201: 1, 409: AT_ONCE - 1}
    other = keeper.add("organisations")
    taken = keeper.person.post(f"/v1/organisations/{other['id']}/change", {"credit_code": "91110000600037341L"})
    assert (taken.status_code, "已经登记过" in taken.json()["detail"]) == (409, True)
    wrong = keeper.person.post("/v1/organisations", {**body, "credit_code": "51130800MJ0A1B2C3R"})
    assert refused(wrong) == ["credit_code"]


def test_a_line_is_not_spent_twice_by_several_at_once(keeper: Keeper) -> None:
    line = keeper.add("budget-lines", amount=500)["id"]
    body = sample_of("spendings", keeper, line=line, amount=100)
    assert all_at_once(keeper, "spendings", [body] * AT_ONCE) == {201: 5, 422: AT_ONCE - 5}
    assert refused(keeper.person.post("/v1/spendings", body)) == ["reason"]
    keeper.add("spendings", line=line, amount=100, reason="追加")
    found = keeper.person.read(f"/v1/budget-lines/{line}")
    assert (found["spent"], found["left"]) == (600, -100)
    keeper.person.do(f"/v1/budget-lines/{line}/retire", {"reason": "年度结束"})
    assert refused(keeper.person.post("/v1/spendings", {**body, "reason": "追加"})) == ["line"]


def test_an_accepted_proposal_becomes_a_project_that_says_where_it_comes_from(keeper: Keeper) -> None:
    proposal = keeper.add("proposals", subject="建长者食堂一号")
    path = f"/v1/proposals/{proposal['id']}"
    assert refused(keeper.person.post(f"{path}/change", {"decision": "refused"})) == ["reason"]
    became = keeper.person.do(f"{path}/change", {"decision": "accepted"})["became"]
    project = keeper.person.read(f"/v1/projects/{became}")
    assert (project["name"], project["proposal"], project["site"]) == ("建长者食堂一号", proposal["id"], OTHER_VILLAGE)
    assert keeper.person.post(f"{path}/change", {"decision": "pending"}).status_code == 409


def test_a_record_of_another_kind_or_nobodys_is_unknown(system: System, keeper: Keeper) -> None:
    venue = keeper.one("venues")
    assert system.person("center").get(f"/v1/organisations/{venue}").status_code == 404
    assert system.person("center").get("/v1/venues/01NOBODY").status_code == 404
    assert refused(keeper.person.post("/v1/bookings", sample_of("bookings", keeper, venue="01NOBODY"))) == ["venue"]
    assert refused(keeper.person.post("/v1/venues", sample_of("venues", keeper, site="999999"))) == ["site"]
    assert refused(keeper.person.post(f"/v1/venues/{venue}/change", {"site": VILLAGE})) == ["site"]


def test_a_contact_is_told_to_staff_of_the_place_only(system: System, keeper: Keeper) -> None:
    path = f"/v1/organisations/{keeper.one('organisations')}"
    told = {who: system.person(who).read(path)["phone"] for who in ("center", "institute", "resident", "station")}
    assert told == {"center": "0314-2020202", "institute": "0314-2020202", "resident": None, "station": None}
    assert system.person("resident").read(f"/v1/organisations?site={OTHER_VILLAGE}")["items"][0]["contact"] is None


def test_others_are_told_of_what_kind_and_where_and_the_database_holds_no_word_in_clear(
    system: System, keeper: Keeper
) -> None:
    with Events(system.amqp_uri) as events:
        id = keeper.add("households", number="金字塔户")["id"]
        keeper.person.do(f"/v1/households/{id}/change", {"number": "银字塔户"})
        (log, _) = keeper.person.read(f"/v1/households/{id}/log")["items"]
        assert log["changes"] == {"number": ["金字塔户", "银字塔户"]}
        keeper.person.do(f"/v1/households/{id}/retire", {"reason": "铜字塔户"})
        facts = [f for fact in ("added", "changed", "retired") for f in (f"record.{fact}", "household.updated")]
        eventually(lambda: events.of(id) == facts, what="the facts")
        told = events.text()
    log = keeper.person.read(f"/v1/households/{id}/log")["items"]
    assert [entry["changes"] for entry in log] == [{"reason": [None, "铜字塔户"]}, {}, {}], "it is forgotten"
    assert "number" not in keeper.person.read(f"/v1/households/{id}")
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        database = client[f"{system.prefix}registry"]
        kept = b"".join(b"".join(database[name].find_raw_batches()) for name in ("records", "record_log"))
    assert id.encode() in kept
    for word in ("字塔户", "赵某某", "hardship"):
        assert word.encode() not in kept and word not in told
