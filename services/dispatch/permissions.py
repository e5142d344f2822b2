"""Who may see an order and do what with it: a table and pure functions."""

from collections.abc import Callable, Iterable, Sequence

from services.contracts.actor import Actor, Role
from services.contracts.errors import Forbidden, NotFound, invalid
from services.dispatch.domain import UNKNOWN, Order, Side
from services.dispatch.known import Place, Resident, Team
from services.dispatch.series import UNKNOWN as UNKNOWN_SERIES
from services.dispatch.series import Series


def is_requester(actor: Actor, order: Order | Series) -> bool:
    """The resident, or who placed the order for them."""
    return actor.id in (order.resident_id, order.placed_by)


def is_staff_above(actor: Actor, path: Sequence[str]) -> bool:
    return actor.has(Role.STAFF) and actor.site in path


def is_holding_staff(actor: Actor, order: Order) -> bool:
    """Staff of the site that holds the order, or of the tier that it was accepted at."""
    return actor.has(Role.STAFF) and actor.site == order.seat.site


def reads_in_clear(actor: Actor, order: Order, teams: Iterable[Team]) -> bool:
    """Address and name: the requester, staff and the team that accepted."""
    return is_requester(actor, order) or reads_of_the_visit(actor, order, teams)


def reads_of_the_visit(actor: Actor, order: Order, teams: Iterable[Team]) -> bool:
    """What the team says of it: staff and the team that accepted, since it is about the resident."""
    return actor.is_admin or is_staff_above(actor, order.path) or has_accepted(order, teams)


def has_accepted(order: Order, teams: Iterable[Team]) -> bool:
    return any(team.id == order.accepted_by for team in teams)


def may_read(actor: Actor, order: Order, teams: Iterable[Team]) -> bool:
    """``teams`` are those of the actor."""
    offered = any(is_asked(order, team) for team in teams)
    return actor.is_admin or is_requester(actor, order) or is_staff_above(actor, order.path) or offered


def is_asked(order: Order, team: Team) -> bool:
    """By an offer, or by what lies in its pool."""
    return order.offer_of(team.id) is not None or order.is_in_reach(team)


def leads_the_team(actor: Actor, order: Order, teams: Iterable[Team]) -> bool:
    """The team that has accepted."""
    return any(team.id == order.accepted_by and team.leader_id == actor.volunteer for team in teams)


def may_listen(actor: Actor, order: Order, teams: Iterable[Team]) -> bool:
    """To what resident and holder say to each other."""
    above = is_staff_above(actor, order.path)
    return actor.is_admin or is_requester(actor, order) or above or leads_the_team(actor, order, teams)


def side_of(actor: Actor, order: Order, teams: Iterable[Team], heard: bool) -> Side:
    """Whose word it is when the actor writes a message or sets a time; ``heard``: what the resident has told the actor.

    Raise ``NotFound`` to who may not know of the order, ``Forbidden`` to who has no part in the conversation.
    """
    own = list(teams)
    if not may_read(actor, order, own):
        raise NotFound(UNKNOWN)
    if heard:
        if is_holding_staff(actor, order):
            return Side.RESIDENT
    elif actor.id == order.resident_id or (actor.id == order.placed_by and not is_holding_staff(actor, order)):
        return Side.RESIDENT  # staff who have ordered for somebody speak for the site
    elif leads_the_team(actor, order, own):
        return Side.TEAM
    elif is_holding_staff(actor, order):
        return Side.SITE
    raise Forbidden("只有居民、当前的站（所、中心）和接单队伍的队长可以这样操作")


def photographer(actor: Actor, order: Order, teams: Iterable[Team]) -> Side:
    """Whose photo it is: also of those of the team who were named for the order; raise as ``side_of`` does."""
    own = list(teams)
    if actor.volunteer in order.volunteers and has_accepted(order, own):
        return Side.TEAM
    return side_of(actor, order, own, heard=False)


def neighbour(
    actor: Actor,
    order: Order,
    teams: Iterable[Team],
    beneficiary: Resident | None,
    on_behalf_of: str | None,
    is_proxy: bool,
) -> str:
    """The resident who joins an order, or leaves it: one of its place; staff and proxies say for whom.

    Raise as ``permit`` does, and ``Invalid`` to staff who name nobody of the place.
    """
    if actor.has(Role.RESIDENT) and actor.site == order.site and on_behalf_of in (None, actor.id):
        return actor.id
    if is_proxy and beneficiary is not None and beneficiary.site == order.site:
        return beneficiary.id
    if not may_read(actor, order, teams):
        raise NotFound(UNKNOWN)
    if not is_staff_above(actor, order.path):
        raise Forbidden("只有本村（社区）的居民和工作人员可以这样操作")
    if on_behalf_of is None or beneficiary is None or beneficiary.site != order.site:
        raise invalid("on_behalf_of", "请填写本村（社区）一位居民的编号")
    return on_behalf_of


