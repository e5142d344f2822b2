"""``sidan doctor``: each fault is planted in a running system, and named."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deploy.local.servers import MongoDB, RabbitMQ
from services.chassis.clock import now
from services.chassis.pauses import pause
from services.chassis.topology import DEAD_SUFFIX, quorum
from services.registry.passwords import hashed
from tests.support.operate import Command
from tests.support.processes import ROOT, World, eventually
from tests.support.servers import ALL, management
from tests.support.topology import QUEUE
from tests.support.wire import channel_of, counted, publish, publish_events

pytestmark = pytest.mark.long


class Planting:
    """A system that is well, to plant faults in."""

    def __init__(self, world: World, rabbitmq: RabbitMQ, mongodb: MongoDB) -> None:
        self.world, self.rabbitmq, self.mongodb, self.sidan = world, rabbitmq, mongodb, Command(world)
        self.vhost = world.amqp_uri.rpartition("/")[2]
        self.sidan.environment["SIDAN_MANAGEMENT_URL"] = f"http://127.0.0.1:{rabbitmq.management_port}"
        self.alpha, self.beta = world.start("alpha").wait_started(), world.start("beta").wait_started()

    def findings(self) -> list[dict[str, str]]:
        return list(self.sidan.json("doctor"))

    def broker(self, method: str, path: str, **json: Any) -> None:
        with management(self.rabbitmq) as client:
            client.request(method, path.format(vhost=self.vhost), json=json).raise_for_status()

    def database(self) -> Any:
        return self.world.database("beta")


@pytest.fixture
def planting(world: World, rabbitmq: RabbitMQ, mongodb: MongoDB) -> Planting:
    return Planting(world, rabbitmq, mongodb)


@pytest.fixture
def broker(rabbitmq: RabbitMQ) -> RabbitMQ:
    """One node is enough here."""
    return rabbitmq


def delete_queue(p: Planting, name: str) -> None:
    with channel_of(p.world) as channel:
        channel.queue_delete(name)


def declare_otherwise(p: Planting) -> None:
    p.beta.stop()
    p.alpha.stop()
    delete_queue(p, QUEUE)
    with channel_of(p.world) as channel:
        channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments=quorum())
        channel.queue_bind(QUEUE, "alpha.events", "thing.happened.#")
    p.world.start("beta").wait_started()


def declare_orphan(p: Planting) -> None:
    with channel_of(p.world) as channel:
        channel.queue_declare("evt-alpha-thing.happened--beta.tally", durable=True, auto_delete=False)


def bind_more(p: Planting) -> None:
    with channel_of(p.world) as channel:
        channel.queue_bind(QUEUE, "alpha.events", "thing.seen.#")


def unbind(p: Planting) -> None:
    with channel_of(p.world) as channel:
        channel.queue_unbind(QUEUE, "alpha.events", "thing.happened.#")


def delete_exchange(p: Planting) -> None:
    with channel_of(p.world) as channel:
        channel.exchange_delete("unrouted")


def leave_half_moved(p: Planting) -> None:
    with channel_of(p.world) as channel:
        channel.queue_declare(QUEUE + ".held", durable=True, auto_delete=False, arguments=quorum())


def wait_unsent(p: Planting) -> None:
    p.alpha.kill()
    since = now() - timedelta(minutes=5)
    p.world.database("alpha")["things"].insert_one({"_id": "x", "outbox": [{"id": "e"}], "outbox_since": since})


def index_otherwise(p: Planting) -> None:
    p.database()["inbox"].drop_index("at_1")
    p.database()["inbox"].create_index("at", expireAfterSeconds=60)


def let_one_die(p: Planting) -> None:
    publish(p.world, {}, b"unreadable")
    eventually(lambda: p.world.depth(QUEUE + DEAD_SUFFIX) == 1)


def write(p: Planting, name: str, text: str) -> str:
    file = p.world.folder / name
    file.write_text(text)
    return str(file)


def other_lock(p: Planting) -> None:
    p.sidan.environment["SIDAN_LOCK_FILE"] = write(p, "requirements.lock", "kombu==1.0\nnobody-has-this==2.0\n")


def old_processor(p: Planting) -> None:
    p.sidan.environment["SIDAN_CPUINFO"] = write(p, "cpuinfo", "processor : 0\nflags\t\t: fpu sse4_2\n")


def few_files(p: Planting) -> None:
    limited = ["prlimit", f"--pid={p.beta.pid}", "--nofile=512:4096"]
    subprocess.run(limited, check=True)
    (p.world.folder / "run").mkdir()
    (p.world.folder / "run" / "beta-1.pid").write_text(f"{p.beta.pid}\n")


def demo_secrets(p: Planting) -> None:
    p.sidan.environment["SIDAN_TOKEN_SECRET"] = "ZGVtbw=="


def no_management(p: Planting) -> None:
    p.sidan.environment["SIDAN_MANAGEMENT_URL"] = "http://127.0.0.1:1"


def no_answer(p: Planting) -> None:
    (p.world.folder / "run").mkdir()
    (p.world.folder / "run" / "endpoints.json").write_text('{"metrics": {"beta-1": "http://127.0.0.1:1/metrics"}}')


FAULTS: dict[str, tuple[Callable[[Planting], Any], str]] = {
    "a queue is gone": (
        lambda p: (p.beta.stop(), p.alpha.stop(), delete_queue(p, QUEUE)),
        f"there is no queue {QUEUE}",
    ),
    "a queue has other arguments": (declare_otherwise, f"queue {QUEUE} has other arguments than the code declares"),
    "a queue that nobody declares": (declare_orphan, "beta.tally with 0 messages is declared by no code"),
    "a binding too many": (bind_more, f"{QUEUE} is bound to alpha.events by thing.seen.#, which no code declares"),
    "a binding too few": (unbind, f"{QUEUE} is not bound to alpha.events by thing.happened.#"),
    "an exchange is gone": (delete_exchange, "there is no exchange unrouted"),
    "a migration did not end": (leave_half_moved, f"{QUEUE}.held is left of a migration that did not end"),
    "nobody consumes": (lambda p: p.beta.stop(), f"no process takes messages of {QUEUE}"),
    "a queue is paused": (lambda p: pause(p.database(), QUEUE, "wang", "why not"), f"paused: {QUEUE} by wang since"),
    "dead letters": (let_one_die, f"dead letters: 1 of {QUEUE}"),
    "unrouted messages": (lambda p: publish(p.world, {}, b"", "unrouted"), "1 messages in unrouted"),
    "an event is not sent": (wait_unsent, "an event of alpha.things has waited for 30"),
    "an index is gone": (lambda p: p.database()["inbox"].drop_index("at_1"), "beta.inbox lacks at_1"),
    "an index is another": (index_otherwise, "beta.inbox has at_1 as"),
    "an index too many": (
        lambda p: p.database()["inbox"].create_index("x"),
        "beta.inbox has x_1, which no code declares",
    ),
    "a package is another": (other_lock, "is installed, the lock file says 1.0"),
    "a package is missing": (other_lock, "nobody-has-this nothing is installed"),
    "the processor is too old": (old_processor, "it has no AVX"),
    "few files": (few_files, "beta-1 may open 512 files"),
    "a secret is guessable": (demo_secrets, "SIDAN_TOKEN_SECRET is no random key"),
    "another data key": (
        lambda p: p.sidan.environment.update(SIDAN_DATA_KEY=base64.urlsafe_b64encode(os.urandom(32)).decode()),
        "does not wrap the keys of beta",
    ),
    "no data key": (lambda p: p.sidan.environment.update(SIDAN_DATA_KEY="c2hvcnQ="), "SIDAN_DATA_KEY must be"),
    "no management API": (no_management, "its management API does not answer"),
    "a process does not answer": (no_answer, "beta-1 does not answer"),
    "no policy": (
        lambda p: p.broker("DELETE", "/policies/{vhost}/unrouted"),
        "at alpha.events does not go to unrouted",
    ),
}


def test_a_system_that_is_well_has_no_findings(planting: Planting) -> None:
    publish_events(planting.world, [counted("a", 1)])
    eventually(lambda: planting.world.depth() == 0)
    done = planting.sidan("doctor")
    assert (done.returncode, done.stdout) == (0, "all is well\n"), done.stdout


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_what_to_do(planting: Planting, fault: str) -> None:
    plant, told = FAULTS[fault]
    plant(planting)
    found = eventually(lambda: [f for f in planting.findings() if told in f"{f['about']}: {f['what']}"], what=told)
    assert found[0]["remedy"] and found[0]["severity"] in ("error", "warning")
    assert planting.sidan("doctor").returncode == 1


def test_missing_permissions_are_named_by_kind(planting: Planting) -> None:
    path = f"/permissions/{{vhost}}/{planting.rabbitmq.user}"
    planting.broker("PUT", path, **{**ALL, "configure": "^nothing$"})
    try:
        found = [f["what"] for f in planting.findings() if f["about"] == "permissions"]
    finally:
        planting.broker("PUT", path, **ALL)
    assert len(found) == 1 and "may not configure" in found[0]


@pytest.mark.parametrize(
    ("alarm", "calm", "told"),
    [
        (["set_disk_free_limit", "9000GB"], ["set_disk_free_limit", "256MB"], "has its disk alarm"),
        (["set_disk_free_limit", "1MB"], ["set_disk_free_limit", "256MB"], "goes on until only 1 MB"),
        (
            ["set_vm_memory_high_watermark", "absolute", "1MB"],
            ["set_vm_memory_high_watermark", "absolute", "512MB"],
            "has its memory alarm",
        ),
    ],
)
def test_alarms_of_the_broker_are_named(planting: Planting, alarm: list[str], calm: list[str], told: str) -> None:
    planting.rabbitmq.ctl(*alarm)
    try:
        eventually(lambda: any(told in f["what"] for f in planting.findings()), what=told)
    finally:
        planting.rabbitmq.ctl(*calm)


def test_a_long_transaction_lifetime_is_named(planting: Planting) -> None:
    admin = planting.world.mongo.admin
    admin.command("setParameter", transactionLifetimeLimitSeconds=60)
    try:
        found = [f["what"] for f in planting.findings()]
    finally:
        admin.command("setParameter", transactionLifetimeLimitSeconds=5)
    assert any("transactionLifetimeLimitSeconds is 60" in what for what in found)


def test_a_wrong_clock_is_named(planting: Planting) -> None:
    """The doctor's own is put an hour ahead."""
    shifted = (
        "import datetime as d, sys; from deploy.operate import database\n"
        "class Ahead(d.datetime):\n"
        "    now = classmethod(lambda cls, tz=None: d.datetime.now(tz) + d.timedelta(hours=1))\n"
        "database.datetime = Ahead\n"
        "sys.argv = ['sidan', 'doctor']; import runpy; runpy.run_module('tests.support.operate', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", shifted], env={**os.environ, **planting.sidan.environment},
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "the database's clock is -3600" in done.stdout or "the database's clock is -3599" in done.stdout


