"""The people of the lives: villages of the real city with a resident, a staff member and two teams each.

Many, so that a volunteer's day stays a volunteer's day and no document is hotter than in a real city.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from typing import Any

from deploy.reference import divisions
from services.contracts.actor import Role
from services.contracts.registry import AddAccount, AddVolunteer, Category, FormTeam, Tier
from services.registry.identity import check_character

VILLAGES = 20
TEAMS = 2
MEMBERS = 20
COUNTY = "130802"
PASSWORD = "demo"
FIRST_BIRTHDAY = date(1960, 1, 1)


@dataclass(frozen=True)
class People:
    id: str
    leader: str
    members: list[str]


@dataclass(frozen=True)
class Village:
    site: str
    resident: str
    staff: str
    teams: list[People] = field(default_factory=list)


@cache
def villages() -> list[Village]:
    stations = [
        s.code for s in divisions.sites() if s.tier is Tier.STATION and s.code.startswith(COUNTY) and s.has_post
    ]
    return [village(site) for site in sorted(stations)[-VILLAGES:]]


def village(site: str, count: int = TEAMS, size: int = MEMBERS) -> Village:
    """With so many teams of that size."""
    teams = []
    for number in range(count):
        id = f"bench-{site}-{number}"
        members = [f"{id}-{member}" for member in range(size)]
        teams.append(People(id, f"{id}-leader", members))
    return Village(site, f"bench-{site}-resident", f"bench-{site}-staff", teams)


def volunteers(of: Sequence[Village]) -> list[AddVolunteer]:
    every = [(v.site, id) for v in of for team in v.teams for id in team.members]
    return [
        AddVolunteer(
            id=id,
            name="测试员",
            site=site,
            id_number=number,
            phone=f"199{position:08d}",
            categories=[Category.COMMUNITY],
        )
        for position, ((site, id), number) in enumerate(zip(every, id_numbers(), strict=False))
    ]


def id_numbers() -> Iterator[str]:
    """Valid ones of adults, each once."""
    for day in range(10_000):
        known = f"{COUNTY}{FIRST_BIRTHDAY + timedelta(day):%Y%m%d}997"
        yield known + check_character(known)


def teams(of: Sequence[Village]) -> list[FormTeam]:
    return [
        FormTeam(
            id=team.id, name=team.id, site=v.site, categories=[Category.COMMUNITY], leader_id=team.members[0],
            member_ids=team.members,
        )
        for v in of
        for team in v.teams
    ]  # fmt: skip


def accounts(of: Sequence[Village]) -> list[AddAccount]:
    found = []
    for v in of:
        found += [account(v.resident, Role.RESIDENT, v.site), account(v.staff, Role.STAFF, v.site)]
        found += [account(team.leader, Role.VOLUNTEER, v.site, team.members[0]) for team in v.teams]
    return found


def account(id: str, role: Role, site: str, volunteer: str | None = None) -> AddAccount:
    return AddAccount(
        id=id, username=id, password=PASSWORD, name="测试员", roles=[role], site=site, volunteer=volunteer
    )


def plan(tokens: dict[str, str]) -> list[dict[str, Any]]:
    """What the load generator must know of each village."""
    return [
        {
            "resident": tokens[v.resident],
            "staff": tokens[v.staff],
            "teams": [{"id": t.id, "leader": tokens[t.leader], "members": t.members} for t in v.teams],
        }
        for v in villages()
    ]
