"""What the registry accepts and publishes: sites, teams, volunteers, residents, service items, accounts."""

from datetime import date
from enum import StrEnum
from typing import Annotated, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from services.chassis.messages import Command, Event
from services.contracts.actor import Role
from services.contracts.wording import form, invalid_fields

T = TypeVar("T")
SiteCode = Annotated[
    str, StringConstraints(pattern=form(r"^(\d{4}|\d{6}|\d{9}|\d{12})$", "应填 4、6、9 或 12 位数字的区划代码"))
]
Identifier = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=64, pattern=form(r"^[\w.:-]+$", "只能由文字、数字和 _ . : - 组成，不能有空格")
    ),
]
AccountKind = Annotated[str, StringConstraints(pattern=form("^(person|client)$", "只能填以下之一：person、client"))]
ShortText = Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500, strip_whitespace=True)]
Day = Annotated[date, Field(ge=date(1900, 1, 1), lt=date(2200, 1, 1))]
Term = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=20, strip_whitespace=True,
        pattern=form(r"^[^\W\d_]+([ ·-][^\W\d_]+)*$", "只能由文字组成，不能有数字和符号，如 理发、急救员"),
    ),
]  # fmt: skip
"""A skill or a qualification. It travels in events, so nothing fits in that could be a number of a person."""
IdNumber = Annotated[str, StringConstraints(min_length=15, max_length=40)]
"""As somebody writes it; GB 11643 is checked where it is kept."""
Phone = Annotated[str, StringConstraints(max_length=30)]
ContactPhone = Annotated[
    str, StringConstraints(pattern=form(r"^[0-9+() -]{5,30}$", "应填电话号码，如 0314-2020202 或 13912345678"))
]
TextVersion = Annotated[
    str,
    StringConstraints(pattern=form(r"^v?\d{1,4}([.-]\d{1,2}){0,2}$", "应填版本号，如 1、2.1 或 2026-06")),
]
_TERMS, _TEXT_VERSION = TypeAdapter(list[Term]), TypeAdapter(TextVersion)


def terms(path: str, texts: list[str]) -> list[str]:
    """Texts of a field that may hold more than terms, each once; raise ``Invalid`` for what is none."""
    checked = _checked(_TERMS, path, texts)
    return list(dict.fromkeys(checked))


def text_version(path: str, text: str) -> str:
    """Of a field that may hold more; raise ``Invalid``."""
    return _checked(_TEXT_VERSION, path, text)


def _checked(wanted: TypeAdapter[T], path: str, value: object) -> T:
    try:
        return wanted.validate_python(value)
    except ValidationError as error:
        raise invalid_fields({**found, "loc": (path, *found["loc"])} for found in error.errors()) from None


class Tier(StrEnum):
    CITY = "city"
    CENTER = "center"
    INSTITUTE = "institute"
    STATION = "station"


class TargetGroup(StrEnum):
    ELDERLY = "elderly"
    CHILDREN = "children"
    DISABLED = "disabled"
    HARDSHIP = "hardship"
    IN_NEED = "in_need"


class Category(StrEnum):
    """Service categories of the national list (domain, section 10)."""

    COMMUNITY = "社区服务"
    POVERTY_RELIEF = "扶贫减贫"
    EDUCATION = "支教助学"
    HEALTH = "卫生健康"
    LAW = "法律服务"
    ENVIRONMENT = "环境保护"
    SCIENCE = "科技科普"
    CULTURE = "文化艺术"
    PUBLIC_SAFETY = "平安综治"
    CIVILITY = "文明风尚"
    TRAFFIC = "交通引导"
    FIRE = "志愿消防"
    RESCUE = "应急救援"
    DRUG_PREVENTION = "禁毒宣传"
    SPORTS = "体育健身"
    TOURISM = "旅游服务"
    SPECIAL_CARE = "关爱特殊群体"
    LARGE_EVENTS = "大型活动"
    OVERSEAS = "海外志愿服务"
    TAX = "税收服务"
    EPIDEMIC = "疫情防控"
    OTHER = "其他"


