"""Who is told what in the app, once; and short messages at a provider that answers, hangs, loses and refuses."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from secrets import token_hex
from typing import Any

import pytest
from kombu import Producer
from pymongo import MongoClient
from ulid import ULID

from deploy.local.servers import MongoDB, RabbitMQ
from services.chassis.messages import Envelope, dump
from services.chassis.personal import MARK
from services.contracts.dispatch import Concern, OrderAccepted
from services.contracts.registry import Tier
from services.registry.notifications import SMS_A_DAY
from tests.e2e.conftest import every_query_by_an_index
from tests.e2e.steps import TEAMS, VILLAGE, WISH, Steps, settings_of
from tests.support.processes import eventually
from tests.support.servers import virtual_host
from tests.support.sms_provider import SmsProvider
from tests.support.system import CHINA, System, running

QUEUE = "evt-dispatch-order.accepted--registry.tell_order_accepted"
ALWAYS, NEVER = {"from": "00:00", "to": "00:00"}, {"from": "00:00", "to": "23:59"}
NUMBERS = {"resident": "13787650001", "resident2": "13787650002", "resident-village": "13787650003"}


@pytest.fixture(scope="module")
def provider() -> Iterator[SmsProvider]:
    with SmsProvider() as provider:
        yield provider


@pytest.fixture(scope="module")
def sms(
    rabbitmq: RabbitMQ, mongodb: MongoDB, tmp_path_factory: pytest.TempPathFactory, provider: SmsProvider
) -> Iterator[System]:
    """With a gateway, and numbers of three residents, whom messages reach at any hour."""
    prefix = f"n{token_hex(3)}_"
    with virtual_host(rabbitmq) as amqp_uri, every_query_by_an_index(mongodb, prefix):
        folder = tmp_path_factory.mktemp("sms")
        with running(System(amqp_uri, mongodb.uri, prefix, folder, **provider.settings)) as system:
            for who, number in NUMBERS.items():
                system.person(who).do("/v1/notification-preferences", {"phone": number, "quiet": ALWAYS})
            yield system


def told(system: System, who: str, order: str) -> list[dict[str, Any]]:
    """Oldest first."""
    items = system.person(who).read("/v1/notifications?limit=200")["items"]
    return [item for item in items[::-1] if item["subject"]["id"] == order]


def kinds(system: System, who: str, order: str) -> list[str]:
    return [item["kind"] for item in told(system, who, order)]


def come(system: System, who: str, order: str, *wanted: str) -> None:
    eventually(lambda: kinds(system, who, order) == list(wanted), what=f"{who} to be told of {', '.join(wanted)}")


def account_of(system: System, who: str) -> str:
    return str(system.person(who).read("/v1/me")["id"])


def happen(system: System, who: str, times: int = 1, ago: timedelta = timedelta(), id: str = "") -> str:
    """A team has accepted an order of somebody, as the broker delivers it so many times; the order's id."""
    account, order = account_of(system, who), str(ULID())
    concern = Concern(resident=account, placed_by=account, item_id=WISH["service_item"], held_at=VILLAGE)
    event = OrderAccepted(site=VILLAGE, order_id=order, tier=Tier.STATION, concerns=concern, team_id=TEAMS["leader1"])
    envelope = Envelope(
        id or str(ULID()), event.type(), "/sidan/dispatch", order, system.now() - ago, 1, VILLAGE, dump(event)
    )
    with system.channel() as channel:
        for _ in range(times):
            Producer(channel).publish(
                envelope.data, routing_key=QUEUE, headers=envelope.headers(), message_id=envelope.id,
                content_type="application/json", content_encoding="binary",
            )  # fmt: skip
    return order


def state_of(system: System, who: str, order: str) -> str | None:
    found = told(system, who, order)
    return found[0]["sms"] if found else None


# -- in the app -----------------------------------------------------------------------------------------


def test_a_life_is_told_to_who_asked_and_to_who_may_come_and_not_every_step_of_it(
    sms: System, provider: SmsProvider
) -> None:
    steps = Steps(sms)
    order = steps.reach("closed")
    come(sms, "resident", order["id"], "order.accepted", "order.completed")
    come(sms, "leader1", order["id"], "order.offered")
    come(sms, "leader2", order["id"], "order.offered")
    assert kinds(sms, "station", order["id"]) == kinds(sms, "resident2", order["id"]) == []
    item = told(sms, "resident", order["id"])[0]
    assert item["subject"] == {"type": "order", "id": order["id"]} and "队伍接单" in item["text"]
    eventually(lambda: state_of(sms, "resident", order["id"]) == "sent", what="the short message")
    assert [text for text in provider.texts(NUMBERS["resident"]) if item["text"] in text]
    assert [i["sms"] for i in told(sms, "leader1", order["id"])] == [None], "offers are in the app only"


