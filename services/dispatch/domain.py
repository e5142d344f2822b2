"""The life of an order (四单): who holds it and what may happen next.

placed → offered → accepted → in_service → completed → rated → closed; aside: rejected, cancelled, unmet.
Every transition checks first, then changes the order and returns the events that say so.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Protocol

from services.chassis.later import Later
from services.chassis.messages import Event
from services.contracts import dispatch as facts
from services.contracts.actor import SYSTEM, Actor
from services.contracts.dispatch import Channel
from services.contracts.errors import AlreadyAccepted, Conflict, IllegalTransition, invalid
from services.contracts.privacy import Secret, mask
from services.contracts.registry import Category, OfferMode, OpeningHours, Risk, TargetGroup, Tier
from services.contracts.zone import CHINA
from services.dispatch.known import Item, Place, Team
from services.dispatch.matching import KEPT, WORDS, Decision, Match, Need, Persons, Verdict, Why, is_firm

DEFAULT_SCORE = 5
"""What a silent resident is taken to have said; marked ``system``."""
SHORTEST_SEGMENT = timedelta(minutes=1)  # domain, section 6
CLOCK_TOLERANCE = timedelta(minutes=1)
FURTHEST_VISIT = timedelta(days=366)
MOST_PHOTOS = 12
MOST_JOINED = 200
NEEDS_REPLY = "等待居民回复"
TEAM_GONE = "队伍已停止活动，自动退单"
NO_SUCH_ITEM = "本村（社区）没有这项服务，可以点的服务见 GET /v1/service-items"
UNKNOWN = "没有找到这个单"
"""The same of an order that is not there and of one that the caller may not know of."""


class State(StrEnum):
    PLACED = "placed"
    OFFERED = "offered"
    ACCEPTED = "accepted"
    IN_SERVICE = "in_service"
    COMPLETED = "completed"
    RATED = "rated"
    CLOSED = "closed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    UNMET = "unmet"


WAITING = (State.PLACED, State.OFFERED)
OPEN = (*WAITING, State.UNMET)
FINAL = (State.CLOSED, State.REJECTED, State.CANCELLED)
TRANSITIONS: dict[str, tuple[State, ...]] = {
    "offer": OPEN,
    "accept": (State.OFFERED, State.UNMET),
    "decline": (State.OFFERED, State.UNMET),
    "withdraw": (State.ACCEPTED, State.IN_SERVICE),
    "escalate": WAITING,
    "cancel": (*OPEN, State.ACCEPTED),
    "reject": OPEN,
    "start": (State.ACCEPTED,),
    "complete": (State.IN_SERVICE,),
    "rate": (State.COMPLETED,),
    "rate-visit": (State.COMPLETED, State.RATED),
    "close": (State.RATED,),
    "reopen": (State.RATED, State.CLOSED),
    "message": tuple(state for state in State if state not in FINAL),
    "appoint": (*OPEN, State.ACCEPTED),
    "no-show": (State.ACCEPTED,),
    "photos": (*OPEN, State.ACCEPTED, State.IN_SERVICE, State.COMPLETED),
    "join": (*OPEN, State.ACCEPTED),
    "leave": (*OPEN, State.ACCEPTED),
}
STATE_NAMES = {
    State.PLACED: "已点单", State.OFFERED: "已派单", State.ACCEPTED: "已接单", State.IN_SERVICE: "服务中",
    State.COMPLETED: "已完成", State.RATED: "已评单", State.CLOSED: "已结单", State.REJECTED: "未受理",
    State.CANCELLED: "已取消", State.UNMET: "暂未满足",
}  # fmt: skip


class OfferState(StrEnum):
    OPEN = "open"
    ACCEPTED = "accepted"
    DECLINED = "declined"
    LAPSED = "lapsed"
    WITHDRAWN = "withdrawn"
    MISSED = "missed"
    """The team that had accepted did not come."""


@dataclass
class Seat:
    """A site that the order passes on its way up."""

    site: str
    tier: Tier
    auto_offer: bool
    hours: OpeningHours | None = None
    mode: OfferMode = OfferMode.FAN_OUT
    sisters: list[str] = field(default_factory=list)

    @property
    def sites(self) -> frozenset[str]:
        """Whose teams may be asked: its own, and those that it may borrow from."""
        return frozenset({self.site, *self.sisters})


@dataclass
class Holder:
    kind: str
    """``site`` or ``team``."""
    id: str


@dataclass
class Offer:
    team: str
    tier: Tier
    state: OfferState = OfferState.OPEN


@dataclass
class Entry:
    """One line of the timeline; ``event`` is the fact."""

    time: datetime
    event: str
    actor: str
    tier: Tier
    note: Secret = ""


@dataclass
class Segment:
    """A volunteer's time on the order; half-open."""

    volunteer_id: str
    start: datetime
    end: datetime


