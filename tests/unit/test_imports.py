"""What the columns of a file mean, what is wrong with a cell, and how far an import may go."""

from datetime import UTC, date, datetime, timedelta

import pytest

from services.contracts.actor import Actor, Role
from services.contracts.errors import Conflict, Forbidden, IllegalTransition, Invalid, NotFound
from services.contracts.imports import FileRow, ImportKind, StageRows, StartImport
from services.contracts.registry import (
    Category,
    GivenHours,
    OfferMode,
    OpenSite,
    PublishItem,
    Risk,
    TargetGroup,
    Tier,
)
from services.registry import imports
from services.registry.domain import Site
from services.registry.imports import EXAMPLE_ROW, FORMS, LOST_DIGITS, TOO_WIDE, Import, Made, State, Wrong

TODAY, NOW = date(2026, 11, 27), datetime(2026, 11, 27, tzinfo=UTC)
STATION, ACTOR = "130802103202", Actor(id="station", roles=frozenset({Role.STAFF}), site="130802103202")
SITE = Site(STATION, "庄头营村", Tier.STATION, "130802103", [STATION, "130802103"], "", True, True)
HEADINGS = ["姓名", "身份证号", "手机号", "站点代码", "服务类别", "技能", "同意书版本", "监护人同意"]
RIGHT = ["李四", "130802198501051239", "13912345678", STATION, "社区服务、文明风尚", "理发，修表", "2026-06", "否"]
VOLUNTEERS = FORMS[ImportKind.VOLUNTEERS]


def wrong_with(**changed: str) -> dict[str, str]:
    """Of a row with other cells, by column."""
    cells = [changed.get(heading, cell) for heading, cell in zip(HEADINGS, RIGHT, strict=True)]
    command, wrong = VOLUNTEERS.read(HEADINGS, 7, cells, TODAY)
    assert (command is None) == bool(wrong) and {one.row for one in wrong} <= {7}
    return {one.column: one.message for one in wrong}


def an_import(*, rows: int = 2, wrong: list[Wrong] | None = None, state: State = State.PREVIEWED) -> Import:
    wanted = StartImport(kind=ImportKind.VOLUNTEERS, headings=HEADINGS, rows=rows, file="名单.xlsx")
    of = Import.start("i-1", wanted, SITE, ACTOR, NOW)
    of.stage(StageRows(rows=[a_row(number) for number in range(2, rows + 2)]), [""] * rows, wrong or [], NOW)
    of.state = state
    return of


def a_row(number: int) -> FileRow:
    return FileRow(number=number, cells=RIGHT)


# -- columns --------------------------------------------------------------------------------------------


def test_a_row_becomes_a_command() -> None:
    command, wrong = VOLUNTEERS.read(HEADINGS, 2, [f" {cell}　" for cell in RIGHT], TODAY)
    assert wrong == [] and command is not None
    assert command.model_dump(include={"name", "id_number", "phone", "categories", "skills", "consent_version"}) == {
        "name": "李四", "id_number": RIGHT[1], "phone": RIGHT[2], "categories": [Category.COMMUNITY, Category.CIVILITY],
        "skills": ["理发", "修表"], "consent_version": "2026-06",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("column", "text", "said"),
    [
        ("姓名", "", "请填写这一项"),
        ("姓名", "长" * 101, "最多填 100 个字"),
        ("身份证号", "130802198501051230", "校验位"),
        ("身份证号", "1.30802198501051E+17", LOST_DIGITS),
        ("身份证号", "13080219850105123", "18位"),
        ("手机号", "1391234567", "11位"),
        ("手机号", "1.39E+10", LOST_DIGITS),
        ("站点代码", "庄头营", "区划代码"),
        ("服务类别", "理发", "只能填以下之一"),
        ("技能", "理发3年", "只能由文字组成"),
        ("同意书版本", "有", "版本号"),
        ("同意书版本", "", "请填写这一项"),
        ("监护人同意", "yes", "应填“是”或“否”"),
    ],
)
def test_a_wrong_cell_is_named_by_its_column(column: str, text: str, said: str) -> None:
    wrong = wrong_with(**{column: text})
    assert wrong.keys() == {column} and said in wrong[column]


