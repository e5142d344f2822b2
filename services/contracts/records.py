"""Plain records that the registry keeps of a place: one model a kind says what is in it, and how it is listed."""

from collections.abc import Mapping
from copy import copy
from enum import StrEnum
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, create_model

from services.chassis.messages import Command
from services.contracts.dispatch import Text, Time, Url
from services.contracts.registry import (
    Category,
    ClockTime,
    ContactPhone,
    Day,
    Identifier,
    Reason,
    RegistryEvent,
    ShortText,
    SiteCode,
    TargetGroup,
)
from services.contracts.wording import invalid_fields

LongText = Annotated[str, StringConstraints(min_length=1, max_length=20_000, strip_whitespace=True)]
Year = Annotated[int, Field(ge=2000, le=2199, strict=True)]
Count = Annotated[int, Field(ge=0, le=10_000_000, strict=True)]
Yuan = Annotated[float, Field(ge=0.01, le=10_000_000_000)]
CreditCode = Annotated[str, StringConstraints(min_length=18, max_length=40)]
"""As somebody writes it; GB 32100 is checked where it is kept."""
B = TypeVar("B", bound="RecordBody")


class RecordEvent(RegistryEvent):
    """Of what kind and where; what is in it is asked of the registry."""

    subject: ClassVar[str] = "record_id"

    record_id: str
    kind: str


class RecordAdded(RecordEvent):
    fact: ClassVar[str] = "record.added"


class RecordChanged(RecordEvent):
    fact: ClassVar[str] = "record.changed"


class RecordRetired(RecordEvent):
    fact: ClassVar[str] = "record.retired"


class HouseholdUpdated(RegistryEvent):
    """Who may order for whom: the accounts of its people, and of those who are proxies. Without any: it is gone."""

    fact: ClassVar[str] = "household.updated"
    subject: ClassVar[str] = "household_id"

    household_id: str
    members: list[str]
    proxies: list[str]


class AddRecord(Command):
    """``fields`` are those of the kind's model, which names what is wrong with them."""

    fields: dict[str, Any]


class ChangeRecord(Command):
    """What is given replaces what was there; what is not stays."""

    fields: dict[str, Any]


class RetireRecord(Command):
    """It is kept, and counts no more."""

    reason: Reason


class RecordState(StrEnum):
    ACTIVE = "active"
    RETIRED = "retired"


class Scope(StrEnum):
    """Of a list: at the place and below it, or at the place and above it, which is what holds there too."""

    BELOW = "below"
    ABOVE = "above"


class RecordQuestion(BaseModel):
    """Which records to list, newest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    site: SiteCode | None = None
    """By default the caller's."""
    scope: Scope = Scope.BELOW
    state: RecordState = RecordState.ACTIVE
    limit: Annotated[int, Field(ge=1)] = 50
    """200 at most."""
    cursor: Annotated[str, StringConstraints(max_length=300)] | None = None

    def filters(self) -> dict[str, str]:
        """What the kind adds."""
        return self.model_dump(exclude=set(RecordQuestion.model_fields), exclude_none=True)


class RecordBody(Command):
    """What is kept of a record. A subclass is a kind; its fields are what one adds and changes."""

    kind: ClassVar[str]
    """Its name and its address, in the plural."""
    title: ClassVar[str]
    filters: ClassVar[tuple[str, ...]] = ()
    """By which it is listed: fields, or what is computed. They are kept in clear, so nothing personal."""
    personal: ClassVar[frozenset[str]] = frozenset()
    """Fields that only staff of the place and above it read."""
    refers: ClassVar[Mapping[str, str]] = {}
    """Fields that hold the id of another record, with its kind."""
    part_of: ClassVar[str] = ""
    """The one of these whose record it is a part of, and at whose place it is kept."""


class PlacedBody(RecordBody):
    site: SiteCode | None = None
    """Where it is kept, by default at the caller's post. It stays there."""


def change_of(body: type[RecordBody]) -> type[Command]:
    """The fields of a kind, none of them needed."""
    fields: dict[str, Any] = {}
    for name, field in body.model_fields.items():
        if name not in ("site", body.part_of):
            fields[name] = (field.annotation, optional := copy(field))
            optional.default, optional.default_factory = None, None
    return cast(type[Command], create_model(f"Change{body.__name__}", __base__=Command, **fields))


