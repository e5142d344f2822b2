"""Who can help, who should go, and why (domain, section 4: fitness and ranking).

What the law asks comes first and nobody overrides it; then what a person may override with a reason; then the
county's BLOCK rules, then its APPROVE rules. Whoever is neither blocked nor approved waits for a person's choice.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from hashlib import blake2b

from services.contracts.actor import Actor
from services.contracts.dispatch import Condition, NoShows, PublishRules, Rule, Wave, Weights
from services.contracts.errors import invalid
from services.contracts.privacy import Secret
from services.contracts.registry import AgeBand, Category, OfferMode, Risk, TargetGroup, Tier
from services.contracts.zone import CHINA
from services.dispatch.known import Team, Volunteer

DANGEROUS = frozenset({Category.RESCUE, Category.FIRE})
"""Categories that no minor is sent to, whatever the risk of the item (domain, section 4)."""
OF_AGE = frozenset({AgeBand.ADULT, AgeBand.OVER_70})
NOON, EVENING = time(12), time(18)
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MUCH_EXPERIENCE = 10
"""Orders of a target group within a year; more of them rank no higher."""
KEPT = 50
"""Candidates that a decision names, best first; the rest are counted."""


class Why(StrEnum):
    """What stands against a person or a team."""

    SUSPENDED = "suspended"
    MINOR = "minor"
    UNQUALIFIED = "unqualified"
    UNINSURED = "uninsured"
    UNKNOWN = "unknown"
    """Nothing is known of a person of whom the law asks something."""
    UNSKILLED = "unskilled"
    ABSENT = "absent"
    BUSY = "busy"
    INACTIVE = "inactive"
    DECLINED = "declined"
    ASKED = "asked"
    OTHER_CATEGORY = "other_category"
    STAYS_AWAY = "stays_away"
    NOBODY = "nobody"


FIRM = frozenset(
    {
        Why.SUSPENDED, Why.MINOR, Why.UNQUALIFIED, Why.UNINSURED, Why.UNKNOWN, Why.INACTIVE, Why.DECLINED, Why.ASKED,
    }
)  # fmt: skip
"""No person overrides these: the law's, and what protects volunteers from being asked again."""
WORDS: Mapping[str, str] = {
    Why.SUSPENDED: "暂停服务", Why.MINOR: "未成年人不参加高风险服务", Why.UNQUALIFIED: "没有有效的资质",
    Why.UNINSURED: "没有有效的保险", Why.UNKNOWN: "还没有收到队员的资料", Why.UNSKILLED: "不具备所需技能",
    Why.ABSENT: "当天请假", Why.BUSY: "这个时间已有安排",
    Why.INACTIVE: "队伍已停止活动", Why.DECLINED: "这支队伍已谢绝这一单", Why.ASKED: "这支队伍已经派过这一单",
    Why.OTHER_CATEGORY: "队伍不做这类服务", Why.STAYS_AWAY: "近期多次接单后没有到场", Why.NOBODY: "队里没有合适的队员",
}  # fmt: skip


def in_words(rule: str, words: Mapping[str, str]) -> str:
    """What people read of a hindrance, or of one of the county's rules, of which ``words`` are told."""
    return words.get(rule) or WORDS.get(rule, rule)


class Verdict(StrEnum):
    APPROVED = "approved"
    UNDECIDED = "undecided"
    """No rule approves it: a person decides."""
    BLOCKED = "blocked"


@dataclass(frozen=True)
class RuleSet:
    """A county's rules from ``valid_from`` on. ``version`` is what decisions refer to."""

    version: str
    valid_from: datetime
    by: str
    block: list[Rule]
    approve: list[Rule]
    weights: Weights
    wave: Wave
    no_shows: NoShows = field(default_factory=NoShows)

    @classmethod
    def of(cls, given: PublishRules, version: str, valid_from: datetime, by: str) -> "RuleSet":
        return cls(version, valid_from, by, given.block, given.approve, given.weights, given.wave, given.no_shows)

    @property
    def words(self) -> dict[str, str]:
        """What people read, by name of the rule."""
        return {rule.name: rule.title for rule in (*self.block, *self.approve)}

    @property
    def asks_for_history(self) -> bool:
        """Whether any rule wants to know what a team has done or does now."""
        return any(rule.when.asks_for_history for rule in (*self.block, *self.approve))


