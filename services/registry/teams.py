"""Teams: how they come to be, who is in them and how they end (domain, section 5).

A team is told of when it is proposed, but asked to serve only while it is active. Who is in it is told when it
changes; who was only invited or has applied is nobody else's business.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from services.chassis.messages import Event
from services.contracts.actor import Actor
from services.contracts.errors import Conflict, Forbidden, IllegalTransition, NotFound, ServiceError, invalid
from services.contracts.privacy import Secret
from services.contracts.registry import Category, FormTeam, ProposeTeam, TeamEvent, TeamFormed, TeamUpdated, Tier
from services.registry.domain import Site, is_staff_over

UNKNOWN = "没有这支队伍"
"""The same of a team that is not there and of one that the caller may not know of."""
MOST_MEMBERS = 200
"""Each of a team's events carries all of them."""
MOST_OUTSIDERS = 500
"""Of a team; the oldest are forgotten."""

E = TypeVar("E", bound=TeamEvent)


class TeamState(StrEnum):
    PROPOSED = "proposed"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    REFUSED = "refused"
    DISSOLVED = "dissolved"


STATE_NAMES = {
    TeamState.PROPOSED: "待审批", TeamState.ACTIVE: "正常活动", TeamState.SUSPENDED: "暂停活动",
    TeamState.REFUSED: "未获批准", TeamState.DISSOLVED: "已解散",
}  # fmt: skip
DECISIONS: dict[str, tuple[Sequence[TeamState], TeamState]] = {
    "approve": ((TeamState.PROPOSED,), TeamState.ACTIVE),
    "refuse": ((TeamState.PROPOSED,), TeamState.REFUSED),
    "suspend": ((TeamState.ACTIVE,), TeamState.SUSPENDED),
    "resume": ((TeamState.SUSPENDED,), TeamState.ACTIVE),
    "dissolve": ((TeamState.PROPOSED, TeamState.ACTIVE, TeamState.SUSPENDED), TeamState.DISSOLVED),
}
"""From which states, and to which."""


class MemberState(StrEnum):
    INVITED = "invited"
    APPLIED = "applied"
    JOINED = "joined"
    REFUSED = "refused"
    LEFT = "left"


