"""How places and people look to who asks."""

from collections.abc import Iterable
from typing import Any

from services.contracts.actor import Actor
from services.contracts.privacy import mask, mask_name
from services.registry.domain import (
    STAFFING,
    Account,
    ServiceItem,
    Sight,
    Site,
    Team,
    Volunteer,
    VolunteerTotals,
    may_read_posts,
)


def identity_view(who: Account | Actor) -> dict[str, Any]:
    return {
        "id": who.id,
        "name": who.name,
        "roles": sorted(who.roles),
        "site": who.site,
        "volunteer": who.volunteer,
    }


def own_team_view(team: Team, volunteer_id: str | None) -> dict[str, Any]:
    role = "leader" if team.leader_id == volunteer_id else "member"
    return {"id": team.id, "name": team.name, "site": team.site, "role": role, "members": team.member_ids}


def listed_site_view(site: Site) -> dict[str, Any]:
    return {"code": site.id, "name": site.name, "tier": site.tier, "parent": site.parent}


def site_view(site: Site, teams: Iterable[Team], actor: Actor) -> dict[str, Any]:
    return {
        **listed_site_view(site),
        "path": site.path,
        "auto_offer": site.auto_offer,
        "has_post": site.has_post,
        "hours": site.hours.model_dump() if site.hours else None,
        "mode": site.mode,
        "sisters": site.sisters,
        "staffing": _staffing(site, may_read_posts(actor)),
        "teams": [_team(team) for team in teams],
    }


def _staffing(site: Site, with_persons: bool) -> dict[str, Any]:
    rule, filled = STAFFING.get(site.tier), len(site.posts)
    return {
        "posts": [{"title": p.title, **({"person": p.person} if with_persons else {})} for p in site.posts],
        "rule": {"title": rule.title, "min": rule.least, "max": rule.most} if rule else None,
        "filled": filled,
        "met": rule.met_by(filled) if rule else True,
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


def item_view(item: ServiceItem) -> dict[str, Any]:
    return {
        "id": item.id,
        "name": item.name,
        "category": item.category,
        "tier": item.tier,
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
        "id_number": mask(volunteer.id_number) if sight.reads_id_number else None,
    }