@dataclass
class RuleBook:
    """All rules that a county has published; ``id`` is the code of its center."""

    id: str
    sets: list[RuleSet] = field(default_factory=list)
    """In the order of their publication."""
    version: int = 0

    def of_version(self, version: str) -> RuleSet | None:
        return next((rules for rules in self.sets if rules.version == version), None)

    def in_force(self, now: datetime) -> RuleSet | None:
        """The latest publication among those that hold already."""
        return next((rules for rules in reversed(self.sets) if rules.valid_from <= now), None)

    def publish(self, actor: Actor, given: PublishRules, now: datetime) -> RuleSet:
        """Raise ``Invalid`` for rules of the past and names that are used twice."""
        if given.valid_from is not None and given.valid_from < now:
            raise invalid("valid_from", "规则不能从过去的时间开始生效")
        seen: set[str] = set()
        for part, rules in (("block", given.block), ("approve", given.approve)):
            for number, rule in enumerate(rules):
                if rule.name in seen or rule.name in WORDS:
                    raise invalid(f"{part}.{number}.name", "这个名称已经用过，请换一个")
                seen.add(rule.name)
        published = RuleSet.of(given, f"{self.id}-{len(self.sets) + 1}", given.valid_from or now, actor.id)
        self.sets.append(published)
        return published


@dataclass(frozen=True)
class Need:
    """What an order asks of who goes."""

    order_id: str
    site: str
    county: str
    tier: Tier
    sites: frozenset[str]
    """Whose teams come into question."""
    category: Category
    target_group: TargetGroup
    urgent: bool
    skills: Sequence[str]
    qualifications: Sequence[str]
    risk: Risk
    day: date
    mode: OfferMode
    start: datetime | None = None
    end: datetime | None = None
    """Of the time that the resident prefers."""
    declined: Set[str] = frozenset()
    asked: Set[str] = frozenset()
    """Teams that are not asked again."""

    @property
    def is_risky(self) -> bool:
        return self.risk is Risk.HIGH or self.category in DANGEROUS

    @property
    def is_demanding(self) -> bool:
        """Whether the law asks something of each person who goes."""
        return self.is_risky or bool(self.qualifications)

    @property
    def suits_anybody(self) -> bool:
        """Whether nothing is asked of a person but to be there."""
        return not (self.skills or self.is_demanding)

    def slot(self, is_holiday: bool) -> str | None:
        """Of the 24 that the preferred time falls into."""
        if self.start is None:
            return None
        local = self.start.astimezone(CHINA)
        day = "holiday" if is_holiday else WEEKDAYS[local.weekday()]
        part = "morning" if local.time() < NOON else "afternoon" if local.time() < EVENING else "evening"
        return f"{day}_{part}"


@dataclass(frozen=True)
class Task:
    """A running order of a team. Without ``volunteers`` nobody knows yet who of the team goes."""

    team: str
    volunteers: Sequence[str]
    start: datetime | None
    end: datetime | None

    def clashes(self, need: Need) -> bool:
        if self.start is None or need.start is None:
            return False
        return self.start < (need.end or _an_hour_from(need.start)) and need.start < (
            self.end or _an_hour_from(self.start)
        )


@dataclass(frozen=True)
class History:
    """What the teams do now, and how often each has served the target group within a year; None: nobody has looked."""

    tasks: Sequence[Task] | None = None
    served: Mapping[str, int] | None = None


Persons = dict[str, list[Why]]
"""What stands against each member of a team."""


@dataclass
class Candidate:
    """A team, what is for and against it, and how it ranks."""

    team: str
    verdict: Verdict
    rules: list[str]
    """What decided: hindrances of the team, or names of the county's rules."""
    firm: bool = False
    """Blocked by what nobody overrides."""
    fit: int = 0
    """Members who could go."""
    members: dict[str, int] = field(default_factory=dict)
    """How many members each hindrance keeps back."""
    values: dict[str, float] = field(default_factory=dict)
    """What the score is made of, each from 0 to 1."""
    score: float = 0.0
    distance: int = 0
    """0 for the site's own teams."""


