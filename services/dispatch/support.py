"""Support: goods, and help with the system, that a center gives to its stations, institutes and teams (S33).

requested → taken → answered → rated; aside: declined by the center, withdrawn by who has asked.
No team is offered it and nobody earns hours by it, so it is no ``Order``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from services.chassis.messages import Event
from services.contracts import support as facts
from services.contracts.actor import Actor, Role
from services.contracts.dispatch import Concern
from services.contracts.errors import Forbidden, IllegalTransition, NotFound, invalid
from services.contracts.privacy import Secret
from services.contracts.registry import Category, Tier
from services.contracts.support import Goods, RequestSupport, SupportKind
from services.dispatch.domain import Deadlines, Seat
from services.dispatch.known import Place
from services.dispatch.permissions import is_staff_above

UNKNOWN = "没有找到这项支持请求"
TITLES = {SupportKind.MATERIAL: "物资支持", SupportKind.TECHNICAL: "技术支持"}


class SupportState(StrEnum):
    REQUESTED = "requested"
    TAKEN = "taken"
    ANSWERED = "answered"
    RATED = "rated"
    DECLINED = "declined"
    WITHDRAWN = "withdrawn"


WAITING = (SupportState.REQUESTED, SupportState.TAKEN)
TRANSITIONS: dict[str, tuple[SupportState, ...]] = {
    "take": (SupportState.REQUESTED,),
    "answer": WAITING,
    "decline": WAITING,
    "withdraw": WAITING,
    "rate": (SupportState.ANSWERED,),
}
STATE_NAMES = {
    SupportState.REQUESTED: "待受理", SupportState.TAKEN: "办理中", SupportState.ANSWERED: "已办理，待评价",
    SupportState.RATED: "已评价", SupportState.DECLINED: "未受理", SupportState.WITHDRAWN: "已撤回",
}  # fmt: skip


@dataclass
class Step:
    time: datetime
    event: str
    actor: str


@dataclass
class SupportRequest:
    """``path``: the place it is asked for and those above it, whose staff see it."""

    id: str
    kind: SupportKind
    site: str
    path: list[str]
    center: str
    asked_by: str
    text: Secret
    goods: list[Goods]
    due_at: datetime | None
    """Until when the center should have answered; None when nothing waits any more."""
    state: SupportState = SupportState.REQUESTED
    taken_by: str | None = None
    answer: Secret | None = None
    """What was done, or why it was declined."""
    sent: list[Goods] = field(default_factory=list)
    score: int | None = None
    comment: Secret | None = None
    timeline: list[Step] = field(default_factory=list)
    version: int = 0

    @classmethod
    def ask(
        cls,
        id: str,
        actor: Actor,
        place: Place,
        chain: Sequence[Seat],
        given: RequestSupport,
        deadlines: Deadlines,
        now: datetime,
    ) -> tuple["SupportRequest", list[Event]]:
        """By staff and volunteers of a place, of the center above. Raise ``Forbidden``, ``Invalid``."""
        if not (actor.has(Role.STAFF) or actor.has(Role.VOLUNTEER)):
            raise Forbidden("物资和技术支持由站、所的工作人员和志愿者来申请；居民请点单")
        center = center_of(chain)
        if place.id == center.site:
            raise Forbidden("中心不能向自己申请支持")
        _check_goods(given.kind, given.goods)
        if given.kind is SupportKind.MATERIAL and not given.goods:
            raise invalid("goods", "请填写需要的物资和数量")
        due = deadlines.due(center.tier, Category.OTHER, urgent=False, hours=center.hours, start=now)
        request = cls(id, given.kind, place.id, place.path, center.site, actor.id, given.text, given.goods, due)
        request._note("requested", actor, now)
        return request, [facts.SupportRequested(**request._about())]

    def take(self, actor: Actor, now: datetime) -> list[Event]:
        self._check("take", actor, self._is_center(actor))
        self.state, self.taken_by = SupportState.TAKEN, actor.id
        self._note("taken", actor, now)
        return [facts.SupportTaken(**self._about())]

    def reply(self, actor: Actor, text: str, sent: Sequence[Goods], now: datetime) -> list[Event]:
        self._check("answer", actor, self._is_center(actor))
        _check_goods(self.kind, sent)
        self.answer, self.sent = text, list(sent)
        self._settle(SupportState.ANSWERED, actor, now)
        return [facts.SupportAnswered(**self._about())]

    def decline(self, actor: Actor, reason: str, now: datetime) -> list[Event]:
        self._check("decline", actor, self._is_center(actor))
        self.answer = reason
        self._settle(SupportState.DECLINED, actor, now)
        return [facts.SupportDeclined(**self._about())]

    def withdraw(self, actor: Actor, now: datetime) -> list[Event]:
        self._check("withdraw", actor, actor.id == self.asked_by)
        self._settle(SupportState.WITHDRAWN, actor, now)
        return [facts.SupportWithdrawn(**self._about())]

    def rate(self, actor: Actor, score: int, comment: str | None, now: datetime) -> list[Event]:
        self._check("rate", actor, actor.id == self.asked_by)
        self.score, self.comment = score, comment
        self._settle(SupportState.RATED, actor, now)
        return [facts.SupportRated(**self._about(), score=score)]

    def must_be_seen_by(self, actor: Actor) -> None:
        """By who has asked, and staff of the place and above; raise ``NotFound``."""
        if not (actor.is_admin or actor.id == self.asked_by or is_staff_above(actor, self.path)):
            raise NotFound(UNKNOWN)

    @property
    def possible(self) -> list[str]:
        return [command for command, states in TRANSITIONS.items() if self.state in states]

    def _is_center(self, actor: Actor) -> bool:
        return is_staff_above(actor, [self.center])

    def _check(self, command: str, actor: Actor, may: bool) -> None:
        self.must_be_seen_by(actor)
        if not may:
            raise Forbidden("您可以看到这项请求，但不能这样操作")
        if self.state not in TRANSITIONS[command]:
            message = f"{STATE_NAMES[self.state]}的请求不能这样操作"
            raise IllegalTransition(message, state=self.state, possible=self.possible)

    def _settle(self, state: SupportState, actor: Actor, now: datetime) -> None:
        self.state, self.due_at = state, None
        self._note(state.value, actor, now)

    def _note(self, event: str, actor: Actor, now: datetime) -> None:
        self.timeline.append(Step(now, event, actor.id))

    def _about(self) -> dict[str, object]:
        concern = Concern(resident=self.asked_by, placed_by=self.asked_by, held_at=self.center)
        return {
            "support_id": self.id, "kind": self.kind, "site": self.site, "center": self.center, "concerns": concern
        }  # fmt: skip


def _check_goods(kind: SupportKind, goods: Sequence[Goods]) -> None:
    if goods and kind is SupportKind.TECHNICAL:
        raise invalid("goods", "技术支持不用填物资")


def center_of(chain: Sequence[Seat]) -> Seat:
    """Where nothing goes higher; raise ``Invalid`` where there is none."""
    if not chain or chain[-1].tier is not Tier.CENTER:
        raise invalid("site", "这里还没有开通文明实践中心")
    return chain[-1]