def test_sides_of_an_order_hear_each_other_and_what_has_changed(sms: System) -> None:
    steps = Steps(sms)
    order = steps.accept(steps.place())
    id = order["id"]
    steps.message(order, "leader1", needs_reply=True)
    steps.message(order, "resident")
    start = sms.now() + timedelta(days=1)
    visit = {"from": start.isoformat(), "to": (start + timedelta(hours=1)).isoformat()}
    steps.system.person("leader1").do(f"/v1/orders/{id}/appoint", visit)
    steps.system.person("resident").do(f"/v1/orders/{id}/cancel", {"reason": "不需要了"})
    told_so = {"order.accepted", "order.messaged", "order.appointed", "order.cancelled"}
    eventually(lambda: set(kinds(sms, "resident", id)) == told_so, what="the resident is told")
    leader = {"order.offered", "order.messaged", "order.cancelled"}
    eventually(lambda: set(kinds(sms, "leader1", id)) == leader, what="the leader is told")
    texts = " ".join(item["text"] for item in told(sms, "resident", id))
    assert f"{start.astimezone(CHINA):%m月%d日 %H:%M}" in texts and "请问几点方便" not in texts


def test_an_urgent_order_is_told_above_at_once_and_an_escalation_to_who_holds_it_now(sms: System) -> None:
    steps = Steps(sms)
    urgent = steps.place(urgent=True)
    for who in ("institute", "center"):
        come(sms, who, urgent["id"], "order.alerted")
    order = steps.place()
    steps.escalate(order)
    come(sms, "institute", order["id"], "order.escalated")
    come(sms, "resident", order["id"], "order.escalated")
    assert kinds(sms, "station", order["id"]) == []


def test_a_proxy_is_told_too_and_gets_no_short_message_unless_asked_for(sms: System) -> None:
    steps = Steps(sms)
    order = steps.accept(steps.place("station", on_behalf_of=account_of(sms, "resident")))
    come(sms, "station", order["id"], "order.accepted")
    come(sms, "resident", order["id"], "order.accepted")
    assert state_of(sms, "station", order["id"]) is None
    eventually(lambda: state_of(sms, "resident", order["id"]) == "sent", what="the short message")


def test_what_comes_several_times_is_told_once(sms: System, provider: SmsProvider) -> None:
    before, id = len(provider.texts(NUMBERS["resident2"])), str(ULID())
    order = happen(sms, "resident2", times=5, id=id)
    eventually(lambda: state_of(sms, "resident2", order) == "sent", what="the short message")
    assert kinds(sms, "resident2", order) == ["order.accepted"]
    assert len(provider.texts(NUMBERS["resident2"])) == before + 1


def test_only_the_owner_reads_and_marks(sms: System) -> None:
    order = happen(sms, "resident")
    come(sms, "resident", order, "order.accepted")
    (item,) = told(sms, "resident", order)
    path = f"/v1/notifications/{item['id']}/read"
    for other in ("resident2", "station", "admin"):
        assert sms.person(other).post(path).status_code == 404 and kinds(sms, other, order) == []
    assert sms.person("resident").do(path)["read_at"] is not None
    first = told(sms, "resident", order)[0]["read_at"]
    assert sms.person("resident").do(path)["read_at"] == first, "the first time stays"


def test_what_was_seen_is_marked_up_to_the_newest_of_it(sms: System) -> None:
    resident, ids = sms.person("resident-village"), []
    for _ in range(3):
        order = happen(sms, "resident-village")
        come(sms, "resident-village", order, "order.accepted")
        ids.append(told(sms, "resident-village", order)[0]["id"])
    page = resident.read("/v1/notifications?unread=true&limit=2")
    assert page["unread"] == 3 and [item["id"] for item in page["items"]] == ids[:0:-1]
    rest = resident.read(f"/v1/notifications?unread=true&limit=2&cursor={page['next']}")
    assert [item["id"] for item in rest["items"]] == ids[:1]
    assert resident.do("/v1/notifications/read", {"up_to": ids[1]}) == {"read": 2, "more": False}
    unread = resident.read("/v1/notifications?unread=true")
    assert unread["unread"] == 1 and [item["id"] for item in unread["items"]] == ids[2:]


