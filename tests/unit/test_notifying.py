"""What handlers and the timer of notifications do with what they load; nothing is running."""

import base64
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from services.chassis.clock import now
from services.chassis.posting import Away, signature
from services.chassis.settings import settings
from services.contracts.actor import SYSTEM, Actor, Role
from services.contracts.cases import CaseOpened, CaseSettled
from services.contracts.dispatch import (
    Concern,
    OrderAccepted,
    OrderAlerted,
    OrderCancelled,
    OrderEscalated,
    OrderOffered,
)
from services.contracts.errors import NotFound
from services.contracts.notifications import ReadNotification, SetPreferences
from services.contracts.registry import Category, Tier
from services.contracts.zone import CHINA
from services.registry import notifying
from services.registry.domain import Account, Post
from services.registry.notifications import Notification, SmsState
from services.registry.sms import Refused, Unavailing
from services.registry.volunteers import Leave
from tests.support.rings import use_ring
from tests.unit.test_registry_service import CENTER, INSTITUTE, STATION, City

NUMBER, QUIET = "19900001234", {"from": "00:00", "to": "00:00"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    key = base64.urlsafe_b64encode(bytes(range(32))).decode()
    for name, value in {
        "SIDAN_PROFILE": "local", "AMQP_URI": "amqp://nowhere/", "MONGO_URI": "mongodb://nowhere/",
        "SIDAN_DATA_KEY": key, "SIDAN_SMS_URL": "http://nowhere/", "SIDAN_SMS_SECRET": key,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    use_ring(monkeypatch)
    settings.cache_clear()
    for memory in ("items", "places", "leaders", "members", "pools", "staff", "wishes"):
        getattr(notifying.Memories, memory).clear()
    yield
    settings.cache_clear()


class Line:
    """A gateway that answers as it is told."""

    def __init__(self, *answers: Exception | None) -> None:
        self.answers, self.sent = list(answers), list[tuple[str, str, str]]()

    def send(self, id: str, number: str, text: str) -> None:
        self.sent.append((id, number, text))
        answer = self.answers.pop(0) if self.answers else None
        if answer:
            raise answer


@pytest.fixture
def city() -> City:
    city = City()
    for id, roles, site in (("resident", [Role.RESIDENT], STATION), ("office", [Role.STAFF], INSTITUTE)):
        account = Account(id, "person", id, id, roles, site, None, "")
        account.phone = NUMBER if id == "resident" else ""
        city.work.accounts.add(account)
    city.work.notifications.add_once = city.work.notifications.add
    city.work.sites.find(INSTITUTE).posts.append(Post("联络员", "office"))
    city.work.event_id, city.work.event_time = "e1", now()
    return city


def about(**changes: Any) -> dict[str, Any]:
    concern = Concern(
        **{"resident": "resident", "placed_by": "resident", "item_id": "x", "held_at": STATION, **changes}
    )
    return {"order_id": "o1", "site": STATION, "tier": Tier.STATION, "concerns": concern}


def told(city: City) -> dict[str, str]:
    return {n.account: n.kind for n in city.work.notifications.select({})}


def rung(city: City) -> list[Notification]:
    return [n for n in city.work.notifications.select({}) if n.sms is not None]


def test_staff_are_those_who_hold_a_post_at_the_site(city: City) -> None:
    event = OrderEscalated(**about(), from_tier=Tier.STATION, from_site=STATION, to_site=INSTITUTE, due_at=None)
    notifying.tell(city.service, event)
    assert told(city) == {"office": "order.escalated", "resident": "order.escalated"}


def test_nobody_is_told_twice_of_one_fact_nor_of_one_that_names_nobody(city: City) -> None:
    notifying.tell(city.service, OrderAccepted(**about(placed_by="office"), team_id="t"))
    assert told(city) == {"resident": "order.accepted", "office": "order.accepted"}
    assert [n.account for n in rung(city)] == ["resident"], "who orders for others is not rung"
    before = len(city.work.saved)
    old = OrderAccepted(order_id="o1", site=STATION, tier=Tier.STATION, team_id="t")
    notifying.tell(city.service, old)
    assert len(city.work.saved) == before


def test_a_fact_about_what_is_not_known_yet_tells_those_who_are_known(city: City) -> None:
    notifying.tell(city.service, OrderCancelled(**about(team_id="unknown")))
    assert told(city) == {"resident": "order.cancelled"}
    notifying.tell(city.service, OrderAlerted(**about(), category="社区服务", sites=["999999", CENTER]))
    assert set(told(city)) == {"resident"}


def test_a_case_is_told_to_the_staff_who_look_into_it_and_then_to_who_reported_it(city: City) -> None:
    concern = Concern(resident="resident", placed_by="resident", held_at=INSTITUTE)
    case = {
        "case_id": "c1", "order_id": "", "team_id": "", "kind": "mediation", "site": STATION, "to_site": INSTITUTE
    }  # fmt: skip
    notifying.tell(city.service, CaseOpened(**case, concerns=concern))
    assert told(city) == {"office": "case.opened"}
    city.work.event_id = "e2"
    notifying.tell(city.service, CaseSettled(**case, concerns=concern))
    (mine,) = [n for n in city.work.notifications.select({}) if n.account == "resident"]
    assert (mine.kind, mine.subject_type, mine.subject_id) == ("case.settled", "case", "c1")


def test_a_leader_who_is_away_is_told_and_whoever_stands_in_for_them(city: City) -> None:
    today = now().astimezone(CHINA).date()
    members = ("leader", "mate", "other")
    for number, id in enumerate(members):
        city.add_volunteer(id, number)
        city.work.volunteers.find(id).account_id = f"account-{id}"
    city.work.volunteers.find("leader").absences.append(Leave("a", today, today, "mate"))
    city.form_team(*members)
    (team,) = city.work.teams.select({})
    notifying.tell(city.service, OrderOffered(**about(urgent=True), team_ids=[team.id, "unknown"]))
    assert set(told(city)) == {"account-leader", "account-mate"}


def test_of_what_lies_in_the_pool_the_teams_that_may_claim_it_are_told(city: City) -> None:
    for number, id in enumerate(("leader", "mate", "other")):
        city.add_volunteer(id, number)
        city.work.volunteers.find(id).account_id = f"account-{id}"
    city.form_team("leader", "mate", "other")
    for id, category in (("sewing", Category.COMMUNITY), ("lecture", Category.SCIENCE)):
        item = {"id": id, "name": id, "category": category, "tier": "station", "target_groups": ["elderly"]}
        city.service.publish_item(SYSTEM, {**item, "site": STATION})
        city.work.event_id = f"event-{id}"
        notifying.tell(city.service, OrderOffered(**about(item_id=id), team_ids=[], pool=True))
        assert set(told(city)) == {"account-leader"}, "of what the team does"
    assert len(city.work.notifications.select({})) == 1


def test_what_happened_too_long_ago_is_not_told(city: City) -> None:
    city.work.event_time = now() - timedelta(days=91)
    notifying.tell(city.service, OrderAccepted(**about(), team_id="t"))
    assert told(city) == {}


def test_who_is_not_its_owner_does_not_know_of_a_notification(city: City) -> None:
    notifying.tell(city.service, OrderAccepted(**about(), team_id="t"))
    with pytest.raises(NotFound):
        city.service.read_notification(
            actor=Actor(id="office"), notification_id="e1.resident", command=ReadNotification()
        )
    assert city.service.read_notification(
        actor=Actor(id="resident"), notification_id="e1.resident", command=ReadNotification()
    )["read_at"]


# -- sending --------------------------------------------------------------------------------------------


@pytest.fixture
def ringing(city: City, monkeypatch: pytest.MonkeyPatch) -> Callable[[Line], Notification]:
    """One short message is due; it is sent with a line."""
    city.service.set_preferences(actor=Actor(id="resident"), command=SetPreferences(quiet=QUIET))
    notifying.tell(city.service, OrderAccepted(**about(), team_id="t"))
    (notification,) = rung(city)
    repository = city.work.notifications
    monkeypatch.setattr(repository, "with_sms_waiting", lambda: 1)
    monkeypatch.setattr(repository, "sms_sent", lambda _number, _day, most: 0)
    monkeypatch.setattr(repository, "with_sms_due", lambda _time, _limit: [notification])

    def ring(line: Line) -> Notification:
        notifying.Sending(line).send(city.work)
        return notification

    return ring


def test_what_was_sent_says_so_and_keeps_no_number(ringing: Any) -> None:
    line = Line()
    notification = ringing(line)
    assert line.sent == [(notification.sms_id, NUMBER, notification.text)]
    assert notification.sms.state is SmsState.SENT and NUMBER not in str(notification)


@pytest.mark.parametrize(
    ("answer", "state", "wait"),
    [
        (Refused(400), SmsState.REFUSED, 0),
        (Away("TimeoutError"), SmsState.WAITING, 5),
        (Unavailing(120), SmsState.WAITING, 120),
    ],
)
def test_what_becomes_of_it_when_it_was_not_taken(ringing: Any, answer: Exception, state: SmsState, wait: int) -> None:
    begun = now()
    notification = ringing(Line(answer))
    assert notification.sms.state is state
    assert not wait or notification.sms.due_at >= begun + timedelta(seconds=wait)


def test_a_gateway_that_is_away_is_not_asked_by_every_message(city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    city.service.set_preferences(actor=Actor(id="resident"), command=SetPreferences(quiet=QUIET))
    for number in range(8):
        city.work.event_id = f"e{number}"
        notifying.tell(city.service, OrderAccepted(**about(), team_id="t"))
    repository, line = city.work.notifications, Line(*[Away("x")] * 20)
    monkeypatch.setattr(repository, "with_sms_waiting", lambda: 8)
    monkeypatch.setattr(repository, "sms_sent", lambda _number, _day, most: 0)
    monkeypatch.setattr(repository, "with_sms_due", lambda _time, _limit: rung(city))
    notifying.Sending(line).send(city.work)
    assert len(line.sent) == 5, "then the breaker is open"


def test_a_signature_is_the_one_of_standard_webhooks() -> None:
    """With the example of its specification."""
    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body, id = b'{"test": 2432232314}', "msg_p5jXN8AQM9LWM0D4loKWxJek"
    assert signature(secret, id, 1614265330, body) == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