@dataclass
class Outsider:
    """Who is not in the team, but might be or was."""

    volunteer: str
    state: MemberState


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
    """Those who have joined."""
    kind: str
    state: TeamState = TeamState.ACTIVE
    outsiders: list[Outsider] = field(default_factory=list)
    decided_by: str | None = None
    """Account id of who brought it to its state, and why."""
    reason: Secret | None = None
    version: int = 0

    @classmethod
    def form(
        cls, wanted: FormTeam, site: Site, registered: Collection[str], known: "Team | None" = None
    ) -> tuple["Team", TeamFormed]:
        """From reference data, approved already; what has become of one that is ``known`` stays.

        ``registered`` are the ids of those members that are.
        """
        members = list(dict.fromkeys(wanted.member_ids))
        if wanted.leader_id not in members:
            raise invalid("leader_id", "队长应当是本队队员")
        if missing := [id for id in members if id not in registered]:
            raise invalid("member_ids", "没有登记的志愿者：" + "、".join(missing))
        decided: dict[str, Any] = {
            "name": wanted.name, "site": site.id, "tier": site.tier, "categories": wanted.categories,
            "kind": wanted.kind,
        }  # fmt: skip
        if known is None:
            team = cls(id=wanted.id, leader_id=wanted.leader_id, member_ids=members, **decided)
        else:
            new = [id for id in members if known.state_of(id) is None]
            team = replace(known, member_ids=[*known.member_ids, *new], **decided)
        return team, team._tell(TeamFormed)

    @classmethod
    def propose(
        cls, id: str, wanted: ProposeTeam, site: Site, home: Site, leader_id: str, others: Iterable["Team"] = ()
    ) -> tuple["Team", TeamFormed]:
        """By a volunteer, who leads it; staff of the site approve it. ``others`` are those that the leader is in."""
        if any(team.state is TeamState.PROPOSED for team in others):
            raise Conflict("您已有一支队伍在等待审批")
        if site.id not in home.path:
            raise invalid("site", "只能在自己的村（社区）或上级的所、中心组队")
        team = cls(
            id=id, name=wanted.name, site=site.id, tier=site.tier, categories=list(dict.fromkeys(wanted.categories)),
            leader_id=leader_id, member_ids=[leader_id], kind=wanted.kind, state=TeamState.PROPOSED,
        )  # fmt: skip
        return team, team._tell(TeamFormed)

    @property
    def active(self) -> bool:
        """Only then it is asked to serve."""
        return self.state is TeamState.ACTIVE

    @property
    def is_approved(self) -> bool:
        return self.state in (TeamState.ACTIVE, TeamState.SUSPENDED)

    @property
    def is_gone(self) -> bool:
        return self.state in (TeamState.REFUSED, TeamState.DISSOLVED)

    @property
    def applicants(self) -> list[str]:
        return [outsider.volunteer for outsider in self.outsiders if outsider.state is MemberState.APPLIED]

    def state_of(self, volunteer: str) -> MemberState | None:
        if volunteer in self.member_ids:
            return MemberState.JOINED
        return next((outsider.state for outsider in self.outsiders if outsider.volunteer == volunteer), None)

    def decide(self, what: str, actor: Actor, reason: str | None = None) -> list[Event]:
        """What staff make of it; raise ``IllegalTransition``."""
        possible, state = DECISIONS[what]
        self._must_be(*possible)
        self.state, self.decided_by, self.reason = state, actor.id, reason
        return self._updated()

    # -- who is in it -------------------------------------------------------------------------------

    def invite(self, volunteer: str) -> list[Event]:
        """Who has applied already is in."""
        self._must_be(TeamState.ACTIVE)
        if self._must_be_outside(volunteer) is MemberState.APPLIED:
            return self._let_in(volunteer)
        return self._put(volunteer, MemberState.INVITED)

    def join(self, volunteer: str) -> list[Event]:
        """Who was invited is in; others apply."""
        self._must_be(TeamState.ACTIVE)
        if self._must_be_outside(volunteer) is MemberState.INVITED:
            return self._let_in(volunteer)
        return self._put(volunteer, MemberState.APPLIED)

    def admit(self, volunteer: str) -> list[Event]:
        self._must_be(TeamState.ACTIVE)
        if self._must_be_outside(volunteer) is not MemberState.APPLIED:
            raise invalid("volunteer", "这位志愿者没有申请入队")
        return self._let_in(volunteer)

    def leave(self, volunteer: str) -> list[Event]:
        """By oneself: from the team, or from an invitation or an application."""
        return self._let_go(volunteer, MemberState.INVITED, Conflict("您不在这支队伍里"))

    def remove(self, volunteer: str) -> list[Event]:
        """By who leads it: a member, an invitation or an application."""
        return self._let_go(volunteer, MemberState.APPLIED, invalid("volunteer", "这位志愿者不在这支队伍里"))

    def hand_over(self, volunteer: str) -> list[Event]:
        """To another member, who leads it from now on."""
        self._must_be(TeamState.ACTIVE, TeamState.SUSPENDED)
        if volunteer not in self.member_ids:
            raise invalid("volunteer", "新队长应当是本队队员")
        if volunteer == self.leader_id:
            raise invalid("volunteer", "这位队员已经是队长")
        self.leader_id = volunteer
        return self._updated()

    # -- parts --------------------------------------------------------------------------------------

    def _must_be(self, *states: TeamState) -> None:
        if self.state not in states:
            raise IllegalTransition(f"{STATE_NAMES[self.state]}的队伍不能这样操作", state=self.state)

    def _must_be_outside(self, volunteer: str) -> MemberState | None:
        state = self.state_of(volunteer)
        if state is MemberState.JOINED:
            raise Conflict("这位志愿者已经在队里")
        return state

    def _put(self, volunteer: str, state: MemberState) -> list[Event]:
        """Outside; that is told to nobody."""
        others = [outsider for outsider in self.outsiders if outsider.volunteer != volunteer]
        self.outsiders = [*others, Outsider(volunteer, state)][-MOST_OUTSIDERS:]
        return []

    def _let_in(self, volunteer: str) -> list[Event]:
        if len(self.member_ids) >= MOST_MEMBERS:
            raise Conflict(f"一支队伍最多 {MOST_MEMBERS} 人")
        self.outsiders = [outsider for outsider in self.outsiders if outsider.volunteer != volunteer]
        self.member_ids = [*self.member_ids, volunteer]
        return self._updated()

    def _let_go(self, volunteer: str, answered: MemberState, unless: ServiceError) -> list[Event]:
        """Who goes from the state ``answered`` is refused, or refuses; raise ``unless`` for who is not there at all."""
        self._must_be(TeamState.ACTIVE, TeamState.SUSPENDED)
        state = self.state_of(volunteer)
        if state not in (MemberState.JOINED, MemberState.INVITED, MemberState.APPLIED):
            raise unless
        if volunteer == self.leader_id:
            raise Conflict("队长要先把队伍交给别的队员，才能离队")
        self.member_ids = [id for id in self.member_ids if id != volunteer]
        self._put(volunteer, MemberState.REFUSED if state is answered else MemberState.LEFT)
        return self._updated() if state is MemberState.JOINED else []

    def _updated(self) -> list[Event]:
        return [self._tell(TeamUpdated)]

    def _tell(self, fact: type[E]) -> E:
        return fact(
            site=self.site, team_id=self.id, tier=self.tier, categories=self.categories, leader_id=self.leader_id,
            member_ids=self.member_ids, active=self.active,
        )  # fmt: skip


