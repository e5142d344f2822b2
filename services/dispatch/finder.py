"""Finds whom an order could be offered to: loads for ``matching.py`` what it judges by, no more than it needs."""

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from services.contracts.dispatch import PublishRules
from services.contracts.registry import OfferMode
from services.dispatch.deadlines import is_working_day
from services.dispatch.domain import Seat
from services.dispatch.known import Team, Volunteer
from services.dispatch.matching import (
    History,
    Match,
    Need,
    Persons,
    RuleBook,
    RuleSet,
    against_members,
    distance,
    match,
    stays_away,
)

DEFAULT = Path(__file__).parent / "matching.json"
EXPERIENCE = timedelta(days=365)
WORKING_WEEK = 5  # days


Known = dict[str, Volunteer | None]


class Finder:
    """A ``Matcher`` over the repositories of a unit of work."""

    def __init__(self, uow: Any, now: datetime) -> None:
        self._uow, self._now = uow, now
        self._teams: dict[str, list[Team]] = {}
        self._volunteers: Known = {}
        self._hindered: Known = {}
        self._rules: dict[str, RuleSet] = {}

    def only(self, team: Team) -> "Finder":
        """What is asked concerns this team alone, which may be so new that no query finds it."""
        self._teams[team.site] = [team]
        return self

    def prepare(self, seats: Iterable[Seat]) -> "Finder":
        """Load for many orders at once, instead of for each: teams and their members."""
        self._members(self._load(site for seat in seats for site in seat.sites))
        return self

    def match(self, need: Need) -> Match:
        teams = self._load(need.sites)
        rules = self._rules_of(need.county)
        history = self._history(need, teams, rules)
        known = self._restricted(teams) if need.suits_anybody else self._members(teams)
        return match(need, teams, known, history, self._distances(need), rules, is_holiday(need))

    def persons(self, need: Need, team: Team) -> Persons:
        return against_members(need, team, self._members([team]))

    def stays_away(self, need: Need, team: Team) -> bool:
        return stays_away(need, team, self._rules_of(need.county).no_shows)

    def _load(self, sites: Iterable[str]) -> list[Team]:
        wanted = set(sites)
        if missing := wanted - self._teams.keys():
            self._teams |= {site: [] for site in missing}
            for team in self._uow.teams.at(missing):
                self._teams[team.site].append(team)
        return [team for site in wanted for team in self._teams[site]]

    def _members(self, teams: Iterable[Team]) -> dict[str, Volunteer]:
        """Those that are known; who is not is asked for once."""
        return _read(_people(teams), self._volunteers, self._uow.volunteers.read_many)

    def _restricted(self, teams: Iterable[Team]) -> dict[str, Volunteer]:
        """No more of the members than an order depends on that suits anybody: most of them are nothing to it."""
        wanted = _people(teams)
        if wanted <= self._volunteers.keys():
            return self._members(teams)
        return _read(wanted, self._hindered, self._uow.volunteers.restricted)

    def _rules_of(self, county: str) -> RuleSet:
        if county not in self._rules:
            self._rules[county] = rules_in_force(self._uow.rules.find(county), self._now)
        return self._rules[county]

    def _history(self, need: Need, teams: Iterable[Team], rules: RuleSet) -> History:
        """Only where ranking or a rule depends on it, or somebody could have something else at that time."""
        ids = [team.id for team in teams]
        ranks = need.mode is OfferMode.WAVES
        if not ids or not (ranks or rules.asks_for_history or need.start):
            return History()
        served: Mapping[str, int] | None = None
        if ranks or rules.asks_for_history:
            served = self._uow.orders.served(ids, need.target_group, self._now - EXPERIENCE)
        return History(self._uow.orders.tasks(ids), served)

    def _distances(self, need: Need) -> dict[str, int]:
        """Only of borrowed teams' sites: a site's own are near."""
        others = need.sites - {need.site}
        if not others:
            return {}
        places = self._uow.places.find_many({need.site, *others})
        here = places[need.site].path if need.site in places else []
        return {site: distance(here, places[site].path if site in places else []) for site in others}


def _people(teams: Iterable[Team]) -> set[str]:
    return {member for team in teams for member in team.member_ids}


def _read(
    ids: set[str], known: Known, read: Callable[[Iterable[str]], Mapping[str, Volunteer]]
) -> dict[str, Volunteer]:
    """Those that are there; of which nothing was known yet are read at once."""
    if missing := ids - known.keys():
        known |= dict.fromkeys(missing) | dict(read(missing))
    return {id: found for id in ids if (found := known[id]) is not None}


def is_holiday(need: Need) -> bool:
    """A day off in the week: the availability of volunteers has its own slots for it."""
    return need.day.weekday() < WORKING_WEEK and not is_working_day(need.day)


def rules_in_force(book: RuleBook | None, now: datetime) -> RuleSet:
    return (book and book.in_force(now)) or default_rules()


@cache
def default_rules() -> RuleSet:
    """Of a county that has published none. Raise ``ValueError`` when the file is not right."""
    told = json.loads(DEFAULT.read_text())
    given = PublishRules(**{part: told[part] for part in ("block", "approve", "weights", "wave")})
    return RuleSet.of(given, told["version"], datetime.fromisoformat(told["from"]), by="")
