"""Orders: place, dispatch, accept, rate (四单)."""

from base64 import b64decode, b64encode
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import AfterValidator

from gateway import pictures
from gateway.answers import picture_response
from gateway.calls import Call, caller
from services.contracts.dispatch import (
    AcceptOrder,
    AddNote,
    AddPhoto,
    AdvanceOrders,
    AppointVisit,
    CancelOrder,
    CloseOrder,
    CompleteOrder,
    DeclineOrder,
    EscalateOrder,
    JoinOrder,
    LeaveOrder,
    OfferOrder,
    PlaceOrder,
    RateOrder,
    RateVisit,
    RejectOrder,
    ReopenOrder,
    ReportNoShow,
    SendMessage,
    StartOrder,
    WithdrawOrder,
)

router = APIRouter(prefix="/v1/orders", tags=["orders"])
Caller = Annotated[Call, Depends(caller)]
PAGE_LIMIT = 200
OrderId = Annotated[str, Path(max_length=64)]
Limit = Annotated[int, Query(ge=1), AfterValidator(lambda limit: min(limit, PAGE_LIMIT))]
PICTURE = {"schema": {"type": "string", "format": "binary"}}
Text = Annotated[str | None, Query(max_length=300)]


@router.post("", status_code=201)
async def place_order(command: PlaceOrder, call: Caller) -> Response:
    """A resident, or staff for one, asks for a service item."""
    return await call.create("dispatch.place_order", command, "orders")


@router.get("")
async def orders(
    call: Caller, state: Text = None, tier: Text = None, site: Text = None, holder: Text = None,
    waiting: Text = None, limit: Limit = 50, cursor: Text = None,
) -> Response:  # fmt: skip
    """What the caller may see, newest first. `waiting`: only what waits for the caller, as `/v1/inbox` counts it."""
    return await call.query(
        "dispatch.orders", state=state, tier=tier, site=site, holder=holder, waiting=waiting, limit=limit,
        cursor=cursor,
    )  # fmt: skip


@router.post("/batch")
async def advance_orders(command: AdvanceOrders, call: Caller) -> Response:
    """Offer, escalate or close up to 100 at once; the answer says of each whether it was done, or why not."""
    return await call.command("dispatch.advance_orders", command)


@router.get("/similar")
async def similar_orders(
    call: Caller, service_item: Annotated[str, Query(max_length=100)], site: Text = None
) -> Response:
    """What neighbours have ordered within 7 days and still wait for: who needs the same may join instead."""
    return await call.query("dispatch.similar_orders", service_item=service_item, site=site)


@router.get("/joined")
async def joined_orders(call: Caller, limit: Limit = 50, cursor: Text = None) -> Response:
    """Orders of neighbours that the caller has joined, newest first."""
    return await call.query("dispatch.joined_orders", limit=limit, cursor=cursor)


@router.get("/{order_id}")
async def order(order_id: OrderId, call: Caller) -> Response:
    return await call.query("dispatch.order", order_id=order_id)


@router.get("/{order_id}/timeline")
async def timeline(order_id: OrderId, call: Caller, limit: Limit = 50, cursor: Text = None) -> Response:
    """What happened, oldest first."""
    return await call.query("dispatch.timeline", order_id=order_id, limit=limit, cursor=cursor)


@router.get("/{order_id}/views")
async def views(order_id: OrderId, call: Caller, limit: Limit = 50, cursor: Text = None) -> Response:
    """Who else has read of the order in clear, when and by which request; newest first, of three years.

    Who has given a command stands in the timeline.
    """
    return await call.query("dispatch.order_views", order_id=order_id, limit=limit, cursor=cursor)


@router.post("/{order_id}/offer")
async def offer(order_id: OrderId, command: OfferOrder, call: Caller) -> Response:
    """The holding site offers it to teams, by default to all fitting ones."""
    return await call.command("dispatch.offer_order", command, order_id=order_id)


@router.post("/{order_id}/accept")
async def accept(order_id: OrderId, command: AcceptOrder, call: Caller) -> Response:
    """The first team wins; the others get `409` with type `…/already-accepted`."""
    return await call.command("dispatch.accept_order", command, order_id=order_id)


@router.post("/{order_id}/decline")
async def decline(order_id: OrderId, command: DeclineOrder, call: Caller) -> Response:
    return await call.command("dispatch.decline_order", command, order_id=order_id)


@router.post("/{order_id}/withdraw")
async def withdraw(order_id: OrderId, command: WithdrawOrder, call: Caller) -> Response:
    """The team gives it back to the pool; the deadline is the one it had."""
    return await call.command("dispatch.withdraw_order", command, order_id=order_id)


@router.post("/{order_id}/escalate")
async def escalate(order_id: OrderId, command: EscalateOrder, call: Caller) -> Response:
    """One tier up; above the center it is unmet demand."""
    return await call.command("dispatch.escalate_order", command, order_id=order_id)


@router.post("/{order_id}/cancel")
async def cancel(order_id: OrderId, command: CancelOrder, call: Caller) -> Response:
    return await call.command("dispatch.cancel_order", command, order_id=order_id)