@cache
def question_of(body: type[RecordBody]) -> type[RecordQuestion]:
    """With the filters of the kind."""
    text = Annotated[str, StringConstraints(max_length=100)]
    filters: dict[str, Any] = {name: (text | None, None) for name in body.filters}
    return create_model(f"{body.__name__}Question", __base__=RecordQuestion, **filters)


def read_body(body: type[B], fields: Mapping[str, Any]) -> B:
    """Raise ``Invalid`` with the path of each field."""
    try:
        return body.model_validate(fields)
    except ValidationError as error:
        raise invalid_fields(error.errors()) from None


def read_question(body: type[RecordBody], question: str) -> RecordQuestion:
    """From JSON; raise ``Invalid``."""
    try:
        return question_of(body).model_validate_json(question)
    except ValidationError as error:
        raise invalid_fields(error.errors()) from None


# -- partners ---------------------------------------------------------------------------------------------


class OrganisationType(StrEnum):
    GOVERNMENT = "government"
    INSTITUTION = "institution"
    ENTERPRISE = "enterprise"
    ASSOCIATION = "association"
    MERCHANT = "merchant"
    SCHOOL = "school"
    CARE_HOME = "care_home"
    MILITARY = "military"
    OTHER = "other"


class Organisation(PlacedBody):
    """A member unit, association, merchant or other partner."""

    kind: ClassVar[str] = "organisations"
    title: ClassVar[str] = "组织单位"
    filters: ClassVar[tuple[str, ...]] = ("type",)
    personal: ClassVar[frozenset[str]] = frozenset({"contact", "phone"})

    name: ShortText
    type: OrganisationType
    credit_code: CreditCode | None = None
    """Unified social credit code; an informal group has none."""
    offers: Text | None = None
    contact: ShortText | None = None
    phone: ContactPhone | None = None


class HelpType(StrEnum):
    """The four kinds of help of the seed article."""

    CIVILITY = "civility"
    ENVIRONMENT = "environment"
    INFRASTRUCTURE = "infrastructure"
    SERVICE = "service"


class Twinning(PlacedBody):
    """An organisation and a place that it helps."""

    kind: ClassVar[str] = "twinnings"
    title: ClassVar[str] = "结对帮建"
    filters: ClassVar[tuple[str, ...]] = ("organisation",)
    refers: ClassVar[Mapping[str, str]] = {"organisation": "organisations"}

    organisation: Identifier
    types: list[HelpType] = Field(min_length=1, max_length=4)
    since: Day
    until: Day | None = None
    """The last day."""


class HelpRecord(RecordBody):
    """What was done under a twinning."""

    kind: ClassVar[str] = "help-records"
    title: ClassVar[str] = "帮建记录"
    filters: ClassVar[tuple[str, ...]] = ("twinning", "type")
    refers: ClassVar[Mapping[str, str]] = {"twinning": "twinnings"}
    part_of: ClassVar[str] = "twinning"

    twinning: Identifier
    type: HelpType
    day: Day
    what: Text
    people: Count = 0
    """Whom it reached."""
    value: Yuan | None = None
    evidence: list[Url] = Field(default_factory=list, max_length=20)


# -- places -----------------------------------------------------------------------------------------------


class VenueType(StrEnum):
    ACTIVITY_ROOM = "activity_room"
    MEETING_HALL = "meeting_hall"
    CHILDREN_HOME = "children_home"
    READING_ROOM = "reading_room"
    OUTDOORS = "outdoors"
    OTHER = "other"


class Venue(PlacedBody):
    """A room or a ground of a site that can be booked."""

    kind: ClassVar[str] = "venues"
    title: ClassVar[str] = "场地"
    filters: ClassVar[tuple[str, ...]] = ("type",)

    name: ShortText
    type: VenueType
    capacity: Annotated[int, Field(ge=1, le=100_000, strict=True)]
    opens: ClockTime = "00:00"
    closes: ClockTime | None = None
    note: Text | None = None


class Booking(RecordBody):
    """Of a venue, on one day, half-open: touching bookings do not overlap."""

    kind: ClassVar[str] = "bookings"
    title: ClassVar[str] = "场地预约"
    filters: ClassVar[tuple[str, ...]] = ("venue", "day")
    personal: ClassVar[frozenset[str]] = frozenset({"contact", "phone"})
    refers: ClassVar[Mapping[str, str]] = {"venue": "venues"}
    part_of: ClassVar[str] = "venue"

    venue: Identifier
    start: Time = Field(alias="from")
    end: Time = Field(alias="to")
    purpose: Text
    people: Count | None = None
    contact: ShortText | None = None
    phone: ContactPhone | None = None


