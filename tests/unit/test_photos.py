"""Photos of orders: who adds and who sees them, and how many there may be."""

from typing import Any

import pytest

from services.contracts.actor import Actor
from services.contracts.dispatch import OrderPhotographed
from services.contracts.errors import Conflict, Forbidden, NotFound
from services.contracts.registry import Tier
from services.dispatch import permissions
from services.dispatch.domain import MOST_PHOTOS, Order, Side, State
from services.dispatch.known import Team
from services.dispatch.photos import Photo
from services.dispatch.views import order_view, photo_view
from tests.builders import (
    ADMIN,
    COUNTY,
    MORNING,
    NOBODY,
    TOWNSHIP,
    VILLAGE,
    a_placed_order,
    a_resident,
    a_team,
    a_volunteer,
    an_order,
    leader_of,
    staff_of,
)

MEMBER = a_volunteer("t1-member")


def an_accepted_order(*volunteers: str) -> Order:
    order, team = an_order(State.OFFERED), a_team()
    order.accept(leader_of(team), team, volunteers, NOBODY, MORNING)
    return order


def teams_of(actor: Actor) -> list[Team]:
    return [a_team()] if actor.volunteer else []


def test_a_photo_is_told_by_its_id_and_whose_it_is() -> None:
    order = an_order(State.IN_SERVICE)
    (told,) = order.photograph(leader_of(a_team()), Side.TEAM, "p1", MORNING)
    assert told.model_copy(update={"concerns": None}) == OrderPhotographed(
        order_id="o1", site=VILLAGE, tier=Tier.STATION, photo_id="p1", by="team"
    )
    assert (order.photos, order.timeline[-1].event, order.timeline[-1].note) == (["p1"], "photographed", "")


def test_there_are_only_so_many() -> None:
    order = an_order(State.IN_SERVICE)
    for number in range(MOST_PHOTOS):
        order.photograph(MEMBER, Side.TEAM, f"p{number}", MORNING)
    with pytest.raises(Conflict, match="最多 12 张"):
        order.photograph(MEMBER, Side.TEAM, "one more", MORNING)
    assert len(order.photos) == MOST_PHOTOS


@pytest.mark.parametrize(
    ("actor", "named", "side"),
    [
        (a_resident(), (), Side.RESIDENT),
        (leader_of(a_team()), (), Side.TEAM),
        (leader_of(a_team()), ("t1-member",), Side.TEAM),
        (MEMBER, ("t1-member",), Side.TEAM),
        (MEMBER, (), None),
        (MEMBER, ("t1-leader",), None),
        (staff_of(VILLAGE), (), Side.SITE),
        (staff_of(TOWNSHIP), (), None),
        (staff_of(COUNTY), (), None),
        (ADMIN, (), None),
    ],
)
def test_requester_holder_and_who_goes_there_photograph(actor: Actor, named: Any, side: Side | None) -> None:
    order = an_accepted_order(*named)
    if side:
        assert permissions.photographer(actor, order, teams_of(actor)) is side
    else:
        with pytest.raises(Forbidden):
            permissions.photographer(actor, order, teams_of(actor))


def test_who_has_left_the_team_photographs_no_more() -> None:
    with pytest.raises(NotFound):
        permissions.photographer(MEMBER, an_accepted_order("t1-member"), [])


@pytest.mark.parametrize("actor", [a_resident(), MEMBER, staff_of(VILLAGE), staff_of(COUNTY), ADMIN])
def test_who_reads_the_order_in_clear_sees_them(actor: Actor) -> None:
    order = an_accepted_order()
    order.photos = ["p1"]
    permissions.check_photos(actor, order, teams_of(actor))
    assert order_view(order, actor, teams_of(actor))["photos"] == ["p1"]


def test_who_is_only_asked_does_not_see_them_and_a_stranger_knows_of_nothing() -> None:
    order, team = a_placed_order(teams=[a_team()]), a_team()
    order.photos = ["p1"]
    for check in (permissions.check_photos, permissions.photographer):
        with pytest.raises(Forbidden):
            check(leader_of(team), order, [team])
        with pytest.raises(NotFound):
            check(a_resident("somebody else"), order, [])
    assert order_view(order, leader_of(team), [team])["photos"] == []


def test_what_is_said_of_a_photo_is_not_the_photo() -> None:
    photo = Photo("p1", "o1", Side.TEAM, MORNING, 640, 480, 3, "AAAA")
    assert photo_view(photo) == {
        "id": "p1", "url": "/v1/orders/o1/photos/p1", "width": 640, "height": 480, "bytes": 3, "by": "team",
        "time": MORNING,
    }  # fmt: skip