def test_all_wrong_cells_of_a_row_are_named_at_once() -> None:
    assert wrong_with(姓名="", 身份证号="1", 手机号="2", 服务类别="x").keys() == {
        "姓名",
        "身份证号",
        "手机号",
        "服务类别",
    }


def test_what_is_wider_than_the_headings_and_the_example_are_refused() -> None:
    assert [one.message for one in VOLUNTEERS.read(HEADINGS, 3, [*RIGHT, "x"], TODAY)[1]] == [TOO_WIDE]
    example = [column.example for column in VOLUNTEERS.columns]
    assert [one.message for one in VOLUNTEERS.read(HEADINGS, 2, example, TODAY)[1]] == [EXAMPLE_ROW]
    assert VOLUNTEERS.read(HEADINGS, 2, [*RIGHT, " "], TODAY)[1] == []


@pytest.mark.parametrize("kind", ImportKind)
def test_the_example_of_a_template_is_right_but_for_being_one(kind: ImportKind) -> None:
    form = FORMS[kind]
    headings, example = [c.heading for c in form.columns], [c.example for c in form.columns]
    form.must_fit(headings)
    example[[c.field for c in form.columns].index("name")] = "王五"
    assert form.read(headings, 2, example, TODAY)[1] == []


def test_headings_that_do_not_fit_are_all_named() -> None:
    with pytest.raises(Invalid) as told:
        VOLUNTEERS.must_fit(["姓名", "电话", "", "姓名", "同意书版本"])
    assert {field["path"]: field["message"][:4] for field in told.value.extra["fields"]} == {
        "电话": "模板里没", "第 3 列": "模板里没", "姓名": "这一列出", "身份证号": "缺少这一", "手机号": "缺少这一",
    }  # fmt: skip


def test_a_team_has_a_leader_and_members() -> None:
    form = FORMS[ImportKind.TEAMS]
    headings = ["队伍名称", "服务类别", "队长", "队员"]
    command, wrong = form.read(headings, 2, ["护河队", "环境保护", "vol-1", "vol-2; 130802198501051239"], TODAY)
    assert wrong == [] and command is not None
    assert (command.leader, command.members) == ("vol-1", ["vol-2", "130802198501051239"])
    _, wrong = form.read(headings, 2, ["护河队", "环境保护", "", "1.3E+17"], TODAY)
    assert {one.column: one.message for one in wrong} == {"队长": "请填写这一项", "队员": LOST_DIGITS}


ITEM = {
    "项目编号": "kites", "名称": "=扎风筝", "服务类别": "文化艺术", "层级": "所", "服务对象": "少、残，少",
    "站点代码": "1308", "需要地址": "是", "所需技能": "扎风筝、书法", "所需资质": "教师资格", "风险": "高",
}  # fmt: skip
PLACE = {
    "站点代码": "130802103299", "名称": "新村", "层级": "站", "上级代码": "130802103", "工作时间": "08:30 ～ 17:30",
    "自动派单": "否", "派单方式": "抢单", "可借队伍的站点": "130802103202、130802103203",
}  # fmt: skip


def test_a_service_item_is_said_in_the_words_of_the_lists() -> None:
    command, wrong = FORMS[ImportKind.ITEMS].read(list(ITEM), 2, list(ITEM.values()), TODAY)
    assert wrong == []
    assert command == PublishItem(
        id="kites", name="=扎风筝", category=Category.CULTURE, tier=Tier.INSTITUTE, site="1308", needs_address=True,
        target_groups=[TargetGroup.CHILDREN, TargetGroup.DISABLED], skills=["扎风筝", "书法"],
        qualifications=["教师资格"], risk=Risk.HIGH,
    )  # fmt: skip