class PracticePlaceType(StrEnum):
    PARK = "park"
    CAMPUS = "campus"
    BUSINESS_DISTRICT = "business_district"
    SCENIC_AREA = "scenic_area"
    MUSEUM = "museum"
    OTHER = "other"


class PracticePlace(PlacedBody):
    """A place outside the tree of divisions, attached to a site."""

    kind: ClassVar[str] = "practice-places"
    title: ClassVar[str] = "实践点"
    filters: ClassVar[tuple[str, ...]] = ("type",)
    refers: ClassVar[Mapping[str, str]] = {"operator": "organisations"}

    name: ShortText
    type: PracticePlaceType
    address: ShortText
    operator: Identifier | None = None
    note: Text | None = None


# -- money ------------------------------------------------------------------------------------------------


class BudgetLine(PlacedBody):
    kind: ClassVar[str] = "budget-lines"
    title: ClassVar[str] = "预算项目"
    filters: ClassVar[tuple[str, ...]] = ("year",)

    year: Year
    name: ShortText
    amount: Yuan
    source: ShortText | None = None


class Spending(RecordBody):
    """Of a budget line; beyond it only with a reason."""

    kind: ClassVar[str] = "spendings"
    title: ClassVar[str] = "支出"
    filters: ClassVar[tuple[str, ...]] = ("line",)
    refers: ClassVar[Mapping[str, str]] = {"line": "budget-lines"}
    part_of: ClassVar[str] = "line"

    line: Identifier
    day: Day
    amount: Yuan
    what: Text
    reason: Reason | None = None
    """Why more is spent than the line holds."""
    evidence: list[Url] = Field(default_factory=list, max_length=20)


# -- how a site stands ------------------------------------------------------------------------------------


