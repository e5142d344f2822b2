"""Cases: what staff have to look into after a service, a low rating or a complaint (domain, section 4).

A case is apart from its order, which a complaint changes nothing of, and those who served see nothing of it.
"""

from dataclasses import dataclass
from datetime import datetime

from services.chassis.messages import Event
from services.contracts import cases as facts
from services.contracts.actor import Actor
from services.contracts.cases import Complaint
from services.contracts.errors import Conflict, Forbidden, NotFound
from services.contracts.privacy import Secret
from services.dispatch.domain import Order, State
from services.dispatch.permissions import is_staff_above

LOW_SCORE = 2
"""A rating up to this calls for a follow-up."""
LOW_RATING = "low_rating"
TITLES = {
    LOW_RATING: "评分低，待回访", Complaint.FEE: "投诉收费", Complaint.CONDUCT: "投诉服务态度",
    Complaint.QUALITY: "投诉服务质量", Complaint.OTHER: "其他投诉",
}  # fmt: skip
SERVED = (State.ACCEPTED, State.IN_SERVICE, State.COMPLETED, State.RATED, State.CLOSED)
UNKNOWN = "没有找到这件事"


@dataclass
class Case:
    """``path``: whose staff see it, from who looks into it up to the city."""

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
    settled_at: datetime | None = None
    settled_by: str | None = None
    outcome: Secret | None = None
    is_open: bool = True
    version: int = 0

    @classmethod
    def after_rating(cls, order: Order, now: datetime) -> tuple["Case", list[Event]]:
        """Of a low score; one case an order."""
        return cls._open(
            f"{order.id}-{LOW_RATING}", order, LOW_RATING, order.resident_id, order.comment or "", order.seat.site, now
        )

    @classmethod
    def complain(
        cls, id: str, order: Order, about: Complaint, by: Actor, text: str, now: datetime
    ) -> tuple["Case", list[Event]]:
        """What is said of money goes to the tier above the one whose team has served."""
        if order.accepted_by is None or order.state not in SERVED:
            raise Conflict("还没有队伍接这一单，没有可以投诉的服务；有话可以给站里留言", state=order.state)
        above = order.next_seat if about is Complaint.FEE else None
        return cls._open(id, order, about, by.id, text, (above or order.seat).site, now)

    @classmethod
    def _open(
        cls, id: str, order: Order, kind: str, by: str, text: str, site: str, now: datetime
    ) -> tuple["Case", list[Event]]:
        path = order.path[order.path.index(site) :]
        case = cls(id, order.id, kind, order.site, order.accepted_by or "", site, path, by, now, text)
        return case, [facts.CaseOpened(**case._about())]

    def settle(self, actor: Actor, outcome: str, now: datetime) -> list[Event]:
        """Raise ``Forbidden`` to who only sees it, ``Conflict`` when it is settled."""
        if not is_staff_above(actor, [self.site]):
            raise Forbidden("这件事由受理的站（所、中心）的工作人员办理")
        if not self.is_open:
            raise Conflict("这件事已经办结")
        self.is_open, self.settled_at, self.settled_by, self.outcome = False, now, actor.id, outcome
        return [facts.CaseSettled(**self._about())]

    def must_be_seen_by(self, actor: Actor) -> None:
        """By who has complained, and staff of the place that looks into it and above; raise ``NotFound``."""
        if not (actor.is_admin or actor.id == self.opened_by or is_staff_above(actor, self.path)):
            raise NotFound(UNKNOWN)

    def _about(self) -> dict[str, str]:
        return {
            "case_id": self.id, "order_id": self.order_id, "kind": self.kind, "team_id": self.team_id,
            "site": self.place, "to_site": self.site,
        }  # fmt: skip