@dataclass
class Wish:
    """What the resident asks for, and for whom."""

    resident_id: str
    placed_by: str
    target_group: TargetGroup
    description: str
    address: str | None = None
    resident_name: str | None = None
    preferred_from: datetime | None = None
    preferred_to: datetime | None = None
    urgent: bool = False
    series: str | None = None
    """The series that it is an occurrence of."""
    similar: list[str] = field(default_factory=list)
    """Orders of the same person for the same within a day: pointed out, not merged (domain, section 4)."""
    phone: str | None = None


class Clock(Protocol):
    """Measures the time of a tier: working time, or wall time."""

    def add(self, start: datetime, duration: timedelta) -> datetime: ...

    def between(self, start: datetime, end: datetime) -> timedelta: ...


class Deadlines(Protocol):
    """How much time a tier has, and by which clock. The tables are in ``deadlines.py``."""

    @property
    def version(self) -> str: ...

    def due(
        self, tier: Tier, category: Category, urgent: bool, hours: OpeningHours | None, start: datetime
    ) -> datetime: ...

    def clock(self, urgent: bool, hours: OpeningHours | None) -> Clock: ...


class Matcher(Protocol):
    """Knows teams, volunteers and the county's rules. The judgement is in ``matching.py``."""

    def match(self, need: Need) -> Match:
        """Of the teams at ``need.sites``."""
        ...

    def persons(self, need: Need, team: Team) -> Persons:
        """What stands against each member."""
        ...

    def stays_away(self, need: Need, team: Team) -> bool:
        """Whether the team was reported not to have come too often of late."""
        ...


class Side(StrEnum):
    """Who speaks in a message."""

    RESIDENT = "resident"
    SITE = "site"
    TEAM = "team"


@dataclass
class Message:
    """What resident and holder say to each other about an order; ``channel`` is how staff heard it."""

    id: str
    order_id: str
    by: Side
    sender: str
    text: Secret
    sent_at: datetime
    needs_reply: bool = False
    channel: Channel | None = None
    version: int = 0


@dataclass
class Note:
    """What staff write down about an order, for staff."""

    id: str
    order_id: str
    by: str
    text: Secret
    at: datetime
    version: int = 0