class ChecklistItem(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    code: Identifier
    met: bool
    evidence: list[Url] = Field(default_factory=list, max_length=20)
    """Without any an item does not count as met."""
    note: Text | None = None


class Checklist(PlacedBody):
    """The standard of a site (六有), filled in for a year; items that are left out are not met."""

    kind: ClassVar[str] = "checklists"
    title: ClassVar[str] = "达标自查表"
    filters: ClassVar[tuple[str, ...]] = ("year", "grade")

    standard: Identifier
    """Its version, as ``liuyou-2018``."""
    year: Year
    items: list[ChecklistItem] = Field(default_factory=list, max_length=100)


class Flagship(PlacedBody):
    """The one project that a site is known for (一镇一品、一村一品)."""

    kind: ClassVar[str] = "flagships"
    title: ClassVar[str] = "特色品牌"

    name: ShortText
    description: Text
    category: Category | None = None
    since: Day | None = None
    links: list[Url] = Field(default_factory=list, max_length=20)


# -- work -------------------------------------------------------------------------------------------------


class MeetingType(StrEnum):
    JOINT_CONFERENCE = "joint_conference"
    DELIBERATION = "deliberation"
    STAFF = "staff"
    OTHER = "other"


class Decision(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Text
    responsible: ShortText | None = None
    due: Day | None = None
    done: bool = False


class Meeting(PlacedBody):
    """With minutes and decisions."""

    kind: ClassVar[str] = "meetings"
    title: ClassVar[str] = "会议"
    filters: ClassVar[tuple[str, ...]] = ("type",)
    personal: ClassVar[frozenset[str]] = frozenset({"attendees", "minutes", "decisions"})

    type: MeetingType
    day: Day
    subject: ShortText
    attendees: list[ShortText] = Field(default_factory=list, max_length=500)
    organisations: list[ShortText] = Field(default_factory=list, max_length=500)
    minutes: LongText | None = None
    decisions: list[Decision] = Field(default_factory=list, max_length=100)


class Task(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    text: Text
    responsible: ShortText | None = None
    due: Day | None = None
    progress: Annotated[int, Field(ge=0, le=100, strict=True)] = 0
    """Per cent."""


class Plan(PlacedBody):
    """What a site means to do in a year."""

    kind: ClassVar[str] = "plans"
    title: ClassVar[str] = "年度计划"
    filters: ClassVar[tuple[str, ...]] = ("year",)
    personal: ClassVar[frozenset[str]] = frozenset({"tasks"})

    year: Year
    subject: ShortText
    tasks: list[Task] = Field(min_length=1, max_length=100)


class SiteLink(PlacedBody):
    """A leader who looks after a site."""

    kind: ClassVar[str] = "site-links"
    title: ClassVar[str] = "联系领导"
    personal: ClassVar[frozenset[str]] = frozenset({"phone"})

    person: ShortText
    position: ShortText
    phone: ContactPhone | None = None
    since: Day | None = None


# -- the village ------------------------------------------------------------------------------------------


class VillageRuleType(StrEnum):
    COVENANT = "covenant"
    BANQUETS = "banquets"
    OTHER = "other"


class VillageRule(PlacedBody):
    """The covenant of a village, what a wedding or a funeral may cost, and the like."""

    kind: ClassVar[str] = "village-rules"
    title: ClassVar[str] = "村规民约"
    filters: ClassVar[tuple[str, ...]] = ("type",)

    type: VillageRuleType
    name: ShortText
    text: LongText
    adopted: Day


class CouncilType(StrEnum):
    """The four of 一约四会."""

    WEDDINGS_AND_FUNERALS = "weddings_and_funerals"
    MORALITY = "morality"
    VILLAGERS = "villagers"
    DRUGS_AND_GAMBLING = "drugs_and_gambling"


class CouncilMember(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ShortText
    role: ShortText | None = None
    phone: ContactPhone | None = None


class Council(PlacedBody):
    kind: ClassVar[str] = "councils"
    title: ClassVar[str] = "群众组织"
    filters: ClassVar[tuple[str, ...]] = ("type",)
    personal: ClassVar[frozenset[str]] = frozenset({"members"})

    type: CouncilType
    name: ShortText
    members: list[CouncilMember] = Field(min_length=1, max_length=100)
    elected: Day | None = None


class ProposalDecision(StrEnum):
    PENDING = "pending"
    ACCEPTED = "accepted"
    REFUSED = "refused"


class Proposal(PlacedBody):
    """What residents have proposed; once it is accepted it has become a project."""

    kind: ClassVar[str] = "proposals"
    title: ClassVar[str] = "议事提案"
    filters: ClassVar[tuple[str, ...]] = ("decision", "meeting")
    personal: ClassVar[frozenset[str]] = frozenset({"proposer"})
    refers: ClassVar[Mapping[str, str]] = {"meeting": "meetings"}

    subject: ShortText
    text: Text
    category: Category
    proposer: ShortText | None = None
    meeting: Identifier | None = None
    """Where it was talked about."""
    decision: ProposalDecision = ProposalDecision.PENDING
    reason: Reason | None = None
    """Needed where it was refused."""


class Project(PlacedBody):
    """Of the library of projects: what teams can do. It holds at its site and below."""

    kind: ClassVar[str] = "projects"
    title: ClassVar[str] = "项目"
    filters: ClassVar[tuple[str, ...]] = ("category",)
    refers: ClassVar[Mapping[str, str]] = {"proposal": "proposals"}

    name: ShortText
    category: Category
    description: Text
    target_groups: list[TargetGroup] = Field(default_factory=list, max_length=5)
    proposal: Identifier | None = None


class HouseholdMember(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ShortText
    relation: ShortText | None = None
    birth_year: Annotated[int, Field(ge=1900, le=2199, strict=True)] | None = None
    phone: ContactPhone | None = None
    account: Identifier | None = None
    groups: list[TargetGroup] = Field(default_factory=list, max_length=5)
    proxy: bool = False
    """May order for the others."""


class Household(PlacedBody):
    """Who lives together, whom it takes care of, and who orders for whom."""

    kind: ClassVar[str] = "households"
    title: ClassVar[str] = "住户"

    number: ShortText
    """Of the household, unique at its place."""
    address: Annotated[str, StringConstraints(min_length=1, max_length=300, strip_whitespace=True)] | None = None
    members: list[HouseholdMember] = Field(min_length=1, max_length=30)

    def has_proxy(self, account_id: str) -> bool:
        return any(member.proxy and member.account == account_id for member in self.members)


KINDS: tuple[type[RecordBody], ...] = (
    Organisation, Twinning, HelpRecord, Venue, Booking, PracticePlace, BudgetLine, Spending, Checklist, Flagship,
    Meeting, Plan, SiteLink, VillageRule, Council, Proposal, Project, Household,
)  # fmt: skip
BODIES = {body.kind: body for body in KINDS}
