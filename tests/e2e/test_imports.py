"""Files of Excel and CSV in and out: what is wrong is named first, and what is carried out happens once."""

import csv
import io
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest
from pymongo import MongoClient
from python_calamine import load_workbook
from xlsxwriter import Workbook

from services.registry.identity import check_character
from tests.support.processes import eventually
from tests.support.rows import a_csv, a_number, a_row, begin_import, settled
from tests.support.system import Events, Person, System

STATION, TOWNSHIP_ABOVE = "130824100203", "130824100"
MANY = 1000


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


# -- what only the administrator brings in --------------------------------------------------------------


@pytest.fixture
def admin(system: System) -> Person:
    return system.person("admin")


def an_item(number: int, **changed: str) -> dict[str, str]:
    return {
        "项目编号": f"brought-in-{number}", "名称": "扎风筝", "服务类别": "文化艺术", "层级": "站",
        "服务对象": "老、少", "站点代码": "130824", **changed,
    }  # fmt: skip


def a_site(number: int, **changed: str) -> dict[str, str]:
    return {
        "站点代码": f"1308241009{number:02}", "名称": "新村", "层级": "站", "上级代码": TOWNSHIP_ABOVE,
        "工作时间": "08:30-17:00", "派单方式": "抢单", **changed,
    }  # fmt: skip


def listed_at(person: Person, what: str, field: str, **asked: str) -> set[str]:
    page = person.read(f"/v1/{what}?limit=200&" + "&".join(f"{name}={value}" for name, value in asked.items()))
    return {item[field] for item in page["items"]}


def told_twice(admin: Person, begun: dict[str, Any]) -> dict[str, Any]:
    for _ in range(2):
        admin.do(f"/v1/imports/{begun['id']}/execute", {"skip_errors": True})
    return settled(admin, begun, "done")


def test_service_items_are_brought_in_ordered_and_taken_back(system: System, admin: Person) -> None:
    begun = begin_import(admin, [
        an_item(1), an_item(2, 名称="", 层级="村"), an_item(1), an_item(3, 项目编号="home-haircut"),
        an_item(4, 站点代码="999999"), an_item(5, 风险="高", 所需技能="扎风筝3"),
    ], "items")  # fmt: skip
    wrong = {(3, "名称"), (3, "层级"), (4, "项目编号"), (5, "项目编号"), (6, "站点代码"), (7, "所需技能")}
    assert errors_of(admin, begun).keys() == wrong
    done = told_twice(admin, begun)
    assert (done["created"], made_by(admin, begun)) == (1, {2: "brought-in-1"})
    assert stored(system, "items", {"_id": {"$regex": "^brought-in"}}) == 1
    neighbour, stranger = system.person("resident-county"), system.person("resident")
    assert "brought-in-1" in listed_at(neighbour, "service-items", "id")
    assert "brought-in-1" not in listed_at(stranger, "service-items", "id")
    eventually(lambda: stored(system, "items", {"_id": "brought-in-1"}, "dispatch"), what="dispatch knows")
    wish = {"service_item": "brought-in-1", "description": "想学", "target_group": "elderly"}
    order = neighbour.do("/v1/orders", wish)
    assert taken_back(admin, begun)["undone"] == 1
    assert "brought-in-1" not in listed_at(neighbour, "service-items", "id")
    eventually(lambda: stored(system, "items", {"_id": "brought-in-1", "active": False}, "dispatch"), what="told")
    refused = neighbour.post("/v1/orders", wish)
    assert refused.status_code == 422 and refused.json()["fields"][0]["path"] == "service_item"
    assert neighbour.read(f"/v1/orders/{order['id']}")["service_item"] == "brought-in-1", "what was ordered goes on"
    neighbour.do(f"/v1/orders/{order['id']}/cancel", {"reason": "不用了"})
    again = begin_import(admin, [an_item(1)], "items")
    assert again["errors"] == 0, "it may come again"


