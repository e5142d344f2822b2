"""What dispatch accepts and publishes: the life of an order."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from services.chassis.messages import Command, Event
from services.contracts.registry import (
    Category,
    ContactPhone,
    Identifier,
    Reason,
    Risk,
    ShortText,
    SiteCode,
    TargetGroup,
    Tier,
)
from services.contracts.wording import form

Text = Annotated[str, StringConstraints(min_length=1, max_length=2000, strip_whitespace=True)]
Time = Annotated[AwareDatetime, Field(ge=datetime(1900, 1, 1, tzinfo=UTC), lt=datetime(2200, 1, 1, tzinfo=UTC))]
"""Far from where a calendar begins and ends, so that it may be put into any zone."""
Url = Annotated[
    str, StringConstraints(max_length=500, pattern=form("^https?://", "应填网址，以 http:// 或 https:// 开头"))
]


MAX_PICTURE = 700_000
"""Bytes of a photo; as text it is within what a request to a service may hold."""


class Channel(StrEnum):
    """How staff heard what a resident says."""

    PHONE = "phone"
    VISIT = "visit"
    SMS = "sms"
    LETTER = "letter"


class Step(StrEnum):
    """What staff may do to many orders at once."""

    OFFER = "offer"
    ESCALATE = "escalate"
    CLOSE = "close"


class Segment(BaseModel):
    """Who served from when to when; half-open, so touching segments do not overlap."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    volunteer_id: str
    start: datetime = Field(alias="from")
    end: datetime = Field(alias="to")


