"""Staff finds volunteers of its place, and everybody finds teams."""

from typing import Any

import pytest

from tests.e2e.steps import MEMBERS, TEAMS, VILLAGE, newcomer
from tests.support.processes import eventually
from tests.support.system import Person, System

XIE = "vol-laonian-3"
"""谢立新 of the village; two of another county are 立新 too."""


def found(who: Person, path: str = "/v1/volunteers", **query: Any) -> list[str]:
    """Ids on all pages."""
    ids: list[str] = []
    cursor = None
    while True:
        response = who.get(path, params={**query, **({"cursor": cursor} if cursor else {})})
        assert response.status_code == 200, response.text
        page = response.json()
        assert len(page["items"]) <= query.get("limit", 50)
        ids += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            return ids


@pytest.mark.parametrize("q", ["谢立新", "立新", "xie", "xielixin", "lixin", "xlx", "谢 新"])
def test_staff_finds_by_name_pinyin_and_initials(system: System, q: str) -> None:
    assert XIE in found(system.person("station"), q=q)


def test_a_place_is_searched_with_all_below_it_and_nothing_beside(system: System) -> None:
    assert found(system.person("station"), q="立新") == [XIE]
    assert XIE in found(system.person("center"), q="lixin")
    assert set(found(system.person("center-county"), q="立新")) == set(MEMBERS["leader-county"])
    everywhere = found(system.person("admin"), q="立新")
    assert {XIE, *MEMBERS["leader-county"]} <= set(everywhere)
    assert found(system.person("admin"), q="立新", site=VILLAGE) == [XIE]


def test_pages_hold_everybody_once_in_one_order(system: System) -> None:
    center = system.person("center")
    everybody = found(center, limit=200)
    assert len(everybody) == len(set(everybody)) > 30
    assert found(center, limit=7) == everybody
    assert found(center, limit=3, q="立 新") == [id for id in everybody if id in found(center, q="立新")]


def test_what_is_found_is_what_staff_may_read(system: System) -> None:
    (item,) = system.person("station").read("/v1/volunteers?q=谢立新")["items"]
    assert item == system.person("station").read(f"/v1/volunteers/{XIE}")
    assert item["name"] == "谢立新" and "*" in item["id_number"] and "phone" not in item


def looked_up(who: Person, **number: str) -> list[dict[str, Any]]:
    page = who.do("/v1/volunteers/lookup", number)
    assert page["next"] is None
    return list(page["items"])


def test_staff_looks_up_whom_it_may_read_by_a_whole_number(system: System) -> None:
    numbers = {"id_number": "130802196703092670"}, {"phone": "199 0000 0012"}
    for who in ("station", "institute", "center", "admin"):
        read = system.person(who).read(f"/v1/volunteers/{XIE}")
        assert [looked_up(system.person(who), **number) for number in numbers] == [[read]] * 2
    for who in ("station-village", "institute-township", "center-county"):
        assert [looked_up(system.person(who), **number) for number in numbers] == [[]] * 2, "as nobody's"
    for who in ("resident", "leader1", "municipal"):
        assert system.person(who).post("/v1/volunteers/lookup", numbers[1]).status_code == 403


@pytest.mark.parametrize(
    ("numbers", "path"),
    [
        ({}, "id_number"), ({"id_number": "130802196703092670", "phone": "19900000012"}, "id_number"),
        ({"id_number": "130802196703092671"}, "id_number"), ({"id_number": "1308"}, "id_number"),
        ({"phone": "1990000001"}, "phone"), ({"phone": {"$ne": ""}}, "phone"), ({"phone": "1" * 31}, "phone"),
    ],
)  # fmt: skip
def test_what_is_no_whole_number_is_told_by_its_path(system: System, numbers: dict[str, Any], path: str) -> None:
    refused = system.person("station").post("/v1/volunteers/lookup", numbers)
    assert refused.status_code == 422
    assert [field["path"] for field in refused.json()["fields"]] == [path]


