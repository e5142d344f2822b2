"""F20 to F27: events that come twice, in another order, late, or broken."""

import json
from collections import Counter
from typing import Any

import amqp

from deploy.topology import subscriptions
from services.chassis.messages import PREFIX, Event
from services.chassis.topology import RPC_EXCHANGE
from tests.faults.run import Run, scenario
from tests.faults.wrappers import poisonous

ALL_SERVICES = ("registry", "dispatch", "activities", "points")
POISONED = 30  # of a hundred orders
FORGED = {"user_id": "admin", "x-death": "[]", "nameko.call_id_stack": "forged", "attempt": 0}
MALFORMED: dict[str, tuple[bytes, dict[str, Any]]] = {
    "no-json": (b"{", {}),
    "no-text": (b"\xff\xfe\x00", {}),
    "empty": (b"", {}),
    "pickle": (b"\x80\x04\x95\x00", {"content_type": "application/x-python-serialize"}),
    "big": (b'{"a": "' + b"x" * 300_000 + b'"}', {}),
    "deep": (b"[" * 10_000 + b"]" * 10_000, {}),
    "number": (b'{"hours": 1e999}', {}),
    "personal": (b'{"phone": "13812345678", "id_number": 11010519491231002', {}),
}  # fmt: skip


def envelope_of(event: type[Event]) -> dict[str, str]:
    """Headers that look right, for bodies that do not."""
    attributes = {
        "id": "x", "type": event.type(), "source": f"/sidan/{event.owner}", "subject": "nobody", "sequence": "1",
        "time": "2026-01-01T00:00:00+00:00",
    }  # fmt: skip
    return {PREFIX + name: value for name, value in attributes.items()}


def send(channel: Any, exchange: str, key: str, body: bytes, headers: dict[str, Any], **properties: Any) -> None:
    message = amqp.Message(body, application_headers=headers, delivery_mode=2, **properties)
    channel.basic_publish(message, exchange, key)


def restart_all(run: Run, **environment: str) -> None:
    for name in ALL_SERVICES:
        run.fleet.restart_with(name, **environment)
    run.fleet.until(lambda: all(map(run.fleet.serving, ALL_SERVICES)), 60, "all services")


@scenario("F20", "every event comes three times", per_commit=True, without="inbox")
def duplicates(run: Run) -> None:
    restart_all(run, FAULTS_WRAP="duplicate:3")
    with run.load(), run.trouble():
        run.fleet.pause(8)
    run.rest()
    restart_all(run, FAULTS_WRAP="")


@scenario("F21", "events come in another order", without="late-facts")
def disorder(run: Run) -> None:
    restart_all(run, FAULTS_WRAP="reorder:10,late:2")
    with run.load(workers=10), run.trouble():
        run.fleet.pause(8)
    run.rest()
    restart_all(run, FAULTS_WRAP="")


@scenario("F21-fail", "one handler of twenty fails after its work", without="retries")
def failing_handlers(run: Run) -> None:
    restart_all(run, FAULTS_WRAP="fail:0.05")
    with run.load(), run.trouble():
        run.fleet.pause(8)
    run.rest()
    restart_all(run, FAULTS_WRAP="")


@scenario("F22", "everything is published once more, long after", without="business-ids")
def very_old_duplicates(run: Run) -> None:
    """As if the inbox had forgotten: the ledger and the hours know by their business ids."""
    with run.load():
        run.fleet.pause(4)
    run.rest()
    events = run.published()
    run.fleet.database("points")["inbox"].delete_many({})
    run.fleet.database("activities")["inbox"].delete_many({})
    with run.trouble(faults=len(events)), run.fleet.channel() as channel:
        for event in events:
            exchange = f"{event.source.rpartition('/')[2]}.events"
            send(channel, exchange, event.routing_key, event.body, event.headers)
    run.rest()


