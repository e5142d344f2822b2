"""Dispatch: an order's way from the resident's wish to its close."""

from base64 import b64decode
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

from ulid import ULID

from services.chassis.clock import now
from services.chassis.messages import Event
from services.chassis.process import UnitOfWork
from services.chassis.repository import slice_page
from services.chassis.rpc import command, query
from services.chassis.settings import settings
from services.chassis.subscriber import subscribe
from services.chassis.telemetry import DUE_OLDEST, logger
from services.chassis.timer import every
from services.contracts.actor import SYSTEM, Actor, Role
from services.contracts.cases import LOW_RATING, LOW_VISIT, Complain, ReferCase, ReportCase, SettleCase, TakeCase
from services.contracts.dispatch import (
    AcceptOrder,
    AddNote,
    AddPhoto,
    AdvanceOrders,
    AppointVisit,
    CancelOrder,
    CloseOrder,
    CompleteOrder,
    Contact,
    DeclineOrder,
    EscalateOrder,
    JoinOrder,
    LeaveOrder,
    OfferOrder,
    PlaceOrder,
    PublishRules,
    RateOrder,
    RateVisit,
    RejectOrder,
    ReopenOrder,
    ReportNoShow,
    SendMessage,
    StartOrder,
    Step,
    WithdrawOrder,
)
from services.contracts.errors import Conflict, Forbidden, Invalid, NotFound, ServiceError, invalid
from services.contracts.records import HouseholdUpdated
from services.contracts.registry import (
    ItemPublished,
    ResidentRegistered,
    SiteOpened,
    TeamEvent,
    TeamFormed,
    TeamUpdated,
    Tier,
    VolunteerEvent,
    VolunteerRegistered,
    VolunteerUpdated,
)
from services.contracts.series import EndSeries, MoveOccurrence, SkipOccurrence, StartSeries
from services.contracts.support import (
    AnswerSupport,
    DeclineSupport,
    RateSupport,
    RequestSupport,
    TakeSupport,
    WithdrawSupport,
)
from services.contracts.wording import DAY
from services.contracts.zone import CHINA, midnight, read_day
from services.dispatch import domain, inbox, known, permissions, quality, support
from services.dispatch.cases import LOW_SCORE, Case
from services.dispatch.deadlines import table
from services.dispatch.domain import Message, Note, Order, Segment, Side, Wish
from services.dispatch.finder import Finder, default_rules, rules_in_force
from services.dispatch.known import Place, Team
from services.dispatch.matching import RuleBook
from services.dispatch.photos import Photo, PhotoStore
from services.dispatch.repository import (
    CASE_STATES,
    AllFigures,
    AllSeries,
    Cases,
    Households,
    Items,
    Lives,
    Messages,
    Notes,
    Orders,
    Photos,
    Places,
    Residents,
    Rules,
    SupportRequests,
    Teams,
    Viewings,
    Volunteers,
)
from services.dispatch.series import ENDED, MOST_RUNNING, MOVED, Series, call_off
from services.dispatch.support import SupportRequest, SupportState
from services.dispatch.viewings import Request, Viewing
from services.dispatch.views import (
    case_view,
    day_view,
    decision_view,
    message_view,
    neighbour_view,
    note_view,
    order_view,
    photo_view,
    quality_view,
    rules_view,
    series_view,
    support_view,
    timeline_view,
    viewing_view,
    waiting_cases_view,
    waiting_support_view,
    waiting_view,
)

TICK, WAVE_TICK, SERIES_TICK, COUNT_TICK = 1.0, 2.0, 2.0, 5.0  # seconds
UNMET_AT_ONCE = 500
"""Unmet orders, oldest first, that are offered to a team when it is formed or serves something new."""
DUE_AT_ONCE = 250
"""Orders that one tick moves in one go; the next follows at once while there are more."""
SERIES_AT_ONCE = 50
SERIES_DEADLINE = 3.0
"""Seconds for one series whose occurrences become orders."""
COUNTED_AT_ONCE = 200
COUNT_DEADLINE = 5.0
"""Seconds for as many ended orders that go into the figures."""
COUNT_AFTER = timedelta(seconds=2)
"""As a rule the relay is done with an order by then, and does not come in between."""
SIMILAR_WITHIN, NEAR_WITHIN = timedelta(days=1), timedelta(days=7)
PARENTS = (9, 6, 4)
"""Digits of the codes of a township, a county and a city."""
MOST_OF_A_DAY = 1000
"""Lines of a day's list."""

log = logger("dispatch")


