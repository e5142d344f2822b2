"""Who has read of whose orders in clear: address, name and what was said (PIPL, article 56)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from services.contracts.actor import Actor
from services.dispatch.domain import Order
from services.dispatch.known import Team
from services.dispatch.permissions import is_requester, reads_in_clear


class Request(StrEnum):
    """By what somebody reads. Commands stand in the order's timeline."""

    READ = "read"
    LIST = "list"
    DAY = "day"
    MESSAGES = "messages"
    PHOTO = "photo"


@dataclass
class Viewing:
    """Of one request. It holds ids only, and is never changed."""

    id: str
    orders: list[str]
    at: datetime
    by: str
    """Account id."""
    request: Request
    version: int = 0

    @classmethod
    def of(
        cls, id: str, seen: Iterable[Order], at: datetime, actor: Actor, teams: Iterable[Team], request: Request
    ) -> "Viewing | None":
        """None: nothing was told in clear, or only to who has ordered. ``teams`` are those of the actor."""
        own = list(teams)
        others = [o.id for o in seen if reads_in_clear(actor, o, own) and not is_requester(actor, o)]
        return cls(id, others, at, actor.id, request) if others else None
