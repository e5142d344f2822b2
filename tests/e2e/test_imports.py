"""Files of Excel and CSV in and out: what is wrong is named first, and what is carried out happens once."""

import csv
import io
from collections.abc import Iterator
from datetime import date, timedelta
from itertools import count
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient
from python_calamine import load_workbook
from xlsxwriter import Workbook

from services.registry.identity import check_character
from tests.e2e.steps import VOLUNTEER_ROW, a_csv, begin_import
from tests.support.processes import eventually
from tests.support.system import Events, Person, System

STATION, TOWNSHIP_ABOVE = "130824100203", "130824100"
MANY = 1000
_days = count()


def a_number() -> str:
    """Of somebody whom nobody knows yet."""
    number = f"130824{date(1950, 1, 1) + timedelta(next(_days)):%Y%m%d}777"
    return number + check_character(number)


def a_row(**changed: str) -> dict[str, str]:
    return {**VOLUNTEER_ROW, "身份证号": a_number(), **changed}


@pytest.fixture
def staff(system: System) -> Person:
    return system.person("station-county")


def errors_of(person: Person, begun: dict[str, Any]) -> dict[tuple[int, str], str]:
    """By row and column, from all pages."""
    found, path = {}, f"/v1/imports/{begun['id']}/rows?only=errors&limit=2"
    page = person.read(path)
    while True:
        assert all(row["errors"] for row in page["items"]) and len(page["items"]) <= 2
        found |= {(row["row"], one["column"]): one["message"] for row in page["items"] for one in row["errors"]}
        if page["next"] is None:
            return found
        page = person.read(f"{path}&cursor={page['next']}")


def settled(person: Person, begun: dict[str, Any], state: str) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        now: dict[str, Any] = person.read_when_up(f"/v1/imports/{begun['id']}")
        return now if now["state"] == state else None

    found: dict[str, Any] = eventually(reached, 60, f"the import is {state}")
    return found


def carried_out(person: Person, begun: dict[str, Any], **how: bool) -> dict[str, Any]:
    person.do(f"/v1/imports/{begun['id']}/execute", how)
    return settled(person, begun, "done")


def taken_back(person: Person, begun: dict[str, Any]) -> dict[str, Any]:
    person.do(f"/v1/imports/{begun['id']}/undo")
    return settled(person, begun, "undone")


def made_by(person: Person, begun: dict[str, Any]) -> dict[int, str]:
    """Ids by row."""
    rows = person.read(f"/v1/imports/{begun['id']}/rows?limit=200")["items"]
    return {row["row"]: row["created"] for row in rows if row["created"]}


def stored(system: System, collection: str, query: dict[str, Any], service: str = "registry") -> int:
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        return client[f"{system.prefix}{service}"][collection].count_documents(query)


# -- what is wrong --------------------------------------------------------------------------------------


def test_what_is_wrong_is_named_by_row_and_cell_and_nothing_has_happened(system: System, staff: Person) -> None:
    twin, known = a_row(), a_row()
    carried_out(staff, first := begin_import(staff, [known]))
    child = f"130824{(date.today() - timedelta(4000)):%Y%m%d}777"
    child += check_character(child)
    begun = begin_import(staff, [
        a_row(), twin, a_row(姓名="", 手机号="1391234567"), a_row(站点代码="130802103202"), {}, twin, known,
        a_row(身份证号=child, 监护人同意="否"), a_row(技能="理发3", 服务类别="社区服务、玩"),
    ])  # fmt: skip
    assert (begun["state"], begun["rows"], begun["errors"], begun["progress"]) == ("previewed", 8, 6, 1.0)
    told = errors_of(staff, begun)
    assert told.keys() == {
        (4, "姓名"), (4, "手机号"), (5, "站点代码"), (7, "身份证号"), (8, "身份证号"), (9, "监护人同意"), (10, "技能"),
        (10, "服务类别"),
    }  # fmt: skip
    assert (
        "与第 3 行" in told[7, "身份证号"] and "已经登记" in told[8, "身份证号"] and "监护人" in told[9, "监护人同意"]
    )
    shown = staff.read(f"/v1/imports/{begun['id']}/rows?limit=1")["items"][0]
    assert shown["row"] == 2 and shown["errors"] == [] and shown["cells"]["姓名"] == "冯春来"
    assert "*********" in shown["cells"]["身份证号"] and "****" in shown["cells"]["手机号"]
    refused = staff.post(f"/v1/imports/{begun['id']}/execute", {})
    assert refused.status_code == 409 and "6 行" in refused.json()["detail"]
    assert stored(system, "volunteers", {"_id": {"$regex": f"^{begun['id']}"}}) == 0
    done = carried_out(staff, begun, skip_errors=True)
    assert (done["created"], done["failed"], set(made_by(staff, begun))) == (2, 0, {2, 3})
    for one in (begun, first):
        taken_back(staff, one)


