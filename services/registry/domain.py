"""Places and people: sites, teams, volunteers, residents, service items, accounts, and who may see whom.

What the reference data decide is compared, the rest (``compare=False``) is not: so sending the same again
changes nothing.
"""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, fields
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Any

from services.contracts.actor import SYSTEM, Actor, Role
from services.contracts.errors import Conflict, Forbidden, invalid
from services.contracts.privacy import Secret
from services.contracts.registry import (
    AddAccount,
    AddVolunteer,
    Category,
    FormTeam,
    ItemPublished,
    OfferMode,
    OpeningHours,
    OpenSite,
    PublishItem,
    RegisterVolunteer,
    ResidentRegistered,
    Risk,
    SiteOpened,
    TargetGroup,
    TeamFormed,
    Tier,
    VolunteerRegistered,
)
from services.registry import identity

TIERS = (Tier.CITY, Tier.CENTER, Tier.INSTITUTE, Tier.STATION)
GUARDIAN_BELOW = 14
"""Years; a younger person is registered with a guardian's consent only (domain, section 5)."""
STAR_THRESHOLDS = (100, 300, 600, 1000, 1500)
"""Hours for 1 to 5 stars (domain, section 5)."""
STAMP_LENGTH = 16  # characters


def _uncompared(default: Any = None) -> Any:
    return field(default=default, compare=False)


# -- sites ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class StaffingRule:
    """How many persons hold a post at a site of a tier (seed article: 2–5 managers, 1–2 liaison officers)."""

    title: str
    least: int
    most: int

    def met_by(self, filled: int) -> bool:
        return self.least <= filled <= self.most


STAFFING = {
    Tier.CENTER: StaffingRule("专职管理人员", 2, 5),
    Tier.INSTITUTE: StaffingRule("联络员", 1, 2),
    Tier.STATION: StaffingRule("联络员", 1, 2),
}


@dataclass
class Post:
    title: str
    person: str
    """Account id."""


@dataclass
class Site:
    """``path`` runs by configured parents from the site itself to the city.

    Without ``has_post`` it is a place only: it has a code and residents, and the next tier up serves them.
    """

    id: str
    name: str
    tier: Tier
    parent: str | None
    path: list[str]
    kind: str
    auto_offer: bool
    has_post: bool
    hours: OpeningHours | None = None
    mode: OfferMode = OfferMode.FAN_OUT
    sisters: list[str] = field(default_factory=list)
    posts: list[Post] = field(default_factory=list, compare=False)
    version: int = _uncompared(0)

    @classmethod
    def open(cls, wanted: OpenSite, parent: "Site | None") -> tuple["Site", SiteOpened]:
        _check_parent(wanted, parent)
        if wanted.hours and wanted.hours.closes <= wanted.hours.opens:
            raise invalid("hours.closes", "下班时间要晚于上班时间")
        path = [wanted.code, *(parent.path if parent else ())]
        site = cls(
            id=wanted.code, name=wanted.name, tier=wanted.tier, parent=wanted.parent, path=path, kind=wanted.kind,
            auto_offer=wanted.auto_offer, has_post=wanted.has_post, hours=wanted.hours, mode=wanted.mode,
            sisters=wanted.sisters,
        )  # fmt: skip
        opened = SiteOpened(
            site=site.id, tier=site.tier, parent=site.parent, path=path,
            auto_offer=site.auto_offer, has_post=site.has_post, hours=site.hours, mode=site.mode, sisters=site.sisters,
        )  # fmt: skip
        return site, opened

    def appoint(self, account_id: str) -> bool:
        """Give the person the post of the tier; whether that is new."""
        if any(post.person == account_id for post in self.posts):
            return False
        rule = STAFFING.get(self.tier)
        self.posts.append(Post(rule.title if rule else "管理人员", account_id))
        return True


def _check_parent(wanted: OpenSite, parent: Site | None) -> None:
    if wanted.tier is Tier.CITY:
        if wanted.parent is not None:
            raise invalid("parent", "市没有上级")
    elif parent is None:
        raise invalid("parent", f"没有上级站点 {wanted.parent}")
    elif TIERS.index(parent.tier) >= TIERS.index(wanted.tier):
        raise invalid("parent", f"{parent.id} 不在 {wanted.code} 的上一级")


# -- teams and what they serve --------------------------------------------------------------------------