@dataclass
class Order:
    id: str
    site: str
    tier: Tier
    chain: list[Seat]
    item_id: str
    item_name: str
    category: Category
    resident_id: str
    placed_by: str
    target_group: TargetGroup
    description: Secret
    placed_at: datetime
    state: State = State.PLACED
    holder: Holder | None = None
    address: Secret | None = None
    resident_name: Secret | None = None
    phone: Secret | None = None
    """Where whoever comes can call."""
    preferred_from: datetime | None = None
    preferred_to: datetime | None = None
    appointed_by: Side | None = None
    """Who has set the time of the visit last, after the order was placed."""
    urgent: bool = False
    series: str | None = None
    similar: list[str] = field(default_factory=list)
    cycle: int = 1
    reopens: str | None = None
    due_at: datetime | None = None
    """When the order moves by itself: up a tier, or to its default rating."""
    tier_due_at: datetime | None = None
    """The tier's own deadline, kept while a team has the order."""
    deadline_table: str = ""
    """The version that the tier's deadline comes from."""
    asked_at: datetime | None = None
    """Since when the resident is awaited to say something."""
    seconds_left: float | None = None
    """Of the tier's time, while its clock stands still for the resident."""
    skills: list[str] = field(default_factory=list)
    qualifications: list[str] = field(default_factory=list)
    risk: Risk = Risk.LOW
    pool_at: list[str] = field(default_factory=list)
    """Sites whose fitting teams may claim it: it lies in the open pool of its seat."""
    wave_at: datetime | None = None
    """When it is offered to the next teams."""
    decisions: Annotated[list[Decision], Later] = field(default_factory=list)
    """Whom it was offered to and why, oldest first."""
    offers: list[Offer] = field(default_factory=list)
    accepted_by: str | None = None
    volunteers: list[str] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    summary: Secret | None = None
    evidence: list[str] = field(default_factory=list)
    photos: list[str] = field(default_factory=list)
    joined: list[str] = field(default_factory=list)
    """Neighbours who need the same."""
    score: int | None = None
    comment: Secret | None = None
    rated_by: str | None = None
    visit_score: int | None = None
    visit_comment: Secret | None = None
    timeline: Annotated[list[Entry], Later] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    """The sites whose staff may read it: all that it passes, and the city."""
    uncounted_since: datetime | None = None
    """When it has ended, until it is in the quality figures."""
    version: int = 0

    # -- what it is ---------------------------------------------------------------------------------

    @property
    def seat(self) -> Seat:
        """The site whose turn it is, or was when a team accepted."""
        return next(seat for seat in self.chain if seat.tier == self.tier)

    @property
    def next_seat(self) -> Seat | None:
        position = [seat.tier for seat in self.chain].index(self.tier) + 1
        return self.chain[position] if position < len(self.chain) else None

    def offer_of(self, team: str) -> Offer | None:
        return next((offer for offer in self.offers if offer.team == team), None)

    def is_in_reach(self, team: Team) -> bool:
        """Whether the order lies, or lay until somebody took it, in a pool that the team claims from."""
        return team.active and team.site in self.pool_at and self.category in team.categories

    def need(self, now: datetime) -> Need:
        """A team is asked once; anew only while the order is unmet and the team has not answered."""
        seat, unmet = self.seat, self.state is State.UNMET
        asked = {o.team for o in self.offers if not (unmet and o.state is OfferState.OPEN)}
        return Need(
            order_id=self.id, site=seat.site, county=self.chain[-1].site, tier=seat.tier,
            sites=seat.sites, category=self.category, target_group=self.target_group,
            urgent=self.urgent, skills=self.skills, qualifications=self.qualifications, risk=self.risk, mode=seat.mode,
            day=(self.preferred_from or now).astimezone(CHINA).date(), start=self.preferred_from, end=self.preferred_to,
            declined={o.team for o in self.offers if o.state is OfferState.DECLINED}, asked=asked,
        )  # fmt: skip

    @property
    def needed_by(self) -> int:
        """How many people need it."""
        return 1 + len(self.joined)

    @property
    def possible(self) -> list[str]:
        return [command for command, states in TRANSITIONS.items() if self.state in states]

    # -- transitions --------------------------------------------------------------------------------

    @classmethod
    def place(
        cls, id: str, item: Item, place: Place, chain: list[Seat], wish: Wish, matcher: Matcher,
        deadlines: Deadlines, now: datetime,
    ) -> tuple["Order", list[Event]]:  # fmt: skip
        """A new order at the first seat of its chain, offered at once where the site does so."""
        check_wish(item, place, chain, wish)
        order = cls(
            id=id, site=place.id, tier=chain[0].tier, chain=chain, path=place.path, item_id=item.id,
            item_name=item.name, category=item.category, skills=item.skills, qualifications=item.qualifications,
            risk=item.risk, placed_at=now, **vars(wish),
        )  # fmt: skip
        order._sit_down(deadlines, now)
        order._note("placed", wish.placed_by, now)
        alerted, offered = order._alert(now), order._offer_automatically(matcher, now)
        return order, [order._placed(offered), *alerted, *offered]

    def reopen(
        self, actor: Actor, reason: str, matcher: Matcher, deadlines: Deadlines, now: datetime
    ) -> tuple["Order", list[Event]]:
        """A new cycle linked to this one, which stays as it is."""
        self._check("reopen")
        again = Order(
            id=self.next_cycle_id, site=self.site, tier=self.chain[0].tier, chain=self.chain, path=self.path,
            item_id=self.item_id, item_name=self.item_name, category=self.category, placed_at=now,
            resident_id=self.resident_id, placed_by=self.placed_by, target_group=self.target_group,
            description=self.description, address=self.address, resident_name=self.resident_name, phone=self.phone,
            urgent=self.urgent, series=self.series, cycle=self.cycle + 1, reopens=self.id, skills=self.skills,
            qualifications=self.qualifications, risk=self.risk,
        )  # fmt: skip
        again._sit_down(deadlines, now)
        again._note("placed", actor.id, now)
        again._note("reopened", actor.id, now, reason)
        reopened = facts.OrderReopened(**again._where(), reopens=self.id, cycle=again.cycle)
        alerted, offered = again._alert(now), again._offer_automatically(matcher, now)
        return again, [again._placed(offered), reopened, *alerted, *offered]

    @property
    def next_cycle_id(self) -> str:
        """The same for everybody who reopens it, so that it is reopened once."""
        return f"{self.id.partition('.')[0]}.{self.cycle + 1}"

    def offer(
        self, actor: Actor, wanted: Sequence[str] | None, reason: str | None, matcher: Matcher, now: datetime
    ) -> list[Event]:
        """By hand: to all fitting teams, or to those that are ``wanted``; a ``reason`` overrides what may be."""
        self._check("offer")
        found = matcher.match(self.need(now))
        if wanted is None:
            chosen = [c.team for c in found.fitting(Verdict.APPROVED, Verdict.UNDECIDED)]
        else:
            chosen = _chosen(found, wanted, reason)
        if not chosen:
            raise Conflict("没有可以派单的队伍：合适的队伍都已派过，或本站暂无合适队伍")
        self._decide(actor.id, "by_hand", found, chosen, now, reason or "")
        return [self._offer_to(chosen, actor.id, now)]

    def offer_next(self, matcher: Matcher, now: datetime) -> list[Event]:
        """The next wave, when its time has come."""
        if self.wave_at is None or self.wave_at > now:
            return []
        self.wave_at = None
        return self._offer_automatically(matcher, now) if self.state in WAITING else []

    def look_again(self, team: Team, matcher: Matcher, now: datetime) -> list[Event]:
        """Unmet demand is offered to a team, at any site that it has passed, that could not have been asked before."""
        if self.state is not State.UNMET or self.offer_of(team.id) is not None:
            return []
        near = frozenset(seat.site for seat in self.chain)
        found = matcher.match(replace(self.need(now), sites=near & {team.site}))
        candidate = found.of(team.id)
        if candidate is None or candidate.verdict is not Verdict.APPROVED:
            return []
        self._decide(SYSTEM.id, self.seat.mode, found, [team.id], now)
        return [self._offer_to([team.id], SYSTEM.id, now)]

    def accept(
        self, actor: Actor, team: Team, volunteers: Sequence[str], matcher: Matcher, now: datetime
    ) -> list[Event]:
        """The first acceptance wins; the other offers lapse."""
        if self.accepted_by is not None and self.state not in OPEN:
            own = self.accepted_by == team.id
            detail = "您的队伍已经接了这一单" if own else "这一单已经被其他队伍接走了，谢谢您"
            raise AlreadyAccepted(detail, **self._situation())
        self._check("accept")
        if not team.active:
            raise Conflict("您的队伍已停止活动，不能接单", **self._situation())
        self._must_come(team, matcher, now)
        claimed = self._claimable(team, matcher, now)
        offer = Offer(team.id, self.tier) if claimed else self._open_offer(team)
        strangers = set(volunteers) - set(team.member_ids)
        if strangers:
            raise invalid("volunteers", "不是本队成员：" + "、".join(sorted(strangers)))
        self._must_be_able(team, volunteers, matcher, now)
        if claimed:
            self.offers.append(offer)
            self._decide(actor.id, OfferMode.POOL, claimed, [team.id], now)
        self._lapse_offers()
        offer.state = OfferState.ACCEPTED
        self.accepted_by, self.volunteers = team.id, list(volunteers)
        self._move(State.ACCEPTED, Holder("team", team.id))
        self.due_at = self.wave_at = None
        self._note("accepted", actor.id, now)
        return [facts.OrderAccepted(**self._where(), team_id=team.id, volunteers=list(volunteers))]

    def decline(self, actor: Actor, team: Team, reason: str, now: datetime) -> list[Event]:
        """Costs the team nothing; the deadline runs on."""
        self._check("decline")
        self._open_offer(team).state = OfferState.DECLINED
        self._note("declined", actor.id, now, reason)
        return [facts.OrderDeclined(**self._where(), team_id=team.id)]

    def withdraw(self, actor: Actor, team: Team, reason: str, now: datetime) -> list[Event]:
        """Back to the pool with the deadline that it had; the lapsed offers are open again."""
        self._check("withdraw")
        self._must_have_accepted(team)
        return self._go_back(OfferState.WITHDRAWN, actor, team.id, reason, now)

    def miss(self, actor: Actor, reason: str, now: datetime) -> list[Event]:
        """The team has not come: the order goes back as if the team had given it back."""
        self._check("no-show")
        if self.accepted_by is None or self.preferred_from is None or now < self.preferred_from:
            raise Conflict("约定的时间还没有到；没有约定上门时间的，请先约定", **self._situation())
        missed = facts.OrderMissed(**self._where(), team_id=self.accepted_by)
        self._note("missed", actor.id, now, reason)
        return [missed, *self._go_back(OfferState.MISSED, SYSTEM, self.accepted_by, "", now)]

    def appoint(self, actor: Actor, side: Side, start: datetime, end: datetime, now: datetime) -> list[Event]:
        """The time of the visit: either side sets it, the last word stands."""
        self._check("appoint")
        _check_visit("", start, end, now)
        self.preferred_from, self.preferred_to, self.appointed_by = start, end, side
        self._note("appointed", actor.id, now, _in_words(start, end))
        return [facts.OrderAppointed(**self._where(), by=side, start=start, end=end)]

    def check_moved(self, team: Team, start: datetime, end: datetime, matcher: Matcher, now: datetime) -> None:
        """Whether those who are to come may do such work by law on the new day; raise ``Conflict``."""
        need = _at(self.need(now), start, end)
        if not need.is_demanding:
            return
        persons = matcher.persons(need, team)
        going = [persons.get(id, [Why.UNKNOWN]) for id in self.volunteers] or list(persons.values())
        kept_off = [why for why in going if is_firm(why)]
        if kept_off and (self.volunteers or len(kept_off) == len(going)):
            raise Conflict(f"改到这个时间，接单的队员不能参加：{_told(kept_off)}；请另约时间", **self._situation())

    def check_who_served(self, team: Team, segments: Sequence[Segment], matcher: Matcher, now: datetime) -> None:
        """Whether those who are recorded may do such work by law on that day; raise ``Invalid``."""
        need = self.need(now)
        for number, segment in enumerate(segments if need.is_demanding else ()):
            persons = matcher.persons(_at(need, segment.start, segment.end), team)
            why = persons.get(segment.volunteer_id, [])
            if is_firm(why):
                raise invalid(f"records.{number}.volunteer", f"这位队员不能参加这一单：{_told([why])}")

    def _go_back(self, left: OfferState, actor: Actor, team_id: str, reason: str, now: datetime) -> list[Event]:
        self._release(left)
        again = [o for o in self.offers if o.state is OfferState.LAPSED and o.tier is self.tier]
        for lapsed in again:
            lapsed.state = OfferState.OPEN
        self._move(State.OFFERED if again or self.pool_at else State.PLACED, Holder("site", self.seat.site))
        self.due_at = self.tier_due_at
        if self.due_at is None and self.seconds_left is None:  # it had been given up before the team took it
            self._move(State.UNMET, self.holder)
        elif self.seat.auto_offer and self.seat.mode is OfferMode.WAVES:
            self.wave_at = now
        self._note("withdrawn", actor.id, now, reason)
        events: list[Event] = [facts.OrderWithdrawn(**self._where(), team_id=team_id, due_at=self.due_at)]
        if again:
            self._note("offered", SYSTEM.id, now)
            events.append(facts.OrderOffered(**self._where(), team_ids=[o.team for o in again]))
        return events

    def escalate(self, actor: Actor, reason: str, matcher: Matcher, deadlines: Deadlines, now: datetime) -> list[Event]:
        """One tier up with the new tier's offers; above the center there is only ``unmet``, with its offers open."""
        self._check("escalate")
        above, below = self.next_seat, self.seat
        if above is None:
            return [self._give_up(actor, reason, now)]
        self._lapse_offers()
        self.tier = above.tier
        self._sit_down(deadlines, now)
        self._note("escalated", actor.id, now, reason)
        escalated = facts.OrderEscalated(
            **self._where(), from_tier=below.tier, from_site=below.site, to_site=above.site, due_at=self.due_at
        )
        return [escalated, *self._offer_automatically(matcher, now)]

    def message(self, message: Message, deadlines: Deadlines, now: datetime) -> list[Event]:
        """A question stops the clock of a tier that looks for a team; whatever the resident says restarts it."""
        self._check("message")
        if message.needs_reply:
            self._ask(deadlines, now)
        elif message.by is Side.RESIDENT:
            self._resume(deadlines, now)
        self._note("messaged", message.sender, now, NEEDS_REPLY if message.needs_reply else "")
        told = facts.OrderMessaged(
            **self._where(), message_id=message.id, by=message.by, needs_reply=message.needs_reply,
            waiting=self.asked_at is not None, due_at=self.due_at,
        )  # fmt: skip
        return [told]

    def photograph(self, actor: Actor, side: Side, photo_id: str, now: datetime) -> list[Event]:
        """Of what is to be done, or was; what is rated stays as the resident has seen it."""
        self._check("photos")
        if len(self.photos) >= MOST_PHOTOS:
            raise Conflict(f"一个单最多 {MOST_PHOTOS} 张照片", **self._situation())
        self.photos.append(photo_id)
        self._note("photographed", actor.id, now)
        return [facts.OrderPhotographed(**self._where(), photo_id=photo_id, by=side)]

    def join(self, actor: Actor, resident: str, now: datetime) -> list[Event]:
        """A neighbour needs the same: each counts once."""
        self._check("join")
        if resident in (self.resident_id, *self.joined):
            return []
        if len(self.joined) >= MOST_JOINED:
            raise Conflict(f"一个单最多 {MOST_JOINED} 位居民一起，请另外点单", **self._situation())
        self.joined.append(resident)
        self._note("joined", actor.id, now)
        return [facts.OrderJoined(**self._where(), needed_by=self.needed_by)]

    def leave(self, actor: Actor, resident: str, now: datetime) -> list[Event]:
        """A neighbour needs it no longer."""
        self._check("leave")
        if resident not in self.joined:
            return []
        self.joined.remove(resident)
        self._note("left", actor.id, now)
        return [facts.OrderLeft(**self._where(), needed_by=self.needed_by)]

    def move_when_due(self, matcher: Matcher, deadlines: Deadlines, now: datetime) -> list[Event]:
        """What the clock does: nothing before ``due_at``, one step after it."""
        if self.due_at is None or self.due_at > now:
            return []
        if self.state is State.COMPLETED:
            return self.rate(SYSTEM, DEFAULT_SCORE, None, now)
        return self.escalate(SYSTEM, "超过时限，自动上报", matcher, deadlines, now)

    def cancel(self, actor: Actor, reason: str, now: datetime) -> list[Event]:
        self._check("cancel")
        where, asked = self._where(), self._asked()  # with the team that will not come now
        self._release(OfferState.LAPSED)
        self._end(State.CANCELLED, actor, reason, now)
        return [facts.OrderCancelled(**where, asked=asked)]

    def reject(self, actor: Actor, reason: str, now: datetime) -> list[Event]:
        self._check("reject")
        asked = self._asked()
        self._end(State.REJECTED, actor, reason, now)
        return [facts.OrderRejected(**self._where(), asked=asked)]

    def start(self, actor: Actor, team: Team, now: datetime) -> list[Event]:
        self._check("start")
        self._must_have_accepted(team)
        self._move(State.IN_SERVICE, self.holder)
        self._note("started", actor.id, now)
        return [facts.OrderStarted(**self._where(), team_id=team.id)]

    def complete(
        self, actor: Actor, team: Team, segments: list[Segment], summary: str, evidence: list[str],
        silence: timedelta, now: datetime,
    ) -> list[Event]:  # fmt: skip
        """With the service record; the resident has ``silence`` to rate."""
        self._check("complete")
        self._must_have_accepted(team)
        _check_segments(segments, team, self.placed_at, now)
        self.segments, self.summary, self.evidence = segments, summary, evidence
        self._move(State.COMPLETED, self.holder)
        self.due_at = now + silence
        self._note("completed", actor.id, now)
        return [facts.OrderCompleted(**self._where(), **self._record())]

    def rate(self, actor: Actor, score: int, comment: str | None, now: datetime) -> list[Event]:
        self._check("rate")
        self.score, self.comment = score, comment
        self.rated_by = "system" if actor.id == SYSTEM.id else "resident"
        self._move(State.RATED, Holder("site", self.seat.site))
        self.due_at = None
        self._note("rated", actor.id, now, f"{score} 分")
        return [facts.OrderRated(**self._where(), score=score, by=self.rated_by)]

    def rate_visit(self, actor: Actor, score: int, comment: str | None, now: datetime) -> list[Event]:
        """By the team, once; raise ``Conflict``."""
        self._check("rate-visit")
        if self.visit_score is not None:
            raise Conflict("队伍已经评价过这次上门", **self._situation())
        self.visit_score, self.visit_comment = score, comment
        self._note("visit_rated", actor.id, now)
        return [facts.OrderVisitRated(**self._where(), score=score)]

    def close(self, actor: Actor, now: datetime) -> list[Event]:
        self._check("close")
        self._end(State.CLOSED, actor, "", now)
        return [facts.OrderClosed(**self._where(), **self._record())]

    # -- parts of transitions -----------------------------------------------------------------------

    def _check(self, command: str) -> None:
        if self.state not in TRANSITIONS[command]:
            message = f"{STATE_NAMES[self.state]}的单不能这样操作"
            raise IllegalTransition(message, **self._situation())

    def _situation(self) -> dict[str, object]:
        return {"state": self.state, "possible": self.possible}

    def _where(self) -> dict[str, object]:
        concern = facts.Concern(
            resident=self.resident_id, placed_by=self.placed_by, item_id=self.item_id, held_at=self.seat.site,
            team_id=self.accepted_by, urgent=self.urgent, joined=self.joined,
        )  # fmt: skip
        return {"order_id": self.id, "site": self.site, "tier": self.tier, "concerns": concern}

    def _record(self) -> dict[str, object]:
        segments = [facts.Segment(volunteer_id=s.volunteer_id, start=s.start, end=s.end) for s in self.segments]
        record = {"team_id": self.accepted_by, "category": self.category, "placed_on": self.placed_at}
        return record | {"segments": segments}

    def _asked(self) -> list[str]:
        """Teams that have not answered yet."""
        return [offer.team for offer in self.offers if offer.state is OfferState.OPEN]

    def _placed(self, offered: Sequence[Event]) -> Event:
        return facts.OrderPlaced(
            **self._where(), item_id=self.item_id, category=self.category, target_group=self.target_group,
            urgent=self.urgent, cycle=self.cycle, due_at=self.due_at, by_hand=not offered,
        )  # fmt: skip

    def _sit_down(self, deadlines: Deadlines, now: datetime) -> None:
        due = deadlines.due(self.tier, self.category, self.urgent, self.seat.hours, now)
        self.tier_due_at = self.due_at = due
        self.deadline_table = deadlines.version
        self.pool_at, self.wave_at = [], None
        self._await_nobody()
        self._move(State.PLACED, Holder("site", self.seat.site))

    def _clock(self, deadlines: Deadlines) -> Clock:
        return deadlines.clock(self.urgent, self.seat.hours)

    def _ask(self, deadlines: Deadlines, now: datetime) -> None:
        self.asked_at = now
        if self.state in WAITING and self.due_at is not None:
            self.seconds_left = self._clock(deadlines).between(now, self.due_at).total_seconds()
            self.due_at = self.tier_due_at = None

    def _resume(self, deadlines: Deadlines, now: datetime) -> None:
        if self.seconds_left is not None:
            self.tier_due_at = self._clock(deadlines).add(now, timedelta(seconds=self.seconds_left))
            if self.state in WAITING:
                self.due_at = self.tier_due_at
        self._await_nobody()

    def _await_nobody(self) -> None:
        self.asked_at = self.seconds_left = None

    def _alert(self, now: datetime) -> list[Event]:
        """Institute and center learn of an urgent order at once, not when it climbs to them."""
        above = [seat.site for seat in self.chain if seat.tier is not self.tier]
        if not self.urgent or not above:
            return []
        self._note("alerted", SYSTEM.id, now, "急单，已通知上级")
        return [facts.OrderAlerted(**self._where(), category=self.category, sites=above)]

    def _offer_automatically(self, matcher: Matcher, now: datetime) -> list[Event]:
        """As the seat does it: to all that are approved, to the best few of them, or into the open pool."""
        if not self.seat.auto_offer:
            return []
        if self.seat.mode is OfferMode.POOL:
            return [self._put_into_pool(now)]
        found = matcher.match(self.need(now))
        chosen = [candidate.team for candidate in found.fitting(Verdict.APPROVED)]
        if self.seat.mode is OfferMode.WAVES and len(chosen) > found.rules.wave.size:
            chosen = chosen[: found.rules.wave.size]
            self.wave_at = now + timedelta(minutes=found.rules.wave.minutes)
        self._decide(SYSTEM.id, self.seat.mode, found, chosen, now)
        return [self._offer_to(chosen, SYSTEM.id, now)] if chosen else []

    def _put_into_pool(self, now: datetime) -> Event:
        self.pool_at = sorted(self.seat.sites)
        self._move(State.OFFERED, self.holder)
        self._note("offered", SYSTEM.id, now, "放入抢单池")
        return facts.OrderOffered(**self._where(), team_ids=[], pool=True)

    def _offer_to(self, teams: Sequence[str], actor: str, now: datetime) -> Event:
        self.offers += [Offer(team, self.tier) for team in teams if self.offer_of(team) is None]
        if self.state is State.PLACED:
            self._move(State.OFFERED, self.holder)
        self._note("offered", actor, now, f"派给 {len(teams)} 支队伍")
        return facts.OrderOffered(**self._where(), team_ids=list(teams))

    def _decide(self, by: str, mode: str, found: Match, chosen: Sequence[str], now: datetime, reason: str = "") -> None:
        """Keep the why: the candidates as they were found, the chosen ones always among them."""
        first = sorted(found.candidates, key=lambda candidate: candidate.team not in chosen)[: max(KEPT, len(chosen))]
        decision = Decision(
            now, by, self.tier, self.seat.site, mode, found.rules.version, list(chosen), first,
            len(found.candidates) - len(first), mask(reason),
        )  # fmt: skip
        self.decisions.append(decision)

    def _must_come(self, team: Team, matcher: Matcher, now: datetime) -> None:
        """A team that has stayed away too often takes only what a person offers it."""
        by_hand = any(team.id in decision.chosen and decision.by != SYSTEM.id for decision in self.decisions)
        if team.no_shows and not by_hand and matcher.stays_away(self.need(now), team):
            raise Conflict("您的队伍近期多次接单后没有到场，暂停自行接单；请联系站里", **self._situation())

    def _claimable(self, team: Team, matcher: Matcher, now: datetime) -> Match | None:
        """The match of a team that claims the order from the pool; None: it takes an offer.

        Raise ``Conflict`` when something stands against the team.
        """
        if not self.is_in_reach(team) or self.offer_of(team.id) is not None:
            return None
        found = matcher.match(self.need(now))
        candidate = found.of(team.id)
        if candidate is None or candidate.verdict is Verdict.BLOCKED:
            why = found.tell(candidate) if candidate else "队伍不在可以抢单的范围"
            raise Conflict(f"这一单不能由您的队伍来接：{why}", **self._situation())
        return found

    def _must_be_able(self, team: Team, volunteers: Sequence[str], matcher: Matcher, now: datetime) -> None:
        """Who goes is fit by law; without names, somebody of the team is."""
        need = self.need(now)
        if not (volunteers or need.is_demanding):
            return
        persons = matcher.persons(need, team)
        for number, volunteer in enumerate(volunteers):
            if is_firm(persons[volunteer]):
                raise invalid(f"volunteers.{number}", f"这位队员不能参加这一单：{_told([persons[volunteer]])}")
        if all(is_firm(hindrances) for hindrances in persons.values()):
            raise Conflict(f"队里现在没有可以参加这一单的队员：{_told(persons.values())}", **self._situation())

    def _open_offer(self, team: Team) -> Offer:
        offer = self.offer_of(team.id)
        if offer is None or offer.state is not OfferState.OPEN:
            raise Conflict("这一单现在没有派给您的队伍", **self._situation())
        return offer

    def _must_have_accepted(self, team: Team) -> None:
        if self.accepted_by != team.id:
            raise Conflict("接这一单的是另一支队伍", **self._situation())

    def _release(self, left: OfferState) -> None:
        """From the team that has accepted, if one has."""
        for offer in self.offers:
            if offer.state is OfferState.ACCEPTED:
                offer.state = left
        self.accepted_by, self.volunteers = None, []

    def _lapse_offers(self) -> None:
        for offer in self.offers:
            if offer.state is OfferState.OPEN:
                offer.state = OfferState.LAPSED

    def _give_up(self, actor: Actor, reason: str, now: datetime) -> Event:
        self._move(State.UNMET, Holder("site", self.seat.site))
        self.due_at = self.tier_due_at = self.wave_at = None
        self._await_nobody()
        self._note("unmet", actor.id, now, reason)
        return facts.OrderUnmet(**self._where(), category=self.category, center=self.seat.site)

    def _end(self, state: State, actor: Actor, reason: str, now: datetime) -> None:
        self._lapse_offers()
        self._move(state, None)
        self.due_at = self.wave_at = None
        self.uncounted_since = now
        self._await_nobody()
        self._note(state.value, actor.id, now, reason)

    def _move(self, state: State, holder: Holder | None) -> None:
        self.state, self.holder = state, holder

    def _note(self, event: str, actor: str, now: datetime, note: str = "") -> None:
        self.timeline.append(Entry(now, event, actor, self.tier, mask(note)))