def test_files_of_excel_and_of_the_encodings_of_china_say_the_same(staff: Person) -> None:
    row = a_row(站点代码=STATION, 技能="理发、修表")
    file = io.BytesIO()
    with Workbook(file, {"in_memory": True}) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, list(row))
        for column, text in enumerate(row.values()):
            sheet.write_string(1, column, text) if len(text) != 11 else sheet.write_number(1, column, int(text))
    for content in (a_csv([row], "utf-8"), a_csv([row], "gb18030"), file.getvalue()):
        begun = staff.request("POST", "/v1/imports?kind=volunteers", content=content).json()
        assert (begun["state"], begun["errors"]) == ("previewed", 0)
        (shown,) = staff.read(f"/v1/imports/{begun['id']}/rows")["items"]
        assert (shown["cells"]["姓名"], shown["cells"]["技能"]) == ("冯春来", "理发、修表")


def test_a_template_is_the_file_that_is_taken(staff: Person) -> None:
    answer = staff.get("/v1/imports/template?kind=volunteers")
    assert "filename*=UTF-8''%E5%BF%97%E6%84%BF" in answer.headers["content-disposition"]
    begun = staff.request("POST", "/v1/imports?kind=volunteers", content=answer.content).json()
    assert begun["rows"] == begun["errors"] == 1 and "示例" in errors_of(staff, begun)[2, ""]


@pytest.mark.parametrize(
    ("content", "status", "told"),
    [
        (b"", 422, "没有可以导入的行"),
        (b"PK\x03\x04nonsense", 422, "另存为"),
        ("姓名,电话\n张三,1\n".encode(), 422, "电话"),
        ("姓名\n张三\n".encode(), 422, "身份证号"),
        (b"a\n" + b"b\n" * 50_001, 422, "50000"),
        (b"x" * 20_000_001, 413, "20 MB"),
        (b"x" * 30_000_000, 413, "20 MB"),
    ],
    ids=["empty", "no table", "unknown column", "missing column", "too many rows", "too large", "far too large"],
)
def test_a_file_that_cannot_be_taken_is_refused_with_a_reason(
    system: System, staff: Person, content: bytes, status: int, told: str
) -> None:
    before = stored(system, "imports", {})
    refused = staff.request("POST", "/v1/imports?kind=volunteers", content=content)
    assert (refused.status_code, told in refused.text) == (status, True), refused.text
    assert stored(system, "imports", {}) == before
    assert staff.request("POST", "/v1/imports?kind=orders", content=content[:100]).status_code == 422


# -- once -----------------------------------------------------------------------------------------------


def test_the_same_file_under_the_same_key_is_one_import(system: System, staff: Person) -> None:
    rows, key = [a_row() for _ in range(450)], str(uuid4())
    first, again = begin_import(staff, rows, key=key), begin_import(staff, rows, key=key)
    assert first == again and again["rows"] == 450
    assert stored(system, "import_rows", {"import_id": first["id"]}) == 3
    other = staff.request("POST", "/v1/imports?kind=teams", key, content=a_csv(rows))
    assert other.status_code == 422