def check_looking(actor: Actor, place: Place) -> None:
    """Who may look at what neighbours need: residents at home, staff of the place and above; raise ``Forbidden``."""
    at_home = actor.has(Role.RESIDENT) and actor.site == place.id
    if not (at_home or actor.is_admin or is_staff_above(actor, place.path)):
        raise Forbidden("只能看自己村（社区）的相近点单")


def check_photos(actor: Actor, order: Order, teams: Iterable[Team]) -> None:
    """Who reads the order in clear sees its photos; raise as ``permit`` does."""
    own = list(teams)
    if not may_read(actor, order, own):
        raise NotFound(UNKNOWN)
    if not reads_in_clear(actor, order, own):
        raise Forbidden("接单以后，队伍才能看到照片")


def permit_series(actor: Actor, series: Series, changes: bool) -> None:
    """As for placing orders: the requester and staff of the place or above; ``admin`` only reads.

    Raise ``NotFound`` to who may not know of it, ``Forbidden`` to who may only see it.
    """
    own = is_requester(actor, series) or is_staff_above(actor, series.path)
    if not (own or actor.is_admin):
        raise NotFound(UNKNOWN_SERIES)
    if changes and not own:
        raise Forbidden("您可以看到这个系列，但不能更改")


def check_rules(actor: Actor, center: Place) -> None:
    """A county's rules for whom to send are made at its center; raise ``Forbidden``."""
    if not (actor.is_admin or (actor.has(Role.STAFF) and actor.site == center.id)):
        raise Forbidden("派单规则由县（区、市）中心的工作人员管理")


def check_figures(actor: Actor, place: Place, what: str) -> None:
    """Who plans teams and items at a place or above it; raise ``Forbidden``."""
    if not (actor.is_admin or is_staff_above(actor, place.path)):
        raise Forbidden(f"只有本站（所、中心）和上级的工作人员可以看{what}")


ALLOWED: dict[str, Callable[[Actor, Order], bool]] = {
    "offer": is_holding_staff,
    "escalate": is_holding_staff,
    "reject": is_holding_staff,
    "close": is_holding_staff,
    "rate": is_requester,
    "complain": is_requester,
    "no-show": lambda actor, order: is_requester(actor, order) or is_holding_staff(actor, order),
    "note": lambda actor, order: is_staff_above(actor, order.path),
    "read_views": lambda actor, order: (
        actor.is_admin or is_requester(actor, order) or is_staff_above(actor, order.path)
    ),
    "read_notes": lambda actor, order: actor.is_admin or is_staff_above(actor, order.path),
    "cancel": lambda actor, order: is_requester(actor, order) or is_holding_staff(actor, order),
    "reopen": lambda actor, order: is_requester(actor, order) or is_staff_above(actor, order.path),
}
"""Who may give a command, besides those of a team, which its leader gives."""


def permit(command: str, actor: Actor, order: Order, teams: Iterable[Team]) -> None:
    """Raise ``NotFound`` to who may not know of the order, ``Forbidden`` to who may only see it."""
    if not may_read(actor, order, teams):
        raise NotFound(UNKNOWN)
    if not ALLOWED[command](actor, order):
        raise Forbidden("您可以看到这个单，但不能这样操作")


def led_team(actor: Actor, order: Order, teams: Iterable[Team], wanted: str | None = None) -> Team:
    """The team that the actor speaks for, by default the one that has the order; raise as ``permit`` does."""
    own = list(teams)
    if not may_read(actor, order, own):
        raise NotFound(UNKNOWN)
    led = [team for team in own if team.leader_id == actor.volunteer and is_asked(order, team)]
    wanted = wanted or order.accepted_by
    for team in led:
        if wanted in (None, team.id):
            return team
    raise Forbidden("只有这支队伍的队长可以这样操作")


def check_placing(
    actor: Actor, place: Place, beneficiary: Resident | None, on_behalf_of: str | None, is_proxy: bool
) -> None:
    """A resident orders at home, a proxy at the home of those of the household, staff for people of their places."""
    if is_proxy and beneficiary is not None and beneficiary.site == place.id:
        return
    if is_staff_above(actor, place.path):
        if on_behalf_of is not None and (beneficiary is None or beneficiary.site != place.id):
            raise NotFound("没有找到这位居民")
        return
    if not actor.has(Role.RESIDENT):
        raise Forbidden("点单要由居民本人或站、所、中心的工作人员来做")
    if place.id != actor.site:
        raise Forbidden("只能在自己的村（社区）点单")
    if on_behalf_of not in (None, actor.id):
        raise Forbidden("代家人点单，请先请村（社区）工作人员把您登记为代办人；代别人点单请找站里")