def test_a_phone_leads_to_all_who_share_it_until_they_are_erased(system: System) -> None:
    person, station = system.person("resident-county"), system.person("station-county")
    registered = person.post("/v1/volunteers", newcomer(phone="13500001111"))
    assert [found["id"] for found in looked_up(station, phone="13500001111")] == [registered.json()["id"]]
    person.do(f"{registered.headers['location']}/erase")
    assert looked_up(station, phone="13500001111") == []


def test_nobody_else_searches_and_no_one_above_or_beside(system: System) -> None:
    for who in ("resident", "leader1", "volunteer1", "municipal"):
        refused = system.person(who).get("/v1/volunteers")
        assert refused.status_code == 403 and "工作人员" in refused.json()["detail"]
    for site in ("130802103", "130824", "130824100203"):
        assert system.person("station").get("/v1/volunteers", params={"site": site}).status_code == 403
    assert system.person("station").get("/v1/volunteers", params={"site": "999"}).status_code == 404


@pytest.mark.parametrize("query", [{"q": "张 " * 6}, {"q": "张" * 51}, {"skill": "x" * 51}, {"limit": "0"}])
def test_what_cannot_be_searched_for_is_said(system: System, query: dict[str, str]) -> None:
    refused = system.person("station").get("/v1/volunteers", params=query)
    assert refused.status_code == 422, refused.text
    assert refused.json()["fields"][0]["path"] in query


def test_operators_and_strange_cursors_are_only_text(system: System) -> None:
    station = system.person("station")
    for q in ("$gt", '{"$gt":""}', ".*", "\\", "\x00", "%"):
        assert found(station, q=q) == []
    assert station.get("/v1/volunteers", params={"cursor": "?"}).status_code == 422
    beyond = station.get("/v1/volunteers", params={"cursor": "MTMw"})  # not of this list
    assert beyond.status_code == 200 and all(item["site"] == VILLAGE for item in beyond.json()["items"])


def test_a_new_skill_is_found_and_who_is_erased_is_not(system: System) -> None:
    person, station = system.person("resident-county"), system.person("station-county")
    path = person.post("/v1/volunteers", newcomer(name="曾国强", skills=["修表"])).headers["location"]
    id = path.rsplit("/")[-1]
    assert found(station, q="zeng") == found(station, q="cengguoqiang") == found(station, skill="修表") == [id]
    person.do(f"{path}/profile", {"skills": ["配钥匙"]})
    assert (found(station, skill="修表"), found(station, q="zgq 钥匙")) == ([], [id])
    assert found(station, skill="钥匙") == [], "a skill asked for is a whole one"
    person.do(f"{path}/erase")
    assert found(station, q="曾国强") == found(station, skill="配钥匙") == []


def test_everybody_finds_teams_that_are_there(system: System) -> None:
    resident, station = system.person("resident"), system.person("station")
    for q in ("织心永驻", "zhixin", "zxyz", "巾帼 社区"):
        assert found(resident, "/v1/teams", q=q) == [TEAMS["leader1"]]
    assert TEAMS["leader3"] not in found(resident, "/v1/teams") and TEAMS["leader3"] in found(
        resident, "/v1/teams", site="130802"
    )
    team = system.person("volunteer2").do("/v1/teams", {"name": "护鸟队", "categories": ["环境保护"]})
    path = f"/v1/teams/{team['id']}"
    assert found(resident, "/v1/teams", q="护鸟") == [], "not approved yet"
    try:
        station.do(f"{path}/approve")
        assert found(resident, "/v1/teams", q="hnd") == found(resident, "/v1/teams", q="护鸟 环境保护") == [team["id"]]
        (item,) = resident.read("/v1/teams?q=护鸟")["items"]
        assert (item["name"], item["site"], item["members"], item.get("leader")) == ("护鸟队", VILLAGE, 1, None)
    finally:
        station.do(f"{path}/dissolve", {"reason": "换季"})
    eventually(lambda: found(resident, "/v1/teams", q="护鸟") == [], what="it is gone")
