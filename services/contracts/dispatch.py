"""What dispatch accepts and publishes: the life of an order."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from services.chassis.messages import Command, Event
from services.contracts.registry import Category, Identifier, SiteCode, TargetGroup, Tier
from services.contracts.wording import form

Reason = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=2000, strip_whitespace=True)]
Time = Annotated[AwareDatetime, Field(ge=datetime(1900, 1, 1, tzinfo=UTC), lt=datetime(2200, 1, 1, tzinfo=UTC))]
"""Far from where a calendar begins and ends, so that it may be put into any zone."""
Url = Annotated[
    str, StringConstraints(max_length=500, pattern=form("^https?://", "应填网址，以 http:// 或 https:// 开头"))
]


class Channel(StrEnum):
    """How staff heard what a resident says."""

    PHONE = "phone"
    VISIT = "visit"
    SMS = "sms"
    LETTER = "letter"


class Segment(BaseModel):
    """Who served from when to when; half-open, so touching segments do not overlap."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    volunteer_id: str
    start: datetime = Field(alias="from")
    end: datetime = Field(alias="to")


class DispatchEvent(Event):
    owner: ClassVar[str] = "dispatch"
    subject: ClassVar[str] = "order_id"

    order_id: str
    tier: Tier


class OrderPlaced(DispatchEvent):
    fact: ClassVar[str] = "order.placed"

    item_id: str
    category: Category
    target_group: TargetGroup
    urgent: bool
    cycle: int
    due_at: datetime | None


class OrderOffered(DispatchEvent):
    fact: ClassVar[str] = "order.offered"

    team_ids: list[str]


class OrderAccepted(DispatchEvent):
    fact: ClassVar[str] = "order.accepted"

    team_id: str


class OrderDeclined(DispatchEvent):
    fact: ClassVar[str] = "order.declined"

    team_id: str


class OrderWithdrawn(DispatchEvent):
    """The team that had accepted gave the order back to the pool."""

    fact: ClassVar[str] = "order.withdrawn"

    team_id: str
    due_at: datetime | None


class OrderEscalated(DispatchEvent):
    fact: ClassVar[str] = "order.escalated"

    from_tier: Tier
    from_site: str
    to_site: str
    due_at: datetime | None


class OrderUnmet(DispatchEvent):
    """The alert of an overdue center: unmet demand."""

    fact: ClassVar[str] = "order.unmet"

    category: Category
    center: str


class OrderAlerted(DispatchEvent):
    """An urgent order was placed; ``sites`` are those above that have to know at once."""

    fact: ClassVar[str] = "order.alerted"

    category: Category
    sites: list[str]


class OrderMessaged(DispatchEvent):
    """Resident and holder talk. ``waiting``: for the resident; a tier's clock stands still meanwhile."""

    fact: ClassVar[str] = "order.messaged"

    message_id: str
    by: str
    """``resident``, ``site`` or ``team``."""
    needs_reply: bool
    waiting: bool
    due_at: datetime | None


class OrderStarted(DispatchEvent):
    fact: ClassVar[str] = "order.started"

    team_id: str


class OrderCompleted(DispatchEvent):
    fact: ClassVar[str] = "order.completed"

    team_id: str
    category: Category
    placed_on: datetime
    segments: list[Segment]


class OrderRated(DispatchEvent):
    """``by`` is ``resident`` or ``system`` (default rating after silence)."""

    fact: ClassVar[str] = "order.rated"

    score: int
    by: str


class OrderClosed(DispatchEvent):
    """Carries the segments, so that hours take effect whatever arrives first."""

    fact: ClassVar[str] = "order.closed"

    team_id: str
    category: Category
    placed_on: datetime
    segments: list[Segment]


class OrderCancelled(DispatchEvent):
    fact: ClassVar[str] = "order.cancelled"


class OrderRejected(DispatchEvent):
    fact: ClassVar[str] = "order.rejected"


class OrderReopened(DispatchEvent):
    """``order_id`` is a new cycle of the order ``reopens``, which stays as it is."""

    fact: ClassVar[str] = "order.reopened"

    reopens: str
    cycle: int


class Preferred(BaseModel):
    """When the resident would like the visit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Time = Field(alias="from")
    end: Time = Field(alias="to")


class PlaceOrder(Command):
    service_item: Identifier
    site: SiteCode | None = None
    description: Text
    target_group: TargetGroup
    address: Annotated[str, StringConstraints(max_length=300)] | None = None
    preferred: Preferred | None = None
    urgent: bool = False
    on_behalf_of: Identifier | None = None


class OfferOrder(Command):
    """Without ``teams``: all fitting teams of the holding site."""

    teams: list[Identifier] | None = Field(default=None, max_length=200)


class AcceptOrder(Command):
    team: Identifier
    volunteers: list[Identifier] | None = Field(default=None, max_length=100)


class DeclineOrder(Command):
    team: Identifier
    reason: Reason


class WithdrawOrder(Command):
    team: Identifier
    reason: Reason


class EscalateOrder(Command):
    reason: Reason


class CancelOrder(Command):
    reason: Reason


class RejectOrder(Command):
    reason: Reason


class ReopenOrder(Command):
    reason: Reason


class SendMessage(Command):
    """From the resident's side or the holder's. Only the holder asks: ``needs_reply`` stops the tier's clock."""

    text: Text
    needs_reply: bool = False
    channel: Channel | None = None
    """Only for staff: how the resident said to them what they write down here."""


class StartOrder(Command):
    pass


class ServiceRecord(BaseModel):
    """One volunteer's time on the order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    volunteer: Identifier
    start: Time = Field(alias="from")
    end: Time = Field(alias="to")


class CompleteOrder(Command):
    records: list[ServiceRecord] = Field(min_length=1, max_length=10)
    """At most 10 segments a submission (domain, section 6)."""
    summary: Text
    evidence: list[Url] = Field(default_factory=list, max_length=20)


class RateOrder(Command):
    score: Annotated[int, Field(ge=1, le=5, strict=True)]
    comment: Annotated[str, StringConstraints(max_length=1000)] | None = None


class CloseOrder(Command):
    pass