@dataclass
class Team:
    id: str
    name: str
    site: str
    tier: Tier
    categories: list[Category]
    leader_id: str
    """Volunteer id, as in ``member_ids``; the leader is a member too."""
    member_ids: list[str]
    kind: str
    active: bool = True
    version: int = _uncompared(0)

    @classmethod
    def form(cls, wanted: FormTeam, site: Site, known: Collection[str]) -> tuple["Team", TeamFormed]:
        """``known`` are the ids of those members that are registered."""
        members = list(dict.fromkeys(wanted.member_ids))
        if wanted.leader_id not in members:
            raise invalid("leader_id", "队长应当是本队队员")
        if missing := [id for id in members if id not in known]:
            raise invalid("member_ids", "没有登记的志愿者：" + "、".join(missing))
        team = cls(
            id=wanted.id, name=wanted.name, site=site.id, tier=site.tier, categories=wanted.categories,
            leader_id=wanted.leader_id, member_ids=members, kind=wanted.kind,
        )  # fmt: skip
        formed = TeamFormed(
            site=site.id, team_id=team.id, tier=team.tier, categories=team.categories, leader_id=team.leader_id,
            member_ids=members, active=team.active,
        )  # fmt: skip
        return team, formed


@dataclass
class ServiceItem:
    """What may be ordered at ``site``, which publishes it, and everywhere below."""

    id: str
    name: str
    category: Category
    tier: Tier
    target_groups: list[TargetGroup]
    site: str
    needs_address: bool
    skills: list[str] = field(default_factory=list)
    qualifications: list[str] = field(default_factory=list)
    risk: Risk = Risk.LOW
    version: int = _uncompared(0)

    @classmethod
    def publish(cls, wanted: PublishItem, site: Site) -> tuple["ServiceItem", ItemPublished]:
        item = cls(
            id=wanted.id, name=wanted.name, category=wanted.category, tier=wanted.tier,
            target_groups=wanted.target_groups, site=site.id, needs_address=wanted.needs_address,
            skills=wanted.skills, qualifications=wanted.qualifications, risk=wanted.risk,
        )  # fmt: skip
        published = ItemPublished(
            site=site.id, item_id=item.id, name=item.name, category=item.category, tier=item.tier,
            target_groups=item.target_groups, needs_address=item.needs_address,
            skills=item.skills, qualifications=item.qualifications, risk=item.risk,
        )  # fmt: skip
        return item, published


# -- people ---------------------------------------------------------------------------------------------


class RealName(StrEnum):
    NONE = "none"
    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"


@dataclass
class Volunteer:
    """Birth date and sex stand in the id number and nowhere else."""

    id: str
    name: Secret
    site: str
    id_number: Secret
    id_number_index: str
    """Keyed hash of the id number: one person registers once."""
    phone: Secret
    real_name: RealName
    categories: list[Category]
    skills: list[str] = field(default_factory=list)
    guardian_consent: bool = False
    consent_version: str = ""
    account_id: str | None = _uncompared()
    version: int = _uncompared(0)

    @classmethod
    def register(
        cls, id: str, wanted: RegisterVolunteer, site: Site, account: "Account", id_number: str, index: str, today: date
    ) -> tuple["Volunteer", VolunteerRegistered]:
        """A person by oneself; ``id_number`` has been checked and ``index`` belongs to it."""
        age = identity.age_on(today, identity.birth_date(id_number))
        if age < GUARDIAN_BELOW and not wanted.guardian_consent:
            raise invalid("guardian_consent", "未满14周岁须经监护人同意")
        volunteer = cls(
            id=id, name=wanted.name, site=site.id, id_number=id_number, id_number_index=index,
            phone=identity.mobile(wanted.phone), real_name=RealName.PENDING, categories=wanted.categories,
            skills=wanted.skills, guardian_consent=wanted.guardian_consent, consent_version=wanted.consent_version,
            account_id=account.id,
        )  # fmt: skip
        account.become_volunteer(id)
        return volunteer, volunteer._registered(site)

    @classmethod
    def add(
        cls, wanted: AddVolunteer, site: Site, id_number: str, index: str
    ) -> tuple["Volunteer", VolunteerRegistered]:
        """From reference data, real-name checked already."""
        if wanted.birth_date not in (None, identity.birth_date(id_number)):
            raise invalid("birth_date", "出生日期与身份证号不一致")
        volunteer = cls(
            id=wanted.id, name=wanted.name, site=site.id, id_number=id_number, id_number_index=index,
            phone=identity.mobile(wanted.phone), real_name=RealName.PASSED, categories=wanted.categories,
        )  # fmt: skip
        return volunteer, volunteer._registered(site)

    def _registered(self, site: Site) -> VolunteerRegistered:
        return VolunteerRegistered(site=site.id, volunteer_id=self.id, path=site.path)

    @property
    def birth_date(self) -> date:
        return identity.birth_date(self.id_number)

    @property
    def sex(self) -> str:
        return identity.sex(self.id_number)