def test_who_has_reported_and_who_looks_into_it_hear_of_a_case(sms: System) -> None:
    case = sms.person("resident").do("/v1/cases", {"kind": "mediation", "text": "两家为院墙吵起来了"})["id"]
    come(sms, "station", case, "case.opened")
    sms.person("station").do(f"/v1/cases/{case}/refer", {"reason": "两家都不让步"})
    come(sms, "institute", case, "case.referred")
    sms.person("institute").do(f"/v1/cases/{case}/settle", {"outcome": "说好了"})
    eventually(lambda: set(kinds(sms, "resident", case)) == {"case.referred", "case.settled"}, what="the outcome")
    assert told(sms, "resident", case)[0]["subject"] == {"type": "case", "id": case}


def test_neighbours_named_members_and_teams_that_were_asked_hear_of_an_order(sms: System) -> None:
    steps = Steps(sms)
    order = steps.place()
    sms.person("resident2").do(f"/v1/orders/{order['id']}/join")
    steps.take("leader1", order, "accept", team=TEAMS["leader1"], volunteers=["vol-volunteer1"])
    come(sms, "resident2", order["id"], "order.accepted")
    come(sms, "volunteer1", order["id"], "order.accepted")
    sms.person("resident").do(f"/v1/orders/{order['id']}/cancel", {"reason": "不需要了"})
    eventually(lambda: kinds(sms, "resident2", order["id"])[-1:] == ["order.cancelled"], what="the neighbour is told")
    waiting = steps.place()
    steps.take("resident", waiting, "cancel", reason="不需要了")
    come(sms, "leader2", waiting["id"], "order.offered", "order.cancelled")


def test_an_urgent_case_is_told_above_and_what_is_offered_by_hand_to_the_desk(sms: System) -> None:
    quarrel = {"kind": "mediation", "text": "两家打起来了", "urgent": True}
    case = sms.person("resident").do("/v1/cases", quarrel)["id"]
    for who in ("station", "institute", "center"):
        come(sms, who, case, "case.opened")
    with settings_of(sms, VILLAGE, auto_offer=False):
        order = Steps(sms).place()
        come(sms, "station", order["id"], "order.placed")


def test_who_has_asked_for_support_hears_of_the_answer(sms: System) -> None:
    wish = {"kind": "technical", "text": "大屏打不开"}
    request = sms.person("station").do("/v1/support-requests", wish)["id"]
    come(sms, "center", request, "support.requested")
    sms.person("center").do(f"/v1/support-requests/{request}/answer", {"text": "已远程修好"})
    come(sms, "station", request, "support.answered")


# -- short messages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("move", ["500", "lose", "hang", "429 3", "503", "401"])
def test_what_may_not_have_arrived_is_sent_again_with_the_same_id(
    sms: System, provider: SmsProvider, move: str
) -> None:
    village = sms.person("resident-village")
    eventually(lambda: "waiting" not in [i["sms"] for i in village.read("/v1/notifications")["items"]])
    before = len(provider.received)
    provider.moves.append(move)
    order = happen(sms, "resident-village")
    eventually(lambda: state_of(sms, "resident-village", order) == "sent", 60, "the short message")
    tried = [message.id for message in provider.received[before:] if message.to == NUMBERS["resident-village"]]
    assert len(tried) >= 2 and len(set(tried)) == 1
    assert not provider.forged


def test_what_the_gateway_refuses_is_not_sent_again_and_is_seen(sms: System, provider: SmsProvider) -> None:
    before = len(provider.received)
    provider.moves.append("400")
    order = happen(sms, "resident2")
    eventually(lambda: state_of(sms, "resident2", order) == "refused", what="the refusal")
    assert len(provider.received) == before + 1
    metrics = sms.http.get(f"http://127.0.0.1:{sms.metrics['registry']}/metrics").text
    assert 'sidan_sms_total{outcome="refused"} 1.0' in metrics


