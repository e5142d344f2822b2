"""A backup of a running system, and what of it comes back elsewhere."""

import base64
import json
import secrets
import shutil
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import amqp
import pytest
from kombu import Connection
from pymongo import MongoClient

from deploy.local.servers import MongoDB, RabbitMQ
from deploy.operate.archive import MANIFEST
from tests.e2e.steps import Steps
from tests.e2e.test_operation import CLOSED_QUEUE, about, publish_unreadable, sidan
from tests.support.cli import called
from tests.support.failpoints import failing
from tests.support.processes import eventually
from tests.support.servers import virtual_host
from tests.support.system import System

pytestmark = pytest.mark.long

KEY, OTHER_KEY = (base64.urlsafe_b64encode(secrets.token_bytes(32)).decode() for _ in range(2))
EVENTS = "events.bson.gz"
ACCOUNTS = "points/accounts.bson.gz"


@pytest.fixture(scope="module")
def old(rabbitmq: RabbitMQ, mongodb: MongoDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system that is going to be lost."""
    with virtual_host(rabbitmq) as amqp_uri:
        prefix = f"b{secrets.token_hex(3)}_"
        system = System(amqp_uri, mongodb.uri, prefix, tmp_path_factory.mktemp("old"), SIDAN_DATA_KEY=KEY)
        try:
            yield system.start()
        finally:
            if any(process.alive() for process in system.processes.values()):
                system.stop()


@pytest.fixture
def new(rabbitmq: RabbitMQ, mongodb: MongoDB, database_prefix: str, tmp_path: Path) -> Iterator[System]:
    """Servers for another one, of which nothing runs."""
    with virtual_host(rabbitmq) as amqp_uri:
        system = System(amqp_uri, mongodb.uri, database_prefix, tmp_path / "new", SIDAN_DATA_KEY=KEY)
        yield system
        if any(process.alive() for process in system.processes.values()):
            system.stop()


@pytest.fixture(scope="module")
def backup(old: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("backup") / "one"
    done = sidan(old, "backup", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def documents(system: System, service: str, collection: str) -> list[dict[str, Any]]:
    with MongoClient[dict[str, Any]](system.mongo_uri) as client:
        return sorted(client[system.prefix + service][collection].find(), key=lambda document: str(document["_id"]))


def refusal(done: CompletedProcess[str]) -> str:
    """The last line that a command says which does not do what was asked."""
    assert done.returncode == 1, done
    return done.stderr.splitlines()[-1]


def test_an_order_goes_on_elsewhere_although_its_event_was_in_a_queue_when_the_backup_was_made(
    old: System, new: System, tmp_path: Path
) -> None:
    steps = Steps(old, patient=True)
    closed, going, done_before = steps.place(), steps.reach("in_service", leader="leader2"), steps.reach("closed")
    eventually(lambda: all(steps.awards(steps.settled(done_before, v)) for v in ("vol-leader1", "vol-volunteer1")))
    publish_unreadable(old, "unreadable")
    publish_strange(old)
    eventually(lambda: len(dead_ids(old)) == 3)
    old.kill("activities")
    steps.serve(closed)
    eventually(lambda: not waiting_events(old), what="the outbox is empty: the event is in the queue alone")
    assert sidan(old, "backup", str(tmp_path / "backup")).returncode == 0
    steps.complete(going, "leader2")  # of a future that will be lost
    old.restart("activities")
    eventually(lambda: steps.hours(going, "vol-leader2"))
    before = documents(old, "dispatch", "orders")
    take_later_events(old, tmp_path)

    restored = sidan(new, "restore", str(tmp_path / "backup"), "--json")
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["dead"] == 3
    after = documents(new, "dispatch", "orders")
    assert [order for order in after if order["_id"] != going["id"]] == [o for o in before if o["_id"] != going["id"]]
    new.start()
    steps = Steps(new, patient=True)
    for volunteer in ("vol-leader1", "vol-volunteer1"):
        assert steps.credited(closed, volunteer) == 1, "what was in the queue has taken effect"
        assert steps.credited(done_before, volunteer) == 1, "what had taken effect has not done so twice"
    assert steps.order(going)["state"] == "in_service"
    assert not steps.hours(going, "vol-leader2"), "nothing of the lost future has reached a handler"
    assert dead_ids(new) == dead_ids(old)
    segment = new.segment("vol-volunteer2", 12)
    steps.complete(going, "leader2", [segment])
    steps.rate(going)
    steps.close(going)
    assert steps.credited(going, "vol-volunteer2") == 2
    assert sidan(new, "ledger", "verify").returncode == 0


def publish_strange(system: System) -> None:
    """Two messages without ids, with headers that no document can hold."""
    for number in (1, 2):
        headers = {"n": number, "money": Decimal("1.50"), "nested": {"list": [Decimal(number)]}}
        with Connection(system.amqp_uri) as connection:
            message = amqp.Message(b"\xff", application_headers=headers, content_encoding="utf-8")
            connection.default_channel.basic_publish(message, "", CLOSED_QUEUE)


def dead_ids(system: System) -> set[str]:
    listed = json.loads(sidan(system, "dead", "list", "--queue", CLOSED_QUEUE, "--json").stdout)
    return {letter["id"] for letter in listed}


def take_later_events(system: System, folder: Path) -> None:
    """As if the log had been copied so late that it tells what the databases of the backup do not know."""
    assert sidan(system, "backup", str(folder / "later")).returncode == 0
    shutil.copy(folder / "later" / EVENTS, folder / "backup" / EVENTS)
    manifest, later = (json.loads((folder / name / MANIFEST).read_text()) for name in ("backup", "later"))
    assert manifest["files"]["events"]["documents"] < later["files"]["events"]["documents"]
    manifest["files"]["events"] = later["files"]["events"]
    (folder / "backup" / MANIFEST).write_text(json.dumps(manifest))


def waiting_events(system: System) -> list[Any]:
    return [order for order in documents(system, "dispatch", "orders") if "outbox" in order]


def test_a_backup_holds_every_document_and_index_and_no_secret(backup: Path, old: System, new: System) -> None:
    old_documents = {s: documents(old, s, "accounts") for s in ("registry", "points")}
    text = (backup / MANIFEST).read_text()
    assert KEY not in text and old.amqp_uri not in text and old.mongo_uri not in text
    assert sidan(new, "restore", str(backup)).returncode == 0
    assert {s: documents(new, s, "accounts") for s in ("registry", "points")} == old_documents
    with MongoClient[dict[str, Any]](new.mongo_uri) as client:
        for service, collection in (("registry", "volunteers"), ("dispatch", "orders"), ("points", "transfers")):
            one, other = (client[prefix + service][collection] for prefix in (old.prefix, new.prefix))
            assert one.index_information() == other.index_information()


def test_a_restore_that_was_killed_begins_anew(backup: Path, new: System) -> None:
    assert sidan(new, "restore", str(backup)).returncode == 0
    whole = {s: documents(new, s, "teams") for s in ("registry", "dispatch")}
    with MongoClient[dict[str, Any]](new.mongo_uri) as client:
        client.drop_database(f"{new.prefix}registry")
        with failing(client, ["createIndexes"], "alwaysOn", errorCode=1, appName="sidan-operate"):
            assert sidan(new, "restore", str(backup), "--replace").returncode != 0
    again = sidan(new, "restore", str(backup))
    assert again.returncode == 0, again.stderr
    assert {s: documents(new, s, "teams") for s in ("registry", "dispatch")} == whole


def test_a_restore_refuses_what_is_not_empty_unless_told(backup: Path, new: System) -> None:
    with MongoClient[dict[str, Any]](new.mongo_uri) as client:
        client[f"{new.prefix}dispatch"]["orders"].insert_one({"_id": "kept"})
        assert "--replace" in refusal(sidan(new, "restore", str(backup)))
        assert documents(new, "dispatch", "orders") == [{"_id": "kept"}]
        client.drop_database(f"{new.prefix}dispatch")
    with Connection(new.amqp_uri) as connection:
        channel = connection.default_channel
        channel.queue_declare(CLOSED_QUEUE, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
        channel.confirm_select()
        channel.basic_publish_confirm(amqp.Message(b"{}"), "", CLOSED_QUEUE)
    assert "fresh broker" in refusal(sidan(new, "restore", str(backup)))
    assert not documents(new, "dispatch", "orders")
    assert sidan(new, "restore", str(backup), "--replace").returncode == 0


def test_a_restore_refuses_a_running_system(backup: Path, old: System) -> None:
    eventually(old.ready)
    assert "stop" in refusal(sidan(old, "restore", str(backup), "--replace"))


@pytest.mark.parametrize(("key", "told"), [(OTHER_KEY, "another is set"), ("", "none is set")], ids=["another", "none"])
def test_a_restore_refuses_another_data_key(backup: Path, new: System, key: str, told: str, tmp_path: Path) -> None:
    elsewhere = {"SIDAN_DATA_KEY": key, "SIDAN_DATA_DIR": str(tmp_path)}
    said = refusal(called(("restore", str(backup)), about(new) | elsewhere))
    assert "SIDAN_DATA_KEY" in said and told in said
    assert not documents(new, "registry", "sites")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), "cut off"),
        (lambda folder: (folder / ACCOUNTS).write_bytes((folder / ACCOUNTS).read_bytes()[:-1]), "SHA-256"),
        (lambda folder: (folder / ACCOUNTS).unlink(), "No such file"),
        (lambda folder: (folder / MANIFEST).write_text('{"format": 99}'), "format 99"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "cannot be read"),
    ],
    ids=["no manifest", "cut file", "missing file", "other format", "cut manifest"],
)
def test_a_restore_refuses_a_damaged_backup(backup: Path, new: System, tmp_path: Path, harm: Any, told: str) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(backup, copy)
    harm(copy)
    assert told in refusal(sidan(new, "restore", str(copy)))
    assert not documents(new, "registry", "sites")


def test_a_backup_that_takes_too_long_says_what_to_do(old: System, tmp_path: Path) -> None:
    with (
        MongoClient[dict[str, Any]](old.mongo_uri) as client,
        failing(client, ["find", "getMore"], {"times": 1}, errorCode=239, appName="sidan-operate"),
    ):
        done = sidan(old, "backup", str(tmp_path / "slow"))
    assert "minSnapshotHistoryWindowInSeconds" in done.stderr and "300 s" in done.stderr and done.returncode == 1
    assert "cut off" in refusal(sidan(old, "backup", str(tmp_path / "slow")))
    assert "cut off" in refusal(sidan(old, "restore", str(tmp_path / "slow"), "--replace"))
