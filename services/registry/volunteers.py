"""Volunteers: who they are, what decides whom to send, and who may see and change it (domain, section 5).

Whatever is changed of what others need to know is told at once, always all of it. A change that changes
nothing returns no event.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, TypeVar

from services.chassis.messages import Event
from services.contracts.actor import Actor
from services.contracts.errors import Conflict, Forbidden, NotFound, invalid
from services.contracts.privacy import Secret
from services.contracts.registry import (
    Absence,
    AddVolunteer,
    AgeBand,
    Category,
    CheckRealName,
    GiveConsent,
    GrantQualification,
    Purpose,
    Qualification,
    RealNameResult,
    RegisterVolunteer,
    ReportAbsence,
    Slot,
    UpdateProfile,
    VolunteerEvent,
    VolunteerRegistered,
    VolunteerUpdated,
    terms,
    text_version,
)
from services.registry import identity
from services.registry.domain import Account, Site, is_staff_over
from services.registry.teams import Team

GUARDIAN_BELOW = 14
"""Years; a younger person is registered with a guardian's consent only (domain, section 5)."""
BANDS = ((14, AgeBand.UNDER_14), (16, AgeBand.UNDER_16), (18, AgeBand.UNDER_18), (70, AgeBand.ADULT))
"""Years at which each band ends; the last has no end."""
MOST_QUALIFICATIONS, MOST_ABSENCES = 50, 50
"""Each of a volunteer's events carries all of them."""
ERASED = "已注销"
ALREADY_REGISTERED = "这个身份证号已经登记为志愿者，不能重复登记；如有疑问请联系所在的站"
PURPOSES = {Purpose.REGISTRATION: "登记为志愿者", Purpose.PUBLICATION: "公开姓名", Purpose.PROVINCE: "报送省级平台"}

E = TypeVar("E", bound=VolunteerEvent)


class RealName(StrEnum):
    NONE = "none"
    PENDING = "pending"
    PASSED = "passed"
    FAILED = "failed"


@dataclass
class Leave:
    """Days on which a volunteer is away, both ends included; ``stand_in`` is who leads their teams meanwhile."""

    id: str
    start: date
    end: date
    stand_in: str | None = None


@dataclass
class Consent:
    """To a version of the text of a purpose; ``guardian``: who is below 14 has theirs."""

    purpose: Purpose
    text: str
    """The version."""
    since: date
    guardian: bool = False

    @property
    def in_words(self) -> str:
        return f"{PURPOSES[self.purpose]}，第 {self.text} 版" + ("，监护人同意" if self.guardian else "")