class Concern(BaseModel):
    """Whom an order, a case or a request concerns when something happens to it, for whoever tells them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    resident: str
    """Account id, as ``placed_by``."""
    placed_by: str
    item_id: str = ""
    """Of an order."""
    held_at: str
    """The site whose turn it is, or was when a team accepted."""
    team_id: str | None = None
    """The one that has accepted."""
    urgent: bool = False
    joined: list[str] = Field(default=[])
    """Neighbours who need the same."""


class ConcerningEvent(Event):
    owner: ClassVar[str] = "dispatch"

    concerns: Concern | None = None
    """None in events from before there were notifications."""


class DispatchEvent(ConcerningEvent):
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
    by_hand: bool = False
    """No team was asked by itself: staff have to offer it."""


class OrderOffered(DispatchEvent):
    """``pool``: it lies in the open pool, where any fitting team may claim it."""

    fact: ClassVar[str] = "order.offered"

    team_ids: list[str]
    pool: bool = False


class OrderAccepted(DispatchEvent):
    fact: ClassVar[str] = "order.accepted"

    team_id: str
    volunteers: list[str] = Field(default=[])
    """Who was named to go."""


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


class OrderAppointed(DispatchEvent):
    """When the visit is to be; ``by``: ``resident``, ``site`` or ``team``."""

    fact: ClassVar[str] = "order.appointed"

    by: str
    start: datetime
    end: datetime


class OrderMissed(DispatchEvent):
    """The team that had accepted did not come; the order goes back (``order.withdrawn`` follows)."""

    fact: ClassVar[str] = "order.missed"

    team_id: str


class OrderPhotographed(DispatchEvent):
    """``by``: ``resident``, ``site`` or ``team``."""

    fact: ClassVar[str] = "order.photographed"

    photo_id: str
    by: str


class OrderJoined(DispatchEvent):
    """A neighbour needs the same; ``needed_by`` counts the resident of the order too."""

    fact: ClassVar[str] = "order.joined"

    needed_by: int


class OrderLeft(DispatchEvent):
    """A neighbour needs it no longer."""

    fact: ClassVar[str] = "order.left"

    needed_by: int


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


class OrderVisitRated(DispatchEvent):
    """By the team that was there: how it was received, and whether anything stood in the way."""

    fact: ClassVar[str] = "order.visit_rated"

    score: int


class OrderClosed(DispatchEvent):
    """Carries the segments, so that hours take effect whatever arrives first."""

    fact: ClassVar[str] = "order.closed"

    team_id: str
    category: Category
    placed_on: datetime
    segments: list[Segment]


class OrderCancelled(DispatchEvent):
    fact: ClassVar[str] = "order.cancelled"

    asked: list[str] = Field(default=[])
    """Teams whose offers were open."""


class OrderRejected(DispatchEvent):
    fact: ClassVar[str] = "order.rejected"

    asked: list[str] = Field(default=[])
    """Teams whose offers were open."""


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


class Contact(Command):
    """Whom those who come ask for, and where they can call; by default the one who orders."""

    name: ShortText | None = None
    phone: ContactPhone | None = None


class PlaceOrder(Command):
    service_item: Identifier
    site: SiteCode | None = None
    description: Text
    target_group: TargetGroup
    address: Annotated[str, StringConstraints(max_length=300)] | None = None
    preferred: Preferred | None = None
    urgent: bool = False
    on_behalf_of: Identifier | None = None
    contact: Contact | None = None


class OfferOrder(Command):
    """Without ``teams``: all fitting teams of the holding site. ``reason`` overrides what a person may override."""

    teams: list[Identifier] | None = Field(default=None, max_length=200)
    reason: Reason | None = None


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


class AppointVisit(Command):
    """When the team comes: agreed on, or changed."""

    start: Time = Field(alias="from")
    end: Time = Field(alias="to")


class ReportNoShow(Command):
    """The team did not come at the agreed time."""

    reason: Reason


class JoinOrder(Command):
    """A neighbour needs the same (我也需要); staff say for whom."""

    on_behalf_of: Identifier | None = None


class LeaveOrder(JoinOrder):
    """A neighbour needs it no longer."""


Pixels = Annotated[int, Field(ge=1, le=1600, strict=True)]


class AddNote(Command):
    """Of staff for staff."""

    text: Text


class AddPhoto(Command):
    """A JPEG as base64, with nothing in it but what it shows."""

    data: Annotated[str, StringConstraints(min_length=1, max_length=MAX_PICTURE * 4 // 3 + 4)]
    width: Pixels
    height: Pixels


class AdvanceOrders(Command):
    """The same step for many orders, each done or refused by itself. ``reason`` is asked for by ``escalate``."""

    step: Step
    orders: list[Identifier] = Field(min_length=1, max_length=100)
    reason: Reason | None = None


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


class RateVisit(RateOrder):
    """By the team that was there (domain, section 4)."""


class CloseOrder(Command):
    pass


Count = Annotated[int, Field(ge=0, le=1000, strict=True)]


class Condition(BaseModel):
    """All that is given must hold: of the order, and of a team that could take it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    categories: list[Category] = Field(default_factory=list, max_length=30)
    target_groups: list[TargetGroup] = Field(default_factory=list, max_length=10)
    tiers: list[Tier] = Field(default_factory=list, max_length=4)
    risks: list[Risk] = Field(default_factory=list, max_length=2)
    urgent: bool | None = None
    people_below: Count | None = None
    """Members who could go."""
    distance_from: Count | None = None
    """Steps from the site up to what it has in common with the team's: 0 for its own teams."""
    load_from: Count | None = None
    """Orders that the team has accepted and not completed."""
    experience_below: Count | None = None
    """Orders closed for the same target group within a year."""
    experience_from: Count | None = None

    @property
    def asks_for_history(self) -> bool:
        return any(c is not None for c in (self.load_from, self.experience_below, self.experience_from))


class Rule(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Identifier
    title: ShortText
    """What people read."""
    when: Condition = Condition()


Weight = Annotated[float, Field(ge=0, le=100)]


class Weights(BaseModel):
    """Of what makes a fitting team's rank; only their ratios count."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    skill: Weight = 3
    distance: Weight = 2
    slot: Weight = 2
    load: Weight = 2
    experience: Weight = 1


class Wave(BaseModel):
    """Where a site offers in waves: to so many at once, and after so many minutes to as many more."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=1, le=50, strict=True)] = 3
    minutes: Annotated[float, Field(ge=0.1, le=1440)] = 30


class NoShows(BaseModel):
    """A team that stayed away ``limit`` times within ``days`` is not asked any more but by hand, with a reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100, strict=True)] = 3
    days: Annotated[int, Field(ge=1, le=365, strict=True)] = 90


class PublishRules(Command):
    """A county's rules for whom to send. A team that a BLOCK rule names is out; one that an APPROVE rule names is
    offered the order by itself; the rest wait for a person's choice."""

    valid_from: Time | None = None
    """Now, by default."""
    block: list[Rule] = Field(default_factory=list, max_length=50)
    approve: list[Rule] = Field(default_factory=list, max_length=50)
    weights: Weights = Weights()
    wave: Wave = Wave()
    no_shows: NoShows = NoShows()
