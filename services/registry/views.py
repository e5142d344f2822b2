"""How places and people look to who asks."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

from services.chassis.repository import PAGE_LIMIT, decode_position, encode_cursor
from services.contracts.actor import Actor
from services.contracts.notifications import Topic
from services.contracts.privacy import mask, mask_name
from services.registry.domain import (
    STAFFING,
    Account,
    ServiceItem,
    Site,
    VolunteerTotals,
    may_read_posts,
)
from services.registry.imports import Batch, Form, Import
from services.registry.notifications import Notification, Preferences
from services.registry.standing import Rule, standing_of
from services.registry.teams import Part, Team
from services.registry.volunteers import Consent, Entry, Leave, Sight, Viewing, Volunteer

WAITING = {
    "approve": "新队伍，待审批", "check": "新志愿者，待实名核验", "admit": "有人申请入队，待答复",
    "join": "有队伍邀请您，待答复",
}  # fmt: skip
ROWS = 10_000_000
"""More than a file can have."""


def identity_view(who: Account | Actor) -> dict[str, Any]:
    return {
        "id": who.id,
        "name": who.name,
        "roles": sorted(who.roles),
        "site": who.site,
        "volunteer": who.volunteer,
    }


def notification_view(notification: Notification) -> dict[str, Any]:
    return {
        "id": notification.id,
        "time": notification.at,
        "kind": notification.kind,
        "text": notification.text,
        "subject": {"type": notification.subject_type, "id": notification.subject_id},
        "read_at": notification.read_at,
        "sms": notification.sms.state if notification.sms else None,
    }


def preferences_view(preferences: Preferences, phone: str) -> dict[str, Any]:
    """The phone is the caller's own, masked all the same."""
    return {
        "sms": {topic.value: preferences.wants_sms(topic) for topic in Topic},
        "quiet": {"from": preferences.quiet_from, "to": preferences.quiet_to},
        "phone": mask(phone) or None,
    }


def own_team_view(team: Team, volunteer_id: str | None) -> dict[str, Any]:
    role = "leader" if team.leader_id == volunteer_id else "member"
    about = {"id": team.id, "name": team.name, "site": team.site, "state": team.state}
    return {**about, "role": role, "members": team.member_ids}


def listed_site_view(site: Site) -> dict[str, Any]:
    return {
        "code": site.id,
        "name": site.name,
        "tier": site.tier,
        "parent": site.parent,
        "hours": site.hours.model_dump() if site.hours else None,
        "auto_offer": site.auto_offer,
        "mode": site.mode,
        "sisters": site.sisters,
    }


def site_view(site: Site, teams: Sequence[Team], rule: Rule | None, actor: Actor) -> dict[str, Any]:
    """``rule``: which teams it must have."""
    return {
        **listed_site_view(site),
        "path": site.path,
        "has_post": site.has_post,
        "staffing": _staffing(site, may_read_posts(actor)),
        "teams": [_team(team) for team in teams],
        "teams_wanted": _teams_wanted(rule, teams) if rule else None,
    }


def _staffing(site: Site, with_persons: bool) -> dict[str, Any]:
    rule, filled = STAFFING.get(site.tier), len(site.posts)
    return {
        "posts": [{"title": p.title, **({"person": p.person} if with_persons else {})} for p in site.posts],
        "rule": {"title": rule.title, "min": rule.least, "max": rule.most} if rule else None,
        "filled": filled,
        "met": rule.met_by(filled) if rule else True,
    }


def _teams_wanted(rule: Rule, teams: Sequence[Team]) -> dict[str, Any]:
    standing = standing_of(rule, teams)
    return {
        "rule": {"title": rule.title, "version": rule.version, "count": rule.count, "named": rule.named},
        "there": [{"kind": kind, "teams": ids} for kind, ids in standing.there.items()],
        "missing": standing.missing,
        "to_choose": standing.to_choose,
        "suggested": standing.suggested,
        "met": standing.met,
    }


def _team(team: Team) -> dict[str, Any]:
    return {
        "id": team.id,
        "name": team.name,
        "kind": team.kind,
        "categories": team.categories,
        "active": team.active,
        "members": len(team.member_ids),
    }


def listed_team_view(team: Team) -> dict[str, Any]:
    return {**_team(team), "site": team.site, "tier": team.tier}


def team_view(team: Team, part: Part, volunteer_id: str | None) -> dict[str, Any]:
    """``membership`` is the caller's own; who has applied is for those who decide about it."""
    waiting = [{"volunteer": outsider.volunteer, "state": outsider.state} for outsider in team.outsiders]
    within = {"leader": team.leader_id, "member_ids": team.member_ids}
    file = {"outsiders": waiting, "reason": team.reason, "decided_by": team.decided_by}
    return {
        **listed_team_view(team),
        "state": team.state,
        "membership": team.state_of(volunteer_id) if volunteer_id else None,
        **_seen(within, part is not Part.OTHER),
        **_seen(file, part.rules),
    }


def waiting_teams_view(what: str, teams: Sequence[Team]) -> dict[str, Any]:
    named = [{"id": team.id, "name": team.name} for team in teams]
    return {"what": what, "title": WAITING[what], "count": len(teams), "teams": named}