@dataclass(frozen=True)
class Numbers:
    """What a person is known by: checked, each with the keyed hash that it is looked up by."""

    id_number: str
    id_number_index: str
    phone: str
    phone_index: str


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
    phone_index: str = ""
    """Keyed hash; several persons may share a phone."""
    real_name: RealName = RealName.NONE
    categories: list[Category] = field(default_factory=list)
    skills: list[str] = field(default_factory=list)
    consents: list[Consent] = field(default_factory=list)
    """Those that hold; what was withdrawn is in the log."""
    age_band: AgeBand = AgeBand.ADULT
    """As it was told last."""
    band_ends_on: date | None = None
    """When to see whether the band has ended; None: it has no end."""
    availability: list[Slot] = field(default_factory=list)
    """None of them means any time."""
    qualifications: list[Qualification] = field(default_factory=list)
    insured_until: date | None = None
    absences: list[Leave] = field(default_factory=list)
    suspended: bool = False
    suspension_reason: Secret | None = None
    real_name_reason: Secret | None = None
    erased: bool = False
    account_id: str | None = None
    version: int = 0

    @classmethod
    def register(
        cls, id: str, wanted: RegisterVolunteer, site: Site, account: Account | None, numbers: Numbers, today: date
    ) -> tuple["Volunteer", VolunteerRegistered]:
        """A person by oneself, or without an account through an organisation, which says what was agreed to.

        ``numbers`` are the wanted ones.
        """
        agreed_to = text_version("consent_version", wanted.consent_version)
        consent = Consent(Purpose.REGISTRATION, agreed_to, today, wanted.guardian_consent)
        volunteer = cls(
            id=id, name=wanted.name, site=site.id, **vars(numbers), real_name=RealName.PENDING,
            categories=_each_once(wanted.categories), skills=terms("skills", wanted.skills), consents=[consent],
            account_id=account.id if account else None,
        )  # fmt: skip
        volunteer._must_be_asked_rightly(consent)
        if account is not None:
            account.become_volunteer(id)
        return volunteer, volunteer._tell(VolunteerRegistered, site, today)

    @classmethod
    def add(
        cls, wanted: AddVolunteer, site: Site, numbers: Numbers, today: date, known: "Volunteer | None" = None
    ) -> tuple["Volunteer", VolunteerRegistered]:
        """From reference data, real-name checked already; what has been changed of one who is ``known`` stays."""
        if known is not None and known.erased:
            return known, known._tell(VolunteerRegistered, site, today)
        if wanted.birth_date not in (None, identity.birth_date(numbers.id_number)):
            raise invalid("birth_date", "出生日期与身份证号不一致")
        decided: dict[str, Any] = {"name": wanted.name, "site": site.id, **vars(numbers)}
        if known is None:
            volunteer = cls(id=wanted.id, real_name=RealName.PASSED, categories=wanted.categories, **decided)
        else:
            volunteer = replace(known, **decided)
        return volunteer, volunteer._tell(VolunteerRegistered, site, today)

    @property
    def birth_date(self) -> date:
        return identity.birth_date(self.id_number)

    @property
    def sex(self) -> str:
        return identity.sex(self.id_number)

    def is_of(self, actor: Actor) -> bool:
        return self.id == actor.volunteer or self.account_id == actor.id

    # -- what decides whom to send ------------------------------------------------------------------

    def update_profile(self, wanted: UpdateProfile, site: Site, today: date) -> list[Event]:
        skills = self.skills if wanted.skills is None else _each_once(wanted.skills)
        slots = self.availability if wanted.availability is None else [s for s in Slot if s in wanted.availability]
        categories = self.categories if wanted.categories is None else _each_once(wanted.categories)
        if (skills, slots, categories) == (self.skills, self.availability, self.categories):
            return []
        self.skills, self.availability, self.categories = skills, slots, categories
        return self._updated(site, today)

    def qualify(self, wanted: GrantQualification, site: Site, today: date) -> list[Event]:
        """One of each kind: again with another day it is renewed or ended."""
        held = Qualification(kind=wanted.kind, until=wanted.until)
        if held in self.qualifications:
            return []
        others = [other for other in self.qualifications if other.kind != held.kind]
        if len(others) >= MOST_QUALIFICATIONS:
            raise Conflict(f"最多登记 {MOST_QUALIFICATIONS} 种资质")
        self.qualifications = [*others, held]
        return self._updated(site, today)

    def insure(self, until: date, site: Site, today: date) -> list[Event]:
        if self.insured_until == until:
            return []
        self.insured_until = until
        return self._updated(site, today)

    def report_absence(
        self, id: str, wanted: ReportAbsence, mates: Collection[str], site: Site, today: date
    ) -> list[Event]:
        """``mates`` are those of the volunteer's teams. What is over is kept in the log only."""
        leave = Leave(id, wanted.start, wanted.end, wanted.stand_in)
        ahead = [other for other in self.absences if other.end >= today]
        if leave.end < leave.start:
            raise invalid("to", "结束日期不能早于开始日期")
        if leave.end < today:
            raise invalid("to", "请假的日期已经过去")
        if any(leave.start <= other.end and other.start <= leave.end for other in ahead):
            raise invalid("from", "这段时间里已经有请假，请先撤销原来的请假")
        if leave.stand_in is not None and (leave.stand_in == self.id or leave.stand_in not in mates):
            raise invalid("stand_in", "替班的人应当是同队的其他队员")
        if len(ahead) >= MOST_ABSENCES:
            raise Conflict(f"最多登记 {MOST_ABSENCES} 段还没有过去的请假，请先撤销用不到的")
        self.absences = sorted([*ahead, leave], key=lambda leave: leave.start)
        return self._updated(site, today)

    def stand_ins(self, day: date) -> list[str]:
        """Who leads the volunteer's teams on a day."""
        return [leave.stand_in for leave in self.absences if leave.start <= day <= leave.end and leave.stand_in]

    def leave(self, id: str) -> Leave:
        """Raise ``NotFound``."""
        for leave in self.absences:
            if leave.id == id:
                return leave
        raise NotFound("没有这段请假")

    def withdraw_absence(self, leave: Leave, site: Site, today: date) -> list[Event]:
        if leave.end < today:
            raise Conflict("这段请假已经过去，不能撤销")
        self.absences = [other for other in self.absences if other is not leave]
        return self._updated(site, today)

    def suspend(self, reason: str, site: Site, today: date) -> list[Event]:
        """From now on not sent to anything."""
        if self.suspended:
            raise Conflict("这位志愿者已经暂停服务")
        self.suspended, self.suspension_reason = True, reason
        return self._updated(site, today)

    def must_serve(self) -> None:
        """Raise ``Conflict``: who is suspended comes into no team."""
        if self.suspended:
            raise Conflict("这位志愿者已暂停服务，恢复以后才能组队和入队")

    def resume(self, site: Site, today: date) -> list[Event]:
        if not self.suspended:
            raise Conflict("这位志愿者没有暂停服务，不用恢复")
        self.suspended, self.suspension_reason = False, None
        return self._updated(site, today)

    def check_real_name(self, checked: CheckRealName, site: Site, today: date) -> list[Event]:
        """What was found stands until something else is found."""
        if checked.result is RealNameResult.FAILED and checked.reason is None:
            raise invalid("reason", "实名核验不通过时，请填写原因")
        found = RealName(checked.result)
        if (found, checked.reason) == (self.real_name, self.real_name_reason):
            return []
        self.real_name, self.real_name_reason = found, checked.reason
        return self._updated(site, today)

    def consent_to(self, wanted: GiveConsent, site: Site, today: date) -> list[Event]:
        """Of each purpose the version that was agreed to last."""
        consent = Consent(wanted.purpose, wanted.version, today, wanted.guardian_consent)
        self._must_be_asked_rightly(consent)
        known = self.consent(wanted.purpose)
        if known and (known.text, known.guardian) == (consent.text, consent.guardian):
            return []
        self.consents = [*(other for other in self.consents if other is not known), consent]
        return self._updated(site, today)

    def consent(self, purpose: Purpose) -> Consent | None:
        return next((consent for consent in self.consents if consent.purpose is purpose), None)

    def withdraw_consent(self, purpose: Purpose, site: Site, today: date) -> list[Event]:
        """Told at once, so that whoever shows a name stops to."""
        if purpose is Purpose.REGISTRATION:
            raise Conflict("没有这项同意就不能登记为志愿者，不能单独撤回；不再参加志愿服务，请联系所在的站")
        known = self.consent(purpose)
        if known is None:
            return []
        self.consents = [other for other in self.consents if other is not known]
        return self._updated(site, today)

    def erase(self, teams: Iterable[Team], site: Site, today: date) -> list[Event]:
        """Forget the person. The id and the site stay, so that ledgers go on under a pseudonym.

        ``teams`` are those that the volunteer is in.
        """
        if any(team.leader_id == self.id for team in teams):
            raise Conflict("请先把队伍交给别的队员，或解散队伍，再注销")
        nobody = Volunteer(
            id=self.id, name=ERASED, site=self.site, id_number="", id_number_index=f"erased:{self.id}", phone="",
            real_name=RealName.NONE, suspended=True, erased=True, version=self.version,
        )  # fmt: skip
        vars(self).update(vars(nobody))
        return self._updated(site, today)

    def must_be_kept(self) -> None:
        """Raise ``Conflict``: nothing is said any more of who is erased."""
        if self.erased:
            raise Conflict("这位志愿者已经注销")

    def grow_older(self, site: Site, today: date) -> list[Event]:
        """What the clock does: tell of the new age band on the birthday on which it begins."""
        told = self.age_band
        self._look_at_age(today)
        return self._updated(site, today) if self.age_band is not told else []

    # -- parts --------------------------------------------------------------------------------------

    def _updated(self, site: Site, today: date) -> list[Event]:
        return [self._tell(VolunteerUpdated, site, today)]

    def _tell(self, fact: type[E], site: Site, today: date) -> E:
        self._look_at_age(today)
        ahead = [
            Absence(start=leave.start, end=leave.end, stand_in=leave.stand_in)
            for leave in self.absences
            if leave.end >= today
        ]
        return fact(
            site=site.id, volunteer_id=self.id, path=site.path, age_band=self.age_band, skills=self.skills,
            qualifications=self.qualifications, insured_until=self.insured_until, availability=list(self.availability),
            absences=ahead, suspended=self.suspended, categories=self.categories,
            verified=self.real_name is RealName.PASSED, consents=[consent.purpose for consent in self.consents],
            erased=self.erased,
        )  # fmt: skip

    def _must_be_asked_rightly(self, consent: Consent) -> None:
        must_be_asked_rightly(self.birth_date, consent.since, consent.guardian)

    def _look_at_age(self, today: date) -> None:
        if self.erased:
            return
        self.age_band, self.band_ends_on = age_band(self.birth_date, today), band_ends_on(self.birth_date, today)