def test_a_site_has_its_hours_in_one_cell() -> None:
    command, wrong = FORMS[ImportKind.SITES].read(list(PLACE), 2, list(PLACE.values()), TODAY)
    assert wrong == []
    assert command == OpenSite(
        code="130802103299", name="新村", tier=Tier.STATION, parent="130802103", auto_offer=False, mode=OfferMode.POOL,
        hours=GivenHours(opens="08:30", closes="17:30"), sisters=["130802103202", "130802103203"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "row", "column", "text", "said"),
    [
        (ImportKind.ITEMS, ITEM, "项目编号", "扎 风筝", "不能有空格"),
        (ImportKind.ITEMS, ITEM, "层级", "station", "只能填以下之一：市、中心、所、站"),
        (ImportKind.ITEMS, ITEM, "服务对象", "老人", "只能填以下之一：老、少、残、困、需"),
        (ImportKind.ITEMS, ITEM, "服务对象", "", "请填写这一项"),
        (ImportKind.ITEMS, ITEM, "服务类别", "风筝", "只能填以下之一"),
        (ImportKind.ITEMS, ITEM, "站点代码", "1.308E+11", LOST_DIGITS),
        (ImportKind.ITEMS, ITEM, "所需技能", "扎风筝3", "只能由文字组成"),
        (ImportKind.ITEMS, ITEM, "风险", "中", "只能填以下之一：低、高"),
        (ImportKind.SITES, PLACE, "站点代码", "13080210329", "区划代码"),
        (ImportKind.SITES, PLACE, "站点代码", "1.30802E+11", LOST_DIGITS),
        (ImportKind.SITES, PLACE, "上级代码", "", "请填写这一项"),
        (ImportKind.SITES, PLACE, "工作时间", "8:30-17:30", "24 小时制"),
        (ImportKind.SITES, PLACE, "工作时间", "全天", "如 08:30-17:30"),
        (ImportKind.SITES, PLACE, "派单方式", "pool", "只能填以下之一：同时派单、分批派单、抢单"),
        (ImportKind.SITES, PLACE, "可借队伍的站点", "1、2", "区划代码"),
    ],
)
def test_a_wrong_cell_of_an_item_or_a_site_is_named_by_its_column(
    kind: ImportKind, row: dict[str, str], column: str, text: str, said: str
) -> None:
    row = row | {column: text}
    _, wrong = FORMS[kind].read(list(row), 2, list(row.values()), TODAY)
    assert [one.column for one in wrong] == [column] and said in wrong[0].message


# -- an import --------------------------------------------------------------------------------------------


def test_an_import_can_be_looked_at_when_its_last_row_is_there() -> None:
    wanted = StartImport(kind=ImportKind.VOLUNTEERS, headings=HEADINGS, rows=3)
    of = Import.start("i-1", wanted, SITE, ACTOR, NOW)
    batch = of.stage(StageRows(rows=[a_row(2), a_row(4)]), ["a", "b"], [Wrong(4, "姓名", "x"), Wrong(4, "", "y")], NOW)
    assert (of.state, of.handled, of.wrong) == (State.STAGING, 2, 1)
    assert (batch.id, batch.numbers, batch.is_wrong, batch.rows()) == (
        "i-1:0000002",
        [2, 4],
        True,
        [(2, RIGHT), (4, RIGHT)],
    )
    of.stage(StageRows(rows=[a_row(5)]), ["c"], [], NOW)
    assert (of.state, of.handled) == (State.PREVIEWED, 3)
    with pytest.raises(IllegalTransition):
        of.stage(StageRows(rows=[a_row(6)]), ["d"], [], NOW)