@scenario("F23", "a handler refuses the events of some orders, however often", per_commit=True, without="retries")
def poison(run: Run) -> None:
    """Others go on; the refused are dead letters with their reason, and are put back when the handler is mended."""
    run.fleet.restart_with("activities", FAULTS_WRAP=f"poison:{POISONED}")
    run.fleet.until(lambda: run.fleet.serving("activities"), 30, "activities")
    with run.load(plans=("straight",)), run.trouble(faults=0):
        run.fleet.pause(4)
    queues = [s.queue for s in subscriptions() if s.service == "activities"]
    orders = {i.order_id for i in run.intents() if i.step == "close" and i.order_id}
    refused = {order for order in orders if poisonous(order, POISONED)}
    run.result.faults += len(refused)
    dead = lambda: sum((run.fleet.dead_ids(queue) for queue in queues), Counter())  # noqa: E731
    run.fleet.until(lambda: len(dead()) >= 2 * len(refused), 60, f"{2 * len(refused)} dead letters")
    run.expect(refused, "some orders are refused")
    for letter in run.dead_letters(queues):
        run.expect(
            "poison" in letter.reason and letter.headers.get("trace"), f"{letter.message_id} tells why: {letter.reason}"
        )
        run.expect(
            letter.attribute("subject") in refused, f"only refused orders are dead, not {letter.attribute('subject')}"
        )
    good = next(iter(orders - refused))
    sheets = run.fleet.database("activities")["timesheets"]
    run.expect(sheets.find_one({"records": {"$elemMatch": {"source_id": good, "state": "effective"}}}), "others go on")
    run.fleet.restart_with("activities", FAULTS_WRAP="")
    run.fleet.until(lambda: run.fleet.serving("activities"), 30, "activities")
    put_back = run.fleet.sidan("dead", "retry", "--all", "--reason", "the handler is mended", "--json")
    run.expect(put_back.returncode == 0, f"they are put back: {put_back.stderr[-300:]}")
    run.note(**{"put back": json.loads(put_back.stdout or "{}").get("retried", 0)})


@scenario("F24", "bodies that nobody can read", per_commit=True, without="body-guard")
def malformed(run: Run) -> None:
    """Each is a dead letter at once; no process dies, nothing is tried again, nothing private is logged."""
    before = dict(run.fleet.restarts)
    with run.load(), run.trouble(faults=0):
        with run.fleet.channel() as channel:
            for subscription in subscriptions():
                headers = envelope_of(subscription.event)
                for kind, (body, properties) in MALFORMED.items():
                    id = f"{kind}-{subscription.queue}"
                    message = amqp.Message(
                        body, application_headers=headers, delivery_mode=2, message_id=id,
                        **{"content_type": "application/json", **properties},
                    )  # fmt: skip
                    channel.basic_publish(message, "", subscription.queue)
                    run.expected_dead[id] += 1
                    run.result.faults += 1
        run.fleet.pause(5)
    run.expect(dict(run.fleet.restarts) == before, "no process has ended")


@scenario(
    "F25",
    "requests without an address, of unknown methods, with broken bodies",
    per_commit=True,
    without="request-guard",
)
def poison_requests(run: Run) -> None:
    before = dict(run.fleet.restarts)
    with run.load(), run.trouble(faults=0):
        with run.fleet.channel() as channel:
            for service in ALL_SERVICES:
                for method in ("health", "order", "no_such_method", "__init__"):
                    for body in (b"{", b"[]", json.dumps({"args": [], "kwargs": {"$where": "1"}}).encode(), b"null"):
                        for properties in ({}, {"reply_to": "nobody", "correlation_id": "x"}):
                            message = amqp.Message(body, **properties)
                            channel.basic_publish(message, RPC_EXCHANGE, f"{service}.{method}")
                            run.result.faults += 1
        run.fleet.pause(3)
    run.expect(dict(run.fleet.restarts) == before, "no process has ended")


@scenario("F26", "forged headers", per_commit=True, without="header-allow-list")
def forged_headers(run: Run) -> None:
    """They are neither believed nor passed on, not even into the dead letters."""
    queues = [subscription.queue for subscription in subscriptions()]
    with run.load(), run.trouble(faults=0):
        with run.fleet.channel() as channel:
            for queue in queues:
                id = f"forged-{queue}"
                message = amqp.Message(
                    b"{}", application_headers={**FORGED, "big": "y" * 50_000}, message_id=id, delivery_mode=2
                )
                channel.basic_publish(message, "", queue)
                run.expected_dead[id] += 1
                run.result.faults += 1
        run.fleet.until(
            lambda: sum(run.fleet.dead_ids(q)[f"forged-{q}"] for q in queues) == len(queues), 30, "dead letters"
        )
    for letter in run.dead_letters(queues):
        if letter.message_id.startswith("forged-"):
            kept = {"user_id", "x-death", "nameko.call_id_stack", "big"} & letter.headers.keys()
            run.expect(not kept, f"no forged header is kept, {kept} are")


@scenario("F27", "a subscriber dies again and again with its hands full", without="late-acknowledgement")
def redelivery_storm(run: Run) -> None:
    run.fleet.restart_with("activities", FAULTS_WRAP="slow:0.05")
    with run.load(workers=10):
        for _ in range(5):
            run.crash("activities", "after_commit", 3)