class Risk(StrEnum):
    """Of a service. High: only persons of age and insured on the day (domain, sections 4 and 6)."""

    LOW = "low"
    HIGH = "high"


class AgeBand(StrEnum):
    """How old a volunteer is, told without the birth date."""

    UNDER_14 = "under_14"
    UNDER_16 = "under_16"
    UNDER_18 = "under_18"
    ADULT = "adult"
    OVER_70 = "over_70"


class Slot(StrEnum):
    """When a volunteer has time. A holiday that falls on a day of the working week has slots of its own."""

    MON_MORNING = "mon_morning"
    MON_AFTERNOON = "mon_afternoon"
    MON_EVENING = "mon_evening"
    TUE_MORNING = "tue_morning"
    TUE_AFTERNOON = "tue_afternoon"
    TUE_EVENING = "tue_evening"
    WED_MORNING = "wed_morning"
    WED_AFTERNOON = "wed_afternoon"
    WED_EVENING = "wed_evening"
    THU_MORNING = "thu_morning"
    THU_AFTERNOON = "thu_afternoon"
    THU_EVENING = "thu_evening"
    FRI_MORNING = "fri_morning"
    FRI_AFTERNOON = "fri_afternoon"
    FRI_EVENING = "fri_evening"
    SAT_MORNING = "sat_morning"
    SAT_AFTERNOON = "sat_afternoon"
    SAT_EVENING = "sat_evening"
    SUN_MORNING = "sun_morning"
    SUN_AFTERNOON = "sun_afternoon"
    SUN_EVENING = "sun_evening"
    HOLIDAY_MORNING = "holiday_morning"
    HOLIDAY_AFTERNOON = "holiday_afternoon"
    HOLIDAY_EVENING = "holiday_evening"


class Purpose(StrEnum):
    """What a volunteer agrees to; each by itself (domain, section 5)."""

    REGISTRATION = "registration"
    """To be kept as a volunteer."""
    PUBLICATION = "publication"
    """To be named where anybody may read it."""
    PROVINCE = "province"
    """To be passed on to the province's platform."""


class OfferMode(StrEnum):
    """How a site with ``auto_offer`` looks for a team; without it orders are offered by hand."""

    FAN_OUT = "fan_out"
    """To all fitting teams at once."""
    WAVES = "waves"
    """To the best few, and after a while to the next."""
    POOL = "pool"
    """Any fitting team may claim it."""


ClockTime = Annotated[
    str, StringConstraints(pattern=form(r"^([01]\d|2[0-3]):[0-5]\d$", "应填 24 小时制的时间，如 08:30"))
]


class OpeningHours(BaseModel):
    """On every working day, Chinese time; deadlines run within them."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    opens: ClockTime
    closes: ClockTime


class GivenHours(OpeningHours):
    """As a command gives them."""

    model_config = ConfigDict(extra="forbid")


class RegistryEvent(Event):
    owner: ClassVar[str] = "registry"


class SiteOpened(RegistryEvent):
    """``path`` runs from the site itself to the city by configured parents."""

    fact: ClassVar[str] = "site.opened"
    subject: ClassVar[str] = "site"

    tier: Tier
    parent: str | None
    path: list[str]
    auto_offer: bool = True
    has_post: bool = True
    """False for a place without a site of its own: its orders start one tier up."""
    hours: OpeningHours | None = None
    """None: those of the calendar."""
    mode: OfferMode = OfferMode.FAN_OUT
    sisters: list[str] = Field(default=[])
    """Sites whose teams it may borrow."""


class TeamEvent(RegistryEvent):
    """Carries all that others need to know of a team."""

    subject: ClassVar[str] = "team_id"

    team_id: str
    tier: Tier
    categories: list[Category]
    leader_id: str
    """Volunteer id."""
    member_ids: list[str]
    active: bool = True
    """False while it waits for approval or is suspended, and when it is no more."""


class TeamFormed(TeamEvent):
    fact: ClassVar[str] = "team.formed"


class TeamUpdated(TeamEvent):
    fact: ClassVar[str] = "team.updated"


class ItemPublished(RegistryEvent):
    fact: ClassVar[str] = "item.published"
    subject: ClassVar[str] = "item_id"

    item_id: str
    name: str
    category: Category
    tier: Tier
    target_groups: list[TargetGroup]
    needs_address: bool = False
    skills: list[str] = Field(default=[])
    """Somebody who goes must have each of them; qualifications must be valid on the day."""
    qualifications: list[str] = Field(default=[])
    risk: Risk = Risk.LOW
    active: bool = True
    """False when nobody can order it any more."""


class ResidentRegistered(RegistryEvent):
    fact: ClassVar[str] = "resident.registered"
    subject: ClassVar[str] = "resident_id"

    resident_id: str


class Qualification(BaseModel):
    """Valid until the end of the day ``until``, in China."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: str
    until: date


