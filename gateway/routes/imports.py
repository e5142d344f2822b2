"""Files of Excel and CSV: rows in, looked at before anything happens; lists out, as they may be read."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from gateway.answers import json_response
from gateway.calls import Call
from gateway.files import attachment, read_rows, write_workbook
from gateway.routes.orders import PAGE_LIMIT, Caller, Limit, Text
from gateway.routes.registry import Id
from gateway.settings import settings
from gateway.tables import CSV_START, MOST_ROWS, csv_line
from services.contracts.errors import Invalid, TooSlow
from services.contracts.imports import (
    OFFER_MODES,
    RISKS,
    ROWS_AT_ONCE,
    TARGET_GROUPS,
    TIERS,
    ExecuteImport,
    ImportKind,
    StartImport,
    UndoImport,
)

router = APIRouter(prefix="/v1", tags=["imports"])
EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
BATCH_BYTES = 400_000
"""Of rows that are told to the registry at once, about."""
ANY_FILE = {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in (EXCEL, "text/csv")}}
FileName = Annotated[str, Query(max_length=200)]


@router.post("/imports", status_code=201, openapi_extra={"requestBody": {**ANY_FILE, "required": True}})
async def start_import(
    request: Request, call: Caller, kind: ImportKind, site: Text = None, file: FileName = ""
) -> Response:
    """The body is the file, .xlsx or .csv (UTF-8, GB18030), up to 20 MB. Its rows are checked, and nothing happens
    yet: see `/rows?only=errors`, then `/execute`. `site`: where rows belong that name none, by default the caller's.
    """
    await call.answer("registry.import_form", kind=kind, site=site)  # who may not is told before the file is read
    async with request.app.state.desk.place():
        try:
            async with asyncio.timeout(settings().body_seconds):
                content = await request.body()
        except TimeoutError:
            raise TooSlow("文件没有按时传完，请检查网络后再试") from None
        async with aclosing(read_rows(content)) as rows:
            about = await anext(rows)
            started = await call.tell("registry.start_import", StartImport(kind=kind, site=site, file=file, **about))
            async for batch in _batches(rows):
                staged = await call.answer("registry.stage_rows", import_id=started["id"], command={"rows": batch})
    return json_response(staged, 201, {"Location": f"/v1/imports/{started['id']}"})


async def _batches(rows: AsyncIterator[Any]) -> AsyncIterator[list[dict[str, Any]]]:
    """The same of the same file, so that a repetition changes nothing."""
    batch, size = list[dict[str, Any]](), 0
    async for number, cells in rows:
        row = {"number": number, "cells": cells}
        length = len(orjson.dumps(row))
        if batch and (len(batch) == ROWS_AT_ONCE or size + length > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += length
    yield batch


@router.get("/imports/template", response_class=Response)
async def import_template(request: Request, call: Caller, kind: ImportKind, site: Text = None) -> Response:
    """A file of Excel to be filled in: the headings, and an example to be deleted."""
    form = await call.answer("registry.import_form", kind=kind, site=site)
    columns = form["columns"]
    async with request.app.state.desk.place():
        content = await write_workbook(_each([[c["heading"] for c in columns], [c["example"] for c in columns]]))
    return Response(content, 200, attachment(f"{form['title']}导入模板.xlsx", f"{kind}-template.xlsx"), EXCEL)


@router.get("/imports/{import_id}")
async def import_state(import_id: Id, call: Caller) -> Response:
    """How far it is, and how many rows are wrong, were carried out, or taken back."""
    return await call.query("registry.import_state", import_id=import_id)


@router.get("/imports/{import_id}/rows")
async def import_rows(
    import_id: Id, call: Caller, only: Text = None, limit: Limit = 50, cursor: Text = None
) -> Response:
    """What the file says, with what is wrong by row and column; `only=errors`: nothing else."""
    return await call.query("registry.import_rows", import_id=import_id, only=only, limit=limit, cursor=cursor)


@router.post("/imports/{import_id}/execute")
async def execute_import(import_id: Id, command: ExecuteImport, call: Caller) -> Response:
    """Begins it. `409` while a row is wrong, unless `skip_errors`."""
    return await call.command("registry.execute_import", command, import_id=import_id)


@router.post("/imports/{import_id}/undo")
async def undo_import(import_id: Id, command: UndoImport, call: Caller) -> Response:
    """Begins to take back what nothing has happened to since; of other rows it is told why not."""
    return await call.command("registry.undo_import", command, import_id=import_id)


# -- exports ----------------------------------------------------------------------------------------------


class Format(StrEnum):
    XLSX = "xlsx"
    CSV = "csv"


class ExportKind(StrEnum):
    VOLUNTEERS = "volunteers"
    TEAMS = "teams"
    SITES = "sites"
    SERVICE_ITEMS = "service-items"


@dataclass(frozen=True)
class Export:
    """A list as the caller may read it; ``columns`` are fields by heading."""

    title: str
    query: str
    columns: Mapping[str, str]
    place: str = "site"
    """What the query calls the place that is asked for."""


REAL_NAME = {"none": "未核验", "pending": "待核验", "passed": "已通过", "failed": "未通过"}
NAMES: dict[str, Mapping[Any, str]] = {
    "state": REAL_NAME, "tier": TIERS, "target_groups": TARGET_GROUPS, "risk": RISKS, "mode": OFFER_MODES,
}  # fmt: skip
EXPORTS: dict[str, Export] = {
    ExportKind.VOLUNTEERS: Export("志愿者", "registry.volunteers", {
        "志愿者编号": "id", "姓名": "name", "身份证号": "id_number", "站点代码": "site", "实名核验": "state",
        "服务类别": "categories", "技能": "skills", "星级": "star", "服务时长": "hours", "积分": "points",
        "暂停服务": "suspended",
    }),
    ExportKind.TEAMS: Export("队伍", "registry.teams", {
        "队伍编号": "id", "队伍名称": "name", "队伍类型": "kind", "站点代码": "site", "层级": "tier",
        "服务类别": "categories", "人数": "members", "正常活动": "active",
    }),
    ExportKind.SITES: Export("站点", "registry.sites", {
        "站点代码": "code", "名称": "name", "层级": "tier", "上级代码": "parent", "工作时间": "hours",
        "自动派单": "auto_offer", "派单方式": "mode", "可借队伍的站点": "sisters",
    }, "parent"),
    ExportKind.SERVICE_ITEMS: Export("服务清单", "registry.service_items", {
        "项目编号": "id", "名称": "name", "服务类别": "category", "层级": "tier", "服务对象": "target_groups",
        "站点代码": "site", "需要地址": "needs_address", "所需技能": "skills", "所需资质": "qualifications",
        "风险": "risk",
    }),
}  # fmt: skip


@router.get("/exports/{kind}", response_class=Response)
async def export(
    request: Request, kind: ExportKind, call: Caller, format: Format = Format.XLSX, site: Text = None
) -> Response:
    """A list as the caller may read it page by page, as one file."""
    wanted = EXPORTS[kind]
    rows = _rows(call, wanted, site)
    headings = await anext(rows)  # with the first page, so that who may not is told so
    headers = attachment(f"{wanted.title}.{format}", f"{kind}.{format}")
    if format is Format.CSV:
        return StreamingResponse(_csv(headings, rows), 200, headers, "text/csv; charset=utf-8")
    async with request.app.state.desk.place():
        content = await write_workbook(_bounded(headings, rows))
    return Response(content, 200, headers, EXCEL)


async def _rows(call: Call, wanted: Export, site: str | None) -> AsyncIterator[list[Any]]:
    asked = {"limit": PAGE_LIMIT, wanted.place: site}
    page = await call.answer(wanted.query, **asked)
    yield list(wanted.columns)
    while True:
        for item in page["items"]:
            yield [_cell(field, item[field]) for field in wanted.columns.values()]
        if page["next"] is None:
            return
        page = await call.answer(wanted.query, cursor=page["next"], **asked)


def _cell(field: str, value: Any) -> Any:
    names = NAMES.get(field, {})
    match value:
        case bool():
            return "是" if value else "否"
        case list():
            return "、".join(names.get(one, one) for one in value)
        case {"opens": opens, "closes": closes}:
            return f"{opens}-{closes}"
        case str():
            return names.get(value, value)
    return value


async def _csv(headings: list[Any], rows: AsyncIterator[list[Any]]) -> AsyncIterator[bytes]:
    yield CSV_START + csv_line(headings)
    async for row in rows:
        yield csv_line(row)


async def _bounded(headings: list[Any], rows: AsyncIterator[list[Any]]) -> AsyncIterator[list[Any]]:
    count = itertools.count()
    yield headings
    async for row in rows:
        if next(count) == MOST_ROWS:
            raise Invalid(f"超过 {MOST_ROWS} 行，请改用 CSV，或按站点分别导出")
        yield row


async def _each(rows: list[list[Any]]) -> AsyncIterator[list[Any]]:
    for row in rows:
        yield row
