"""Rules of teams: how they come to be, who is in them, who rules them and how they end."""

from typing import Any

import pytest

from services.contracts.actor import Actor, Role
from services.contracts.errors import Conflict, Forbidden, IllegalTransition, Invalid, NotFound
from services.contracts.registry import Category, FormTeam, OpenSite, ProposeTeam, TeamFormed, TeamUpdated, Tier
from services.registry import teams
from services.registry.domain import Site, bring_to
from services.registry.teams import (
    ALLOWED,
    DECISIONS,
    MOST_MEMBERS,
    MOST_OUTSIDERS,
    MemberState,
    Part,
    Team,
    TeamState,
    part_in,
    permit,
)

CITY = Site.open(OpenSite(code="1308", name="承德市", tier=Tier.CITY, parent=None), None)[0]
CENTER = Site.open(OpenSite(code="130802", name="双桥区", tier=Tier.CENTER, parent="1308"), CITY)[0]
STAFF = Actor(id="staff", roles=frozenset({Role.STAFF}), site=CENTER.id)


def proposed(**changed: Any) -> tuple[Team, TeamFormed]:
    wish = {"name": "护河队", "categories": ["环境保护", "环境保护"], **changed}
    return Team.propose("t", ProposeTeam.model_validate(wish), CENTER, CENTER, "leader")


@pytest.fixture
def team() -> Team:
    team, _ = proposed()
    team.decide("approve", STAFF)
    return team


def updated(*members: str, leader: str = "leader", active: bool = True) -> list[TeamUpdated]:
    about: dict[str, Any] = {"site": CENTER.id, "team_id": "t", "tier": Tier.CENTER}
    found = {"categories": [Category.ENVIRONMENT], "leader_id": leader, "member_ids": list(members), "active": active}
    return [TeamUpdated(**about, **found)]


def test_whoever_proposes_a_team_leads_it_and_it_serves_when_it_is_approved() -> None:
    team, formed = proposed()
    assert (formed.active, formed.leader_id, formed.member_ids) == (False, "leader", ["leader"])
    assert formed.categories == [Category.ENVIRONMENT]
    assert team.decide("approve", STAFF) == updated("leader")
    assert (team.state, team.decided_by) == (TeamState.ACTIVE, "staff")


def test_a_team_is_proposed_at_home_or_above() -> None:
    wish = ProposeTeam(name="x", categories=[Category.CULTURE])
    assert Team.propose("t", wish, CITY, CENTER, "v")[0].tier is Tier.CITY
    with pytest.raises(Invalid) as refused:
        Team.propose("t", wish, CENTER, CITY, "v")
    assert refused.value.extra["fields"][0]["path"] == "site"


@pytest.mark.parametrize("state", TeamState)
@pytest.mark.parametrize("what", DECISIONS)
def test_each_decision_has_its_states(team: Team, what: str, state: TeamState) -> None:
    team.state = state
    possible, after = DECISIONS[what]
    if state in possible:
        assert team.decide(what, STAFF, "理由") == updated("leader", active=after is TeamState.ACTIVE)
        assert (team.state, team.reason) == (after, "理由")
    else:
        with pytest.raises(IllegalTransition):
            team.decide(what, STAFF, "理由")
        assert (team.state, team.reason) == (state, None)


# -- who is in it ---------------------------------------------------------------------------------------


def test_who_applies_is_in_when_admitted_and_who_is_invited_when_they_join(team: Team) -> None:
    assert team.join("a") == team.invite("b") == [], "told to nobody yet"
    assert (team.state_of("a"), team.state_of("b")) == (MemberState.APPLIED, MemberState.INVITED)
    assert team.admit("a") == updated("leader", "a")
    assert team.join("b") == updated("leader", "a", "b")
    assert team.outsiders == []


def test_an_invitation_meets_an_application(team: Team) -> None:
    team.join("a")
    assert team.invite("a") == updated("leader", "a")


@pytest.mark.parametrize("state", [None, MemberState.INVITED, MemberState.LEFT, MemberState.REFUSED])
def test_only_who_has_applied_is_admitted(team: Team, state: MemberState | None) -> None:
    if state:
        team._put("a", state)
    with pytest.raises(Invalid):
        team.admit("a")


def test_who_is_in_does_not_come_in_again(team: Team) -> None:
    for come in (team.invite, team.join, team.admit):
        with pytest.raises(Conflict):
            come("leader")


@pytest.mark.parametrize(
    ("before", "leaves", "removed"),
    [
        (MemberState.INVITED, MemberState.REFUSED, MemberState.LEFT),
        (MemberState.APPLIED, MemberState.LEFT, MemberState.REFUSED),
        (MemberState.JOINED, MemberState.LEFT, MemberState.LEFT),
    ],
)
def test_who_goes_or_is_sent_away_may_come_again(
    team: Team, before: MemberState, leaves: MemberState, removed: MemberState
) -> None:
    for go, after in ((team.leave, leaves), (team.remove, removed)):
        team.join("a") if before is MemberState.APPLIED else team.invite("a")
        if before is MemberState.JOINED:
            team.join("a")
        assert team.state_of("a") is before
        assert go("a") == (updated("leader") if before is MemberState.JOINED else [])
        assert team.state_of("a") is after