class DispatchService:
    name = "dispatch"

    uow = UnitOfWork(
        orders=Orders, messages=Messages, notes=Notes, photos=Photos, cases=Cases, rules=Rules, series=AllSeries,
        teams=Teams, places=Places, items=Items, residents=Residents, households=Households, volunteers=Volunteers,
        lives=Lives, viewings=Viewings, figures=AllFigures, support_requests=SupportRequests,
    )  # fmt: skip

    # -- commands -----------------------------------------------------------------------------------

    @command(PlaceOrder)
    def place_order(self, actor: Actor, command: PlaceOrder) -> dict[str, Any]:
        place, item, chain = self._orderable(actor, command)
        wish, time = _wish(actor, command), now()
        domain.check_preferred(wish, time)
        wish.similar = self.uow.orders.similar(wish.resident_id, item.id, time - SIMILAR_WITHIN)
        order, events = Order.place(str(ULID()), item, place, chain, wish, self._finder(), _deadlines(), time)
        self.uow.orders.add(order, *events)
        return order_view(order, actor)

    @command(OfferOrder)
    def offer_order(self, actor: Actor, order_id: str, command: OfferOrder) -> dict[str, Any]:
        order, own = self._permitted("offer", actor, order_id)
        events = order.offer(actor, command.teams, command.reason, self._finder(), now())
        self.uow.orders.save(order, *events)
        return order_view(order, actor, own)

    @command(AcceptOrder)
    def accept_order(self, actor: Actor, order_id: str, command: AcceptOrder) -> dict[str, Any]:
        order, team = self._for_team(actor, order_id, command.team)
        events = order.accept(actor, team, command.volunteers or [], self._finder(), now())
        self.uow.orders.save(order, *events)
        return order_view(order, actor, [team])

    @command(DeclineOrder)
    def decline_order(self, actor: Actor, order_id: str, command: DeclineOrder) -> dict[str, Any]:
        order, team = self._for_team(actor, order_id, command.team)
        events = order.decline(actor, team, command.reason, now())
        self.uow.orders.save(order, *events)
        return order_view(order, actor, [team])

    @command(WithdrawOrder)
    def withdraw_order(self, actor: Actor, order_id: str, command: WithdrawOrder) -> dict[str, Any]:
        order, team = self._for_team(actor, order_id, command.team)
        events = order.withdraw(actor, team, command.reason, now())
        self.uow.orders.save(order, *events)
        return order_view(order, actor, [team])

    @command(EscalateOrder)
    def escalate_order(self, actor: Actor, order_id: str, command: EscalateOrder) -> dict[str, Any]:
        order, own = self._permitted("escalate", actor, order_id)
        events = order.escalate(actor, command.reason, self._finder(), _deadlines(), now())
        self.uow.orders.save(order, *events)
        return order_view(order, actor, own)

    @command(CancelOrder)
    def cancel_order(self, actor: Actor, order_id: str, command: CancelOrder) -> dict[str, Any]:
        order, own = self._permitted("cancel", actor, order_id)
        events = order.cancel(actor, command.reason, now())
        self.uow.orders.save(order, *events)
        return order_view(order, actor, own)

    @command(RejectOrder)
    def reject_order(self, actor: Actor, order_id: str, command: RejectOrder) -> dict[str, Any]:
        order, own = self._permitted("reject", actor, order_id)
        events = order.reject(actor, command.reason, now())
        self.uow.orders.save(order, *events)
        return order_view(order, actor, own)

    @command(StartOrder)
    def start_order(self, actor: Actor, order_id: str, command: StartOrder) -> dict[str, Any]:
        order, team = self._for_team(actor, order_id)
        events = order.start(actor, team, now())
        self.uow.orders.save(order, *events)
        return order_view(order, actor, [team])

    @command(CompleteOrder)
    def complete_order(self, actor: Actor, order_id: str, command: CompleteOrder) -> dict[str, Any]:
        order, team = self._for_team(actor, order_id)
        segments = [Segment(r.volunteer, r.start, r.end) for r in command.records]
        order.check_who_served(team, segments, self._finder(), now())
        silence = timedelta(seconds=settings().rating_silence_seconds)
        events = order.complete(actor, team, segments, command.summary, list(command.evidence), silence, now())
        self.uow.orders.save(order, *events)
        return order_view(order, actor, [team])

    @command(RateOrder)
    def rate_order(self, actor: Actor, order_id: str, command: RateOrder) -> dict[str, Any]:
        order, own = self._permitted("rate", actor, order_id)
        events = order.rate(actor, command.score, command.comment, now())
        self.uow.orders.save(order, *events)
        if command.score <= LOW_SCORE:
            self._follow_up(order, LOW_RATING, order.resident_id, command.comment)
        return order_view(order, actor, own)

    @command(RateVisit)
    def rate_visit(self, actor: Actor, order_id: str, command: RateVisit) -> dict[str, Any]:
        order, team = self._for_team(actor, order_id)
        self.uow.orders.save(order, *order.rate_visit(actor, command.score, command.comment, now()))
        if command.score <= LOW_SCORE:
            self._follow_up(order, LOW_VISIT, actor.id, command.comment)
        return order_view(order, actor, [team])

    @command(CloseOrder)
    def close_order(self, actor: Actor, order_id: str, command: CloseOrder) -> dict[str, Any]:
        order, own = self._permitted("close", actor, order_id)
        events = order.close(actor, now())
        self.uow.orders.save(order, *events)
        return order_view(order, actor, own)

    @command(ReopenOrder)
    def reopen_order(self, actor: Actor, order_id: str, command: ReopenOrder) -> dict[str, Any]:
        order, own = self._permitted("reopen", actor, order_id)
        if self.uow.orders.find(order.next_cycle_id):
            raise Conflict("这个单已经重新打开过了", reopened_as=order.next_cycle_id)
        again, events = order.reopen(actor, command.reason, self._finder(), _deadlines(), now())
        self.uow.orders.add(again, *events)
        return order_view(again, actor, own)

    @command(SendMessage)
    def send_message(self, actor: Actor, order_id: str, command: SendMessage) -> dict[str, Any]:
        order, own = self.uow.orders.get(order_id), self._own(actor)
        side = permissions.side_of(actor, order, own, command.channel is not None)
        if side is Side.RESIDENT and command.needs_reply:
            raise invalid("needs_reply", "居民这一方的留言不用填这一项")
        message = Message(
            str(ULID()), order.id, side, actor.id, command.text, now(), command.needs_reply, command.channel
        )
        self.uow.messages.add(message)
        self.uow.orders.save(order, *order.message(message, _deadlines(), message.sent_at))
        return order_view(order, actor, own)

    @command(AppointVisit)
    def appoint_visit(self, actor: Actor, order_id: str, command: AppointVisit) -> dict[str, Any]:
        order, own = self.uow.orders.get(order_id), self._own(actor)
        side = permissions.side_of(actor, order, own, heard=False)
        if order.accepted_by and (team := self.uow.teams.find(order.accepted_by)):
            order.check_moved(team, command.start, command.end, self._finder(), now())
        self.uow.orders.save(order, *order.appoint(actor, side, command.start, command.end, now()))
        return order_view(order, actor, own)

    @command(ReportNoShow)
    def report_no_show(self, actor: Actor, order_id: str, command: ReportNoShow) -> dict[str, Any]:
        order, own = self._permitted("no-show", actor, order_id)
        missed = order.accepted_by
        self.uow.orders.save(order, *order.miss(actor, command.reason, now()))
        if missed and (team := self.uow.teams.find(missed)):
            team.miss(now())
            self.uow.teams.save(team)
        return order_view(order, actor, own)

    @command(AdvanceOrders)
    def advance_orders(self, actor: Actor, command: AdvanceOrders) -> dict[str, Any]:
        """One transaction for what can be done; of the rest it is told why not, each by itself."""
        if command.step is Step.ESCALATE and command.reason is None:
            raise invalid("reason", "上报要填写原因")
        self.uow.orders.find_many(command.orders)
        own, finder, items = self._own(actor), self._finder(), []
        for order_id in dict.fromkeys(command.orders):
            try:
                order = self.uow.orders.get(order_id)
                permissions.permit(command.step, actor, order, own)
                events = self._step(actor, order, command, finder)
            except (NotFound, Forbidden, Conflict) as refused:
                items.append({"order": order_id, "done": False, "problem": refused.problem()})
            else:
                self.uow.orders.save(order, *events)
                items.append({"order": order_id, "done": True, "state": order.state, "tier": order.tier})
        return {"done": sum(item["done"] for item in items), "items": items}

    @command(AddNote)
    def add_note(self, actor: Actor, order_id: str, command: AddNote) -> dict[str, Any]:
        order, _ = self._permitted("note", actor, order_id)
        note = Note(str(ULID()), order.id, actor.id, command.text, now())
        self.uow.notes.add(note)
        return note_view(note)

    @command(AddPhoto)
    def add_photo(self, actor: Actor, order_id: str, command: AddPhoto) -> dict[str, Any]:
        order, own = self.uow.orders.get(order_id), self._own(actor)
        side = permissions.photographer(actor, order, own)
        photo = Photo(
            str(ULID()), order.id, side, now(), command.width, command.height, len(b64decode(command.data)),
            command.data,
        )  # fmt: skip
        self._photos.add(photo)
        self.uow.orders.save(order, *order.photograph(actor, side, photo.id, photo.at))
        return photo_view(photo)

    @command(JoinOrder)
    def join_order(self, actor: Actor, order_id: str, command: JoinOrder) -> dict[str, Any]:
        order, resident = self._neighbour(actor, order_id, command)
        if events := order.join(actor, resident, now()):
            self.uow.orders.save(order, *events)
        return neighbour_view(order, actor)

    @command(LeaveOrder)
    def leave_order(self, actor: Actor, order_id: str, command: LeaveOrder) -> dict[str, Any]:
        order, resident = self._neighbour(actor, order_id, command)
        if events := order.leave(actor, resident, now()):
            self.uow.orders.save(order, *events)
        return neighbour_view(order, actor)

    @command(Complain)
    def complain(self, actor: Actor, order_id: str, command: Complain) -> dict[str, Any]:
        order, _ = self._permitted("complain", actor, order_id)
        case, events = Case.complain(str(ULID()), order, command.about, actor, command.text, _deadlines(), now())
        self.uow.cases.add(case, *events)
        return case_view(case)

    @command(ReportCase)
    def report_case(self, actor: Actor, command: ReportCase) -> dict[str, Any]:
        place = self._place(command.site or actor.site)
        case, events = Case.report(str(ULID()), actor, place, self._chain(place), command, _deadlines(), now())
        self.uow.cases.add(case, *events)
        return case_view(case)

    @command(TakeCase)
    def take_case(self, actor: Actor, case_id: str, command: TakeCase) -> dict[str, Any]:
        return self._move_case(actor, case_id, lambda case: case.take(actor, now()))

    @command(ReferCase)
    def refer_case(self, actor: Actor, case_id: str, command: ReferCase) -> dict[str, Any]:
        return self._move_case(actor, case_id, lambda case: case.refer(actor, command.reason, _deadlines(), now()))

    @command(SettleCase)
    def settle_case(self, actor: Actor, case_id: str, command: SettleCase) -> dict[str, Any]:
        return self._move_case(actor, case_id, lambda case: case.settle(actor, command.outcome, now()))

    @command(RequestSupport)
    def request_support(self, actor: Actor, command: RequestSupport) -> dict[str, Any]:
        place = self._place(actor.site)
        chain = self._chain(place)
        request, events = SupportRequest.ask(str(ULID()), actor, place, chain, command, _deadlines(), now())
        self.uow.support_requests.add(request, *events)
        return support_view(request)

    @command(TakeSupport)
    def take_support(self, actor: Actor, request_id: str, command: TakeSupport) -> dict[str, Any]:
        return self._support(request_id, lambda request: request.take(actor, now()))

    @command(AnswerSupport)
    def answer_support(self, actor: Actor, request_id: str, command: AnswerSupport) -> dict[str, Any]:
        return self._support(request_id, lambda request: request.reply(actor, command.text, command.goods, now()))

    @command(DeclineSupport)
    def decline_support(self, actor: Actor, request_id: str, command: DeclineSupport) -> dict[str, Any]:
        return self._support(request_id, lambda request: request.decline(actor, command.reason, now()))

    @command(WithdrawSupport)
    def withdraw_support(self, actor: Actor, request_id: str, command: WithdrawSupport) -> dict[str, Any]:
        return self._support(request_id, lambda request: request.withdraw(actor, now()))

    @command(RateSupport)
    def rate_support(self, actor: Actor, request_id: str, command: RateSupport) -> dict[str, Any]:
        return self._support(request_id, lambda request: request.rate(actor, command.score, command.comment, now()))

    @command(PublishRules)
    def publish_rules(self, actor: Actor, code: str, command: PublishRules) -> dict[str, Any]:
        book = self._rule_book(actor, code)
        published = book.publish(actor, command, now())
        self.uow.rules.save(book)
        return rules_view(published)

    @command(StartSeries)
    def start_series(self, actor: Actor, command: StartSeries) -> dict[str, Any]:
        place, item, chain = self._orderable(actor, command)
        wish = _wish(actor, command)
        domain.check_wish(item, place, chain, wish)
        if self.uow.series.running_of(wish.resident_id, MOST_RUNNING) >= MOST_RUNNING:
            raise Conflict(f"一位居民最多同时有 {MOST_RUNNING} 个系列，请先结束不再需要的")
        series = Series.begin(str(ULID()), item, place, wish, command, now())
        self.uow.series.add(series)
        return series_view(series, now())

    @command(MoveOccurrence)
    def move_occurrence(self, actor: Actor, series_id: str, command: MoveOccurrence) -> dict[str, Any]:
        series = self._series(actor, series_id, changes=True)
        self._call_off(actor, series.move(command.occurrence, command.to, now()), MOVED)
        self.uow.series.save(series)
        return series_view(series, now())

    @command(SkipOccurrence)
    def skip_occurrence(self, actor: Actor, series_id: str, command: SkipOccurrence) -> dict[str, Any]:
        series = self._series(actor, series_id, changes=True)
        self._call_off(actor, series.skip(command.occurrence, actor, command.reason, now()), command.reason)
        self.uow.series.save(series)
        return series_view(series, now())

    @command(EndSeries)
    def end_series(self, actor: Actor, series_id: str, command: EndSeries) -> dict[str, Any]:
        """An order that a team serves already stays what it is."""
        series = self._series(actor, series_id, changes=True)
        for order_id in series.end(command.day, command.reason, now()):
            try:
                self._call_off(actor, order_id, ENDED)
            except Conflict:
                pass
        self.uow.series.save(series)
        return series_view(series, now())

    # -- queries ------------------------------------------------------------------------------------

    @query
    def all_series(
        self, actor: Actor, site: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> dict[str, Any]:
        page = self.uow.series.visible(actor, {"path": site} if site else {}, limit, cursor)
        return {"items": [series_view(series) for series in page.items], "next": page.next}

    @query
    def series(self, actor: Actor, series_id: str) -> dict[str, Any]:
        return series_view(self._series(actor, series_id), now())

    @command()
    def day(self, actor: Actor, code: str, day: str | None = None) -> dict[str, Any]:
        """What takes place at a site and below it on a day in China, as far as the actor may read it."""
        place, on = self._place(code), _day(day)
        own, begin = self._own(actor), midnight(on)
        orders = self.uow.orders.of_day(actor, own, place.id, begin, begin + timedelta(days=1), MOST_OF_A_DAY + 1)
        shown = orders[:MOST_OF_A_DAY]
        self._trace(actor, shown, own, Request.DAY)
        items = [day_view(order, actor, own) for order in shown]
        return {"site": place.id, "date": on, "items": items, "more": len(orders) > MOST_OF_A_DAY}

    @query
    def similar_orders(self, actor: Actor, service_item: str, site: str | None = None) -> dict[str, Any]:
        """What neighbours wait for of late, so that who needs the same can join."""
        place = self._place(site or actor.site)
        permissions.check_looking(actor, place)
        found = self.uow.orders.near(place.id, service_item, now() - NEAR_WITHIN)
        return {"items": [neighbour_view(order, actor) for order in found], "next": None}

    @query
    def joined_orders(self, actor: Actor, limit: int = 50, cursor: str | None = None) -> dict[str, Any]:
        """Newest first."""
        page = self.uow.orders.joined_by(actor.id, limit, cursor)
        return {"items": [neighbour_view(order, actor) for order in page.items], "next": page.next}

    @command()
    def order(self, actor: Actor, order_id: str) -> dict[str, Any]:
        order, own = self._readable(actor, order_id)
        self._trace(actor, [order], own, Request.READ)
        return order_view(order, actor, own)

    @query
    def timeline(self, actor: Actor, order_id: str, limit: int = 50, cursor: str | None = None) -> dict[str, Any]:
        order, _ = self._readable(actor, order_id)
        entries, following = slice_page(order.timeline, limit, cursor)
        return {"items": [timeline_view(entry) for entry in entries], "next": following}

    @query
    def decision(self, actor: Actor, order_id: str, limit: int = 50, cursor: str | None = None) -> dict[str, Any]:
        """Newest first."""
        order, own = self._readable(actor, order_id)
        sees_all = actor.is_admin or permissions.is_staff_above(actor, order.path)
        decisions, following = slice_page(order.decisions[::-1], limit, cursor)
        book = self.uow.rules.find(order.chain[-1].site)
        shown = None if sees_all else {team.id for team in own}
        rules = {d.rules: (book and book.of_version(d.rules)) or default_rules() for d in decisions}
        return {"items": [decision_view(d, shown, rules[d.rules].words) for d in decisions], "next": following}

    @query
    def order_views(self, actor: Actor, order_id: str, limit: int = 50, cursor: str | None = None) -> dict[str, Any]:
        order, _ = self._permitted("read_views", actor, order_id)
        page = self.uow.viewings.of(order.id, limit, cursor)
        return {"items": [viewing_view(viewing) for viewing in page.items], "next": page.next}

    @command()
    def messages(self, actor: Actor, order_id: str, limit: int = 50, cursor: str | None = None) -> dict[str, Any]:
        order, own = self._readable(actor, order_id)
        if not permissions.may_listen(actor, order, own):
            raise Forbidden("接单以后，队长才能看到居民的留言")
        page = self.uow.messages.of(order.id, limit, cursor)
        self._trace(actor, [order], own, Request.MESSAGES)
        return {"items": [message_view(message) for message in page.items], "next": page.next}

    @query
    def notes(self, actor: Actor, order_id: str, limit: int = 50, cursor: str | None = None) -> dict[str, Any]:
        order, _ = self._permitted("read_notes", actor, order_id)
        page = self.uow.notes.of(order.id, limit, cursor)
        return {"items": [note_view(note) for note in page.items], "next": page.next}

    @query
    def photos(self, actor: Actor, order_id: str) -> dict[str, Any]:
        """Oldest first."""
        order, _ = self._photographed(actor, order_id)
        return {"items": [photo_view(photo) for photo in self._photos.listed(order.photos)]}

    @command()
    def photo(self, actor: Actor, order_id: str, photo_id: str) -> dict[str, Any]:
        """The picture itself, a JPEG as base64."""
        order, own = self._photographed(actor, order_id)
        if photo_id not in order.photos:
            raise NotFound("没有找到这张照片")
        self._trace(actor, [order], own, Request.PHOTO)
        return {"data": self._photos.get(photo_id).data}

    @query
    def cases(
        self, actor: Actor, state: str | None = None, kind: str | None = None, limit: int = 50,
        cursor: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Newest first. ``waiting`` is the state of all that are not settled."""
        if state not in (None, *CASE_STATES):
            raise invalid("state", "可以填：" + "、".join(CASE_STATES))
        wanted = {**(CASE_STATES[state] if state else {}), **({"kind": kind} if kind else {})}
        page = self.uow.cases.visible(actor, wanted, limit, cursor)
        return {"items": [case_view(case) for case in page.items], "next": page.next}

    @query
    def case(self, actor: Actor, case_id: str) -> dict[str, Any]:
        return case_view(self._case(actor, case_id))

    @command()
    def orders(
        self, actor: Actor, state: str | None = None, tier: str | None = None, site: str | None = None,
        holder: str | None = None, waiting: str | None = None, limit: int = 50, cursor: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """``waiting``: only what waits for the actor in this matter (see ``inbox.py``)."""
        given = {"state": state, "tier": tier, "path": site, "holder.id": holder}
        own = self._own(actor)
        wanted: dict[str, Any] = {k: v for k, v in given.items() if v}
        if waiting:
            wanted = {"$and": [wanted, inbox.matter(actor, own, waiting)]}
        page = self.uow.orders.visible(actor, own, wanted, limit, cursor)
        self._trace(actor, page.items, own, Request.LIST)
        return {"items": [order_view(order, actor, own) for order in page.items], "next": page.next}

    @query
    def support_requests(
        self, actor: Actor, state: str | None = None, kind: str | None = None, limit: int = 50,
        cursor: str | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """Newest first. ``waiting`` is the state of all that the center has not answered."""
        if state not in (None, "waiting", *SupportState):
            raise invalid("state", "可以填：waiting、" + "、".join(SupportState))
        states = list(support.WAITING) if state == "waiting" else [state]
        wanted = {**({"state": {"$in": states}} if state else {}), **({"kind": kind} if kind else {})}
        page = self.uow.support_requests.visible(actor, wanted, limit, cursor)
        return {"items": [support_view(request) for request in page.items], "next": page.next}

    @query
    def support_request(self, actor: Actor, request_id: str) -> dict[str, Any]:
        request = self.uow.support_requests.get(request_id)
        request.must_be_seen_by(actor)
        return support_view(request)

    @query
    def inbox(self, actor: Actor) -> dict[str, Any]:
        """What waits for the actor, by what is to be done; also where nothing does."""
        matters = inbox.matters(actor, self._own(actor))
        found = self.uow.orders.waiting(matters)
        items = [waiting_view(matter, found.get(matter, {})) for matter in matters]
        if actor.has(Role.STAFF):
            items.append(waiting_cases_view(self.uow.cases.waiting_at(actor.site)))
            place = self.uow.places.find(actor.site)
            if place and place.tier is Tier.CENTER:
                items.append(waiting_support_view(self.uow.support_requests.waiting_at(place.id)))
        return {"items": items}

    @query
    def demand(self, actor: Actor, code: str) -> dict[str, Any]:
        """What could not be met, for who plans teams: countable by place and category."""
        place = self._place(code)
        permissions.check_figures(actor, place, "未满足的需求")
        rows = self.uow.orders.demand(place.id)
        return {"site": place.id, "total": sum(row["count"] for row in rows), "items": rows}

    @query
    def quality(self, actor: Actor, code: str, first: str | None = None, last: str | None = None) -> dict[str, Any]:
        """How the orders of some months went, at the site and below it; by service item, the most ordered first."""
        place = self._place(code)
        permissions.check_figures(actor, place, "服务质量数据")
        months = quality.period(first, last, now())
        tallies = quality.by_item(*self.uow.figures.at(place.id, months))
        items = self.uow.items.read_many(tallies)
        rows = [quality_view(items[id], tally) for id, tally in tallies.items()]
        return {"site": place.id, "from": months.first, "to": months.last, "items": rows}

    @query
    def all_rules(self, actor: Actor, code: str, limit: int = 50, cursor: str | None = None) -> dict[str, Any]:
        """Newest first."""
        book = self._rule_book(actor, code)
        page, following = slice_page(book.sets[::-1], limit, cursor)
        in_force = rules_view(rules_in_force(book, now()))
        return {"in_force": in_force, "items": [rules_view(rules) for rules in page], "next": following}

    @query
    def rules(self, actor: Actor, code: str, version: str) -> dict[str, Any]:
        published = self._rule_book(actor, code).of_version(version)
        if published is None:
            raise NotFound("没有这一版派单规则")
        return rules_view(published)

    @query
    def readiness(self, actor: Actor) -> dict[str, int]:
        """How much of the registry has arrived here."""
        count = self.uow.database
        names = {"sites": "places", "teams": "teams", "items": "items", "residents": "residents"}
        return {name: count[collection].estimated_document_count() for name, collection in names.items()}

    # -- the clock ----------------------------------------------------------------------------------

    @every(TICK)
    def move_due_orders(self) -> int:
        """Claim what is due by compare-and-set; the work follows what is due, not what is pending."""
        if not self.uow.leads():
            DUE_OLDEST.set(0)  # another replica knows
            return 0
        time = now()
        due = self.uow.orders.due(time, DUE_AT_ONCE)
        DUE_OLDEST.set((time - due[0].due_at).total_seconds() if due and due[0].due_at else 0)
        finder = self._finder().prepare(order.next_seat for order in due if order.next_seat)
        for order in due:
            if events := order.move_when_due(finder, _deadlines(), time):
                self.uow.orders.save(order, *events)
        moved: int = self.uow.commit_each()
        return moved

    @every(WAVE_TICK)
    def offer_to_next_teams(self) -> int:
        """Where sites offer in waves: the same way, by the time of the next wave."""
        if not self.uow.leads():
            return 0
        due = self.uow.orders.with_wave_due(now(), DUE_AT_ONCE)
        finder = self._finder().prepare(order.seat for order in due)
        for order in due:
            self.uow.orders.save(order, *order.offer_next(finder, now()))
        moved: int = self.uow.commit_each()
        return moved

    @every(SERIES_TICK)
    def place_due_occurrences(self) -> int:
        """Each series by itself: what it says of its occurrences is committed with their orders."""
        if not self.uow.leads():
            return 0
        placed = 0
        for series_id in self.uow.series.due(now(), SERIES_AT_ONCE):
            try:
                placed += self.uow.run(lambda id=series_id: self._place_occurrences(id), SERIES_DEADLINE)
            except ServiceError as error:  # the others do not wait for it
                log.warning("series not placed", series=series_id, error=error.slug)
        return placed

    @every(COUNT_TICK)
    def count_ended_orders(self) -> int:
        """Each once: what figures say and that the order is in them is one commit."""
        counted = self.uow.run(self._count_ended, COUNT_DEADLINE) if self.uow.leads() else 0
        return counted if counted == COUNTED_AT_ONCE else 0  # a few more are not worth a commit of their own

    # -- what dispatch must know of the registry ----------------------------------------------------

    @subscribe(SiteOpened, idempotent=True, loads=lambda event: {"places": [event.site]})
    def learn_place(self, event: SiteOpened) -> None:
        sequence = self.uow.sequence
        self._learn(self.uow.places, Place(
            event.site, event.tier, event.path, event.auto_offer, event.has_post, sequence, event.hours, event.mode,
            event.sisters,
        ))  # fmt: skip

    @subscribe(TeamFormed, idempotent=True, loads=lambda event: {"teams": [event.team_id]})
    def learn_team(self, event: TeamFormed) -> None:
        self._learn_team(event)

    @subscribe(TeamUpdated, idempotent=True, loads=lambda event: {"teams": [event.team_id]})
    def learn_updated_team(self, event: TeamUpdated) -> None:
        self._learn_team(event)

    @subscribe(VolunteerRegistered, idempotent=True, loads=lambda event: {"volunteers": [event.volunteer_id]})
    def learn_registered(self, event: VolunteerRegistered) -> None:
        self._learn_volunteer(event)

    @subscribe(VolunteerUpdated, idempotent=True, loads=lambda event: {"volunteers": [event.volunteer_id]})
    def learn_updated(self, event: VolunteerUpdated) -> None:
        """A new skill may be what unmet demand has waited for."""
        self._learn_volunteer(event)

    @subscribe(ItemPublished, idempotent=True, loads=lambda event: {"items": [event.item_id]})
    def learn_item(self, event: ItemPublished) -> None:
        sequence = self.uow.sequence
        self._learn(self.uow.items, known.Item(
            event.item_id, event.name, event.category, event.tier, event.site, event.target_groups,
            event.needs_address, sequence, event.skills, event.qualifications, event.risk, event.active,
        ))  # fmt: skip

    @subscribe(ResidentRegistered, idempotent=True, loads=lambda event: {"residents": [event.resident_id]})
    def learn_resident(self, event: ResidentRegistered) -> None:
        sequence = self.uow.sequence
        self._learn(self.uow.residents, known.Resident(event.resident_id, event.site, sequence))

    @subscribe(HouseholdUpdated, idempotent=True, loads=lambda event: {"households": [event.household_id]})
    def learn_household(self, event: HouseholdUpdated) -> None:
        """Who may order for whom."""
        sequence = self.uow.sequence
        self._learn(self.uow.households, known.Household(
            event.household_id, event.site, event.members, event.proxies, sequence
        ))  # fmt: skip

    # -- parts --------------------------------------------------------------------------------------

    def _orderable(
        self, actor: Actor, command: PlaceOrder | StartSeries
    ) -> tuple[Place, known.Item, list[domain.Seat]]:
        """What the actor asks for, where, and who could serve it; raise when the actor may not."""
        beneficiary, is_proxy = self._beneficiary(actor, command.on_behalf_of)
        code = command.site or (beneficiary.site if beneficiary and is_proxy else actor.site)
        # Most codes begin with those of their parents (GB/T 2260), which the chain needs: one round trip for all.
        parents = {code[:digits] for digits in PARENTS}
        self.uow.load({"places": {code} | parents, "items": [command.service_item], "rules": parents})
        place = self._place(code)
        permissions.check_placing(actor, place, beneficiary, command.on_behalf_of, is_proxy)
        item = self.uow.items.find(command.service_item)
        if item is None:
            raise invalid("service_item", domain.NO_SUCH_ITEM)
        return place, item, self._chain(place)

    def _beneficiary(self, actor: Actor, named: str | None) -> tuple[known.Resident | None, bool]:
        """Of a name that is given; and whether the actor orders for them as the household's proxy."""
        beneficiary = self.uow.residents.find(named) if named else None
        if beneficiary is None or named == actor.id:
            return beneficiary, False
        return beneficiary, self.uow.households.let_order(actor.id, beneficiary)

    def _chain(self, place: Place) -> list[domain.Seat]:
        return domain.chain_of(place, self.uow.places.find_many(place.path))

    def _place_occurrences(self, series_id: str) -> int:
        series = self.uow.series.get(series_id)
        occurrences = series.take_due(now())
        place, item = self.uow.places.get(series.site), self.uow.items.get(series.item_id)
        chain, finder = self._chain(place), self._finder()
        for occurrence in occurrences:
            id = series.order_id(occurrence)
            if self.uow.orders.find(id):
                continue
            try:
                order, events = Order.place(
                    id, item, place, chain, series.wish(occurrence), finder, _deadlines(), now()
                )
            except Invalid as error:  # the service is not what it was when the series began
                series.miss(occurrence, error.detail)
            else:
                self.uow.orders.add(order, *events)
        self.uow.series.save(series)
        return len(occurrences)

    def _count_ended(self) -> int:
        ended = self.uow.lives.uncounted(now() - COUNT_AFTER, COUNTED_AT_ONCE)
        self.uow.load({"figures": {id for order in ended for id in quality.figures_of(order)}})
        for order in ended:
            counted = quality.Tally()
            counted.count(order)
            for id in quality.figures_of(order):
                figures = self.uow.figures.of(id)
                figures.tally.add(counted)
                self.uow.figures.save(figures)
            order.uncounted_since = None
            self.uow.lives.save(order)
        return len(ended)

    def _series(self, actor: Actor, series_id: str, changes: bool = False) -> Series:
        series: Series = self.uow.series.get(series_id)
        permissions.permit_series(actor, series, changes)
        return series

    def _call_off(self, actor: Actor, order_id: str | None, reason: str) -> None:
        if order_id is not None:
            order = self.uow.orders.get(order_id)
            if events := call_off(order, actor, reason, now()):
                self.uow.orders.save(order, *events)

    def _step(self, actor: Actor, order: Order, command: AdvanceOrders, finder: Finder) -> list[Event]:
        if command.step is Step.OFFER:
            return order.offer(actor, None, command.reason, finder, now())
        if command.step is Step.ESCALATE:
            return order.escalate(actor, command.reason or "", finder, _deadlines(), now())
        return order.close(actor, now())

    def _support(self, request_id: str, move: Callable[[SupportRequest], list[Event]]) -> dict[str, Any]:
        request: SupportRequest = self.uow.support_requests.get(request_id)
        self.uow.support_requests.save(request, *move(request))
        return support_view(request)

    def _case(self, actor: Actor, case_id: str) -> Case:
        case: Case = self.uow.cases.get(case_id)
        case.must_be_seen_by(actor)
        return case

    def _follow_up(self, order: Order, kind: str, by: str, comment: str | None) -> None:
        case, opened = Case.follow_up(order, kind, by, comment or "", _deadlines(), now())
        self.uow.cases.add(case, *opened)

    def _move_case(self, actor: Actor, case_id: str, move: Callable[[Case], list[Event]]) -> dict[str, Any]:
        case = self._case(actor, case_id)
        if events := move(case):
            self.uow.cases.save(case, *events)
        return case_view(case)

    @property
    def _photos(self) -> PhotoStore:
        photos: Photos = self.uow.photos
        return photos

    def _photographed(self, actor: Actor, order_id: str) -> tuple[Order, list[Team]]:
        order, own = self.uow.orders.get(order_id), self._own(actor)
        permissions.check_photos(actor, order, own)
        return order, own

    def _finder(self) -> Finder:
        return Finder(self.uow, now())

    def _learn_team(self, event: TeamEvent) -> None:
        """One that may not serve any more gives back what it has not completed."""
        sequence = self.uow.sequence
        team = Team(
            event.team_id, event.site, event.tier, event.categories, event.leader_id, event.member_ids,
            event.active, sequence,
        )  # fmt: skip
        if old := self.uow.teams.find(team.id):
            team.no_shows = old.no_shows
        if not self._learn(self.uow.teams, team):
            return
        self._offer_unmet(team)
        for order in [] if team.active else self.uow.orders.running(team.id):
            self.uow.orders.save(order, *order.withdraw(SYSTEM, team, domain.TEAM_GONE, now()))

    def _learn_volunteer(self, event: VolunteerEvent) -> None:
        sequence = self.uow.sequence
        volunteer = known.Volunteer(
            event.volunteer_id, event.age_band, event.skills, event.qualifications, event.insured_until,
            event.availability, event.absences, event.suspended, sequence,
        )  # fmt: skip
        if self._learn(self.uow.volunteers, volunteer):
            for team in self.uow.teams.with_member(volunteer.id):
                self._offer_unmet(team)

    def _offer_unmet(self, team: Team) -> None:
        if not team.active:
            return
        finder = self._finder().only(team)
        for order in self.uow.orders.unmet_for(team, UNMET_AT_ONCE):
            if events := order.look_again(team, finder, now()):
                self.uow.orders.save(order, *events)

    def _learn(self, known: Any, news: Any) -> bool:
        """Whether it is news: a fact older than the one that is known is ignored, in whatever order they come."""
        old = known.find(news.id)
        if old is None:
            known.add(news)
            return True
        if news.applied <= old.applied:
            return False
        news.version = old.version
        vars(old).update(vars(news))
        known.save(old)
        return True

    def _place(self, code: str) -> Place:
        place: Place | None = self.uow.places.find(code)
        if place is None:
            raise NotFound("没有这个站、所或中心")
        return place

    def _rule_book(self, actor: Actor, county: str) -> RuleBook:
        place = self._place(county)
        permissions.check_rules(actor, place)
        if place.tier is not Tier.CENTER:
            raise Conflict("派单规则由县（区、市）中心制定，站和所没有自己的规则")
        book: RuleBook = self.uow.rules.of(county)
        return book

    def _readable(self, actor: Actor, order_id: str) -> tuple[Order, list[Team]]:
        order, own = self.uow.orders.get(order_id), self._own(actor)
        if not permissions.may_read(actor, order, own):
            raise NotFound(domain.UNKNOWN)
        return order, own

    def _permitted(self, command: str, actor: Actor, order_id: str) -> tuple[Order, list[Team]]:
        order, own = self.uow.orders.get(order_id), self._own(actor)
        permissions.permit(command, actor, order, own)
        return order, own

    def _neighbour(self, actor: Actor, order_id: str, command: JoinOrder) -> tuple[Order, str]:
        order, named = self.uow.orders.get(order_id), command.on_behalf_of
        beneficiary, is_proxy = self._beneficiary(actor, named)
        return order, permissions.neighbour(actor, order, self._own(actor), beneficiary, named, is_proxy)

    def _trace(self, actor: Actor, seen: Sequence[Order], own: Sequence[Team], request: Request) -> None:
        """Committed before the answer leaves: what leaves no trace is not told."""
        if viewing := Viewing.of(str(ULID()), seen, now(), actor, own, request):
            self.uow.viewings.add(viewing)

    def _own(self, actor: Actor) -> list[Team]:
        """The actor's teams, with the actor as leader of those whose leader is away and has named them."""
        own = self.uow.teams.of(actor)
        others = {team.leader_id for team in own} - {actor.volunteer}
        leaders = self.uow.volunteers.read_many(others) if others else {}
        today = now().astimezone(CHINA).date()
        return [team.as_led_by(actor.volunteer, leaders.get(team.leader_id), today) for team in own]

    def _for_team(self, actor: Actor, order_id: str, team: str | None = None) -> tuple[Order, Team]:
        """Without ``team``: the one that accepted."""
        order, own = self.uow.orders.get(order_id), self._own(actor)
        return order, permissions.led_team(actor, order, own, team)


def _deadlines() -> domain.Deadlines:
    return table(settings().sla_profile, now())


def _day(text: str | None) -> date:
    """Today, if none is named."""
    try:
        return read_day(text) if text else now().astimezone(CHINA).date()
    except ValueError:
        raise invalid("date", DAY) from None


def _wish(actor: Actor, command: PlaceOrder | StartSeries) -> Wish:
    """Of a series without a time, which each occurrence has its own."""
    resident, contact = command.on_behalf_of or actor.id, command.contact or Contact()
    preferred = command.preferred if isinstance(command, PlaceOrder) else None
    return Wish(
        resident_id=resident,
        placed_by=actor.id,
        target_group=command.target_group,
        description=command.description,
        address=command.address,
        resident_name=contact.name or (actor.name if resident == actor.id else None),
        phone=contact.phone,
        preferred_from=preferred.start if preferred else None,
        preferred_to=preferred.end if preferred else None,
        urgent=isinstance(command, PlaceOrder) and command.urgent,
    )
