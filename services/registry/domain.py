"""Places and people: sites, residents, service items, accounts. Teams and volunteers have modules of their own.

What the reference data decide is compared, the rest (``compare=False``) is not: so sending the same again
changes nothing.
"""

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from services.contracts.actor import SYSTEM, Actor, Role
from services.contracts.errors import Conflict, Forbidden, invalid
from services.contracts.privacy import Secret
from services.contracts.registry import (
    AddAccount,
    Category,
    ItemPublished,
    OfferMode,
    OpeningHours,
    OpenSite,
    PublishItem,
    ResidentRegistered,
    Risk,
    SiteOpened,
    TargetGroup,
    Tier,
)
from services.registry import identity

TIERS = (Tier.CITY, Tier.CENTER, Tier.INSTITUTE, Tier.STATION)
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
        return site, site._as_it_is()

    def appoint(self, account_id: str) -> bool:
        """Give the person the post of the tier; whether that is new."""
        if any(post.person == account_id for post in self.posts):
            return False
        rule = STAFFING.get(self.tier)
        self.posts.append(Post(rule.title if rule else "管理人员", account_id))
        return True

    def give_up_post(self) -> SiteOpened:
        """The place remains: it has a code, and may have residents."""
        self.has_post = False
        return self._as_it_is()

    def _as_it_is(self) -> SiteOpened:
        return SiteOpened(
            site=self.id, tier=self.tier, parent=self.parent, path=self.path,
            auto_offer=self.auto_offer, has_post=self.has_post, hours=self.hours, mode=self.mode, sisters=self.sisters,
        )  # fmt: skip


def _check_parent(wanted: OpenSite, parent: Site | None) -> None:
    if wanted.tier is Tier.CITY:
        if wanted.parent is not None:
            raise invalid("parent", "市没有上级")
    elif parent is None:
        raise invalid("parent", f"没有上级站点 {wanted.parent}")
    elif TIERS.index(parent.tier) >= TIERS.index(wanted.tier):
        raise invalid("parent", f"{parent.id} 不在 {wanted.code} 的上一级")


# -- what may be ordered --------------------------------------------------------------------------------


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
    active: bool = True
    """Until it is withdrawn."""
    version: int = _uncompared(0)

    @classmethod
    def publish(cls, wanted: PublishItem, site: Site) -> tuple["ServiceItem", ItemPublished]:
        item = cls(
            id=wanted.id, name=wanted.name, category=wanted.category, tier=wanted.tier,
            target_groups=wanted.target_groups, site=site.id, needs_address=wanted.needs_address,
            skills=wanted.skills, qualifications=wanted.qualifications, risk=wanted.risk,
        )  # fmt: skip
        return item, item._as_it_is()

    def withdraw(self) -> ItemPublished:
        """What was ordered before goes on; published again it is there again."""
        self.active = False
        return self._as_it_is()

    def _as_it_is(self) -> ItemPublished:
        return ItemPublished(
            site=self.site, item_id=self.id, name=self.name, category=self.category, tier=self.tier,
            target_groups=self.target_groups, needs_address=self.needs_address,
            skills=self.skills, qualifications=self.qualifications, risk=self.risk, active=self.active,
        )  # fmt: skip


# -- people ---------------------------------------------------------------------------------------------


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
    phone: Secret = ""
    version: int = _uncompared(0)

    @classmethod
    def of(cls, wanted: AddAccount, password_hash: str, known: "Account | None") -> "Account":
        """Who became a volunteer remains one, whatever the reference data say."""
        account = cls(
            id=wanted.id, kind=wanted.kind, username=wanted.username, name=wanted.name, roles=sorted(set(wanted.roles)),
            site=wanted.site, volunteer=wanted.volunteer, password_hash=password_hash, active=wanted.active,
            phone=identity.mobile(wanted.phone) if wanted.phone else known.phone if known else "",
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

    def end_volunteering(self) -> None:
        self.volunteer = None
        self.roles = sorted({*self.roles} - {Role.VOLUNTEER})


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


def is_staff_over(actor: Actor, path: Collection[str]) -> bool:
    """Whether the actor works at one of the sites of a path, or administers all."""
    return actor.is_admin or (actor.has(Role.STAFF) and actor.site in path)


def may_read_posts(actor: Actor) -> bool:
    """Who holds a post."""
    return actor.is_admin or actor.has(Role.STAFF)