def test_who_is_not_there_cannot_go(team: Team) -> None:
    with pytest.raises(Conflict):
        team.leave("a")
    with pytest.raises(Invalid):
        team.remove("a")


def test_a_leader_hands_over_before_leaving(team: Team) -> None:
    for go in (team.leave, team.remove):
        with pytest.raises(Conflict, match="队长"):
            go("leader")
    for to in ("stranger", "leader"):
        with pytest.raises(Invalid):
            team.hand_over(to)
    team.join("a")
    team.admit("a")
    assert team.hand_over("a") == updated("leader", "a", leader="a")
    assert team.leave("leader") == updated("a", leader="a")


@pytest.mark.parametrize("state", [TeamState.PROPOSED, TeamState.SUSPENDED, TeamState.REFUSED, TeamState.DISSOLVED])
def test_only_an_active_team_takes_people_in(team: Team, state: TeamState) -> None:
    team._put("a", MemberState.APPLIED)
    team.state = state
    for come in (team.invite, team.join, team.admit):
        with pytest.raises(IllegalTransition):
            come("a")


def test_a_team_has_its_limits(team: Team) -> None:
    team.member_ids = [f"v{n}" for n in range(MOST_MEMBERS)]
    team.join("a")
    with pytest.raises(Conflict, match="200"):
        team.admit("a")
    for number in range(MOST_OUTSIDERS + 1):
        team.join(f"o{number}")
    assert len(team.outsiders) == MOST_OUTSIDERS and team.state_of("a") is None


# -- reference data -------------------------------------------------------------------------------------


def test_reference_data_bring_members_in_and_take_nothing_back() -> None:
    wish = FormTeam(
        id="t", name="队", site=CENTER.id, categories=["文化艺术"], leader_id="a", member_ids=["a", "b", "c"]
    )
    known, _ = Team.form(wish, CENTER, "abcd")
    known.remove("c")
    known.hand_over("b")
    known.decide("suspend", STAFF, "x")
    assert not bring_to(known, Team.form(wish, CENTER, "abcd", known)[0])
    more = wish.model_copy(update={"member_ids": ["a", "d", "c"], "name": "新名"})
    team, formed = Team.form(more, CENTER, "abcd", known)
    assert bring_to(known, team)
    assert (known.name, known.member_ids, known.leader_id, known.active) == ("新名", ["a", "b", "d"], "b", False)
    assert (formed.member_ids, formed.leader_id, formed.active) == (["a", "b", "d"], "b", False)


# -- who may ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actor", "part", "before"),
    [
        (Actor(id="x", volunteer="leader"), Part.LEADER, Part.LEADER),
        (Actor(id="x", volunteer="leader", roles=frozenset({Role.STAFF}), site="1308"), Part.LEADER, Part.LEADER),
        (STAFF, Part.STAFF, Part.STAFF),
        (Actor(id="x", roles=frozenset({Role.STAFF}), site="1308"), Part.STAFF, Part.STAFF),
        (Actor(id="x", roles=frozenset({Role.ADMIN})), Part.STAFF, Part.STAFF),
        (Actor(id="x", roles=frozenset({Role.STAFF}), site="130824"), Part.OTHER, None),
        (Actor(id="x", volunteer="a"), Part.MEMBER, None),
        (Actor(id="x", volunteer="b"), Part.OTHER, None),
        (Actor(id="x"), Part.OTHER, None),
    ],
)
def test_how_somebody_stands_to_a_team(team: Team, actor: Actor, part: Part, before: Part | None) -> None:
    team.invite("a")
    team.join("a")
    assert part_in(actor, team, CENTER.path) is part
    for state in (TeamState.PROPOSED, TeamState.REFUSED):
        team.state = state
        found = part_in(actor, team, CENTER.path)
        assert found is (None if part is Part.MEMBER else before)


def test_nobody_approves_what_is_their_own() -> None:
    for what in ("approve", "refuse", "suspend", "resume"):
        assert ALLOWED[what] == (Part.STAFF,)
        with pytest.raises(Forbidden):
            permit(what, Part.LEADER)
    for what in ALLOWED:
        assert permit(what, Part.STAFF) is Part.STAFF
        with pytest.raises(NotFound):
            permit(what, None)
    assert [what for what, parts in ALLOWED.items() if Part.MEMBER in parts] == ["read"]


def test_only_a_volunteer_acts_as_one() -> None:
    assert teams.must_be_volunteer(Actor(id="x", volunteer="v")) == "v"
    with pytest.raises(Forbidden):
        teams.must_be_volunteer(STAFF)