@pytest.mark.parametrize(
    ("variable", "address", "about"),
    [
        ("AMQP_URI", "amqp://127.0.0.1:1/", "broker"),
        ("MONGO_URI", "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500", "database"),
    ],
)
def test_what_is_down_comes_first_and_the_rest_is_looked_at(
    planting: Planting, variable: str, address: str, about: str
) -> None:
    declare_orphan(planting)
    planting.database()["inbox"].drop_index("at_1")
    planting.sidan.environment[variable] = address
    found = planting.findings()
    assert found[0]["about"] == about and found[0]["what"].startswith("it does not answer")
    other = "beta.tally" if about == "database" else "lacks at_1"
    assert any(other in finding["what"] for finding in found)


def test_a_process_whose_clock_is_off_is_named(planting: Planting) -> None:
    """It says so on its metrics page; here that of a process whose database is in the past."""
    page = b"# HELP sidan_clock_offset_seconds How far\nsidan_clock_offset_seconds -61.5\n"

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_: Any) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (planting.world.folder / "run").mkdir()
        metrics = {"beta-1": f"http://127.0.0.1:{server.server_port}/metrics"}
        (planting.world.folder / "run" / "endpoints.json").write_text(json.dumps({"metrics": metrics}))
        found = [f["what"] for f in planting.findings()]
        server.shutdown()
    assert "beta-1 is -61.5 s from the database's clock" in found


