"""What tests need, with defaults: say what matters for the test, leave the rest."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from services.contracts.activities import Source
from services.contracts.actor import Actor, Role
from services.contracts.dispatch import Segment as ToldSegment
from services.contracts.registry import AgeBand, Category, OpeningHours, TargetGroup, Tier
from services.dispatch.deadlines import WallTime
from services.dispatch.domain import Message, Order, Seat, Segment, Side, State, Wish
from services.dispatch.finder import default_rules, is_holiday
from services.dispatch.known import Item, Place, Resident, Team, Volunteer
from services.dispatch.matching import History, Match, Need, Persons, RuleSet, against_members, match, stays_away
from services.points.domain import RATES, Account, Transfer

CITY, COUNTY, TOWNSHIP, VILLAGE = "1308", "130802", "130802103", "130802103202"
PATH = [VILLAGE, TOWNSHIP, COUNTY, CITY]
SITE_OF = {Tier.STATION: VILLAGE, Tier.INSTITUTE: TOWNSHIP, Tier.CENTER: COUNTY, Tier.CITY: CITY}
MORNING = datetime(2026, 6, 3, 1, 0, tzinfo=UTC)
"""Wednesday 3 June 2026, 9:00 in China."""
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
WEEK = timedelta(days=7)


class OneHourPerTier:
    """The simplest table of deadlines."""

    version = "test"

    def due(
        self, tier: Tier, category: Category, urgent: bool, hours: OpeningHours | None, start: datetime
    ) -> datetime:
        return start + HOUR

    def clock(self, urgent: bool, hours: OpeningHours | None) -> WallTime:
        return WallTime()


DEADLINES = OneHourPerTier()
RULES = default_rules()


class Known:
    """Matches among what a test says there is."""

    def __init__(
        self, teams: Iterable[Team] = (), volunteers: Iterable[Volunteer] = (), *, rules: RuleSet = RULES,
        history: History | None = None, distances: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        self.teams, self.volunteers = list(teams), {volunteer.id: volunteer for volunteer in volunteers}
        self.rules, self.history, self.distances = rules, history or History(), distances or {}

    def match(self, need: Need) -> Match:
        near = [team for team in self.teams if team.site in need.sites]
        return match(need, near, self.volunteers, self.history, self.distances, self.rules, is_holiday(need))

    def persons(self, need: Need, team: Team) -> Persons:
        return against_members(need, team, self.volunteers, self.history.tasks or ())

    def stays_away(self, need: Need, team: Team) -> bool:
        return stays_away(need, team, self.rules.no_shows)


NOBODY = Known()


# -- who asks -------------------------------------------------------------------------------------------


def an_actor(id: str = "somebody", *roles: Role, site: str = VILLAGE, volunteer: str | None = None) -> Actor:
    return Actor(id=id, roles=frozenset(roles), site=site, volunteer=volunteer)


def a_resident(id: str = "r1", site: str = VILLAGE) -> Actor:
    return an_actor(id, Role.RESIDENT, site=site)


def staff_of(site: str) -> Actor:
    return an_actor(f"staff-{site}", Role.STAFF, site=site)


def a_volunteer(volunteer: str, site: str = VILLAGE) -> Actor:
    return an_actor(f"account-{volunteer}", Role.VOLUNTEER, Role.RESIDENT, site=site, volunteer=volunteer)


ADMIN = an_actor("admin", Role.ADMIN, site=CITY)


# -- dispatch -------------------------------------------------------------------------------------------


def a_message(by: Side = Side.SITE, *, needs_reply: bool = False, **changed: Any) -> Message:
    known = {"id": "m1", "order_id": "o1", "sender": f"of-{by}", "text": "请问门牌号是多少", "sent_at": MORNING}
    return Message(**known | {"by": by, "needs_reply": needs_reply} | changed)


def a_place(tier: Tier = Tier.STATION, *, auto_offer: bool = True, has_post: bool = True, **changed: Any) -> Place:
    code = SITE_OF[tier]
    known = {"id": code, "tier": tier, "path": PATH[PATH.index(code) :], "applied": 1}
    return Place(**known | {"auto_offer": auto_offer, "has_post": has_post} | changed)


def a_chain(auto_offer: bool = True, tiers: Sequence[Tier] = (Tier.STATION, Tier.INSTITUTE, Tier.CENTER)) -> list[Seat]:
    return [Seat(SITE_OF[tier], tier, auto_offer) for tier in tiers]


def a_team(id: str = "t1", tier: Tier = Tier.STATION, **changed: Any) -> Team:
    known = {
        "id": id,
        "site": SITE_OF[tier],
        "tier": tier,
        "categories": [Category.COMMUNITY],
        "leader_id": f"{id}-leader",
        "member_ids": [f"{id}-leader", f"{id}-member"],
        "active": True,
        "applied": 1,
    }
    return Team(**known | changed)


def a_person(id: str = "t1-leader", **changed: Any) -> Volunteer:
    known = {
        "age_band": AgeBand.ADULT, "skills": [], "qualifications": [], "insured_until": None, "availability": [],
        "absences": [], "suspended": False, "applied": 1,
    }  # fmt: skip
    return Volunteer(id, **known | changed)


def leader_of(team: Team) -> Actor:
    return a_volunteer(team.leader_id, team.site)


def an_item(**changed: Any) -> Item:
    known = {
        "id": "home-haircut",
        "name": "上门理发",
        "category": Category.COMMUNITY,
        "tier": Tier.STATION,
        "site": CITY,
        "target_groups": list(TargetGroup),
        "needs_address": False,
        "applied": 1,
    }
    return Item(**known | changed)


def a_wish(**changed: Any) -> Wish:
    known = {
        "resident_id": "r1",
        "placed_by": "r1",
        "target_group": TargetGroup.ELDERLY,
        "description": "理发",
        "address": "庄头营村 12 号",
        "resident_name": "王秀英",
    }
    return Wish(**known | changed)


def a_beneficiary(id: str = "r1", site: str = VILLAGE) -> Resident:
    return Resident(id, site, 1)


def a_segment(volunteer: str = "t1-leader", start: datetime = MORNING, end: datetime | None = None) -> Segment:
    return Segment(volunteer, start, end or start + HOUR)


def a_placed_order(
    *,
    teams: Sequence[Team] = (),
    auto_offer: bool = True,
    chain: list[Seat] | None = None,
    now: datetime = MORNING,
    item: Item | None = None,
    **wish: Any,
) -> Order:
    place, chain = a_place(), chain or a_chain(auto_offer)
    order, _ = Order.place("o1", item or an_item(), place, chain, a_wish(**wish), Known(teams), DEADLINES, now)
    return order


def an_order(state: State = State.PLACED, *, team: Team | None = None, now: datetime = MORNING) -> Order:
    """An order that has come to ``state`` by the shortest way; ``team`` has, had or may take it.

    In ``unmet`` its tier is the center, and a team of the center by default.
    """
    climbs = state is State.UNMET
    team = team or a_team(tier=Tier.CENTER if climbs else Tier.STATION)
    leader, resident, staff = leader_of(team), a_resident(), staff_of(team.site)
    order = a_placed_order(teams=[team], auto_offer=state is not State.PLACED, now=now)
    if climbs:
        for _ in range(3):
            order.escalate(staff_of(order.seat.site), "没有队伍", Known([team]), DEADLINES, now)
    steps = {
        State.CANCELLED: lambda: order.cancel(resident, "不用了", now),
        State.REJECTED: lambda: order.reject(staff, "不属于志愿服务", now),
        State.ACCEPTED: lambda: order.accept(leader, team, [], NOBODY, now),
        State.IN_SERVICE: lambda: order.start(leader, team, now),
        State.COMPLETED: lambda: order.complete(
            leader, team, [a_segment(team.leader_id, now - HOUR, now)], "已理发", [], WEEK, now
        ),
        State.RATED: lambda: order.rate(resident, 5, "很好", now),
        State.CLOSED: lambda: order.close(staff, now),
    }
    if state in (State.CANCELLED, State.REJECTED):
        steps[state]()
    for step in (State.ACCEPTED, State.IN_SERVICE, State.COMPLETED, State.RATED, State.CLOSED):
        if order.state is state:
            break
        steps[step]()
    assert order.state is state
    return order


# -- activities and points ------------------------------------------------------------------------------


def an_order_source(id: str = "o1") -> Source:
    return Source(type="order", id=id)


def a_told_segment(start: datetime = MORNING, end: datetime | None = None, volunteer: str = "v1") -> ToldSegment:
    return ToldSegment(volunteer_id=volunteer, start=start, end=end or start + HOUR)


def an_account(**changed: Any) -> Account:
    return Account(**{"id": "v1", "path": PATH} | changed)


def awards(account: Account, *hours: float) -> list[Transfer]:
    """Posted one minute apart, from records h1, h2 …"""
    return [
        account.award(f"h{n}", given, Category.COMMUNITY, VILLAGE, RATES, MORNING + n * MINUTE)[0]
        for n, given in enumerate(hours, start=account.sequence + 1)
    ]
