"""Volunteers: registration, what decides whom to send, hours."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from gateway.routes.orders import Caller, Limit, Text
from gateway.routes.registry import Id
from services.contracts.registry import (
    CheckRealName,
    EraseVolunteer,
    GiveConsent,
    GrantQualification,
    InsureVolunteer,
    LookUpVolunteers,
    RegisterVolunteer,
    ReportAbsence,
    ResumeVolunteer,
    SuspendVolunteer,
    UpdateProfile,
    WithdrawAbsence,
    WithdrawConsent,
)

router = APIRouter(prefix="/v1/volunteers", tags=["volunteers"])
SOMEBODY = "01K0S4XG7R8Q2M5T9V3W6Y1Z24"
Search = Annotated[str | None, Query(max_length=50)]


@router.post("", status_code=201)
async def register_volunteer(command: RegisterVolunteer, call: Caller) -> Response:
    """The caller becomes a volunteer; sign in again afterwards to act as one."""
    return await call.create("registry.register_volunteer", command, "volunteers")


@router.get("")
async def volunteers(
    call: Caller, q: Search = None, skill: Search = None, site: Text = None, limit: Limit = 50, cursor: Text = None
) -> Response:
    """For staff. `q`: name, pinyin (`zhang`, `zhangsan`), initials (`zs`) or part of a skill; several words must all
    be there. `site`: there and below, by default the caller's."""
    return await call.query("registry.volunteers", q=q, skill=skill, site=site, limit=limit, cursor=cursor)


@router.post("/lookup")
async def look_up_volunteers(call: Caller, command: LookUpVolunteers) -> Response:
    """For staff, at its place and below. Either `id_number` or `phone`, whole; a list as that of the search."""
    return await call.command("registry.look_up_volunteers", command)


@router.get("/{volunteer_id}")
async def volunteer(volunteer_id: Id, call: Caller) -> Response:
    return await call.query("registry.volunteer", volunteer_id=volunteer_id)


@router.get("/{volunteer_id}/hours")
async def hours(volunteer_id: Id, call: Caller, limit: Limit = 50, cursor: Text = None) -> Response:
    """Newest first."""
    return await call.query("activities.hours", volunteer_id=volunteer_id, limit=limit, cursor=cursor)


@router.get("/{volunteer_id}/log")
async def log(volunteer_id: Id, call: Caller, limit: Limit = 50, cursor: Text = None) -> Response:
    """Who has changed what, when and why, newest first."""
    return await call.query("registry.volunteer_log", volunteer_id=volunteer_id, limit=limit, cursor=cursor)


@router.get("/{volunteer_id}/views")
async def views(volunteer_id: Id, call: Caller, limit: Limit = 50, cursor: Text = None) -> Response:
    """Who else has read of the volunteer in clear, when, by which request and what; newest first, of three years."""
    return await call.query("registry.volunteer_views", volunteer_id=volunteer_id, limit=limit, cursor=cursor)


@router.post("/{volunteer_id}/profile")
async def update_profile(
    volunteer_id: Id, call: Caller,
    command: UpdateProfile,
) -> Response:  # fmt: skip
    """What is given replaces what was there. Without any time in `availability` any time is right."""
    return await call.command("registry.update_profile", command, volunteer_id=volunteer_id)


@router.post("/{volunteer_id}/qualifications")
async def grant_qualification(volunteer_id: Id, call: Caller, command: GrantQualification) -> Response:
    """Staff has seen the certificate; again with another day it is renewed or ended."""
    return await call.command("registry.grant_qualification", command, volunteer_id=volunteer_id)


@router.post("/{volunteer_id}/insurance")
async def insure_volunteer(volunteer_id: Id, call: Caller, command: InsureVolunteer) -> Response:
    """Staff has seen the policy."""
    return await call.command("registry.insure_volunteer", command, volunteer_id=volunteer_id)


@router.post("/{volunteer_id}/absences")
async def report_absence(
    volunteer_id: Id, call: Caller,
    command: ReportAbsence,
) -> Response:  # fmt: skip
    """By the volunteer, the leader of the team or staff. Who is away is not sent."""
    return await call.command("registry.report_absence", command, volunteer_id=volunteer_id)


@router.post("/{volunteer_id}/absences/{absence_id}/withdraw")
async def withdraw_absence(volunteer_id: Id, absence_id: Id, command: WithdrawAbsence, call: Caller) -> Response:
    return await call.command("registry.withdraw_absence", command, volunteer_id=volunteer_id, absence_id=absence_id)


@router.post("/{volunteer_id}/suspend")
async def suspend_volunteer(volunteer_id: Id, call: Caller, command: SuspendVolunteer) -> Response:
    """From now on sent to nothing, until it is lifted."""
    return await call.command("registry.suspend_volunteer", command, volunteer_id=volunteer_id)


@router.post("/{volunteer_id}/resume")
async def resume_volunteer(volunteer_id: Id, call: Caller, command: ResumeVolunteer) -> Response:
    return await call.command("registry.resume_volunteer", command, volunteer_id=volunteer_id)


@router.post("/{volunteer_id}/real-name")
async def check_real_name(
    volunteer_id: Id, call: Caller,
    command: CheckRealName,
) -> Response:  # fmt: skip
    """Whether name and id number belong together; a failure needs a reason."""
    return await call.command("registry.check_real_name", command, volunteer_id=volunteer_id)


@router.post("/{volunteer_id}/consents")
async def give_consent(volunteer_id: Id, call: Caller, command: GiveConsent) -> Response:
    """To the text of a purpose in a version; nobody agrees for another."""
    return await call.command("registry.give_consent", command, volunteer_id=volunteer_id)


@router.post("/{volunteer_id}/consents/withdraw")
async def withdraw_consent(volunteer_id: Id, call: Caller, command: WithdrawConsent) -> Response:
    """It ends as soon as those who rely on it are told."""
    return await call.command("registry.withdraw_consent", command, volunteer_id=volunteer_id)


@router.post("/{volunteer_id}/erase")
async def erase_volunteer(volunteer_id: Id, command: EraseVolunteer, call: Caller) -> Response:
    """Forgets the person, for good. Hours and points stay under an id that leads to nobody."""
    return await call.command("registry.erase_volunteer", command, volunteer_id=volunteer_id)
