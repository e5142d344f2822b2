"""Cases: low ratings and complaints, until staff have looked into them."""

from fastapi import APIRouter, Response

from gateway.routes.orders import Caller, Limit, OrderId, Text
from gateway.routes.registry import Id
from services.contracts.cases import Complain, SettleCase

router = APIRouter(prefix="/v1", tags=["cases"])


@router.post("/orders/{order_id}/complain", status_code=201)
async def complain(order_id: OrderId, command: Complain, call: Caller) -> Response:
    """About the service; the team does not see it, and what is said of money goes a tier up."""
    return await call.create("dispatch.complain", command, "cases", order_id=order_id)


@router.get("/cases")
async def cases(
    call: Caller, state: Text = None, kind: Text = None, limit: Limit = 50, cursor: Text = None
) -> Response:
    """Staff see those of their place and below, who complained sees their own; newest first."""
    return await call.query("dispatch.cases", state=state, kind=kind, limit=limit, cursor=cursor)


@router.get("/cases/{case_id}")
async def case(case_id: Id, call: Caller) -> Response:
    return await call.query("dispatch.case", case_id=case_id)


@router.post("/cases/{case_id}/settle")
async def settle_case(case_id: Id, command: SettleCase, call: Caller) -> Response:
    """By staff of the place that looks into it, with what came of it."""
    return await call.command("dispatch.settle_case", command, case_id=case_id)