@dataclass
class Resident:
    """Has the id of the account."""

    id: str
    site: str
    version: int = _uncompared(0)

    @classmethod
    def register(cls, account: "Account") -> tuple["Resident", ResidentRegistered]:
        return cls(account.id, account.site), ResidentRegistered(site=account.site, resident_id=account.id)


@dataclass
class Account:
    """Who may sign in: a person, or a client system. ``kind`` and ``username`` together are unique."""

    id: str
    kind: str
    username: str
    name: Secret
    roles: list[Role]
    site: str
    volunteer: str | None
    password_hash: str
    active: bool = True
    """A suspended account signs in no more, and its tokens are refused."""
    version: int = _uncompared(0)

    @classmethod
    def of(cls, wanted: AddAccount, password_hash: str, known: "Account | None") -> "Account":
        """Who became a volunteer remains one, whatever the reference data say."""
        account = cls(
            id=wanted.id, kind=wanted.kind, username=wanted.username, name=wanted.name, roles=sorted(set(wanted.roles)),
            site=wanted.site, volunteer=wanted.volunteer, password_hash=password_hash, active=wanted.active,
        )  # fmt: skip
        if known is not None and known.volunteer and account.volunteer is None:
            account.become_volunteer(known.volunteer)
        return account

    @property
    def stamp(self) -> str:
        """Goes into the account's tokens, which so end with the password."""
        return hashlib.sha256(self.password_hash.encode()).hexdigest()[:STAMP_LENGTH]

    def become_volunteer(self, volunteer_id: str) -> None:
        if self.volunteer is not None:
            raise Conflict("您已经登记为志愿者，不必再次登记")
        self.volunteer = volunteer_id
        self.roles = sorted({*self.roles, Role.VOLUNTEER})


@dataclass
class VolunteerTotals:
    """Sums over the facts that arrived; apart from the volunteer, since facts may arrive first."""

    id: str
    hundredths: int = 0
    """Of an hour: sums of floats would drift."""
    points: int = 0
    points_sequence: int = 0
    """Of the account, where ``points`` was its balance."""
    version: int = 0

    def add_hours(self, hours: float) -> None:
        """Negative where hours were taken back."""
        self.hundredths += in_hundredths(hours)

    def follow_points(self, balance: int, sequence: int) -> bool:
        """Whether it is news: an older fact that arrives late changes nothing."""
        if sequence <= self.points_sequence:
            return False
        self.points, self.points_sequence = balance, sequence
        return True

    @property
    def hours(self) -> float:
        return self.hundredths / 100

    @property
    def star(self) -> int:
        return sum(self.hundredths >= hours * 100 for hours in STAR_THRESHOLDS)


def in_hundredths(hours: float) -> int:
    return int((Decimal(str(hours)) * 100).to_integral_value(ROUND_HALF_UP))


@dataclass
class Release:
    """Which version of the reference data is in."""

    id: str
    label: str
    version: int = _uncompared(0)


# -- what was sent again --------------------------------------------------------------------------------


def bring_to(known: Any, wanted: Any) -> bool:
    """Change ``known`` to what is wanted of it; whether that changed anything."""
    if known == wanted:
        return False
    for part in fields(wanted):
        if part.compare:
            setattr(known, part.name, getattr(wanted, part.name))
    return True


# -- who may ----------------------------------------------------------------------------------------------


def must_administer(actor: Actor) -> None:
    """Client systems have the role ``system`` too, but are not this system."""
    if not (actor.is_admin or (actor.id == SYSTEM.id and actor.has(Role.SYSTEM))):
        raise Forbidden("只有管理员可以这样做")


def may_read_posts(actor: Actor) -> bool:
    """Who holds a post."""
    return actor.is_admin or actor.has(Role.STAFF)


class Sight(StrEnum):
    """As what somebody sees a volunteer."""

    SELF = "self"
    STAFF = "staff"
    LEADER = "leader"
    MEMBER = "member"

    @property
    def reads_name(self) -> bool:
        return self is not Sight.MEMBER

    @property
    def reads_id_number(self) -> bool:
        """Masked even so."""
        return self in (Sight.SELF, Sight.STAFF)


def sight_of(actor: Actor, volunteer: Volunteer, path: Collection[str], teams: Iterable[Team]) -> Sight | None:
    """``path`` is that of the volunteer's site, ``teams`` are those that the volunteer is in. None: not at all."""
    if volunteer.id == actor.volunteer or volunteer.account_id == actor.id:
        return Sight.SELF
    if actor.is_admin or (actor.has(Role.STAFF) and actor.site in path):
        return Sight.STAFF
    shared = [team for team in teams if actor.volunteer in team.member_ids]
    if any(team.leader_id == actor.volunteer for team in shared):
        return Sight.LEADER
    return Sight.MEMBER if shared else None
