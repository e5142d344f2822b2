"""Support: goods, and help with the system, that a center gives."""

from fastapi import APIRouter, Response

from gateway.routes.orders import Caller, Limit, Text
from gateway.routes.registry import Id
from services.contracts.support import (
    AnswerSupport,
    DeclineSupport,
    RateSupport,
    RequestSupport,
    TakeSupport,
    WithdrawSupport,
)

router = APIRouter(prefix="/v1/support-requests", tags=["support"])


@router.post("", status_code=201)
async def request_support(command: RequestSupport, call: Caller) -> Response:
    """Staff or a volunteer asks the center above for goods, or for help with the system."""
    return await call.create("dispatch.request_support", command, "support-requests")


@router.get("")
async def support_requests(
    call: Caller, state: Text = None, kind: Text = None, limit: Limit = 50, cursor: Text = None
) -> Response:
    """Staff see those of their place and below, who has asked sees their own; newest first."""
    return await call.query("dispatch.support_requests", state=state, kind=kind, limit=limit, cursor=cursor)


@router.get("/{request_id}")
async def support_request(request_id: Id, call: Caller) -> Response:
    return await call.query("dispatch.support_request", request_id=request_id)


@router.post("/{request_id}/take")
async def take_support(request_id: Id, command: TakeSupport, call: Caller) -> Response:
    """Somebody of the center sees to it."""
    return await call.command("dispatch.take_support", command, request_id=request_id)


@router.post("/{request_id}/answer")
async def answer_support(request_id: Id, command: AnswerSupport, call: Caller) -> Response:
    """What the center has done, and what it has sent."""
    return await call.command("dispatch.answer_support", command, request_id=request_id)


@router.post("/{request_id}/decline")
async def decline_support(request_id: Id, command: DeclineSupport, call: Caller) -> Response:
    """The center cannot give it, and says why."""
    return await call.command("dispatch.decline_support", command, request_id=request_id)


@router.post("/{request_id}/withdraw")
async def withdraw_support(request_id: Id, command: WithdrawSupport, call: Caller) -> Response:
    """It is not needed any more."""
    return await call.command("dispatch.withdraw_support", command, request_id=request_id)


@router.post("/{request_id}/rate")
async def rate_support(request_id: Id, command: RateSupport, call: Caller) -> Response:
    """By who has asked, of what was answered."""
    return await call.command("dispatch.rate_support", command, request_id=request_id)