# -- who may ----------------------------------------------------------------------------------------------


class Part(StrEnum):
    """How somebody stands to a team."""

    LEADER = "leader"
    STAFF = "staff"
    MEMBER = "member"
    OTHER = "other"

    @property
    def rules(self) -> bool:
        return self in (Part.LEADER, Part.STAFF)


def part_in(actor: Actor, team: Team, path: Collection[str]) -> Part | None:
    """``path`` is that of the team's site. None: what is not approved is known to its leader and to staff only.

    Who leads it is no staff here, so that nobody approves what is their own.
    """
    if actor.volunteer is not None and actor.volunteer == team.leader_id:
        return Part.LEADER
    if is_staff_over(actor, path):
        return Part.STAFF
    if team.state in (TeamState.PROPOSED, TeamState.REFUSED):
        return None
    return Part.MEMBER if actor.volunteer in team.member_ids else Part.OTHER


RULING, DECIDING = (Part.LEADER, Part.STAFF), (Part.STAFF,)
ALLOWED: dict[str, Sequence[Part]] = {
    "approve": DECIDING,
    "refuse": DECIDING,
    "suspend": DECIDING,
    "resume": DECIDING,
    "dissolve": RULING,
    "invite": RULING,
    "admit": RULING,
    "remove": RULING,
    "hand_over": RULING,
    "read": tuple(Part),
}


def permit(what: str, part: Part | None) -> Part:
    """Raise ``NotFound`` to who may not know of the team, ``Forbidden`` to who may only see it."""
    if part is None:
        raise NotFound(UNKNOWN)
    if part not in ALLOWED[what]:
        raise Forbidden("您可以看到这支队伍，但不能这样操作")
    return part


def must_be_volunteer(actor: Actor) -> str:
    """The volunteer id; raise ``Forbidden``."""
    if actor.volunteer is None:
        raise Forbidden("请先登记为志愿者")
    return actor.volunteer