def test_what_timers_have_not_moved_and_demo_accounts_are_named(world: World) -> None:
    """By the real command line, of a system that has never run."""
    world.database("dispatch")["orders"].insert_one({"_id": "o", "due_at": now() - timedelta(minutes=1)})
    world.database("dispatch")["series"].insert_one({"_id": "s", "next_at": now() - timedelta(minutes=11)})
    ended = {"_id": "e", "uncounted_since": now() - timedelta(minutes=11)}
    world.database("dispatch")["orders"].insert_many([ended, {"_id": "r", "uncounted_since": now()}])
    account = {"_id": "a", "kind": "person", "username": "admin", "password_hash": hashed("demo")}
    world.database("registry")["accounts"].insert_many([account, {**account, "_id": "b", "username": "station2"}])
    environment = Command(world).environment
    for profile, known in (("production", ["account admin has the demo password"]), ("local", [])):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "deploy.cli", "doctor", "--json"],
            env=environment | {"SIDAN_PROFILE": profile}, cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        found = json.loads(done.stdout)
        assert [f["what"] for f in found if f["about"] == "secrets"] == known
    assert [f["what"] for f in found if f["about"] in ("deadlines", "series", "figures")] == [
        "1 orders are due for more than 15 s and were not moved",
        "1 series should have placed an order more than 10 min ago",
        "1 orders ended more than 10 min ago and are in no quality figures",
    ]
    assert any("there is no queue evt-dispatch-order.closed--activities" in f["what"] for f in found)