@dataclass
class Entry:
    """A line of a volunteer's log: who has changed what, when and why. Never changed."""

    id: str
    volunteer_id: str
    at: datetime
    by: str
    """Account id."""
    what: str
    note: Secret
    version: int = 0

    def forget(self, account: str | None) -> None:
        """Who was erased: what was written, and that it was their account."""
        self.note = ""
        if self.by == account:
            self.by = self.volunteer_id


class Request(StrEnum):
    """By what somebody reads of volunteers."""

    SEARCH = "search"
    LOOK_UP = "look_up"
    READ = "read"
    LOG = "log"
    CHANGE = "change"
    """The answer shows the volunteer, also where nothing has changed."""


@dataclass
class Viewing:
    """Somebody has read of others in clear, all by one request. It holds ids and codes only. Never changed."""

    id: str
    volunteers: list[str]
    at: datetime
    by: str
    """Account id."""
    request: Request
    fields: list[str]
    version: int = 0

    @classmethod
    def of(
        cls, id: str, seen: Iterable[Volunteer], at: datetime, actor: Actor, request: Request, fields: list[str]
    ) -> "Viewing | None":
        """None: nothing was told in clear, or only of oneself."""
        others = [volunteer.id for volunteer in seen if not (volunteer.is_of(actor) or volunteer.erased)]
        return cls(id, others, at, actor.id, request, fields) if others and fields else None