@dataclass
class Decision:
    """Whom an order was offered to, and why: what was known and which rules held."""

    at: datetime
    by: str
    tier: Tier
    site: str
    mode: str
    """Of the site, or ``by_hand``."""
    rules: str
    """Version of the rules."""
    chosen: list[str]
    candidates: list[Candidate]
    others: int = 0
    """Candidates that are not named here."""
    reason: Secret = ""
    """Of the person who has overridden the rules."""


@dataclass(frozen=True)
class Match:
    """Candidates, best first."""

    candidates: Sequence[Candidate]
    rules: RuleSet

    def of(self, team: str) -> Candidate | None:
        return next((candidate for candidate in self.candidates if candidate.team == team), None)

    def fitting(self, *verdicts: Verdict) -> list[Candidate]:
        """Those of the site's own; borrowed ones where it has none."""
        fit = [candidate for candidate in self.candidates if candidate.verdict in verdicts]
        return [candidate for candidate in fit if candidate.distance == 0] or fit

    def tell(self, candidate: Candidate) -> str:
        """Why it is blocked, in words."""
        said = [in_words(rule, self.rules.words) for rule in candidate.rules]
        said += [WORDS[why] for why in candidate.members if Why.NOBODY in candidate.rules]
        return "；".join(said)


def match(
    need: Need, teams: Iterable[Team], known: Mapping[str, Volunteer], history: History,
    distances: Mapping[str, int], rules: RuleSet, is_holiday: bool = False,
) -> Match:  # fmt: skip
    """Judge and rank ``teams`` for ``need``; ``distances`` are those of their sites."""
    candidates = [
        _judge(need, team, known, history, distances.get(team.site, 0), rules, need.slot(is_holiday)) for team in teams
    ]
    order = list(Verdict)
    candidates.sort(key=lambda c: (order.index(c.verdict), -c.score, _lot(need.order_id, c.team)))
    return Match(candidates, rules)


def against(need: Need, person: Volunteer | None, is_busy: bool = False) -> list[Why]:
    """What stands against a person; of whom nothing is known, nothing is taken for granted."""
    if person is None:
        unknown = {Why.UNKNOWN: need.is_demanding, Why.UNSKILLED: bool(need.skills), Why.BUSY: is_busy}
        return [why for why, holds in unknown.items() if holds]
    # Of the members of all teams of a place: what is not asked for must cost nothing.
    hindrances = (
        (Why.SUSPENDED, person.suspended),
        (Why.MINOR, person.age_band not in OF_AGE and need.is_risky),
        (Why.UNQUALIFIED, need.qualifications and not person.qualified_on(need.day).issuperset(need.qualifications)),
        (Why.UNINSURED, need.risk is Risk.HIGH and not person.is_insured(need.day)),
        (Why.UNSKILLED, need.skills and not set(person.skills).issuperset(need.skills)),
        (Why.ABSENT, person.absences and person.is_absent(need.day)),
        (Why.BUSY, is_busy),
    )
    return [why for why, holds in hindrances if holds]


def against_members(need: Need, team: Team, known: Mapping[str, Volunteer], tasks: Iterable[Task] = ()) -> Persons:
    """What stands against each member."""
    busy = {id for task in tasks if task.clashes(need) for id in task.volunteers}
    return {id: against(need, known.get(id), id in busy) for id in team.member_ids}


def distance(one: Sequence[str], other: Sequence[str]) -> int:
    """Steps from a site up to the first that the two have in common; paths run from the site to the city."""
    return next((steps for steps, code in enumerate(one) if code in other), len(one))


def is_firm(hindrances: Iterable[str]) -> bool:
    return not FIRM.isdisjoint(hindrances)


