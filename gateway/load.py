"""What is refused first when too much is under way."""

from enum import IntEnum
from typing import Any

import orjson

from gateway.answers import refuse
from gateway.limits import BODY
from gateway.settings import settings
from services.chassis import telemetry
from services.contracts.errors import Unavailable

RETRY_AFTER = 2  # seconds
PLACING = ("POST", "/v1/orders")


class Rank(IntEnum):
    """In the order in which they are refused."""

    NOTIFICATIONS = 1
    BOARDS = 2
    READS = 3
    COMMANDS = 4
    URGENT = 5


SHARE = {Rank.NOTIFICATIONS: 0.4, Rank.BOARDS: 0.6, Rank.READS: 0.8, Rank.COMMANDS: 0.95, Rank.URGENT: 1.0}
"""How full the gateway may be for a request of a rank to be taken on."""
RANKS: dict[str, Rank] = {"/v1/notifications": Rank.NOTIFICATIONS, "/v1/boards": Rank.BOARDS}
"""By the beginning of the path; what is not here is a read or a command by its method."""
CARRIED = ("/v1/", "/oauth/")
"""Everything else costs little, and whoever watches must see: it is never refused."""


def rank_of(method: str, path: str, body: bytes = b"") -> Rank:
    """``URGENT`` is told only to who gives the body."""
    for prefix, rank in RANKS.items():
        if path.startswith(prefix):
            return rank
    if method in ("GET", "HEAD"):
        return Rank.READS
    return Rank.URGENT if body and (method, path) == PLACING and _is_urgent(body) else Rank.COMMANDS


class Shedding:
    """ASGI middleware: ``503`` for the less urgent, while ``max_in_flight`` requests fill up."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._under_way = 0
        telemetry.UNDER_WAY.set_function(lambda: self._under_way)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(CARRIED):
            await self._app(scope, receive, send)
            return
        if self._is_too_much(scope):
            await refuse(Unavailable("系统正忙，请稍后再试", RETRY_AFTER), scope, receive, send)
            return
        self._under_way += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way -= 1

    def _is_too_much(self, scope: Any) -> bool:
        fullness = self._under_way / settings().max_in_flight
        rank = rank_of(scope["method"], scope["path"])
        if fullness < SHARE[rank]:
            return False
        rank = rank_of(scope["method"], scope["path"], scope.get(BODY, b""))
        if fullness < SHARE[rank]:
            return False
        telemetry.REFUSED.labels(rank.name.lower()).inc()
        return True


def _is_urgent(body: bytes) -> bool:
    try:
        order = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(order, dict) and order.get("urgent") is True