def test_carried_out_twice_it_happens_once_and_all_learn_of_it(system: System, staff: Person) -> None:
    begun = begin_import(staff, [a_row(姓名="左丘明", 技能="刻章"), a_row()])
    with Events(system.amqp_uri) as events:
        for _ in range(2):
            staff.do(f"/v1/imports/{begun['id']}/execute")
        done = settled(staff, begun, "done")
        ids = made_by(staff, begun)
        eventually(lambda: all(events.of(id) for id in ids.values()), what="both are told of")
        assert staff.do(f"/v1/imports/{begun['id']}/execute")["state"] == "done"
        assert {tuple(events.of(id)) for id in ids.values()} == {("volunteer.registered",)}
        assert "左丘明" not in events.text()
    assert (done["created"], set(ids)) == (2, {2, 3})
    (found,) = staff.read("/v1/volunteers?q=zuoqiuming&skill=刻章")["items"]
    assert (found["id"], found["name"], found["state"], found["site"]) == (ids[2], "左丘明", "pending", STATION)
    assert found["consents"][0] | {"since": None} == {
        "purpose": "registration", "version": "1", "since": None, "guardian_consent": False,
    }  # fmt: skip
    (entry,) = staff.read(f"/v1/volunteers/{ids[2]}/log")["items"]
    assert (entry["what"], entry["by"]) == ("consent", "station-county")
    eventually(lambda: stored(system, "volunteers", {"_id": ids[2]}, "dispatch"), what="dispatch knows")
    assert staff.read(f"/v1/imports/{begun['id']}/rows")["items"][0]["cells"] is None, "what was written is forgotten"
    taken_back(staff, begun)
    assert staff.read("/v1/volunteers?q=zuoqiuming")["items"] == []


def test_a_killed_registry_goes_on_where_it_was_and_nothing_happens_twice(system: System, staff: Person) -> None:
    begun = begin_import(staff, [a_row() for _ in range(MANY)])
    mine = {"_id": {"$regex": f"^{begun['id']}-"}}
    for command, half_way, state in (("execute", "created", "done"), ("undo", "undone", "undone")):
        staff.do(f"/v1/imports/{begun['id']}/{command}")
        eventually(lambda key=half_way: 0 < staff.read(f"/v1/imports/{begun['id']}")[key] < MANY, 30, "half way")
        system.kill("registry")
        system.restart("registry")
        done = settled(staff, begun, state)
        assert (done[half_way], done["failed"], done["kept"]) == (MANY, 0, 0)
        assert stored(system, "volunteers", mine) == MANY
        assert stored(system, "volunteers", mine | {"erased": state == "undone"}) == MANY
        assert stored(system, "volunteer_log", {"volunteer_id": mine["_id"], "what": "consent"}) == MANY
    eventually(lambda: stored(system, "volunteers", mine | {"suspended": True}, "dispatch") == MANY, 60, "all learnt")


# -- back -----------------------------------------------------------------------------------------------


def test_what_has_been_touched_since_stays_and_is_named(system: System, staff: Person) -> None:
    rows = [a_row(), a_row(), a_row()]
    begun = begin_import(staff, rows)
    carried_out(staff, begun)
    ids = made_by(staff, begun)
    staff.do(f"/v1/volunteers/{ids[3]}/profile", {"skills": ["木工"]})
    done = taken_back(staff, begun)
    assert (done["undone"], done["kept"]) == (2, 1)
    assert errors_of(staff, begun) == {(3, ""): "资料后来有改动，没有撤销"}
    assert [staff.read(f"/v1/volunteers/{id}")["erased"] for id in ids.values()] == [True, False, True]
    again = begin_import(staff, rows)
    assert set(errors_of(staff, again)) == {(3, "身份证号")}, "who was taken back may come again"
    staff.do(f"/v1/volunteers/{ids[3]}/erase")


