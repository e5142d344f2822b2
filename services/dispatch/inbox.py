"""What waits for somebody: orders by what is to be done with them, from the part that the person has in them.

Each matter is a query, so that counting it and listing it cannot differ.
"""

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

from services.contracts.actor import Actor, Role
from services.contracts.errors import invalid
from services.dispatch.domain import OfferState, State
from services.dispatch.known import Team

Query = dict[str, Any]


class Matter(StrEnum):
    OFFER = "offer"
    WATCH = "watch"
    ARRANGE = "arrange"
    CLOSE = "close"
    ACCEPT = "accept"
    CLAIM = "claim"
    START = "start"
    COMPLETE = "complete"
    REPLY = "reply"
    RATE = "rate"


TITLES = {
    Matter.OFFER: "待派单", Matter.WATCH: "已派出，等队伍接单", Matter.ARRANGE: "各级都没有队伍能接，待协调",
    Matter.CLOSE: "已评价，待结单", Matter.ACCEPT: "派给本队，待接单", Matter.CLAIM: "可以抢的单",
    Matter.START: "已接单，待开始", Matter.COMPLETE: "服务中，待完成", Matter.REPLY: "站里有话问您，待回复",
    Matter.RATE: "服务已完成，待评价",
}  # fmt: skip
OF_A_SITE = {
    Matter.OFFER: State.PLACED, Matter.WATCH: State.OFFERED, Matter.ARRANGE: State.UNMET, Matter.CLOSE: State.RATED,
}  # fmt: skip
ASKING = [State.OFFERED, State.UNMET]
"""States in which an offer can be open."""
IN_A_POOL: Query = {"pool_at.0": {"$exists": True}, "state": {"$in": ASKING}}
OF_A_TEAM = {Matter.START: State.ACCEPTED, Matter.COMPLETE: State.IN_SERVICE}


def matters(actor: Actor, teams: Iterable[Team]) -> dict[Matter, Query]:
    """By what is to be done, in the order in which to look at it. ``teams`` are those of the actor."""
    return dict(_matters(actor, [team for team in teams if team.active and team.leader_id == actor.volunteer]))


def _matters(actor: Actor, led: list[Team]) -> Iterator[tuple[Matter, Query]]:
    if actor.has(Role.STAFF):
        for matter, state in OF_A_SITE.items():
            yield matter, {"holder.id": actor.site, "state": state}
    if led:
        ids = [team.id for team in led]
        offered = {"$elemMatch": {"team": {"$in": ids}, "state": OfferState.OPEN}}
        yield Matter.ACCEPT, {"offers": offered, "state": {"$in": ASKING}}
        yield Matter.CLAIM, {"$or": [claimable(team) for team in led]}
        for matter, state in OF_A_TEAM.items():
            yield matter, {"holder.id": {"$in": ids}, "state": state}
    if actor.has(Role.RESIDENT):
        yield Matter.REPLY, {"resident_id": actor.id, "asked_at": {"$type": "date"}}
        yield Matter.RATE, {"resident_id": actor.id, "state": State.COMPLETED}


def claimable(team: Team) -> Query:
    """What lies in a pool that the team may claim from, also as one that another site borrows."""
    return {"pool_at": team.site, "category": {"$in": team.categories}, **IN_A_POOL}


def matter(actor: Actor, teams: Iterable[Team], wanted: str) -> Query:
    """Raise ``Invalid`` for what is no matter of the actor's."""
    own = matters(actor, teams)
    if wanted not in own:
        raise invalid("waiting", "可以填：" + "、".join(own) if own else "您没有待办的单")
    return own[Matter(wanted)]
