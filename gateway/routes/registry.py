"""Sites, service items, accounts of points, corrections of hours."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from gateway.answers import json_response
from gateway.routes.orders import Caller, Limit, Text
from services.contracts.activities import ReverseHours

router = APIRouter(prefix="/v1", tags=["registry"])
Id = Annotated[str, Path(max_length=128)]


@router.get("/me")
async def me(call: Caller) -> Response:
    """Who the caller is, with teams."""
    return await call.query("registry.me")


@router.get("/inbox")
async def inbox(call: Caller) -> Response:
    """What waits for the caller, by what is to be done, with counts and the first deadline."""
    parts = await asyncio.gather(call.answer("dispatch.inbox"), call.answer("registry.inbox"))
    return json_response({"items": [item for part in parts for item in part["items"]]})


@router.get("/sites")
async def sites(
    call: Caller, parent: Text = None, tier: Text = None, limit: Limit = 50, cursor: Text = None
) -> Response:
    return await call.query("registry.sites", parent=parent, tier=tier, limit=limit, cursor=cursor)


@router.get("/sites/{code}")
async def site(code: Id, call: Caller) -> Response:
    """`teams_wanted`: of the standing teams (10+N, 5+N) which are there, which named ones are `missing`, and how many
    of the site's own choice it lacks (`to_choose`)."""
    return await call.query("registry.site", code=code)


@router.get("/sites/{code}/demand")
async def demand(code: Id, call: Caller) -> Response:
    """Orders that no tier could serve, counted by place and category, at the site and below it."""
    return await call.query("dispatch.demand", code=code)


@router.get("/sites/{code}/quality")
async def quality(
    code: Id, call: Caller, begin: Annotated[Text, Query(alias="from")] = None, to: Text = None
) -> Response:
    """How the orders of a site and below it went, by service item and in whole months (`2026-10`), by default the
    current one and 12 at most. An order is of the month that it was placed in, and a reopened one is another order.
    The median is wall time, within 5 %; the score is the mean of what residents said, without default ratings."""
    return await call.query("dispatch.quality", code=code, first=begin, last=to)


@router.get("/service-items")
async def service_items(call: Caller, site: Text = None, limit: Limit = 50, cursor: Text = None) -> Response:
    """What may be ordered at a site, by default the caller's."""
    return await call.query("registry.service_items", site=site, limit=limit, cursor=cursor)


@router.post("/hours/{hours_id}/reverse")
async def reverse_hours(hours_id: Id, command: ReverseHours, call: Caller) -> Response:
    """A correction: nothing is edited, the record and its points are reversed."""
    return await call.command("activities.reverse_hours", command, hours_id=hours_id)


@router.get("/accounts/{account_id}")
async def account(account_id: Id, call: Caller) -> Response:
    """A volunteer's account has the volunteer's id."""
    return await call.query("points.account", account_id=account_id)


@router.get("/accounts/{account_id}/entries")
async def entries(account_id: Id, call: Caller, limit: Limit = 50, cursor: Text = None) -> Response:
    """Newest first."""
    return await call.query("points.entries", account_id=account_id, limit=limit, cursor=cursor)