def test_teams_are_brought_in_with_their_people_and_taken_back(system: System, staff: Person) -> None:
    people = [a_row(), a_row(), a_row()]
    begun = begin_import(staff, people)
    carried_out(staff, begun)
    ids = made_by(staff, begun)
    team = {"队伍名称": "鹊桥队", "服务类别": "环境保护", "队长": people[0]["身份证号"], "队员": f"{ids[3]}、{ids[4]}"}
    led_by_a_stranger = {**team, "队伍名称": "别队", "队长": "vol-leader1"}
    with_nobody = {**team, "队伍名称": "织女队", "队员": a_number()}
    teams = begin_import(staff, [team, team, led_by_a_stranger, with_nobody], "teams")
    assert errors_of(staff, teams).keys() == {(3, "队伍名称"), (4, "队长"), (5, "队员")}
    carried_out(staff, teams, skip_errors=True)
    (found,) = staff.read("/v1/teams?q=鹊桥")["items"]
    assert (found["id"], found["members"], found["active"]) == (made_by(staff, teams)[2], 3, True)
    assert staff.read(f"/v1/teams/{found['id']}")["leader"] == ids[2]
    assert (done := taken_back(staff, begun))["kept"] == 3 and done["undone"] == 0
    assert set(errors_of(staff, begun).values()) == {"后来加入了队伍，没有撤销"}
    assert taken_back(staff, teams)["undone"] == 1
    assert staff.read("/v1/teams?q=鹊桥")["items"] == []
    assert staff.read(f"/v1/teams/{found['id']}")["state"] == "dissolved"
    for id in ids.values():
        staff.do(f"/v1/volunteers/{id}/erase")


# -- who may --------------------------------------------------------------------------------------------


def test_an_import_is_known_to_the_staff_of_its_place_and_above(system: System, staff: Person) -> None:
    begun = begin_import(staff, [a_row()])
    path = f"/v1/imports/{begun['id']}"
    for stranger in ("station", "center", "leader-county", "resident-county", "municipal"):
        person = system.person(stranger)
        assert {person.get(path).status_code, person.get(f"{path}/rows").status_code} == {404}
        assert {person.post(f"{path}/{what}").status_code for what in ("execute", "undo")} == {404}
    assert system.person("center-county").read(path) == system.person("admin").read(path) == begun
    beside = staff.request("POST", f"/v1/imports?kind=volunteers&site={TOWNSHIP_ABOVE}", content=a_csv([a_row()]))
    assert beside.status_code == 403


# -- out ------------------------------------------------------------------------------------------------


@pytest.fixture
def listed(staff: Person) -> Iterator[dict[str, Any]]:
    """Two volunteers, one with a name that a table program would take for a formula."""
    begun = begin_import(staff, [a_row(姓名="=HYPERLINK(1)"), a_row(姓名="左丘明")])
    carried_out(staff, begun)
    yield begun
    taken_back(staff, begun)


def test_what_is_given_out_is_what_may_be_read_and_no_formula(staff: Person, listed: dict[str, Any]) -> None:
    answer = staff.get("/v1/exports/volunteers?format=csv")
    assert answer.content.startswith("\ufeff志愿者编号".encode())
    assert "filename*=UTF-8''%E5%BF%97%E6%84%BF%E8%80%85.csv" in answer.headers["content-disposition"]
    rows = {
        row["志愿者编号"]: row for row in csv.DictReader(io.StringIO(answer.content.decode("utf-8-sig"), newline=""))
    }
    ids = made_by(staff, listed)
    assert [rows[ids[n]]["姓名"] for n in (2, 3)] == ["'=HYPERLINK(1)", "左丘明"]
    assert {row["身份证号"][6:15] for row in rows.values()} == {"*********"}
    assert rows.keys() == {item["id"] for item in staff.read("/v1/volunteers?limit=200")["items"]}
    sheet = load_workbook(io.BytesIO(staff.get("/v1/exports/volunteers").content)).get_sheet_by_index(0).to_python()
    names = {row[0]: row[1] for row in sheet}
    assert [names[ids[n]] for n in (2, 3)] == ["=HYPERLINK(1)", "左丘明"], "a text, not a formula"


def test_every_list_can_be_given_out(system: System) -> None:
    resident = system.person("resident")
    for kind, heading in (("teams", "队伍名称"), ("sites", "站点代码"), ("service-items", "服务对象")):
        answer = resident.get(f"/v1/exports/{kind}?format=csv&site=130802")
        lines = answer.content.decode("utf-8-sig").splitlines()
        assert answer.status_code == 200 and heading in lines[0] and len(lines) > 1
    assert resident.get("/v1/exports/volunteers").status_code == 403
    assert resident.get("/v1/exports/orders").status_code == 422
    assert resident.get("/v1/exports/teams?format=pdf").status_code == 422
