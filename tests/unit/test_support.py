"""Support: who asks whom, who answers, and what may follow what."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from services.chassis.messages import Event
from services.contracts import support as facts
from services.contracts.actor import Actor, Role
from services.contracts.dispatch import Concern
from services.contracts.errors import Conflict, Forbidden, Invalid, NotFound
from services.contracts.registry import Tier
from services.contracts.support import Goods, RequestSupport, SupportKind
from services.dispatch.support import STATE_NAMES, TITLES, TRANSITIONS, SupportRequest, SupportState
from services.dispatch.views import support_view
from tests.builders import (
    ADMIN,
    COUNTY,
    DEADLINES,
    HOUR,
    MORNING,
    TOWNSHIP,
    VILLAGE,
    a_chain,
    a_place,
    a_resident,
    an_actor,
    staff_of,
)

CHAIRS = Goods(name="椅子", count=20)
ASKER, CENTER = staff_of(VILLAGE), staff_of(COUNTY)
COLLEAGUE = an_actor("another-of-the-station", Role.STAFF, site=VILLAGE)
MEMBER = an_actor("member", Role.VOLUNTEER, site=VILLAGE, volunteer="t1-member")
S = SupportState


def asked(actor: Actor = ASKER, **changes: Any) -> tuple[SupportRequest, list[Event]]:
    given = RequestSupport(**{"kind": "material", "text": "会场没有椅子", "goods": [CHAIRS], **changes})
    return SupportRequest.ask("s1", actor, a_place(), a_chain(), given, DEADLINES, MORNING)


def a_request(state: SupportState = S.REQUESTED) -> SupportRequest:
    request, _ = asked()
    for step in {S.ANSWERED: ["answer"], S.RATED: ["answer", "rate"], S.TAKEN: ["take"], S.DECLINED: ["decline"],
                 S.WITHDRAWN: ["withdraw"]}.get(state, []):  # fmt: skip
        give(step, request, ASKER if step in ("rate", "withdraw") else CENTER)
    assert request.state is state
    return request


def give(command: str, request: SupportRequest, actor: Actor) -> list[Event]:
    moves: dict[str, Callable[[], list[Event]]] = {
        "take": lambda: request.take(actor, MORNING),
        "answer": lambda: request.reply(actor, "已送到", [CHAIRS], MORNING),
        "decline": lambda: request.decline(actor, "库里没有", MORNING),
        "withdraw": lambda: request.withdraw(actor, MORNING),
        "rate": lambda: request.rate(actor, 4, "很快", MORNING),
    }
    return moves[command]()


LEADS_TO = {"take": S.TAKEN, "answer": S.ANSWERED, "decline": S.DECLINED, "withdraw": S.WITHDRAWN, "rate": S.RATED}
MAY = {command: ASKER if command in ("withdraw", "rate") else CENTER for command in TRANSITIONS}


def test_staff_and_volunteers_ask_the_center_above_them_by_a_deadline() -> None:
    for actor in (ASKER, MEMBER):
        request, events = asked(actor)
        about = {
            "support_id": "s1", "site": VILLAGE, "kind": SupportKind.MATERIAL, "center": COUNTY,
            "concerns": Concern(resident=actor.id, placed_by=actor.id, held_at=COUNTY),
        }  # fmt: skip
        assert events == [facts.SupportRequested(**about)]
        assert (request.asked_by, request.due_at, request.state) == (actor.id, MORNING + HOUR, S.REQUESTED)


def test_residents_order_instead_and_a_center_asks_nobody() -> None:
    with pytest.raises(Forbidden, match="请点单"):
        asked(a_resident())
    with pytest.raises(Forbidden, match="中心不能"):
        SupportRequest.ask("s1", CENTER, a_place(Tier.CENTER), a_chain(), a_wish(), DEADLINES, MORNING)


def a_wish() -> RequestSupport:
    return RequestSupport(kind=SupportKind.TECHNICAL, text="登录不上")


@pytest.mark.parametrize(("kind", "goods"), [("technical", [CHAIRS]), ("material", [])])
def test_goods_go_with_material_only(kind: str, goods: list[Goods]) -> None:
    with pytest.raises(Invalid):
        asked(kind=kind, goods=goods)
    technical, _ = asked(kind="technical", goods=[])
    with pytest.raises(Invalid):
        technical.reply(CENTER, "已修好", [CHAIRS], MORNING)


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize("command", TRANSITIONS)
def test_what_may_follow_what(state: SupportState, command: str) -> None:
    request = a_request(state)
    before = deepcopy(request)
    if state in TRANSITIONS[command]:
        (event,) = give(command, request, MAY[command])
        assert (request.state, event.fact) == (LEADS_TO[command], f"support.{LEADS_TO[command]}")
        assert request.timeline[-1].event == LEADS_TO[command]
        assert (request.due_at is None) == (request.state is not S.TAKEN)
    else:
        with pytest.raises(Conflict) as refused:
            give(command, request, MAY[command])
        assert refused.value.problem()["possible"] == request.possible
        assert request == before


@pytest.mark.parametrize("command", TRANSITIONS)
def test_the_center_answers_and_who_has_asked_rates(command: str) -> None:
    request = a_request(S.ANSWERED if command == "rate" else S.REQUESTED)
    before = deepcopy(request)
    for actor in {ASKER, CENTER, COLLEAGUE, staff_of(TOWNSHIP), ADMIN} - {MAY[command]}:
        with pytest.raises(Forbidden):
            give(command, request, actor)
    for stranger in (a_resident(), MEMBER, staff_of("130802103203"), staff_of("130824")):
        with pytest.raises(NotFound):
            give(command, request, stranger)
    assert request == before


def test_all_that_was_said_is_shown() -> None:
    shown = support_view(a_request(S.RATED))
    assert (shown["title"], shown["answer"], shown["sent"], shown["rating"]) == (
        "物资支持", "已送到", [CHAIRS.model_dump()], {"score": 4, "comment": "很快"},
    )  # fmt: skip
    assert [step["event"] for step in shown["timeline"]] == ["requested", "answered", "rated"]
    assert set(STATE_NAMES) == set(S) and set(TITLES) == set(SupportKind)


def test_where_there_is_no_center_nobody_is_asked() -> None:
    for chain in (a_chain()[:1], []):
        with pytest.raises(Invalid, match="中心"):
            SupportRequest.ask("s1", ASKER, a_place(), chain, a_wish(), DEADLINES, MORNING)
    with pytest.raises(Forbidden):
        SupportRequest.ask("s1", ADMIN, a_place(), [], a_wish(), DEADLINES, MORNING)
