"""Teams: proposed by volunteers, approved by staff, led by one of their members."""

from fastapi import APIRouter, Response

from gateway.routes.orders import Caller, Limit, Text
from gateway.routes.registry import Id
from gateway.routes.volunteers import Search
from services.contracts.registry import (
    AdmitMember,
    ApproveTeam,
    DissolveTeam,
    HandOverTeam,
    InviteMember,
    JoinTeam,
    LeaveTeam,
    ProposeTeam,
    RefuseTeam,
    RemoveMember,
    ResumeTeam,
    SuspendTeam,
)

router = APIRouter(prefix="/v1/teams", tags=["teams"])


@router.post("", status_code=201)
async def propose_team(call: Caller, command: ProposeTeam) -> Response:
    """The caller leads it; it is asked to serve when staff of the site have approved it."""
    return await call.create("registry.propose_team", command, "teams")


@router.get("")
async def teams(call: Caller, q: Search = None, site: Text = None, limit: Limit = 50, cursor: Text = None) -> Response:
    """`q`: name, pinyin, initials or category. `site`: there and below, by default the caller's."""
    return await call.query("registry.teams", q=q, site=site, limit=limit, cursor=cursor)


@router.get("/{team_id}")
async def team(team_id: Id, call: Caller) -> Response:
    """Members read who is in it; its leader and staff also who has applied."""
    return await call.query("registry.team", team_id=team_id)


@router.post("/{team_id}/approve")
async def approve_team(team_id: Id, command: ApproveTeam, call: Caller) -> Response:
    return await call.command("registry.approve_team", command, team_id=team_id)


@router.post("/{team_id}/refuse")
async def refuse_team(team_id: Id, call: Caller, command: RefuseTeam) -> Response:
    return await call.command("registry.refuse_team", command, team_id=team_id)


@router.post("/{team_id}/suspend")
async def suspend_team(team_id: Id, call: Caller, command: SuspendTeam) -> Response:
    """Asked to nothing for a while; orders that it has and has not completed go back to their sites."""
    return await call.command("registry.suspend_team", command, team_id=team_id)


@router.post("/{team_id}/resume")
async def resume_team(team_id: Id, call: Caller, command: ResumeTeam) -> Response:
    return await call.command("registry.resume_team", command, team_id=team_id)


@router.post("/{team_id}/dissolve")
async def dissolve_team(team_id: Id, call: Caller, command: DissolveTeam) -> Response:
    """For good; orders that it has and has not completed go back to their sites."""
    return await call.command("registry.dissolve_team", command, team_id=team_id)


@router.post("/{team_id}/join")
async def join_team(team_id: Id, command: JoinTeam, call: Caller) -> Response:
    """Who was invited is in; others have applied."""
    return await call.command("registry.join_team", command, team_id=team_id)


@router.post("/{team_id}/leave")
async def leave_team(team_id: Id, command: LeaveTeam, call: Caller) -> Response:
    """Also declines an invitation and takes an application back."""
    return await call.command("registry.leave_team", command, team_id=team_id)


@router.post("/{team_id}/invite")
async def invite_member(team_id: Id, call: Caller, command: InviteMember) -> Response:
    return await call.command("registry.invite_member", command, team_id=team_id)


@router.post("/{team_id}/admit")
async def admit_member(team_id: Id, call: Caller, command: AdmitMember) -> Response:
    """Who has applied."""
    return await call.command("registry.admit_member", command, team_id=team_id)


@router.post("/{team_id}/remove")
async def remove_member(team_id: Id, call: Caller, command: RemoveMember) -> Response:
    """A member, an invitation or an application."""
    return await call.command("registry.remove_member", command, team_id=team_id)


@router.post("/{team_id}/hand-over")
async def hand_over_team(team_id: Id, call: Caller, command: HandOverTeam) -> Response:
    """To another member, who leads it from now on."""
    return await call.command("registry.hand_over_team", command, team_id=team_id)
