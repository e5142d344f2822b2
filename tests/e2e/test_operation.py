"""What an operator sees and does: dead letters, the ledger's check, logs without personal data."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import amqp
import pytest
from kombu import Connection
from pymongo import MongoClient
from pymongo.database import Database

from deploy.topology import subscriptions
from services.chassis.clock import now
from services.chassis.messages import Envelope
from services.chassis.topology import DEAD_SUFFIX
from tests.e2e.steps import Steps
from tests.support.cli import called
from tests.support.processes import eventually
from tests.support.system import ROOT, SERVICES, Events, System

CANARY_PHONE, CANARY_ADDRESS, CANARY_NAME = "13987654321", "金丝雀巷九号", "金丝雀大娘"
(CLOSED_QUEUE,) = (s.queue for s in subscriptions() if s.service == "activities" and s.event.fact == "order.closed")


def sidan(system: System, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line tool against the system under test."""
    return called(arguments, about(system))


def begun(system: System, *arguments: str) -> subprocess.Popen[str]:
    """As a process of its own, by the checkout's script."""
    pipe = subprocess.PIPE
    return subprocess.Popen([ROOT / "sidan", *arguments], env=about(system), stdout=pipe, stderr=pipe, text=True)


def about(system: System) -> dict[str, str]:
    return {
        **os.environ,
        "AMQP_URI": system.amqp_uri,
        "MONGO_URI": system.mongo_uri,
        "SIDAN_DATABASE_PREFIX": system.prefix,
        "SIDAN_DATA_KEY": system.data_key,
    }


@contextmanager
def database(system: System, service: str) -> Iterator[Database[dict[str, Any]]]:
    client: MongoClient[dict[str, Any]] = MongoClient(system.mongo_uri)
    with client:
        yield client[system.prefix + service]


def publish_unreadable(system: System, id: str) -> None:
    content = json.dumps({"site": "130802103202", "note": f"call {CANARY_PHONE}"}).encode()
    envelope = Envelope(id, "cn.sidan.order.closed.v1", "/sidan/dispatch", "o", now(), 1, "130802103202", content)
    message = amqp.Message(content, application_headers=envelope.headers(), message_id=id)
    with Connection(system.amqp_uri) as connection:
        connection.default_channel.basic_publish(message, "", CLOSED_QUEUE)


def dead(system: System) -> list[dict[str, Any]]:
    return list(json.loads(sidan(system, "dead", "list", "--queue", CLOSED_QUEUE, "--json").stdout))


def test_dead_letters_are_listed_shown_put_back_and_dropped_by_command(system: System) -> None:
    assert dead(system) == [], "nothing that other tests did has ended here"
    publish_unreadable(system, "unreadable-1")
    publish_unreadable(system, "unreadable-2")
    letters = eventually(lambda: len(found := dead(system)) == 2 and found)
    assert {letter["queue"] for letter in letters} == {CLOSED_QUEUE}
    assert "team_id: missing" in letters[0]["reason"] and letters[0]["event"]["subject"] == "o"
    shown = sidan(system, "dead", "show", "unreadable-1").stdout
    assert "139****4321" in shown and CANARY_PHONE not in shown
    (group,) = json.loads(sidan(system, "dead", "list", "--json").stdout)
    assert (group["queue"], group["count"], group["group"]) == (CLOSED_QUEUE, 2, letters[0]["group"])
    assert sidan(system, "dead", "retry", "unreadable-1").stdout == "put back: 1\n"
    eventually(lambda: len(dead(system)) == 2, what="it fails again and is dead again")
    assert sidan(system, "dead", "drop", "--queue", CLOSED_QUEUE, "--reason", "a test").stdout == "dropped: 2\n"
    assert sidan(system, "dead", "list").stdout == "no dead letters\n"
    with Connection(system.amqp_uri) as connection:
        assert connection.default_channel.queue_declare(CLOSED_QUEUE + DEAD_SUFFIX, passive=True).message_count == 0


@pytest.mark.parametrize("arguments", [("retry",), ("drop",), ("show", "nobody"), ("retry", "nobody")])
def test_a_command_that_hits_nothing_says_so(system: System, arguments: tuple[str, ...]) -> None:
    assert sidan(system, "dead", *arguments).returncode != 0


def test_the_ledger_verifies_and_shows_what_was_changed(system: System, steps: Steps) -> None:
    order = steps.serve(steps.place())
    volunteer = order["records"][0]["volunteer"]
    record = steps.settled(order, volunteer)
    eventually(lambda: steps.awards(record))
    assert sidan(system, "ledger", "verify").returncode == 0
    with database(system, "points") as points:
        transfer = f"award:hours:{record['id']}"
        points["transfers"].update_one({"_id": transfer}, {"$inc": {"entries.$[].amount": 1}})
        found = sidan(system, "ledger", "verify")
        assert found.returncode == 1 and transfer in found.stdout
        points["transfers"].update_one({"_id": transfer}, {"$inc": {"entries.$[].amount": -1}})
    assert sidan(system, "ledger", "verify").returncode == 0


def test_personal_data_is_in_no_log_no_event_and_no_plain_document(system: System, steps: Steps) -> None:
    with Events(system.amqp_uri) as events:
        order = steps.place(description=f"{CANARY_NAME} 的电话是 {CANARY_PHONE}", address=CANARY_ADDRESS)
        steps.accept(order)
        eventually(lambda: len(events.of(order["id"])) >= 3)
    with database(system, "dispatch") as dispatch:
        stored = str(dispatch["orders"].find_one({"_id": order["id"]}))
    told = stored + events.text() + "".join(system.log(name) for name in (*SERVICES, "gateway"))
    assert not [canary for canary in (CANARY_PHONE, CANARY_ADDRESS, CANARY_NAME) if canary in told]