def _judge(
    need: Need, team: Team, known: Mapping[str, Volunteer], history: History, distance: int, rules: RuleSet,
    slot: str | None,
) -> Candidate:  # fmt: skip
    persons = against_members(need, team, known, history.tasks or ())
    fit = [id for id, hindrances in persons.items() if not hindrances]
    candidate = Candidate(
        team.id, Verdict.BLOCKED, _against_team(need, team, fit, rules.no_shows), fit=len(fit), distance=distance,
        members=dict(Counter(why for hindrances in persons.values() for why in hindrances)),
    )  # fmt: skip
    load = None if history.tasks is None else sum(task.team == team.id for task in history.tasks)
    served = None if history.served is None else history.served.get(team.id, 0)
    free = [id for id in fit if slot is None or id not in known or known[id].is_available(slot)]
    candidate.values = _values(persons, _share(len(free), len(fit)), distance, load, served)
    candidate.score = _score(candidate.values, rules.weights)
    if candidate.rules:
        everybody = all(is_firm(hindrances) for hindrances in persons.values())
        candidate.firm = is_firm(candidate.rules) or (Why.NOBODY in candidate.rules and everybody)
        return candidate
    facts = Facts(len(fit), distance, load or 0, served or 0)
    if blocking := [rule.name for rule in rules.block if applies(rule.when, need, facts)]:
        candidate.rules = blocking
    else:
        candidate.rules = [rule.name for rule in rules.approve if applies(rule.when, need, facts)]
        candidate.verdict = Verdict.APPROVED if candidate.rules else Verdict.UNDECIDED
    return candidate


def stays_away(need: Need, team: Team, allowed: NoShows) -> bool:
    """Whether the team did not come too often, counted back from the day of the visit."""
    since = need.day - timedelta(days=allowed.days)
    return sum(time.astimezone(CHINA).date() >= since for time in team.no_shows) >= allowed.limit


def _against_team(need: Need, team: Team, fit: Sequence[str], allowed: NoShows) -> list[str]:
    hindrances = {
        Why.INACTIVE: not team.active,
        Why.DECLINED: team.id in need.declined,
        Why.ASKED: team.id in need.asked and team.id not in need.declined,
        Why.OTHER_CATEGORY: need.category not in team.categories,
        Why.STAYS_AWAY: team.no_shows and stays_away(need, team, allowed),
        Why.NOBODY: not fit,
    }
    return [why for why, holds in hindrances.items() if holds]


@dataclass(frozen=True)
class Facts:
    """Of a team, as rules ask for them."""

    people: int
    distance: int
    load: int
    experience: int


def applies(when: Condition, need: Need, facts: Facts) -> bool:
    """Whether all that the condition names holds."""
    return (
        (not when.categories or need.category in when.categories)
        and (not when.target_groups or need.target_group in when.target_groups)
        and (not when.tiers or need.tier in when.tiers)
        and (not when.risks or need.risk in when.risks)
        and when.urgent in (None, need.urgent)
        and (when.people_below is None or facts.people < when.people_below)
        and (when.distance_from is None or facts.distance >= when.distance_from)
        and (when.load_from is None or facts.load >= when.load_from)
        and (when.experience_below is None or facts.experience < when.experience_below)
        and (when.experience_from is None or facts.experience >= when.experience_from)
    )


def _values(
    persons: Persons, slot: float, distance: int, load: int | None, served: int | None
) -> dict[str, float]:  # fmt: skip
    """What nobody has looked at is not among them."""
    able = sum(Why.UNSKILLED not in whys and Why.UNQUALIFIED not in whys for whys in persons.values())
    return {
        "skill": _share(able, len(persons)),
        "distance": 1 / (1 + distance),
        "slot": slot,
        **({} if load is None else {"load": 1 / (1 + load)}),
        **({} if served is None else {"experience": min(1.0, round(served / MUCH_EXPERIENCE, 4))}),
    }


def _share(part: int, whole: int) -> float:
    return round(part / whole, 4) if whole else 0.0


def _score(values: Mapping[str, float], weights: Weights) -> float:
    given: dict[str, float] = {name: weight for name, weight in weights.model_dump().items() if name in values}
    total = sum(given.values()) or 1
    return round(sum(values[name] * weight for name, weight in given.items()) / total, 4)


def _lot(order_id: str, team: str) -> bytes:
    """Among equals another one is first each time, and for one order always the same."""
    return blake2b(f"{order_id} {team}".encode(), digest_size=8).digest()


def _an_hour_from(start: datetime) -> datetime:
    return start + timedelta(hours=1)
