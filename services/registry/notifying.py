"""Telling people: what handlers and the timer of notifications load, decide and save.

Names, leaders, staff and wishes of people are remembered for a while, so that a batch of facts costs one write and,
as a rule, nothing is read for it.
"""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from functools import cache
from typing import Any, Generic, TypeVar

from services.chassis import telemetry
from services.chassis.breaker import Breaker
from services.chassis.clock import now
from services.chassis.crashpoints import crashpoint
from services.chassis.personal import blind_index
from services.chassis.posting import Away
from services.chassis.settings import settings
from services.chassis.subscriber import subscribe
from services.contracts.cases import CaseOpened
from services.contracts.dispatch import (
    Concern,
    ConcerningEvent,
    OrderAlerted,
    OrderEscalated,
    OrderMissed,
    OrderOffered,
)
from services.contracts.zone import CHINA
from services.registry.domain import Account
from services.registry.notifications import (
    FACTS,
    KEPT,
    Notification,
    Preferences,
    Sms,
    SmsState,
    To,
    day_of,
    in_words,
    lines_of,
)
from services.registry.sms import Refused, SmsGateway, Unavailing, gateway_of_settings

REMEMBERED, WISHES_REMEMBERED = 60.0, 5.0
"""Seconds: who was a leader a minute ago may be told still; a text names nobody."""
MOST_REMEMBERED = 20_000
SMS_AT_ONCE = 20
SMS_SECONDS = 2.0
"""A batch that takes longer is cut short, so that its marks are written soon and a stop need not wait for it."""

T = TypeVar("T")
log = telemetry.logger("notifications")


