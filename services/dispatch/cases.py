"""Cases: what staff have to look into, after a service or in a village (domain, sections 2 and 4).

A low rating or a complaint is apart from its order, which it changes nothing of, and those who served see nothing of
it. What is reported – a breach of village rules, a quarrel to mediate – is about no order.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated

from services.chassis.later import Later
from services.chassis.messages import Event
from services.contracts import cases as facts
from services.contracts.actor import Actor, Role
from services.contracts.cases import LOW_RATING, LOW_VISIT, Complaint, Report, ReportCase
from services.contracts.dispatch import Concern
from services.contracts.errors import Conflict, Forbidden, NotFound, invalid
from services.contracts.privacy import Secret
from services.contracts.registry import Category
from services.dispatch.domain import Deadlines, Entry, Order, Seat, State
from services.dispatch.known import Place
from services.dispatch.permissions import is_staff_above

LOW_SCORE = 2
"""A rating up to this calls for a follow-up."""
TITLES = {
    LOW_RATING: "评分低，待回访", LOW_VISIT: "队伍反映上门不顺利，待回访", Complaint.FEE: "投诉收费",
    Complaint.CONDUCT: "投诉服务态度", Complaint.QUALITY: "投诉服务质量", Complaint.OTHER: "其他投诉",
    Report.BREACH: "反映违反村规民约", Report.MEDIATION: "请求调解",
}  # fmt: skip
SERVED = (State.ACCEPTED, State.IN_SERVICE, State.COMPLETED, State.RATED, State.CLOSED)
UNKNOWN = "没有找到这件事"


@dataclass
class Case:
    """``path``: whose staff see it, from who looks into it first up to the city; ``chain``: whom it can be referred to,
    from the same place up to the center.
    """

    id: str
    order_id: str
    kind: str
    place: str
    team_id: str
    site: str
    path: list[str]
    opened_by: str
    opened_at: datetime
    text: Secret
    urgent: bool = False
    chain: list[Seat] = field(default_factory=list)
    due_at: datetime | None = None
    """Until when the place should have settled it."""
    taken_by: str | None = None
    settled_at: datetime | None = None
    settled_by: str | None = None
    outcome: Secret | None = None
    is_open: bool = True
    timeline: Annotated[list[Entry], Later] = field(default_factory=list)
    version: int = 0

    @property
    def state(self) -> str:
        if not self.is_open:
            return "settled"
        return "taken" if self.taken_by else "open"

    @classmethod
    def follow_up(
        cls, order: Order, kind: str, by: str, text: str, deadlines: Deadlines, now: datetime
    ) -> tuple["Case", list[Event]]:
        """Of a low score of the resident, or of the team; one case of each an order."""
        case = cls.of_order(f"{order.id}-{kind}", order, kind, by, text, now)
        return case, case._open(deadlines, now)

    @classmethod
    def complain(
        cls, id: str, order: Order, about: Complaint, by: Actor, text: str, deadlines: Deadlines, now: datetime
    ) -> tuple["Case", list[Event]]:
        """What is said of money goes to the tier above the one whose team has served."""
        if order.accepted_by is None or order.state not in SERVED:
            raise Conflict("还没有队伍接这一单，没有可以投诉的服务；有话可以给站里留言", state=order.state)
        case = cls.of_order(id, order, about, by.id, text, now)
        if about is Complaint.FEE and len(case.chain) > 1:
            case._climb()
            case.path = case.path[case.path.index(case.site) :]
        return case, case._open(deadlines, now)

    @classmethod
    def of_order(cls, id: str, order: Order, kind: str, by: str, text: str, now: datetime) -> "Case":
        """At the place whose team has served."""
        site, seats = order.seat.site, order.chain[order.chain.index(order.seat) :]
        path = order.path[order.path.index(site) :]
        return cls(id, order.id, kind, order.site, order.accepted_by or "", site, path, by, now, text, chain=seats)

    @classmethod
    def report(
        cls, id: str, actor: Actor, place: Place, chain: Sequence[Seat], given: ReportCase, deadlines: Deadlines,
        now: datetime,
    ) -> tuple["Case", list[Event]]:  # fmt: skip
        """By people of the place, and staff of it and above; raise ``Forbidden``, ``Invalid``."""
        of_place = actor.site == place.id and (actor.has(Role.RESIDENT) or actor.has(Role.VOLUNTEER))
        if not (of_place or is_staff_above(actor, place.path)):
            raise Forbidden("只能反映自己村（社区）的事")
        if not chain:
            raise invalid("site", "这里还没有开通文明实践站、所或中心")
        site = chain[0].site
        path = place.path[place.path.index(site) :]
        case = cls(
            id, "", given.kind, place.id, "", site, path, actor.id, now, given.text, given.urgent, list(chain)
        )  # fmt: skip
        return case, case._open(deadlines, now)

    def _open(self, deadlines: Deadlines, now: datetime) -> list[Event]:
        self._set_due(deadlines, now)
        self._note("opened", self.opened_by, now)
        above = [seat.site for seat in self.chain[1:]] if self.urgent else []
        return [facts.CaseOpened(**self._about(), sites=above)]

    def take(self, actor: Actor, now: datetime) -> list[Event]:
        """Nothing when the actor has it; raise ``Forbidden``, ``Conflict``."""
        self._check(actor)
        if self.taken_by == actor.id:
            return []
        if self.taken_by is not None:
            raise Conflict("同事已经在办这件事")
        self.taken_by = actor.id
        self._note("taken", actor.id, now)
        return [facts.CaseTaken(**self._about())]

    def refer(self, actor: Actor, reason: str, deadlines: Deadlines, now: datetime) -> list[Event]:
        """Staff of the places that it comes from see it still. Raise ``Forbidden``, ``Conflict``."""
        self._check(actor)
        if len(self.chain) < 2:
            raise Conflict("县（区、市）中心已经是最高一级，请在本级办结")
        from_site, self.taken_by = self.site, None
        self._climb()
        self._set_due(deadlines, now)
        self._note("referred", actor.id, now, reason)
        return [facts.CaseReferred(**self._about(), from_site=from_site)]

    def settle(self, actor: Actor, outcome: str, now: datetime) -> list[Event]:
        """Raise ``Forbidden`` to who only sees it, ``Conflict`` when it is settled."""
        self._check(actor)
        self.is_open, self.settled_at, self.settled_by, self.outcome = False, now, actor.id, outcome
        self.due_at = None
        self._note("settled", actor.id, now)
        return [facts.CaseSettled(**self._about())]

    def must_be_seen_by(self, actor: Actor) -> None:
        """By who has opened it, and staff of the place that looks into it and above; raise ``NotFound``."""
        if not (actor.is_admin or actor.id == self.opened_by or is_staff_above(actor, self.path)):
            raise NotFound(UNKNOWN)

    def _check(self, actor: Actor) -> None:
        if not is_staff_above(actor, [self.site]):
            raise Forbidden("这件事由受理的站（所、中心）的工作人员办理")
        if not self.is_open:
            raise Conflict("这件事已经办结")

    def _climb(self) -> None:
        self.chain = self.chain[1:]
        self.site = self.chain[0].site

    def _set_due(self, deadlines: Deadlines, now: datetime) -> None:
        seat = self.chain[0]
        self.due_at = deadlines.due(seat.tier, Category.OTHER, self.urgent, seat.hours, now)

    def _note(self, event: str, actor: str, now: datetime, note: str = "") -> None:
        if self.chain:
            self.timeline.append(Entry(now, event, actor, self.chain[0].tier, note))

    def _about(self) -> dict[str, object]:
        concern = Concern(
            resident=self.opened_by, placed_by=self.opened_by, held_at=self.site, urgent=self.urgent
        )  # fmt: skip
        return {
            "case_id": self.id, "order_id": self.order_id, "kind": self.kind, "team_id": self.team_id,
            "site": self.place, "to_site": self.site, "concerns": concern,
        }  # fmt: skip
