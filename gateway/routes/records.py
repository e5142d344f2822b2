"""Plain records: the same routes for every kind, with the fields of the kind."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from gateway.routes.orders import Caller, Limit, Text
from gateway.routes.registry import Id
from services.contracts.records import (
    KINDS,
    AddRecord,
    ChangeRecord,
    RecordBody,
    RetireRecord,
    change_of,
    question_of,
)

router = APIRouter(prefix="/v1", tags=["records"])


@router.get("/beneficiaries")
async def beneficiaries(call: Caller) -> Response:
    """For whom the caller may order: who lives in the same household, if the caller is its proxy."""
    return await call.query("registry.beneficiaries")


def serve(body: type[RecordBody]) -> None:
    kind, title, about = body.kind, body.title, body.__doc__
    changed, asked = change_of(body), question_of(body)

    @router.post(f"/{kind}", status_code=201, summary=f"登记{title}", description=about)
    async def add(command: body, call: Caller) -> Response:  # type: ignore[valid-type]
        return await call.create("registry.add_record", AddRecord(fields=_given(command)), kind, kind=kind)

    @router.get(f"/{kind}", summary=f"{title}列表")
    async def records(question: Annotated[asked, Query()], call: Caller) -> Response:  # type: ignore[valid-type]
        """Newest first: at a place and below it, or (`scope=above`) at it and above it, which holds there too."""
        told = question.model_dump_json(exclude_unset=True)  # type: ignore[attr-defined]
        return await call.query("registry.records", kind=kind, question=told)

    @router.get(f"/{kind}/{{record_id}}", summary=f"一个{title}")
    async def record(record_id: Id, call: Caller) -> Response:
        return await call.query("registry.record", kind=kind, record_id=record_id)

    @router.post(f"/{kind}/{{record_id}}/change", summary=f"修改{title}")
    async def change(record_id: Id, command: changed, call: Caller) -> Response:  # type: ignore[valid-type]
        """What is given replaces what was there; what is not stays; `null` empties it."""
        fields = ChangeRecord(fields=_given(command))
        return await call.command("registry.change_record", fields, kind=kind, record_id=record_id)

    @router.post(f"/{kind}/{{record_id}}/retire", summary=f"停用{title}")
    async def retire(record_id: Id, command: RetireRecord, call: Caller) -> Response:
        """For good: it is kept, and counts no more; of a household everything is forgotten."""
        return await call.command("registry.retire_record", command, kind=kind, record_id=record_id)

    @router.get(f"/{kind}/{{record_id}}/log", summary=f"{title}的修改记录")
    async def log(record_id: Id, call: Caller, limit: Limit = 50, cursor: Text = None) -> Response:
        """Who has changed what and when, newest first; for staff of the place and above it."""
        return await call.query("registry.record_log", kind=kind, record_id=record_id, limit=limit, cursor=cursor)


def _given(command: Any) -> dict[str, Any]:
    given: dict[str, Any] = command.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return given


for body in KINDS:
    serve(body)