# -- rules --------------------------------------------------------------------------------------------


def chain_of(place: Place, sites: dict[str, Place]) -> list[Seat]:
    """The seats of a place's orders, from the lowest that has a post up to the county's center.

    Escalation stays within the county, and a place without a post starts one tier up (domain, section 8).
    """
    seats = [sites[code] for code in place.path if code in sites]
    return [
        Seat(s.id, s.tier, s.auto_offer, s.hours, s.mode, s.sisters)
        for s in seats
        if s.has_post and s.tier is not Tier.CITY
    ]


def _chosen(found: Match, wanted: Sequence[str], reason: str | None) -> list[str]:
    """By hand: whom nothing stands against, or what does may be overridden and there is a reason to."""
    for number, team in enumerate(wanted):
        candidate = found.of(team)
        if candidate is None:
            raise invalid(f"teams.{number}", "不是本级的队伍，也不是可以借用的队伍")
        if candidate.verdict is not Verdict.BLOCKED:
            continue
        why = found.tell(candidate)
        if candidate.firm:
            raise invalid(f"teams.{number}", f"{why}，不能派单")
        if not reason:
            raise invalid(f"teams.{number}", f"{why}；确需派给它，请在 reason 中填写理由")
    return list(dict.fromkeys(wanted))


def check_wish(item: Item, place: Place, chain: list[Seat], wish: Wish) -> None:
    """Raise ``Invalid`` for what cannot be ordered here."""
    if not item.active or item.site not in place.path:
        raise invalid("service_item", NO_SUCH_ITEM)
    if not chain:
        raise invalid("site", "这里还没有开通文明实践站、所或中心")
    if wish.target_group not in item.target_groups:
        raise invalid("target_group", "这项服务不面向该类人群")
    if item.needs_address and not wish.address:
        raise invalid("address", "这项服务要上门，请填写地址")
    if wish.preferred_from and wish.preferred_to and wish.preferred_to <= wish.preferred_from:
        raise invalid("preferred.to", "结束时间要晚于开始时间")