class Absence(BaseModel):
    """From the first day to the last, both included."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    start: date = Field(alias="from")
    end: date = Field(alias="to")
    stand_in: str | None = None
    """Who leads the volunteer's teams meanwhile: another member."""


class VolunteerEvent(RegistryEvent):
    """Carries what others need to know to decide whom to send, always all of it."""

    subject: ClassVar[str] = "volunteer_id"

    volunteer_id: str
    path: list[str] = Field(default=[])
    """From the volunteer's home to the city: whose staff may see hours and points."""
    age_band: AgeBand = AgeBand.ADULT
    skills: list[str] = Field(default=[])
    qualifications: list[Qualification] = Field(default=[])
    insured_until: date | None = None
    availability: list[str] = Field(default=[])
    """Slots; none given means any time."""
    absences: list[Absence] = Field(default=[])
    """Those that are not over."""
    suspended: bool = False
    categories: list[Category] = Field(default=[])
    """What the volunteer would like to do."""
    verified: bool = False
    """Whether name and id number were found to belong together."""
    consents: list[Purpose] = Field(default=[])
    """Purposes that the volunteer agrees to now."""
    erased: bool = False
    """Nothing is kept of the person: the id is a pseudonym that ledgers go on under."""


class VolunteerRegistered(VolunteerEvent):
    fact: ClassVar[str] = "volunteer.registered"


class VolunteerUpdated(VolunteerEvent):
    fact: ClassVar[str] = "volunteer.updated"


class OpenSite(Command):
    code: SiteCode
    name: ShortText
    tier: Tier
    parent: SiteCode | None
    kind: str = ""
    auto_offer: bool = True
    has_post: bool = True
    hours: GivenHours | None = None
    mode: OfferMode = OfferMode.FAN_OUT
    sisters: list[SiteCode] = Field(default_factory=list, max_length=50)


class OpenSites(Command):
    sites: list[OpenSite] = Field(max_length=500)


class FormTeam(Command):
    id: Identifier
    name: ShortText
    site: SiteCode
    categories: list[Category] = Field(min_length=1)
    leader_id: Identifier
    member_ids: list[Identifier] = Field(min_length=1)
    kind: str = ""


class ProposeTeam(Command):
    """Whoever proposes it leads it."""

    name: ShortText
    site: SiteCode | None = None
    """At home, by default, or above it."""
    categories: list[Category] = Field(min_length=1, max_length=30)
    kind: Annotated[str, StringConstraints(max_length=100)] = ""


class ApproveTeam(Command):
    pass


class RefuseTeam(Command):
    reason: Reason


class SuspendTeam(Command):
    reason: Reason


class ResumeTeam(Command):
    reason: Reason


class DissolveTeam(Command):
    reason: Reason


class JoinTeam(Command):
    pass


class LeaveTeam(Command):
    pass