@router.post("/{order_id}/reject")
async def reject(order_id: OrderId, command: RejectOrder, call: Caller) -> Response:
    return await call.command("dispatch.reject_order", command, order_id=order_id)


@router.post("/{order_id}/reopen", status_code=201)
async def reopen(order_id: OrderId, command: ReopenOrder, call: Caller) -> Response:
    """A new order linked to the old one."""
    return await call.create("dispatch.reopen_order", command, "orders", order_id=order_id)


@router.post("/{order_id}/start")
async def start(order_id: OrderId, command: StartOrder, call: Caller) -> Response:
    return await call.command("dispatch.start_order", command, order_id=order_id)


@router.post("/{order_id}/complete")
async def complete(order_id: OrderId, command: CompleteOrder, call: Caller) -> Response:
    """With the service record: who, from, to, what."""
    return await call.command("dispatch.complete_order", command, order_id=order_id)


@router.post("/{order_id}/rate")
async def rate(order_id: OrderId, command: RateOrder, call: Caller) -> Response:
    return await call.command("dispatch.rate_order", command, order_id=order_id)


@router.post("/{order_id}/rate-visit")
async def rate_visit(order_id: OrderId, command: RateVisit, call: Caller) -> Response:
    """By the team that was there: for staff, not for the resident; a low score is followed up."""
    return await call.command("dispatch.rate_visit", command, order_id=order_id)


@router.post("/{order_id}/close")
async def close(order_id: OrderId, command: CloseOrder, call: Caller) -> Response:
    """The site closes it; hours take effect and become points."""
    return await call.command("dispatch.close_order", command, order_id=order_id)


@router.post("/{order_id}/message")
async def send_message(order_id: OrderId, command: SendMessage, call: Caller) -> Response:
    """Resident and holder talk; a question of the holder stops the clock until the resident replies."""
    return await call.command("dispatch.send_message", command, order_id=order_id)


@router.get("/{order_id}/messages")
async def messages(order_id: OrderId, call: Caller, limit: Limit = 50, cursor: Text = None) -> Response:
    """What was said, oldest first."""
    return await call.query("dispatch.messages", order_id=order_id, limit=limit, cursor=cursor)


@router.post("/{order_id}/appoint")
async def appoint(order_id: OrderId, command: AppointVisit, call: Caller) -> Response:
    """When the team comes, set or changed by either side; the timeline shows each change."""
    return await call.command("dispatch.appoint_visit", command, order_id=order_id)


@router.post("/{order_id}/no-show")
async def no_show(order_id: OrderId, command: ReportNoShow, call: Caller) -> Response:
    """The team did not come at the agreed time: the order goes back with its deadline, and it is counted."""
    return await call.command("dispatch.report_no_show", command, order_id=order_id)


@router.post("/{order_id}/join")
async def join(order_id: OrderId, command: JoinOrder, call: Caller) -> Response:
    """A neighbour needs the same (我也需要) and is counted, once; staff say for whom."""
    return await call.command("dispatch.join_order", command, order_id=order_id)


@router.post("/{order_id}/leave")
async def leave(order_id: OrderId, command: LeaveOrder, call: Caller) -> Response:
    """A neighbour needs it no longer."""
    return await call.command("dispatch.leave_order", command, order_id=order_id)


@router.post("/{order_id}/note")
async def add_note(order_id: OrderId, command: AddNote, call: Caller) -> Response:
    """Staff write down something for staff."""
    return await call.command("dispatch.add_note", command, order_id=order_id)


@router.get("/{order_id}/notes")
async def notes(order_id: OrderId, call: Caller, limit: Limit = 50, cursor: Text = None) -> Response:
    """What staff wrote down, oldest first."""
    return await call.query("dispatch.notes", order_id=order_id, limit=limit, cursor=cursor)


@router.post(
    "/{order_id}/photos",
    status_code=201,
    openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(pictures.KINDS, PICTURE)}},
)
async def add_photo(order_id: OrderId, request: Request, call: Caller) -> Response:
    """The picture is the body. Kept is what it shows, as a JPEG: upright, at most 1600 pixels a side, without place,
    time, device or comment."""
    photo = await pictures.clean(await request.body(), request.headers.get("content-type", ""))
    data = b64encode(photo.content).decode()
    command = AddPhoto(data=data, width=photo.width, height=photo.height)
    return await call.create("dispatch.add_photo", command, f"orders/{order_id}/photos", order_id=order_id)


@router.get("/{order_id}/photos")
async def photos(order_id: OrderId, call: Caller) -> Response:
    """Of what is to be done, or was done, oldest first; for those who see the address."""
    return await call.query("dispatch.photos", order_id=order_id)


@router.get(
    "/{order_id}/photos/{photo_id}", response_class=Response, responses={200: {"content": {"image/jpeg": PICTURE}}}
)
async def photo(order_id: OrderId, photo_id: OrderId, call: Caller) -> Response:
    """The picture itself."""
    found = await call.answer("dispatch.photo", order_id=order_id, photo_id=photo_id)
    return picture_response(b64decode(found["data"]))
