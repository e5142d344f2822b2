"""Orders that come again, and what there is to do at a place on a day."""

from fastapi import APIRouter, Response

from gateway.answers import json_response, page_response
from gateway.pages.day import day_page
from gateway.routes.orders import Caller, Limit, OrderId, Text
from gateway.routes.registry import Id
from services.contracts.series import EndSeries, MoveOccurrence, SkipOccurrence, StartSeries

router = APIRouter(prefix="/v1", tags=["series"])


@router.post("/series", status_code=201)
async def start_series(command: StartSeries, call: Caller) -> Response:
    """A resident, or staff for one, asks for a service item again and again, by a rule of RFC 5545."""
    return await call.create("dispatch.start_series", command, "series")


@router.get("/series")
async def all_series(call: Caller, site: Text = None, limit: Limit = 50, cursor: Text = None) -> Response:
    """What the caller may see, newest first."""
    return await call.query("dispatch.all_series", site=site, limit=limit, cursor=cursor)


@router.get("/series/{series_id}")
async def series(series_id: OrderId, call: Caller) -> Response:
    """With the next occurrences, and the orders that they have already."""
    return await call.query("dispatch.series", series_id=series_id)


@router.post("/series/{series_id}/move")
async def move(series_id: OrderId, command: MoveOccurrence, call: Caller) -> Response:
    """One occurrence to another time; an order that it has already is cancelled, and another one placed."""
    return await call.command("dispatch.move_occurrence", command, series_id=series_id)


@router.post("/series/{series_id}/skip")
async def skip(series_id: OrderId, command: SkipOccurrence, call: Caller) -> Response:
    """One occurrence does not take place; `409` when its order cannot be cancelled any more."""
    return await call.command("dispatch.skip_occurrence", command, series_id=series_id)


@router.post("/series/{series_id}/end")
async def end(series_id: OrderId, command: EndSeries, call: Caller) -> Response:
    """From a day on; orders for then are cancelled where that is still possible."""
    return await call.command("dispatch.end_series", command, series_id=series_id)


@router.get("/sites/{code}/day")
async def day(code: Id, call: Caller, date: Text = None) -> Response:
    """What takes place at a site and below it, by default today; with `Accept: text/html` a page to print."""
    found = await call.answer("dispatch.day", code=code, day=date)
    if not call.wants_page:
        response = json_response(found)
        response.headers["vary"] = "Accept"
        return response
    return page_response(day_page(found, await call.answer("registry.site", code=code)))
