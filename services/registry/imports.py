"""Imports: what the columns of a file mean, what is wrong with a cell, and how far an import has come.

A file is staged in batches of rows and looked at before anything happens. A row that is wrong is told by its number,
its column and a reason, and never keeps the others from being carried out.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any

import orjson
from pydantic import Field, ValidationError

from services.chassis.messages import Command
from services.contracts.actor import Actor
from services.contracts.errors import Conflict, Forbidden, IllegalTransition, Invalid, NotFound, ServiceError
from services.contracts.imports import (
    OFFER_MODES,
    RISKS,
    TARGET_GROUPS,
    TIERS,
    ImportKind,
    StageRows,
    StartImport,
)
from services.contracts.privacy import Secret
from services.contracts.registry import (
    OpenSite,
    ProposeTeam,
    PublishItem,
    RegisterVolunteer,
    ShortText,
    terms,
    text_version,
)
from services.contracts.wording import WORDS, invalid_fields
from services.registry import identity
from services.registry.domain import Site, is_staff_over
from services.registry.teams import MOST_MEMBERS

KEPT = timedelta(days=30)
"""How long rows and what became of them are kept; an import can be undone as long."""
BETWEEN = re.compile(r"[、,，;；\n]+")
FROM_TO = re.compile(r"\s*[-–—~～至]\s*")
SPOILT = re.compile(r"\d(\.\d+)?E\+?\d+", re.IGNORECASE)
"""What table programs make of a long number."""
LOST_DIGITS = "这一格被存成了数字，末几位已经丢失，请把这一列设为“文本”格式再填"
EXAMPLE_ROW = "这是模板里的示例，请删除这一行"
TOO_WIDE = "这一行比表头多出内容，请核对分隔符"
EVERYTHING = ""
"""In place of a column: the row as a whole."""


# -- columns --------------------------------------------------------------------------------------------

Read = Callable[[str, date], Any]
"""From the text of a cell and today's date; raise ``Invalid``."""


@dataclass(frozen=True)
class Column:
    heading: str
    field: str
    example: str
    must: bool = False
    read: Read = lambda text, _today: text


def _number(read: Read) -> Read:
    def checked(text: str, today: date) -> Any:
        if SPOILT.fullmatch(text):
            raise Invalid(LOST_DIGITS)
        return read(text, today)

    return checked


def _several(text: str, _today: date) -> list[str]:
    return [part for part in map(str.strip, BETWEEN.split(text)) if part]


def _yes_or_no(text: str, _today: date) -> bool:
    if text not in ("是", "否"):
        raise Invalid("应填“是”或“否”")
    return text == "是"


def _one_of(names: Mapping[Any, str]) -> Read:
    values = {name: value for value, name in names.items()}

    def read(text: str, _today: date) -> Any:
        if text not in values:
            raise Invalid(f"只能填以下之一：{'、'.join(values)}")
        return values[text]

    return read


def _some_of(names: Mapping[Any, str]) -> Read:
    read = _one_of(names)
    return lambda text, today: [read(part, today) for part in dict.fromkeys(_several(text, today))]


def _hours(text: str, _today: date) -> dict[str, str]:
    match FROM_TO.split(text):
        case [opens, closes]:
            return {"opens": opens, "closes": closes}
    raise Invalid("应填上班和下班的时间，如 08:30-17:30")


@dataclass(frozen=True)
class Wrong:
    """``column`` is a heading, or ``EVERYTHING``."""

    row: int
    column: str
    message: str


