"""10+N and 5+N: which teams a site must have, and which it lacks."""

import json
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from services.contracts.registry import Category, Tier
from services.registry import standing
from services.registry.standing import STANDING_TEAMS, Rule, rule_of, standing_of
from services.registry.teams import Team, TeamState

TODAY = date(2026, 3, 4)
RULE = Rule(version="1", title="3+N", count=3, named=["宣讲", "文艺"], usual=["科普", "法律"])


def teams(*kinds: str, state: TeamState = TeamState.ACTIVE) -> list[Team]:
    return [
        Team(f"{state}-{n}", "队", "130802", Tier.CENTER, [Category.OTHER], "v", ["v"], kind, state)
        for n, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("kinds", "missing", "to_choose", "suggested"),
    [
        ((), ["宣讲", "文艺"], 1, ["科普", "法律"]),
        (("宣讲", "科普"), ["文艺"], 0, []),
        (("宣讲", "文艺"), [], 1, ["科普", "法律"]),
        (("宣讲", "文艺", ""), [], 1, ["科普", "法律"]),
        (("宣讲", "文艺", "文艺"), [], 1, ["科普", "法律"]),
        (("宣讲", "文艺", "护河"), [], 0, []),
        (("护河", "科普", "法律", "修车"), ["宣讲", "文艺"], 0, []),
    ],
)
def test_named_kinds_must_be_there_and_as_many_of_ones_own_choice(
    kinds: tuple[str, ...], missing: list[str], to_choose: int, suggested: list[str]
) -> None:
    found = standing_of(RULE, teams(*kinds))
    assert (found.missing, found.to_choose, found.suggested) == (missing, to_choose, suggested)
    assert found.met is (not missing and not to_choose)


@pytest.mark.parametrize("state", [state for state in TeamState if state is not TeamState.ACTIVE])
def test_a_team_that_is_not_active_does_not_count(state: TeamState) -> None:
    found = standing_of(RULE, [*teams("宣讲"), *teams("宣讲", "文艺", "护河", state=state)])
    assert (found.there, found.missing, found.to_choose) == ({"宣讲": ["active-0"]}, ["文艺"], 1)


def test_the_rules_are_those_of_the_articles() -> None:
    center, institute = rule_of(Tier.CENTER, TODAY), rule_of(Tier.INSTITUTE, TODAY)
    assert center and (center.title, center.count, len(center.named), len(center.usual)) == ("10+N", 10, 3, 7)
    assert institute and (institute.title, institute.count, institute.named[1]) == ("5+N", 5, "文明乡风实践")
    assert rule_of(Tier.STATION, TODAY) is rule_of(Tier.CITY, TODAY) is None


@pytest.fixture
def later_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[None]:
    told = json.loads(STANDING_TEAMS.read_text())
    later = {**told["tables"][0], "version": "later", "from": "2030-01-01"}
    path = tmp_path / "standing_teams.json"
    path.write_text(json.dumps({"tables": [*told["tables"], later]}))
    monkeypatch.setattr(standing, "STANDING_TEAMS", path)
    standing._tables.cache_clear()
    yield
    standing._tables.cache_clear()


@pytest.mark.usefixtures("later_table")
@pytest.mark.parametrize(("day", "version"), [(date(2029, 12, 31), "2023-1"), (date(2030, 1, 1), "later")], ids=str)
def test_a_table_holds_from_its_day_on(day: date, version: str) -> None:
    rule = rule_of(Tier.CENTER, day)
    assert rule and rule.version == version
