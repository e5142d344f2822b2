"""A county's rules for whom to send."""

from fastapi import APIRouter, Response

from gateway.routes.orders import Caller, Limit, OrderId, Text
from gateway.routes.registry import Id
from services.contracts.dispatch import PublishRules

router = APIRouter(prefix="/v1", tags=["matching"])


@router.get("/orders/{order_id}/decision")
async def decision(order_id: OrderId, call: Caller, limit: Limit = 50, cursor: Text = None) -> Response:
    """Whom the order was offered to and why, newest first; a team sees its own part only."""
    return await call.query("dispatch.decision", order_id=order_id, limit=limit, cursor=cursor)


@router.post("/sites/{code}/matching-rules", status_code=201)
async def publish_rules(code: Id, command: PublishRules, call: Caller) -> Response:
    """A new version for the county of a center; what is offered from `valid_from` on follows it."""
    return await call.create("dispatch.publish_rules", command, f"sites/{code}/matching-rules", code=code)


@router.get("/sites/{code}/matching-rules")
async def all_rules(code: Id, call: Caller, limit: Limit = 50, cursor: Text = None) -> Response:
    """What is in force in the county of a center, and all that was published, newest first."""
    return await call.query("dispatch.all_rules", code=code, limit=limit, cursor=cursor)


@router.get("/sites/{code}/matching-rules/{version}")
async def rules(code: Id, version: Id, call: Caller) -> Response:
    """One version, as decisions name it."""
    return await call.query("dispatch.rules", code=code, version=version)