@dataclass(frozen=True)
class Form:
    """What a row of a file says: each of its columns is a field of a command."""

    title: str
    command: type[Command]
    columns: tuple[Column, ...]

    def must_fit(self, headings: Sequence[str]) -> None:
        """Raise ``Invalid`` with every heading that is unknown, twice there or missing."""
        known, fields = {column.heading for column in self.columns}, []
        for position, heading in enumerate(headings):
            if heading not in known:
                fields.append({"path": heading or f"第 {position + 1} 列", "message": "模板里没有这一列，请改正或删除"})
            elif heading in headings[:position]:
                fields.append({"path": heading, "message": "这一列出现了两次"})
        missing = [column.heading for column in self.columns if column.must and column.heading not in headings]
        fields += [{"path": heading, "message": "缺少这一列"} for heading in missing]
        if fields:
            raise Invalid("表头与模板不符：" + "、".join(field["path"] for field in fields), fields=fields)

    def read(
        self, headings: Sequence[str], number: int, cells: Sequence[str], today: date
    ) -> tuple[Any | None, list[Wrong]]:
        """The command of a row, or all that is wrong with its cells."""
        by_heading = {column.heading: column for column in self.columns}
        texts = [text.strip() for text in cells]
        filled = [(by_heading[heading], text) for heading, text in zip(headings, texts, strict=False) if text]
        if filled and all(text == column.example for column, text in filled):
            return None, [Wrong(number, EVERYTHING, EXAMPLE_ROW)]
        values: dict[str, Any] = {}
        wrong = [Wrong(number, EVERYTHING, TOO_WIDE)] if any(texts[len(headings) :]) else []
        there = {column.heading for column, _ in filled}
        wrong += [Wrong(number, c.heading, WORDS["missing"]) for c in self.columns if c.must and c.heading not in there]
        for column, text in filled:
            try:
                values[column.field] = column.read(text, today)
            except Invalid as error:
                wrong.append(Wrong(number, column.heading, _reason(error)))
        try:
            command = self.command.model_validate(values)
        except ValidationError as error:
            told = {one.column for one in wrong}
            wrong += [one for one in self.told(number, invalid_fields(error.errors())) if one.column not in told]
        return (None, wrong) if wrong else (command, [])

    def told(self, number: int, error: ServiceError) -> list[Wrong]:
        """What a rule says of fields, said of columns."""
        headings = {column.field: column.heading for column in self.columns}
        fields = error.extra.get("fields") or [{"path": "", "message": error.detail}]
        paths = [(headings.get(one["path"].partition(".")[0], EVERYTHING), one["message"]) for one in fields]
        return [Wrong(number, column, message) for column, message in dict(reversed(paths)).items()]


def _reason(error: Invalid) -> str:
    fields = error.extra.get("fields")
    return str(fields[0]["message"]) if fields else error.detail


class TeamRow(ProposeTeam):
    """A team that is there already, with its people by id number or by volunteer id."""

    leader: ShortText
    members: list[ShortText] = Field(default_factory=list, max_length=MOST_MEMBERS - 1)


_CATEGORIES = Column("服务类别", "categories", "社区服务、文明风尚", read=_several)
_CODE = _number(lambda text, _: text)
_SITE = Column("站点代码", "site", "130802103202", read=_CODE)
FORMS = {
    ImportKind.VOLUNTEERS: Form("志愿者", RegisterVolunteer, (
        Column("姓名", "name", "张三", must=True),
        Column("身份证号", "id_number", "11010519491231002X", must=True, read=_number(identity.citizen_id)),
        Column("手机号", "phone", "13800000000", must=True, read=_number(lambda text, _: identity.mobile(text))),
        _SITE,
        _CATEGORIES,
        Column("技能", "skills", "理发、修表", read=lambda text, today: terms("skills", _several(text, today))),
        Column("同意书版本", "consent_version", "1", must=True,
               read=lambda text, _: text_version("consent_version", text)),
        Column("监护人同意", "guardian_consent", "否", read=_yes_or_no),
    )),
    ImportKind.TEAMS: Form("队伍", TeamRow, (
        Column("队伍名称", "name", "庄头营护河队", must=True),
        _SITE,
        Column(_CATEGORIES.heading, "categories", "环境保护", must=True, read=_several),
        Column("队伍类型", "kind", "环保"),
        Column("队长", "leader", "11010519491231002X", must=True, read=_CODE),
        Column("队员", "members", "440524188001010014、130802198501051239", read=_number(_several)),
    )),
    ImportKind.ITEMS: Form("服务项目", PublishItem, (
        Column("项目编号", "id", "home-haircut", must=True, read=_CODE),
        Column("名称", "name", "上门理发", must=True),
        Column(_CATEGORIES.heading, "category", "社区服务", must=True),
        Column("层级", "tier", "站", must=True, read=_one_of(TIERS)),
        Column("服务对象", "target_groups", "老、残", must=True, read=_some_of(TARGET_GROUPS)),
        Column(_SITE.heading, "site", _SITE.example, must=True, read=_CODE),
        Column("需要地址", "needs_address", "是", read=_yes_or_no),
        Column("所需技能", "skills", "理发", read=_several),
        Column("所需资质", "qualifications", "健康证", read=_several),
        Column("风险", "risk", "低", read=_one_of(RISKS)),
    )),
    ImportKind.SITES: Form("站点", OpenSite, (
        Column(_SITE.heading, "code", _SITE.example, must=True, read=_CODE),
        Column("名称", "name", "庄头营村", must=True),
        Column("层级", "tier", "站", must=True, read=_one_of(TIERS)),
        Column("上级代码", "parent", "130802103", must=True, read=_CODE),
        Column("工作时间", "hours", "08:30-17:30", read=_hours),
        Column("自动派单", "auto_offer", "是", read=_yes_or_no),
        Column("派单方式", "mode", "同时派单", read=_one_of(OFFER_MODES)),
        Column("可借队伍的站点", "sisters", "130802103203", read=_number(_several)),
    )),
}  # fmt: skip


