"""Which teams a site must have: 10+N at a center, 5+N at an institute; data with a version (domain, section 5)."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from services.contracts.registry import Tier
from services.registry.teams import Team

STANDING_TEAMS = Path(__file__).with_name("standing_teams.json")


@dataclass(frozen=True)
class Rule:
    """``count`` kinds of teams must be there: those that are ``named``, and others of the site's own choice."""

    version: str
    title: str
    count: int
    named: Sequence[str]
    usual: Sequence[str]
    """What other sites choose."""


@dataclass(frozen=True)
class Standing:
    """How a site stands to the rule."""

    there: dict[str, list[str]]
    """Ids of teams by kind, more than must be too."""
    missing: list[str]
    to_choose: int
    """Kinds of its own choice that it lacks."""
    suggested: list[str]

    @property
    def met(self) -> bool:
        return not self.missing and not self.to_choose


def standing_of(rule: Rule, teams: Iterable[Team]) -> Standing:
    """``teams`` are those of the site; only those that are active count, and several of a kind as one."""
    there = defaultdict[str, list[str]](list)
    for team in teams:
        if team.active and team.kind:
            there[team.kind].append(team.id)
    chosen = len(there.keys() - set(rule.named))
    to_choose = max(0, rule.count - len(rule.named) - chosen)
    suggested = [kind for kind in rule.usual if kind not in there] if to_choose else []
    return Standing(dict(there), [kind for kind in rule.named if kind not in there], to_choose, suggested)


def rule_of(tier: Tier, today: date) -> Rule | None:
    """What holds today; None: the tier must have none."""
    table = next(table for table in _tables() if table["from"] <= today.isoformat())
    wanted = table["tiers"].get(tier)
    return Rule(version=table["version"], **wanted) if wanted else None


@cache
def _tables() -> list[dict[str, Any]]:
    """Newest first."""
    return sorted(json.loads(STANDING_TEAMS.read_text())["tables"], key=lambda table: str(table["from"]), reverse=True)