def waiting_checks_view(count: int, first: Sequence[str]) -> dict[str, Any]:
    return {"what": "check", "title": WAITING["check"], "count": count, "volunteers": first}


def item_view(item: ServiceItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "name": item.name,
        "category": item.category,
        "tier": item.tier,
        "site": item.site,
        "target_groups": item.target_groups,
        "needs_address": item.needs_address,
        "skills": item.skills,
        "qualifications": item.qualifications,
        "risk": item.risk,
    }


def volunteer_view(volunteer: Volunteer, totals: VolunteerTotals, sight: Sight) -> dict[str, Any]:
    return {
        "id": volunteer.id,
        "name": volunteer.name if sight.reads_name else mask_name(volunteer.name),
        "site": volunteer.site,
        "state": volunteer.real_name,
        "star": totals.star,
        "hours": totals.hours,
        "points": totals.points,
        "categories": volunteer.categories,
        "suspended": volunteer.suspended,
        "erased": volunteer.erased,
        **_seen(_abilities(volunteer), sight.reads_abilities),
        **_seen(_file(volunteer), sight.reads_file),
        "id_number": mask(volunteer.id_number) if sight.reads_id_number else None,
    }


def _seen(part: dict[str, Any], is_seen: bool) -> dict[str, Any]:
    return part if is_seen else dict.fromkeys(part)


def _abilities(volunteer: Volunteer) -> dict[str, Any]:
    return {
        "age_band": volunteer.age_band,
        "skills": volunteer.skills,
        "qualifications": [held.model_dump(mode="json") for held in volunteer.qualifications],
        "insured_until": _day(volunteer.insured_until),
        "availability": volunteer.availability,
        "absences": [_absence(leave) for leave in volunteer.absences],
    }


def _absence(leave: Leave) -> dict[str, Any]:
    return {"id": leave.id, "from": _day(leave.start), "to": _day(leave.end), "stand_in": leave.stand_in}


def _day(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _file(volunteer: Volunteer) -> dict[str, Any]:
    return {
        "suspension_reason": volunteer.suspension_reason,
        "real_name_reason": volunteer.real_name_reason,
        "consents": [_consent(consent) for consent in volunteer.consents],
    }


def _consent(given: Consent) -> dict[str, Any]:
    since = _day(given.since)
    return {"purpose": given.purpose, "version": given.text, "since": since, "guardian_consent": given.guardian}


def entry_view(entry: Entry) -> dict[str, Any]:
    return {"id": entry.id, "at": entry.at.isoformat(), "by": entry.by, "what": entry.what, "note": entry.note}


def viewing_view(viewing: Viewing) -> dict[str, Any]:
    """For one of those who were seen; who the others were is not their business."""
    about = {"id": viewing.id, "at": viewing.at.isoformat(), "by": viewing.by}
    return {**about, "request": viewing.request, "fields": viewing.fields}


def form_view(form: Form) -> dict[str, Any]:
    columns = [{"heading": c.heading, "required": c.must, "example": c.example} for c in form.columns]
    return {"title": form.title, "columns": columns}


def import_view(of: Import) -> dict[str, Any]:
    """``progress`` is that of the present stage."""
    counts = {"errors": of.wrong, "created": of.made, "failed": of.failed, "undone": of.taken_back, "kept": of.kept}
    return {
        "id": of.id, "kind": of.kind, "site": of.site, "file": of.file, "by": of.by, "state": of.state,
        "begun_at": of.begun_at.isoformat(), "rows": of.rows, **counts, "progress": round(of.handled / of.rows, 3),
    }  # fmt: skip


def place_in_rows(cursor: str | None) -> tuple[int, int]:
    """The first row of the batch that a page begins in, and the last row of the page before."""
    return divmod(decode_position(cursor), ROWS) if cursor else (1, 0)


def rows_page(of: Import, batches: Iterable[Batch], after: int, only_wrong: bool, limit: int) -> dict[str, Any]:
    """From the row after one."""
    limit, items, following = max(1, min(limit, PAGE_LIMIT)), list[dict[str, Any]](), None
    for batch in batches:
        for row in _rows(of, batch):
            if row["row"] <= after or (only_wrong and not row["errors"]):
                continue
            if len(items) == limit:
                return {"items": items, "next": following}
            items.append(row)
            following = encode_cursor(str(batch.numbers[0] * ROWS + row["row"]))
    return {"items": items, "next": None}


def _rows(of: Import, batch: Batch) -> list[dict[str, Any]]:
    """What stood in rows that were carried out is there no more."""
    cells, made = dict(batch.rows()), {made.row: made.id for made in batch.made}
    wrong = defaultdict[int, list[dict[str, str]]](list)
    for one in batch.wrong:
        wrong[one.row].append({"column": one.column, "message": one.message})
    return [
        {
            "row": number,
            "cells": dict(zip(of.headings, map(mask, cells[number]), strict=False)) if number in cells else None,
            "errors": wrong[number],
            "created": made.get(number),
        }
        for number in batch.numbers
    ]