# -- age ------------------------------------------------------------------------------------------------


def age_band(born: date, today: date) -> AgeBand:
    age = identity.age_on(today, born)
    return next((band for end, band in BANDS if age < end), AgeBand.OVER_70)


def band_ends_on(born: date, today: date) -> date | None:
    """When to look whether the band has ended: the first of that month, and within the month each day.

    It is kept in clear, and the day itself would be that of the birth.
    """
    age = identity.age_on(today, born)
    end = next((end for end, _ in BANDS if age < end), None)
    return None if end is None else max(date(born.year + end, born.month, 1), today + timedelta(days=1))


def must_be_asked_rightly(born: date, on: date, guardian: bool) -> None:
    """Raise ``Invalid``."""
    if identity.age_on(on, born) < GUARDIAN_BELOW and not guardian:
        raise invalid("guardian_consent", "未满14周岁须经监护人同意")


def _each_once(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


# -- who may --------------------------------------------------------------------------------------------


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
    def reads_abilities(self) -> bool:
        """And when the volunteer is there: what a leader must know to send somebody."""
        return self is not Sight.MEMBER

    @property
    def reads_id_number(self) -> bool:
        """Masked even so."""
        return self in (Sight.SELF, Sight.STAFF)

    @property
    def reads_file(self) -> bool:
        """Why something was decided, and what the volunteer has agreed to."""
        return self in (Sight.SELF, Sight.STAFF)

    @property
    def in_clear(self) -> list[str]:
        parts = {"name": self.reads_name, "abilities": self.reads_abilities, "file": self.reads_file}
        return [part for part, is_read in parts.items() if is_read]


def sight_of(actor: Actor, volunteer: Volunteer, path: Collection[str], teams: Iterable[Team]) -> Sight | None:
    """``path`` is that of the volunteer's site, ``teams`` are those that the volunteer is in. None: not at all."""
    if volunteer.is_of(actor):
        return Sight.SELF
    if is_staff_over(actor, path):
        return Sight.STAFF
    shared = [team for team in teams if actor.volunteer in team.member_ids]
    if any(team.leader_id == actor.volunteer for team in shared):
        return Sight.LEADER
    return Sight.MEMBER if shared else None


ONESELF: Sequence[Sight] = (Sight.SELF, Sight.STAFF)
OTHERS: Sequence[Sight] = (Sight.STAFF,)
"""Nobody vouches for oneself, also not with a post."""
READING = ("read", "read_log")
ALLOWED: dict[str, Sequence[Sight]] = {
    "update_profile": ONESELF,
    "qualify": OTHERS,
    "insure": OTHERS,
    "report_absence": (*ONESELF, Sight.LEADER),
    "withdraw_absence": (*ONESELF, Sight.LEADER),
    "suspend": OTHERS,
    "resume": OTHERS,
    "check_real_name": OTHERS,
    "consent_to": (Sight.SELF,),
    "withdraw_consent": ONESELF,
    "erase": ONESELF,
    "read_log": ONESELF,
    "read": tuple(Sight),
}


def must_search(actor: Actor, path: Collection[str]) -> None:
    """``path`` is that of the place; raise ``Forbidden``."""
    if not is_staff_over(actor, path):
        raise Forbidden("只有本站（所、中心）和上级的工作人员可以查找这里的志愿者")


def permit(what: str, sight: Sight | None) -> Sight:
    """Raise ``NotFound`` to who may not know of the volunteer, ``Forbidden`` to who may only see them."""
    if sight is None:
        raise NotFound()
    if sight not in ALLOWED[what]:
        raise Forbidden("您可以看到这位志愿者，但不能这样操作")
    return sight
