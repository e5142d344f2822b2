"""Cases: low ratings, complaints and what is reported in a village, until staff have looked into them."""

from fastapi import APIRouter, Response

from gateway.routes.orders import Caller, Limit, OrderId, Text
from gateway.routes.registry import Id
from services.contracts.cases import Complain, ReferCase, ReportCase, SettleCase, TakeCase

router = APIRouter(prefix="/v1", tags=["cases"])


@router.post("/orders/{order_id}/complain", status_code=201)
async def complain(order_id: OrderId, command: Complain, call: Caller) -> Response:
    """About the service; the team does not see it, and what is said of money goes a tier up."""
    return await call.create("dispatch.complain", command, "cases", order_id=order_id)


@router.post("/cases", status_code=201)
async def report_case(command: ReportCase, call: Caller) -> Response:
    """A breach of village rules, or a quarrel that needs somebody to mediate; the station looks into it."""
    return await call.create("dispatch.report_case", command, "cases")


@router.get("/cases")
async def cases(
    call: Caller, state: Text = None, kind: Text = None, limit: Limit = 50, cursor: Text = None
) -> Response:
    """Staff see those of their place and below, who opened one sees it too; newest first."""
    return await call.query("dispatch.cases", state=state, kind=kind, limit=limit, cursor=cursor)


@router.get("/cases/{case_id}")
async def case(case_id: Id, call: Caller) -> Response:
    return await call.query("dispatch.case", case_id=case_id)


@router.post("/cases/{case_id}/take")
async def take_case(case_id: Id, command: TakeCase, call: Caller) -> Response:
    """By staff of the place that looks into it: somebody is at it."""
    return await call.command("dispatch.take_case", command, case_id=case_id)


@router.post("/cases/{case_id}/refer")
async def refer_case(case_id: Id, command: ReferCase, call: Caller) -> Response:
    """To the next tier up, by staff of the place that cannot settle it; they see it still."""
    return await call.command("dispatch.refer_case", command, case_id=case_id)


@router.post("/cases/{case_id}/settle")
async def settle_case(case_id: Id, command: SettleCase, call: Caller) -> Response:
    """By staff of the place that looks into it, with what came of it."""
    return await call.command("dispatch.settle_case", command, case_id=case_id)
