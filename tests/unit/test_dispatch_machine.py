"""Whatever is done to an order, in whatever sequence and however often: what always holds."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.chassis.messages import Event
from services.contracts.dispatch import Wave
from services.contracts.errors import ServiceError
from services.contracts.registry import OfferMode, Tier
from services.dispatch.domain import MOST_PHOTOS, Entry, OfferState, Order, Side, State
from services.dispatch.known import Team
from tests.builders import (
    DEADLINES,
    HOUR,
    MINUTE,
    MORNING,
    RULES,
    WEEK,
    Known,
    a_chain,
    a_message,
    a_place,
    a_resident,
    a_segment,
    a_team,
    a_wish,
    an_item,
    leader_of,
    staff_of,
)

TIERS = [Tier.STATION, Tier.INSTITUTE, Tier.CENTER]
TEAMS = {f"{tier}-{n}": a_team(f"{tier}-{n}", tier) for tier in TIERS for n in (1, 2)}
KNOWN = Known(TEAMS.values(), rules=replace(RULES, wave=Wave(size=1, minutes=10)))
FINAL = {State.CLOSED, State.REJECTED, State.CANCELLED}
WITH_TEAM = {State.ACCEPTED, State.IN_SERVICE, State.COMPLETED, State.RATED, State.CLOSED}
HELD_BY_TEAM = {State.ACCEPTED, State.IN_SERVICE, State.COMPLETED}
CLOCK_RUNS = {State.PLACED, State.OFFERED, State.COMPLETED}

any_team = some.sampled_from(sorted(TEAMS))
mostly_the_team_that_has_it = some.none() | some.none() | any_team
is_waiting = precondition(lambda machine: machine.order.state in (State.PLACED, State.OFFERED, State.UNMET))
is_taken = precondition(lambda machine: machine.order.accepted_by is not None)
Step = Callable[[Order], list[Event]]


class LifeOfAnOrder(RuleBasedStateMachine):
    order: Order

    @initialize(
        ways=some.lists(some.none() | some.sampled_from(OfferMode), min_size=3, max_size=3),
        lowest=some.integers(0, 2), urgent=some.booleans(),
    )  # fmt: skip
    def place(self, ways: list[OfferMode | None], lowest: int, urgent: bool) -> None:
        """Each seat offers in some way, or by hand (None)."""
        self.now = MORNING
        self.chain = a_chain()[lowest:]
        for seat, way in zip(self.chain, ways, strict=False):
            seat.auto_offer, seat.mode = way is not None, way or OfferMode.FAN_OUT
        item, wish = an_item(), a_wish(urgent=urgent)
        self.order, events = Order.place("o1", item, a_place(), self.chain, wish, KNOWN, DEADLINES, self.now)
        self.tiers, self.told = [self.order.tier], [event.fact for event in events]
        self.past: list[Entry] = []
        self.declined: set[str] = set()
        self.last: Step = lambda order: order.move_when_due(KNOWN, DEADLINES, self.now)

    def give(self, step: Step) -> None:
        """A command as a service gives it: refused without a trace, or done and told."""
        self.last, before = step, deepcopy(self.order)
        try:
            events = step(self.order)
        except ServiceError:
            assert self.order == before
            return
        assert before.state not in FINAL or not events
        self.told += [event.fact for event in events]
        if self.order.tier != self.tiers[-1]:
            self.tiers.append(self.order.tier)

    # -- time -------------------------------------------------------------------------------------------

    @rule(passed=some.integers(0, 90))
    def time_passes(self, passed: int) -> None:
        self.now += passed * MINUTE

    @rule(late=some.sampled_from([timedelta(seconds=-1), timedelta(0), MINUTE, 3 * HOUR]), times=some.integers(1, 3))
    def timers_fire(self, late: timedelta, times: int) -> None:
        if self.order.due_at is not None:
            self.now = max(self.now, self.order.due_at + late)
        before = deepcopy(self.order)
        for _ in range(times):
            self.give(lambda order: order.move_when_due(KNOWN, DEADLINES, self.now))
        early = before.due_at is None or before.due_at > self.now
        assert len(self.order.timeline) > len(before.timeline) or early
        assert self.order == before or not early

    @precondition(lambda machine: machine.order.wave_at is not None)
    @rule(late=some.sampled_from([timedelta(seconds=-1), timedelta(0), 3 * HOUR]))
    def the_next_wave_is_due(self, late: timedelta) -> None:
        self.now = max(self.now, self.order.wave_at + late)
        early, before = self.order.wave_at > self.now, len(self.order.offers)
        self.give(lambda order: order.offer_next(KNOWN, self.now))
        assert len(self.order.offers) <= before + (not early)

    @rule()
    def the_same_comes_twice(self) -> None:
        self.give(self.last)

    # -- commands ---------------------------------------------------------------------------------------

    @rule(name=any_team)
    def accept(self, name: str) -> None:
        team = TEAMS[name]
        self.give(lambda order: order.accept(leader_of(team), team, [team.leader_id], KNOWN, self.now))

    @precondition(lambda machine: machine.open_offers())
    @rule(which=some.integers(0, 5))
    def accept_what_is_offered(self, which: int) -> None:
        offers = self.open_offers()
        self.accept(offers[which % len(offers)])
        assert self.order.state is State.ACCEPTED

    @rule(name=any_team)
    def decline(self, name: str) -> None:
        team = TEAMS[name]

        def step(order: Order) -> list[Event]:
            events = order.decline(leader_of(team), team, "没有时间", self.now)
            self.declined.add(name)
            return events

        self.give(step)

    @is_waiting
    @rule(names=some.lists(any_team, max_size=3, unique=True))
    def offer(self, names: list[str]) -> None:
        wanted = names or None
        self.give(lambda order: order.offer(staff_of(order.seat.site), wanted, None, KNOWN, self.now))

    @rule(name=any_team)
    def a_team_is_formed(self, name: str) -> None:
        self.give(lambda order: order.look_again(TEAMS[name], KNOWN, self.now))

    @rule()
    def escalate(self) -> None:
        staff = staff_of(self.order.seat.site)
        self.give(lambda order: order.escalate(staff, "本级做不了", KNOWN, DEADLINES, self.now))

    @is_taken
    @rule(name=mostly_the_team_that_has_it)
    def withdraw(self, name: str | None) -> None:
        team = self.team(name)
        self.give(lambda order: order.withdraw(leader_of(team), team, "有人病了", self.now))

    @rule(by=some.sampled_from(Side), ahead=some.integers(-60, 120), minutes=some.integers(0, 90))
    def appoint(self, by: Side, ahead: int, minutes: int) -> None:
        start = self.now + ahead * MINUTE
        self.give(lambda order: order.appoint(a_resident(), by, start, start + minutes * MINUTE, self.now))

    @precondition(lambda machine: machine.order.state is State.ACCEPTED)
    @rule(late=some.integers(-1, 60))
    def the_team_does_not_come(self, late: int) -> None:
        if self.order.preferred_from is not None:
            self.now = max(self.now, self.order.preferred_from + late * MINUTE)
        team, before = self.order.accepted_by, deepcopy(self.order)
        self.give(lambda order: order.miss(a_resident(), "没有人来", self.now))
        if self.order != before:
            assert team is not None and self.order.accepted_by is None
            assert self.order.offer_of(team).state is OfferState.MISSED
            assert self.order.tier_due_at == before.tier_due_at

    @rule(by=some.sampled_from(Side), number=some.integers(1, 5))
    def photograph(self, by: Side, number: int) -> None:
        for _ in range(number):
            id = f"p{len(self.order.photos)}"
            self.give(lambda order, id=id: order.photograph(a_resident(), by, id, self.now))

    @rule(number=some.integers(1, 4), stays=some.booleans())
    def a_neighbour_joins_or_leaves(self, number: int, stays: bool) -> None:
        resident = a_resident(f"neighbour{number}")
        move = Order.join if stays else Order.leave
        self.give(lambda order: move(order, resident, resident.id, self.now))

    @rule(by=some.sampled_from(Side), asks=some.booleans())
    def message(self, by: Side, asks: bool) -> None:
        message = a_message(by, needs_reply=asks and by is not Side.RESIDENT)
        self.give(lambda order: order.message(message, DEADLINES, self.now))

    @precondition(lambda machine: machine.order.state is State.ACCEPTED)
    @rule()
    def the_service_goes_well(self) -> None:
        self.start(None)
        self.complete(None, 0)
        assert self.order.state is State.COMPLETED

    @is_taken
    @rule(name=mostly_the_team_that_has_it)
    def start(self, name: str | None) -> None:
        team = self.team(name)
        self.give(lambda order: order.start(leader_of(team), team, self.now))

    @is_taken
    @rule(name=mostly_the_team_that_has_it, minutes=some.integers(-30, 2))
    def complete(self, name: str | None, minutes: int) -> None:
        team = self.team(name)
        end = self.now + minutes * MINUTE
        segments = [a_segment(team.leader_id, end - HOUR, end)]
        self.give(lambda order: order.complete(leader_of(team), team, segments, "已理发", [], WEEK, self.now))

    @is_taken
    @rule(score=some.integers(1, 5))
    def rate(self, score: int) -> None:
        self.give(lambda order: order.rate(a_resident(), score, None, self.now))

    @is_taken
    @rule()
    def close(self) -> None:
        self.give(lambda order: order.close(staff_of(order.seat.site), self.now))

    @rule(how=some.sampled_from(["cancel", "reject"]), really=some.integers(0, 9))
    def end_early(self, how: str, really: int) -> None:
        if really == 9:
            self.give(lambda order: getattr(order, how)(a_resident(), "不用了", self.now))

    @rule(score=some.integers(1, 5))
    def rate_visit(self, score: int) -> None:
        self.give(lambda order: order.rate_visit(leader_of(self.team(None)), score, None, self.now))

    @precondition(lambda machine: machine.order.state in (State.RATED, State.CLOSED))
    @rule()
    def reopen(self) -> None:
        before = deepcopy(self.order)
        again, _ = self.order.reopen(a_resident(), "没理好", KNOWN, DEADLINES, self.now)
        assert self.order == before
        assert (again.cycle, again.reopens, again.accepted_by) == (before.cycle + 1, before.id, None)

    def open_offers(self) -> list[str]:
        return [offer.team for offer in self.order.offers if offer.state is OfferState.OPEN]

    def team(self, name: str | None) -> Team:
        return TEAMS[name or self.order.accepted_by or "station-1"]

    # -- what always holds ------------------------------------------------------------------------------

    @invariant()
    def one_site_or_team_holds_it_unless_it_is_over(self) -> None:
        order, holder = self.order, self.order.holder
        if order.state in FINAL:
            assert holder is None
        elif order.state in HELD_BY_TEAM:
            assert holder is not None and (holder.kind, holder.id) == ("team", order.accepted_by)
        else:
            assert holder is not None and (holder.kind, holder.id) == ("site", order.seat.site)

    @invariant()
    def it_is_accepted_by_one_team_at_most(self) -> None:
        accepted = [offer.team for offer in self.order.offers if offer.state is OfferState.ACCEPTED]
        assert accepted == ([self.order.accepted_by] if self.order.state in WITH_TEAM else [])
        assert (self.order.accepted_by is not None) == (self.order.state in WITH_TEAM)

    @invariant()
    def a_team_has_one_offer_and_a_declined_one_stays_so(self) -> None:
        teams = [offer.team for offer in self.order.offers]
        assert len(teams) == len(set(teams))
        assert {o.team for o in self.order.offers if o.state is OfferState.DECLINED} == self.declined

    @invariant()
    def offers_are_open_only_at_its_tier_while_it_waits(self) -> None:
        for offer in self.order.offers:
            if offer.state is OfferState.OPEN:
                assert offer.tier is self.order.tier
                assert self.order.state in (State.OFFERED, State.UNMET)

    @invariant()
    def it_only_climbs_and_each_hop_once(self) -> None:
        heights = [TIERS.index(tier) for tier in self.tiers]
        assert heights == list(range(heights[0], heights[-1] + 1))
        assert self.told.count("order.escalated") == len(self.tiers) - 1
        assert self.told.count("order.unmet") <= 1
        assert self.order.state is not State.UNMET or self.order.tier is Tier.CENTER

    @invariant()
    def the_clock_runs_only_while_something_can_fall_due(self) -> None:
        stopped = self.order.seconds_left is not None and self.order.state is not State.COMPLETED
        assert (self.order.due_at is not None) == (self.order.state in CLOCK_RUNS and not stopped)

    @invariant()
    def it_stands_still_only_for_the_resident_and_never_beyond_the_tiers_time(self) -> None:
        if (left := self.order.seconds_left) is not None:
            assert self.order.asked_at is not None and self.order.tier_due_at is None
            assert 0 <= left <= HOUR.total_seconds()

    @invariant()
    def the_timeline_grows_in_order_of_time_and_is_what_was_told(self) -> None:
        timeline = self.order.timeline
        assert timeline[: len(self.past)] == self.past
        assert all(one.time <= other.time for one, other in pairwise(timeline))
        assert ["order." + entry.event for entry in timeline] == self.told
        self.past = deepcopy(timeline)

    @invariant()
    def it_has_the_photos_that_were_told_of_and_not_too_many(self) -> None:
        assert len(self.order.photos) == self.told.count("order.photographed") <= MOST_PHOTOS

    @invariant()
    def the_visit_is_rated_once(self) -> None:
        assert self.told.count("order.visit_rated") == (self.order.visit_score is not None)

    @invariant()
    def each_neighbour_counts_once(self) -> None:
        assert len(set(self.order.joined)) == len(self.order.joined)
        assert self.order.needed_by == 1 + self.told.count("order.joined") - self.told.count("order.left")

    @invariant()
    def whoever_was_asked_was_decided_on(self) -> None:
        chosen = {team for decision in self.order.decisions for team in decision.chosen}
        assert chosen == {offer.team for offer in self.order.offers}
        for decision in self.order.decisions:
            assert set(decision.chosen) <= {candidate.team for candidate in decision.candidates}

    @invariant()
    def it_waits_for_a_wave_or_in_a_pool_only_where_the_site_does_so(self) -> None:
        seat = self.order.seat
        assert not self.order.pool_at or (seat.auto_offer and seat.mode is OfferMode.POOL)
        if self.order.wave_at is not None:
            assert seat.auto_offer and seat.mode is OfferMode.WAVES
            assert self.order.state in (State.PLACED, State.OFFERED)

    @invariant()
    def what_is_possible_is_what_the_state_allows(self) -> None:
        assert not self.order.possible or self.order.state not in (State.REJECTED, State.CANCELLED)


TestLifeOfAnOrder = LifeOfAnOrder.TestCase
TestLifeOfAnOrder.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