class InviteMember(Command):
    volunteer: Identifier


class AdmitMember(Command):
    volunteer: Identifier


class RemoveMember(Command):
    volunteer: Identifier


class HandOverTeam(Command):
    volunteer: Identifier


class PublishItem(Command):
    id: Identifier
    name: ShortText
    category: Category
    tier: Tier
    target_groups: list[TargetGroup]
    site: SiteCode
    """The site that publishes it; it may be ordered at this site and all below it."""
    needs_address: bool = False
    skills: list[Term] = Field(default_factory=list, max_length=10)
    qualifications: list[Term] = Field(default_factory=list, max_length=10)
    risk: Risk = Risk.LOW


class RegisterVolunteer(Command):
    """By oneself: a resident becomes a volunteer. ``id_number`` is GB 11643, stored encrypted."""

    name: ShortText
    id_number: IdNumber
    phone: Phone
    site: SiteCode | None = None
    categories: list[Category] = Field(default_factory=list)
    skills: list[ShortText] = Field(default_factory=list, max_length=30)
    guardian_consent: bool = False
    consent_version: str = "1"


class LookUpVolunteers(Command):
    """By one of the numbers, whole. In a body, since addresses are written down on the way."""

    id_number: IdNumber | None = None
    phone: Phone | None = None


class UpdateProfile(Command):
    """What is given replaces what was there; what is not stays."""

    skills: list[Term] | None = Field(default=None, max_length=30)
    availability: list[Slot] | None = Field(default=None, max_length=24)
    """None of them means any time."""
    categories: list[Category] | None = Field(default=None, max_length=30)


class GrantQualification(Command):
    """Also to renew it; with a day that has passed it ends."""

    kind: Term
    until: Day
    """The last day on which it is valid."""


class InsureVolunteer(Command):
    until: Day
    """The last day; one that has passed ends it."""


class ReportAbsence(Command):
    """From the first day to the last, both included."""

    start: Day = Field(alias="from")
    end: Day = Field(alias="to")
    stand_in: Identifier | None = None
    """Volunteer id of a team mate."""


class WithdrawAbsence(Command):
    pass


class SuspendVolunteer(Command):
    reason: Reason


class ResumeVolunteer(Command):
    reason: Reason


class EraseVolunteer(Command):
    """What a person asks for who wants to be forgotten. It cannot be taken back."""


class GiveConsent(Command):
    """To the text of the purpose in this version; a later one takes the place of an earlier one."""

    purpose: Purpose
    version: TextVersion
    guardian_consent: bool = False
    """Needed below 14."""


class WithdrawConsent(Command):
    purpose: Purpose


class RealNameResult(StrEnum):
    PASSED = "passed"
    FAILED = "failed"


class CheckRealName(Command):
    result: RealNameResult
    reason: Reason | None = None
    """Needed where it has failed."""


class AddAccount(Command):
    """An account with its person. Only ``admin`` may; the reference data are loaded with it."""

    id: Identifier
    username: Identifier
    password: Annotated[str, StringConstraints(min_length=4, max_length=200)]
    name: ShortText
    roles: list[Role]
    site: SiteCode
    volunteer: Identifier | None = None
    kind: AccountKind = "person"
    active: bool = True
    """False suspends it: no token is issued, and those that were are refused."""
    phone: Phone | None = None
    """Where short messages go; without it to the number of the volunteer that the person is."""


class AddVolunteer(Command):
    """A volunteer from reference data, real-name checked already."""

    id: Identifier
    name: ShortText
    site: SiteCode
    id_number: str
    phone: str
    birth_date: date | None = None
    categories: list[Category] = Field(default_factory=list)


class Authenticate(Command):
    username: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    password: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    kind: AccountKind = "person"


class TeamView(BaseModel):
    """A team as its members see it in ``/v1/me``."""

    model_config = ConfigDict(extra="ignore")

    id: str
    name: str
    site: str
    role: str
    members: list[str]