# -- an import --------------------------------------------------------------------------------------------


class State(StrEnum):
    STAGING = "staging"
    PREVIEWED = "previewed"
    RUNNING = "running"
    DONE = "done"
    UNDOING = "undoing"
    UNDONE = "undone"


STATE_NAMES = {
    State.STAGING: "文件还没有读完", State.PREVIEWED: "还没有执行", State.RUNNING: "正在执行", State.DONE: "已经执行",
    State.UNDOING: "正在撤销", State.UNDONE: "已经撤销",
}  # fmt: skip
MOVING = (State.RUNNING, State.UNDOING)


@dataclass(frozen=True)
class Made:
    """What a row has become, with its version right afterwards: as long as it has that, nothing has happened to it."""

    row: int
    id: str
    version: int


@dataclass
class Import:
    """Rows are kept in batches; ``cursor`` is the first row of the last one that was carried out, or taken back."""

    id: str
    kind: ImportKind
    site: str
    file: Secret
    by: str
    """Account id of who has asked last."""
    headings: list[str]
    rows: int
    begun_at: datetime
    state: State = State.STAGING
    moving: bool = False
    """Whether the timer has something to do."""
    cursor: int = 0
    handled: int = 0
    """Rows that the present stage is through with."""
    wrong: int = 0
    made: int = 0
    failed: int = 0
    """Rows that were right when they were looked at, and not any more when they were carried out."""
    taken_back: int = 0
    kept: int = 0
    version: int = 0

    @classmethod
    def start(cls, id: str, wanted: StartImport, site: Site, actor: Actor, at: datetime) -> "Import":
        headings = [heading.strip() for heading in wanted.headings]
        FORMS[wanted.kind].must_fit(headings)
        return cls(id, wanted.kind, site.id, wanted.file, actor.id, headings, wanted.rows, at)

    @property
    def form(self) -> Form:
        return FORMS[self.kind]

    def stage(self, wanted: StageRows, keys: list[str], wrong: list[Wrong], at: datetime) -> "Batch":
        """``keys`` are those of the rows, each empty where the row tells none."""
        self._must_be(State.STAGING)
        if self.handled + len(wanted.rows) > self.rows:
            raise Conflict("行数超过了开始导入时的行数")
        numbers = [row.number for row in wanted.rows]
        batch = Batch(batch_id(self.id, numbers[0]), self.id, numbers, keys, at, wrong=wrong)
        batch.cells = orjson.dumps([row.cells for row in wanted.rows]).decode()
        self.handled += len(numbers)
        self.wrong += len(batch.wrong_rows)
        if self.handled == self.rows:
            self.state = State.PREVIEWED
        return batch

    def execute(self, skip_errors: bool, actor: Actor, at: datetime) -> None:
        """Asked again it goes on as it does."""
        if self.state in (State.RUNNING, State.DONE):
            return
        self._must_be(State.PREVIEWED)
        self._must_be_kept(at)
        if self.wrong and not skip_errors:
            raise Conflict(f"有 {self.wrong} 行填写有误，请改正文件后重新导入，或选择跳过这些行", errors=self.wrong)
        self._begin(State.RUNNING, actor)

    def undo(self, actor: Actor, at: datetime) -> None:
        """Asked again it goes on as it does."""
        if self.state in (State.UNDOING, State.UNDONE):
            return
        self._must_be(State.DONE)
        self._must_be_kept(at)
        self._begin(State.UNDOING, actor)

    def move_past(self, batch: "Batch | None") -> None:
        """None: there is no further one, so this stage is over."""
        if batch is not None:
            self.cursor, self.handled = batch.numbers[0], self.handled + len(batch.numbers)
        else:
            self.state, self.moving = (State.DONE if self.state is State.RUNNING else State.UNDONE), False

    def _begin(self, state: State, actor: Actor) -> None:
        self.state, self.moving, self.cursor, self.handled, self.by = state, True, 0, 0, actor.id

    def _must_be(self, state: State) -> None:
        if self.state is not state:
            raise IllegalTransition(f"这次导入{STATE_NAMES[self.state]}，不能这样操作", state=self.state)

    def _must_be_kept(self, at: datetime) -> None:
        if at - self.begun_at > KEPT:
            raise Conflict(f"这次导入已经超过 {KEPT.days} 天，不能再操作")


