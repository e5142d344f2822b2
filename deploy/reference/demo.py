"""Service items, and the people of the demo, as commands to the registry."""

import tomllib
from functools import cache
from typing import Any

from deploy.reference.divisions import HERE
from services.contracts.registry import AddAccount, AddVolunteer, FormTeam, PublishItem, TargetGroup, Tier

CITY = "1308"
PASSWORD = "demo"


def items() -> list[PublishItem]:
    return [
        PublishItem(
            id=item["id"],
            name=item["name"],
            category=item["category"],
            tier=Tier.STATION,
            target_groups=item.get("groups", list(TargetGroup)),
            site=CITY,
            needs_address=item.get("needs_address", False),
        )
        for item in _read("items.toml")["items"]
    ]


def volunteers() -> list[AddVolunteer]:
    """The members of all teams; nobody is in two."""
    return [
        AddVolunteer(**member, site=team["site"], categories=team["categories"])
        for team in _read("demo.toml")["teams"]
        for member in team["members"]
    ]


def teams() -> list[FormTeam]:
    return [_team(team, [member["id"] for member in team["members"]]) for team in _read("demo.toml")["teams"]]


def _team(team: dict[str, Any], member_ids: list[str]) -> FormTeam:
    own = {name: value for name, value in team.items() if name != "members"}
    return FormTeam(**own, leader_id=member_ids[0], member_ids=member_ids)


def accounts() -> list[AddAccount]:
    return [AddAccount(id=a["username"], password=PASSWORD, **a) for a in _read("demo.toml")["accounts"]]


@cache
def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((HERE / name).read_text(encoding="utf-8"))
