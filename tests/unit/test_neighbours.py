"""Neighbours who need the same as an order: who they are, that each counts once, and who reads of them."""

from typing import Any

import pytest

from services.contracts.actor import Actor
from services.contracts.dispatch import Concern, OrderJoined, OrderLeft
from services.contracts.errors import Conflict, Forbidden, Invalid, NotFound
from services.contracts.registry import Tier
from services.dispatch import permissions
from services.dispatch.domain import MOST_JOINED, State
from services.dispatch.known import Resident
from services.dispatch.views import order_view, timeline_view
from tests.builders import (
    ADMIN,
    COUNTY,
    MORNING,
    VILLAGE,
    a_place,
    a_resident,
    a_team,
    a_volunteer,
    an_order,
    leader_of,
    staff_of,
)

NEIGHBOUR, ELSEWHERE = a_resident("r2"), a_resident("r3", "130802103203")
LEADER = a_volunteer("t1-leader", "130802103203")
"""Of a team that is asked, and at home elsewhere."""
KNOWN = {resident.id: Resident(resident.id, resident.site, applied=1) for resident in (NEIGHBOUR, ELSEWHERE)}


def test_each_counts_once_and_the_resident_from_the_beginning() -> None:
    order = an_order(State.OFFERED)
    where: dict[str, Any] = {"order_id": order.id, "site": VILLAGE, "tier": Tier.STATION}
    concern = Concern(
        resident="r1", placed_by="r1", item_id="home-haircut", held_at=VILLAGE, team_id=None, urgent=False
    )
    where["concerns"] = concern
    with_r2 = {**where, "concerns": concern.model_copy(update={"joined": ["r2"]})}
    assert order.join(NEIGHBOUR, "r2", MORNING) == [OrderJoined(**with_r2, needed_by=2)]
    assert order.join(NEIGHBOUR, "r2", MORNING) == order.join(NEIGHBOUR, order.resident_id, MORNING) == []
    assert order.leave(NEIGHBOUR, "r2", MORNING) == [OrderLeft(**where, needed_by=1)]
    assert order.leave(NEIGHBOUR, "r2", MORNING) == []
    assert [entry.event for entry in order.timeline if entry.event in ("joined", "left")] == ["joined", "left"]


def test_there_are_only_so_many() -> None:
    order = an_order(State.OFFERED)
    for number in range(MOST_JOINED):
        order.join(NEIGHBOUR, f"n{number}", MORNING)
    with pytest.raises(Conflict, match="最多 200 位"):
        order.join(NEIGHBOUR, "one more", MORNING)
    assert order.join(NEIGHBOUR, "n7", MORNING) == []


@pytest.mark.parametrize(("actor", "named", "joins"), [
    (NEIGHBOUR, None, "r2"),
    (NEIGHBOUR, "r2", "r2"),
    (staff_of(VILLAGE), "r2", "r2"),
    (staff_of(COUNTY), "r2", "r2"),
    (NEIGHBOUR, "r3", NotFound),
    (ELSEWHERE, None, NotFound),
    (staff_of("130802102202"), "r2", NotFound),
    (LEADER, None, Forbidden),
    (ADMIN, "r2", Forbidden),
    (staff_of(VILLAGE), None, Invalid),
    (staff_of(VILLAGE), "r3", Invalid),
    (staff_of(VILLAGE), "nobody", Invalid),
])  # fmt: skip
def test_residents_of_the_place_join_and_staff_say_for_whom(
    actor: Actor, named: str | None, joins: str | type[Exception]
) -> None:
    order, teams = an_order(State.OFFERED), [a_team()] if actor.volunteer else []

    def who() -> str:
        return permissions.neighbour(actor, order, teams, KNOWN.get(named or ""), named, is_proxy=False)

    if isinstance(joins, str):
        assert who() == joins
    else:
        with pytest.raises(joins):
            who()


def test_a_proxy_joins_for_those_of_the_household_at_their_home() -> None:
    order, proxy = an_order(State.OFFERED), ELSEWHERE
    assert permissions.neighbour(proxy, order, [], KNOWN["r2"], "r2", is_proxy=True) == "r2"
    with pytest.raises(NotFound):
        permissions.neighbour(proxy, order, [], KNOWN["r3"], "r3", is_proxy=True)


@pytest.mark.parametrize(("actor", "may"), [
    (NEIGHBOUR, True), (staff_of(VILLAGE), True), (staff_of(COUNTY), True), (ADMIN, True), (ELSEWHERE, False),
    (LEADER, False), (staff_of("130802102202"), False),
])  # fmt: skip
def test_who_may_look_at_what_neighbours_need(actor: Actor, may: bool) -> None:
    if may:
        permissions.check_looking(actor, a_place())
    else:
        with pytest.raises(Forbidden):
            permissions.check_looking(actor, a_place())


def test_how_many_is_told_to_all_and_who_to_staff_only() -> None:
    order, team = an_order(State.OFFERED), a_team()
    order.join(NEIGHBOUR, "r2", MORNING)
    readers = {a_resident(order.resident_id): [], leader_of(team): [], staff_of(VILLAGE): ["r2"], ADMIN: ["r2"]}
    for actor, joined in readers.items():
        seen = order_view(order, actor, [team])
        assert (seen["needed_by"], seen["joined"]) == (2, joined), actor
    assert (order.timeline[-1].actor, timeline_view(order.timeline[-1])["actor"]) == ("r2", None)