class Memory(Generic[T]):
    """Of what is there; what is not is asked for again."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._known = seconds, dict[str, tuple[float, T]]()

    def get(self, key: str, look_up: Callable[[str], T | None]) -> T | None:
        until, known = self._known.get(key, (0.0, None))
        if time.monotonic() < until:
            return known
        found = look_up(key)
        if found is not None:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            self._known[key] = time.monotonic() + self._seconds, found
        return found

    def __contains__(self, key: str) -> bool:
        return time.monotonic() < self._known.get(key, (0.0, None))[0]

    def forget(self, key: str) -> None:
        self._known.pop(key, None)

    def clear(self) -> None:
        self._known.clear()


class Memories:
    """Of this process."""

    items = Memory[str](REMEMBERED)
    places = Memory[str](REMEMBERED)
    leaders = Memory[list[str]](REMEMBERED)
    members = Memory[str](REMEMBERED)
    pools = Memory[list[str]](REMEMBERED)
    staff = Memory[list[str]](REMEMBERED)
    wishes = Memory[Preferences](WISHES_REMEMBERED)


def wishes_of(event: ConcerningEvent) -> dict[str, set[str]]:
    """What a batch asks for in one round trip: how those who have asked for the service want to be told."""
    if event.concerns is None or not settings().sms_url:
        return {}
    askers = {event.concerns.resident, event.concerns.placed_by}
    return {"preferences": {account for account in askers if account not in Memories.wishes}}


def tell(service: Any, event: ConcerningEvent) -> None:
    """Notifications of the fact that is handled; the same ones however often it comes."""
    uow, concerns, at = service.uow, event.concerns, service.uow.event_time
    lines = lines_of(event)
    if concerns is None or not lines or now() - at > KEPT:
        return
    item = Memories.items.get(concerns.item_id, lambda id: _name(uow.items, id)) if concerns.item_id else None
    place = Memories.places.get(event.site, lambda id: _name(uow.sites, id)) or event.site
    told = set[str]()
    for line in lines:
        for account in _recipients(uow, line.to, event, concerns):
            if account in told:
                continue
            told.add(account)
            notification = Notification(
                f"{uow.event_id}.{account}", account, at, event.fact, line.topic,
                in_words(line, event, item or "服务", place),
                event.fact.partition(".")[0], event.subject_id(),
            )  # fmt: skip
            if settings().sms_url:
                wishes = Memories.wishes.get(account, uow.preferences.of)
                proxy = line.to is To.ASKERS and account != concerns.resident
                notification.ring(wishes or Preferences(account), proxy, now())
            uow.notifications.add_once(notification)


def handlers() -> dict[str, Any]:
    """Methods of the service, by name: one for each fact of the table."""
    return {
        f"tell_{fact.fact.replace('.', '_')}": subscribe(fact, idempotent=True, loads=wishes_of)(tell)
        for fact in FACTS
    }  # fmt: skip


def _recipients(uow: Any, to: To, event: ConcerningEvent, concerns: Concern) -> Iterator[str]:
    """Account ids."""
    match to:
        case To.ASKERS:
            yield from dict.fromkeys((concerns.resident, concerns.placed_by))
        case To.OFFERED if isinstance(event, OrderOffered):
            yield from _leaders(uow, _claimants(uow, concerns) if event.pool else event.team_ids)
        case To.TEAM:
            team = event.team_id if isinstance(event, OrderMissed) else concerns.team_id
            yield from _leaders(uow, [team] if team else ())
        case To.HOLDER if concerns.team_id:
            yield from _leaders(uow, [concerns.team_id])
        case To.ASKED:
            yield from _leaders(uow, getattr(event, "asked", ()))
        case To.NAMED:
            yield from _members(uow, getattr(event, "volunteers", ()))
        case To.NEIGHBOURS:
            yield from concerns.joined
        case To.ALERTED if isinstance(event, OrderAlerted | CaseOpened):
            yield from _staff(uow, event.sites)
        case _:
            yield from _staff(uow, [event.to_site if isinstance(event, OrderEscalated) else concerns.held_at])


def _claimants(uow: Any, concerns: Concern) -> list[str]:
    """Teams of the site, and of those that it borrows from, that do what the item is about."""

    def teams(_key: str) -> list[str] | None:
        site, item = uow.sites.find(concerns.held_at), uow.items.find(concerns.item_id)
        if site is None or item is None:
            return None
        near = [team for code in (site.id, *site.sisters) for team in uow.teams.at(code)]
        return [team.id for team in near if item.category in team.categories]

    return Memories.pools.get(f"{concerns.held_at} {concerns.item_id}", teams) or []


def _leaders(uow: Any, teams: Iterable[str]) -> Iterator[str]:
    """With whoever stands in for one who is away."""

    def accounts(team_id: str) -> list[str] | None:
        team = uow.teams.find(team_id)
        leader = uow.volunteers.find(team.leader_id) if team else None
        if leader is None:
            return None
        others = set(leader.stand_ins(now().astimezone(CHINA).date())) & set(team.member_ids)
        leading = [leader, *uow.volunteers.find_many(sorted(others)).values()]
        return [volunteer.account_id for volunteer in leading if volunteer.account_id]

    for team in teams:
        yield from Memories.leaders.get(team, accounts) or ()


def _members(uow: Any, volunteers: Iterable[str]) -> Iterator[str]:
    def account(id: str) -> str | None:
        volunteer = uow.volunteers.find(id)
        return volunteer.account_id if volunteer else None

    for id in volunteers:
        if found := Memories.members.get(id, account):
            yield found


def _staff(uow: Any, sites: Iterable[str]) -> Iterator[str]:
    def staff(code: str) -> list[str] | None:
        site = uow.sites.find(code)
        return [post.person for post in site.posts] if site else None

    for code in sites:
        yield from Memories.staff.get(code, staff) or ()


def _name(repository: Any, id: str) -> str | None:
    found = repository.find(id)
    return found.name if found else None


class Sending:
    """Short messages that are due, one after the other; what is due again stands in the database."""

    def __init__(self, gateway: SmsGateway) -> None:
        self._gateway, self._breaker = gateway, Breaker("sms")
        self._asked_to_wait = 0.0
        for outcome in SmsState:
            telemetry.SMS.labels(outcome)  # there from the start, or the first one would be no increase

    def send(self, uow: Any) -> int:
        if not uow.leads():
            telemetry.SMS_WAITING.set(0)  # another replica knows
            telemetry.SMS_OLDEST.set(0)
            return 0
        telemetry.SMS_WAITING.set(uow.notifications.with_sms_waiting())
        due: list[Notification] = uow.notifications.with_sms_due(now(), SMS_AT_ONCE)
        oldest = due[0].sms if due else None
        telemetry.SMS_OLDEST.set((now() - oldest.due_at).total_seconds() if oldest else 0)
        accounts = uow.accounts.read_many({n.account for n in due}) if due else {}
        people = {a.volunteer for a in accounts.values() if a.volunteer and not a.phone}
        volunteers = uow.volunteers.read_many(people) if people else {}
        wishes = uow.preferences.read_many(accounts) if accounts else {}
        sent, until = dict[str, int](), time.monotonic() + SMS_SECONDS
        for notification in due:
            if time.monotonic() > until or time.monotonic() < self._asked_to_wait:
                break
            account = accounts.get(notification.account)
            number = _number(account, volunteers)
            if not self._move(uow, notification, wishes.get(notification.account), number, sent):
                break
            uow.notifications.save(notification)
        moved: int = uow.commit_each()
        return moved

    def _move(
        self, uow: Any, notification: Notification, wishes: Preferences | None, number: str, sent: dict[str, int]
    ) -> bool:
        """Whether something has become of it; if not, the gateway is away and has not been asked."""
        sms, index = notification.sms, blind_index(number) if number else ""
        assert sms is not None
        if index and index not in sent:
            sent[index] = uow.notifications.sms_sent(index, day_of(now()), most=100)
        wishes = wishes or Preferences(notification.account)
        if notification.may_be_sent(sms, wishes, number, sent.get(index, 0), now()):
            if not self._breaker.allow():
                return False
            self._post(notification, sms, number, index)
            if sms.state is SmsState.SENT:
                sent[index] += 1
        if sms.state is not SmsState.WAITING:
            telemetry.SMS.labels(sms.state).inc()
        return True

    def _post(self, notification: Notification, sms: Sms, number: str, index: str) -> None:
        try:
            self._gateway.send(notification.sms_id, number, notification.text)
        except Refused as refused:
            self._breaker.succeeded()
            log.warning("short message refused", id=notification.id, status=refused.status)
            sms.state = SmsState.REFUSED
        except Unavailing as later:
            self._breaker.succeeded()
            self._asked_to_wait = time.monotonic() + later.seconds
            notification.try_again(sms, timedelta(seconds=later.seconds), random.random(), now())
        except Away as away:
            self._breaker.failed()
            log.warning("short message gateway away", id=notification.id, error=str(away))
            notification.try_again(sms, timedelta(), random.random(), now())
        else:
            self._breaker.succeeded()
            crashpoint("sms_sent")
            notification.was_sent(sms, index, now())


@cache
def sending() -> Sending | None:
    """Of this process; None where there is no gateway."""
    gateway = gateway_of_settings()
    return Sending(gateway) if gateway else None


def _number(account: Account | None, volunteers: dict[str, Any]) -> str:
    """That of the account, else of the volunteer that the person is."""
    if account is None or not account.active:
        return ""
    volunteer = volunteers.get(account.volunteer or "")
    return account.phone or (volunteer.phone if volunteer else "") or ""