def check_preferred(wish: Wish, now: datetime) -> None:
    """Of what is ordered now; an occurrence of a series has its time from the series. Raise ``Invalid``."""
    if wish.preferred_from and wish.preferred_to:
        _check_visit("preferred.", wish.preferred_from, wish.preferred_to, now)


def _check_visit(path: str, start: datetime, end: datetime, now: datetime) -> None:
    if end <= start:
        raise invalid(f"{path}to", "结束时间要晚于开始时间")
    if not now - CLOCK_TOLERANCE <= start <= now + FURTHEST_VISIT:
        raise invalid(f"{path}from", "上门时间要在现在以后、一年以内")


def _at(need: Need, start: datetime, end: datetime) -> Need:
    return replace(need, day=start.astimezone(CHINA).date(), start=start, end=end)


def _told(hindrances: Iterable[Iterable[str]]) -> str:
    """Each once."""
    return "、".join(dict.fromkeys(WORDS[why] for one in hindrances for why in one))


def _check_segments(segments: list[Segment], team: Team, placed_at: datetime, now: datetime) -> None:
    """Domain, section 6: rules for hours from orders."""
    for number, segment in enumerate(segments):
        start, end = segment.start.astimezone(CHINA), segment.end.astimezone(CHINA)
        path = f"records.{number}"
        if segment.volunteer_id not in team.member_ids:
            raise invalid(f"{path}.volunteer", "不是本队成员")
        if end - start < SHORTEST_SEGMENT:
            raise invalid(f"{path}.to", "服务时间至少 1 分钟，结束要晚于开始")
        if start.date() != (end - timedelta(microseconds=1)).date():
            raise invalid(f"{path}.to", "一段服务要在同一天内，跨天请分开填")
        if end > now + CLOCK_TOLERANCE:
            raise invalid(f"{path}.to", "服务时间不能在将来")
        if start.date() < placed_at.astimezone(CHINA).date():
            raise invalid(f"{path}.from", "服务时间不能早于点单那一天")
        if any(_overlap(segment, other) for other in segments[:number]):
            raise invalid(path, "同一位志愿者的时间有重叠")


def _in_words(start: datetime, end: datetime) -> str:
    """In Chinese time."""
    first, last = start.astimezone(CHINA), end.astimezone(CHINA)
    day = "" if first.date() == last.date() else f"{last:%m月%d日} "
    return f"{first:%m月%d日 %H:%M}–{day}{last:%H:%M}"


def _overlap(one: Segment, other: Segment) -> bool:
    same = one.volunteer_id == other.volunteer_id
    return same and one.start < other.end and other.start < one.end