def test_in_quiet_hours_it_waits_and_who_wants_none_gets_none(sms: System, provider: SmsProvider) -> None:
    person = sms.person("resident-county")
    path, number = "/v1/notification-preferences", "13787650009"
    assert person.do(path, {"phone": number, "quiet": NEVER})["phone"] == "137****0009"
    waiting = happen(sms, "resident-county")
    eventually(lambda: state_of(sms, "resident-county", waiting) == "waiting", what="it waits")
    assert person.do(path, {"sms": {"order": False}, "quiet": ALWAYS})["sms"]["order"] is False
    unwanted = happen(sms, "resident-county")
    come(sms, "resident-county", unwanted, "order.accepted")
    assert person.read(path)["quiet"] == ALWAYS
    assert provider.of(number) == []


def test_an_old_fact_is_told_in_the_app_only(sms: System) -> None:
    order = happen(sms, "resident2", ago=timedelta(hours=25))
    come(sms, "resident2", order, "order.accepted")
    assert state_of(sms, "resident2", order) is None


def test_a_number_gets_so_many_a_day(sms: System, provider: SmsProvider) -> None:
    number = "13787650010"
    sms.person("resident-township").do("/v1/notification-preferences", {"phone": number, "quiet": ALWAYS})
    orders = [happen(sms, "resident-township") for _ in range(SMS_A_DAY + 2)]

    def states() -> list[str | None]:
        return sorted(str(state_of(sms, "resident-township", order)) for order in orders)

    eventually(lambda: states() == ["sent"] * SMS_A_DAY + ["unwanted"] * 2, 60, "the budget is used up")
    assert len(provider.texts(number)) == SMS_A_DAY


def test_nothing_personal_is_in_texts_or_kept_in_clear(sms: System, provider: SmsProvider) -> None:
    order = Steps(sms).reach("completed")
    come(sms, "resident", order["id"], "order.accepted", "order.completed")
    name = sms.person("resident").read("/v1/me")["name"]
    said = "".join(message.text for message in provider.received)
    logs = "".join(sms.log(name) for name in sms.processes)
    assert name not in said and WISH["description"] not in said
    assert not [number for number in NUMBERS.values() if number in said + logs]
    with MongoClient[dict[str, Any]](sms.mongo_uri) as client:
        registry = client[f"{sms.prefix}registry"]
        kept = "".join(map(str, registry["notifications"].find()))
        assert not [number for number in NUMBERS.values() if number in kept]
        assert registry["accounts"].find_one({"_id": account_of(sms, "resident")})["phone"].startswith(MARK)


def test_who_is_erased_leaves_no_notifications(sms: System) -> None:
    order = happen(sms, "volunteer2")
    come(sms, "volunteer2", order, "order.accepted")
    sms.person("station").do("/v1/volunteers/vol-volunteer2/erase")
    assert sms.person("volunteer2").read("/v1/notifications")["items"] == []


def test_staff_set_it_for_a_resident_who_has_no_app_at_their_place_and_below(sms: System) -> None:
    path, number = "/v1/notification-preferences", "13787650021"
    wish = {"on_behalf_of": "resident", "phone": number, "sms": {"progress": True}}
    for who in ("station", "institute"):
        set_so = sms.person(who).do(path, wish)
        assert (set_so["phone"], set_so["sms"]["progress"]) == ("137****0021", True)
    assert sms.person("resident").read(path) == sms.person("center").read(f"{path}?on_behalf_of=resident")
    for who in ("station-county", "resident2", "leader1"):
        assert sms.person(who).post(path, wish).status_code == 404
        assert sms.person(who).get(f"{path}?on_behalf_of=resident").status_code == 404
    assert sms.person("station").post(path, {**wish, "on_behalf_of": "leader1"}).status_code == 404
    own = {"phone": NUMBERS["resident"], "sms": {"progress": False}}
    assert sms.person("resident").do(path, own)["phone"] == "137****0001"


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"phone": "12345"}, "phone"),
        ({"quiet": {"from": "25:00", "to": "07:00"}}, "quiet.from"),
        ({"sms": {"colour": True}}, "sms.colour"),
    ],
)
def test_wrong_preferences_are_told_by_their_field(sms: System, body: dict[str, Any], path: str) -> None:
    answer = sms.person("resident").post("/v1/notification-preferences", body)
    assert answer.status_code == 422 and [field["path"] for field in answer.json()["fields"]] == [path]


def test_times_are_times(sms: System) -> None:
    order = happen(sms, "resident2")
    come(sms, "resident2", order, "order.accepted")
    at = datetime.fromisoformat(told(sms, "resident2", order)[0]["time"])
    assert abs(sms.now() - at) < timedelta(minutes=1)
