"""Notifications: what the caller has been told, and how the caller wants to be told."""

from fastapi import APIRouter, Response

from gateway.routes.orders import Caller, Limit, Text
from gateway.routes.registry import Id
from services.contracts.notifications import ReadNotification, ReadNotifications, SetPreferences

router = APIRouter(prefix="/v1", tags=["notifications"])


@router.get("/notifications")
async def notifications(call: Caller, unread: bool = False, limit: Limit = 50, cursor: Text = None) -> Response:
    """The caller's, newest first, kept for 90 days; `unread` counts up to 100, whatever is listed."""
    return await call.query("registry.notifications", unread=unread, limit=limit, cursor=cursor)


@router.post("/notifications/{notification_id}/read")
async def read_notification(notification_id: Id, command: ReadNotification, call: Caller) -> Response:
    return await call.command("registry.read_notification", command, notification_id=notification_id)


@router.post("/notifications/read")
async def read_notifications(command: ReadNotifications, call: Caller) -> Response:
    """All up to one, 500 at once; `more`: there are older ones."""
    return await call.command("registry.read_notifications", command)


@router.get("/notification-preferences")
async def notification_preferences(call: Caller, on_behalf_of: Text = None) -> Response:
    """Short messages by topic, and the hours in which only urgent ones are sent; everything is in the app.

    `on_behalf_of`: of a resident, for staff of the place or above it.
    """
    return await call.query("registry.notification_preferences", on_behalf_of=on_behalf_of)


@router.post("/notification-preferences")
async def set_preferences(
    call: Caller,
    command: SetPreferences,
) -> Response:
    """What is left out stays as it is. Staff set it for a resident who has no app (`on_behalf_of`)."""
    return await call.command("registry.set_preferences", command)