def test_sites_are_brought_in_and_give_up_their_posts_when_taken_back(system: System, admin: Person) -> None:
    known, first, second = a_site(1, 站点代码=STATION), a_site(1), a_site(2)
    begun = begin_import(admin, [
        first, second, known, first, a_site(3, 上级代码="130824199"), a_site(4, 工作时间="全天", 派单方式="随便"),
        a_site(5, 层级="中心"),
    ], "sites")  # fmt: skip
    told = errors_of(admin, begun)
    assert told.keys() == {
        (4, "站点代码"), (5, "站点代码"), (6, "上级代码"), (7, "工作时间"), (7, "派单方式"), (8, "上级代码"),
    }  # fmt: skip
    assert "已经有" in told[4, "站点代码"] and "与第 2 行" in told[5, "站点代码"]
    done = told_twice(admin, begun)
    codes = [first["站点代码"], second["站点代码"]]
    assert (done["created"], list(made_by(admin, begun).values())) == (2, codes)
    opened = admin.read(f"/v1/sites/{codes[0]}")
    assert (opened["path"][1], opened["hours"], opened["mode"]) == (
        TOWNSHIP_ABOVE, {"opens": "08:30", "closes": "17:00"}, "pool",
    )  # fmt: skip
    carried_out(admin, people := begin_import(admin, [a_row(站点代码=codes[1])]))
    done = taken_back(admin, begun)
    assert (done["undone"], done["kept"]) == (1, 1)
    assert errors_of(admin, begun)[3, ""] == "已有志愿者或队伍，没有撤销"
    assert set(codes) & listed_at(admin, "sites", "code", parent=TOWNSHIP_ABOVE) == {codes[1]}
    eventually(lambda: stored(system, "places", {"_id": codes[0], "has_post": False}, "dispatch"), what="told")
    again = begin_import(admin, [first], "sites")
    assert again["errors"] == 0, "it may come again"
    taken_back(admin, people)


@pytest.mark.parametrize(("kind", "row"), [("items", an_item(9)), ("sites", a_site(9))])
def test_who_does_not_administer_all_brings_in_neither(
    system: System, admin: Person, kind: str, row: dict[str, str]
) -> None:
    at_station = f"/v1/imports?kind={kind}&site={STATION}"
    begun = admin.request("POST", at_station, content=a_csv([row])).json()
    path = f"/v1/imports/{begun['id']}"
    for who in (
        "station-county",
        "institute-county",
        "center-county",
        "center",
        "leader-county",
        "resident",
        "municipal",
    ):
        person = system.person(who)
        assert person.request("POST", at_station, content=a_csv([row])).status_code == 403
        assert person.get(f"/v1/imports/template?kind={kind}").status_code == 403
        assert {person.get(path).status_code, person.get(f"{path}/rows").status_code} == {404}
        assert {person.post(f"{path}/{what}").status_code for what in ("execute", "undo")} == {404}


@pytest.mark.parametrize("kind", ["items", "sites"])
def test_a_template_of_theirs_is_the_file_that_is_taken(admin: Person, kind: str) -> None:
    answer = admin.get(f"/v1/imports/template?kind={kind}")
    begun = admin.request("POST", f"/v1/imports?kind={kind}", content=answer.content).json()
    assert begun["rows"] == begun["errors"] == 1 and "示例" in errors_of(admin, begun)[2, ""]


@pytest.mark.parametrize("format", ["csv", "xlsx"])
@pytest.mark.parametrize(
    ("kind", "lists", "code", "row"),
    [
        ("items", "service-items", "项目编号", an_item(7, 名称="=HYPERLINK(1)", 所需技能="书法、扎风筝", 风险="高")),
        ("sites", "sites", "站点代码", a_site(7, 名称="=HYPERLINK(1)", 可借队伍的站点=STATION)),
    ],
    ids=["items", "sites"],
)
def test_what_is_given_out_may_come_in_again(
    admin: Person, kind: str, lists: str, code: str, row: dict[str, str], format: str
) -> None:
    carried_out(admin, first := begin_import(admin, [row], kind))
    about = TOWNSHIP_ABOVE if kind == "sites" else "130824"
    content = admin.get(f"/v1/exports/{lists}?site={about}&format={format}").content
    assert format == "xlsx" or b"'=HYPERLINK(1)" in content
    assert taken_back(admin, first)["undone"] == 1
    second = admin.request("POST", f"/v1/imports?kind={kind}", content=content).json()
    wrong, found = errors_of(admin, second), admin.read(f"/v1/imports/{second['id']}/rows?limit=200")["items"]
    assert {column for _, column in wrong} == {code}, "the others are there already"
    (again,) = (one for one in found if one["cells"][code] == row[code])
    assert again["errors"] == [] and again["cells"] | row == again["cells"]
    carried_out(admin, second, skip_errors=True)
    assert made_by(admin, second) == {again["row"]: row[code]}
    assert taken_back(admin, second)["undone"] == 1


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