def test_no_more_rows_than_were_told_are_taken() -> None:
    of = Import.start("i-1", StartImport(kind=ImportKind.VOLUNTEERS, headings=HEADINGS, rows=1), SITE, ACTOR, NOW)
    with pytest.raises(Conflict):
        of.stage(StageRows(rows=[a_row(2), a_row(3)]), ["", ""], [], NOW)


def test_what_is_wrong_is_carried_out_only_where_that_is_said() -> None:
    of = an_import(wrong=[Wrong(2, "姓名", "x")])
    with pytest.raises(Conflict, match="有 1 行"):
        of.execute(False, ACTOR, NOW)
    of.execute(True, ACTOR, NOW)
    assert (of.state, of.moving, of.handled) == (State.RUNNING, True, 0)
    of.execute(False, ACTOR, NOW)
    assert of.state is State.RUNNING, "asked again it goes on"


def test_an_import_runs_to_its_end_and_back() -> None:
    of = an_import()
    of.execute(False, ACTOR, NOW)
    batch = imports.Batch("i-1:0000002", "i-1", [2, 3], ["a", "b"], NOW)
    of.move_past(batch)
    assert (of.cursor, of.handled, of.state) == (2, 2, State.RUNNING)
    of.move_past(None)
    assert (of.state, of.moving) == (State.DONE, False)
    of.undo(ACTOR, NOW)
    assert (of.state, of.cursor, of.handled, of.moving) == (State.UNDOING, 0, 0, True)
    of.move_past(None)
    assert (of.state, of.moving) == (State.UNDONE, False)
    of.undo(ACTOR, NOW)
    assert of.state is State.UNDONE


@pytest.mark.parametrize("state", [State.STAGING, State.UNDOING, State.UNDONE])
def test_only_what_was_looked_at_is_carried_out(state: State) -> None:
    with pytest.raises(IllegalTransition):
        an_import(state=state).execute(True, ACTOR, NOW)


@pytest.mark.parametrize("state", [State.STAGING, State.PREVIEWED, State.RUNNING])
def test_only_what_was_carried_out_is_taken_back(state: State) -> None:
    with pytest.raises(IllegalTransition):
        an_import(state=state).undo(ACTOR, NOW)


def test_what_is_too_old_is_left_alone() -> None:
    late = NOW + timedelta(days=31)
    with pytest.raises(Conflict, match="30 天"):
        an_import().execute(True, ACTOR, late)
    with pytest.raises(Conflict, match="30 天"):
        an_import(state=State.DONE).undo(ACTOR, late)


def test_a_batch_forgets_what_stood_in_it_when_it_is_carried_out() -> None:
    of = an_import(rows=1, state=State.STAGING)
    of.handled = 0
    batch = of.stage(StageRows(rows=[a_row(2)]), ["a"], [], NOW)
    batch.carry_out([Made(2, "i-1-2", 1)], [Wrong(3, "", "x")])
    assert (batch.rows(), batch.keys, batch.is_wrong) == ([], [], True)


def test_staff_imports_at_its_place_and_below() -> None:
    imports.must_import(ImportKind.TEAMS, ACTOR, SITE.path)
    for stranger in (
        ACTOR.model_copy(update={"site": "1"}),
        ACTOR.model_copy(update={"roles": frozenset({Role.VOLUNTEER})}),
    ):
        with pytest.raises(Forbidden):
            imports.must_import(ImportKind.TEAMS, stranger, SITE.path)


@pytest.mark.parametrize("kind", [ImportKind.ITEMS, ImportKind.SITES])
def test_only_who_administers_all_brings_in_items_and_sites(kind: ImportKind) -> None:
    imports.must_import(kind, ACTOR.model_copy(update={"roles": frozenset({Role.ADMIN})}), SITE.path)
    with pytest.raises(Forbidden, match="管理员"):
        imports.must_import(kind, ACTOR, SITE.path)
    assert not imports.may_import(kind, ACTOR, SITE.path)


def test_an_unknown_kind_is_not_found() -> None:
    with pytest.raises(NotFound):
        imports.form_of("orders")