@dataclass
class Batch:
    """Some rows of an import. What stands in them is forgotten as soon as they are carried out."""

    id: str
    import_id: str
    numbers: list[int]
    keys: list[str]
    """What makes each row one of a kind; by these it is found whether another says the same."""
    staged_at: datetime
    cells: Secret = "[]"
    wrong: list[Wrong] = field(default_factory=list)
    is_wrong: bool = False
    made: list[Made] = field(default_factory=list)
    version: int = 0

    def __post_init__(self) -> None:
        self.is_wrong = bool(self.wrong)

    @property
    def wrong_rows(self) -> set[int]:
        return {one.row for one in self.wrong}

    def rows(self) -> list[tuple[int, list[str]]]:
        """Numbers with cells, which are there until the batch is carried out."""
        return list(zip(self.numbers, orjson.loads(self.cells), strict=False))

    def carry_out(self, made: list[Made], failed: list[Wrong]) -> None:
        self.made, self.cells, self.keys = made, "[]", []
        self.note(failed)

    def note(self, wrong: Sequence[Wrong]) -> None:
        self.wrong = [*self.wrong, *wrong]
        self.is_wrong = bool(self.wrong)


def batch_id(import_id: str, row: int) -> str:
    """Sorts as the rows do."""
    return f"{import_id}:{row:07}"


def made_id(import_id: str, row: int) -> str:
    """Of what a row becomes: carried out again it is the same."""
    return f"{import_id}-{row}"


# -- who may ----------------------------------------------------------------------------------------------

ADMINISTERED = (ImportKind.ITEMS, ImportKind.SITES)
"""Kinds of rows that only who administers all may bring in, as one by one."""


def form_of(kind: str) -> Form:
    if kind not in FORMS:
        raise NotFound("没有这一类导入")
    return FORMS[ImportKind(kind)]


def may_import(kind: str, actor: Actor, path: Collection[str]) -> bool:
    """``path`` is that of the place."""
    return actor.is_admin if kind in ADMINISTERED else is_staff_over(actor, path)


def must_import(kind: str, actor: Actor, path: Collection[str]) -> None:
    """Raise ``Forbidden``."""
    if may_import(kind, actor, path):
        return
    if kind in ADMINISTERED:
        raise Forbidden("只有管理员可以导入站点和服务项目")
    raise Forbidden("只有本站（所、中心）和上级的工作人员可以在这里导入")
