"""The supervisor with small programs in place of the services, and with real servers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kombu.connection import Connection
from pymongo import MongoClient

from deploy.local.servers import free_port, port_is_free

ROOT = Path(__file__).parents[2]
NO_SERVERS = {"AMQP_URI": "amqp://127.0.0.1:1/", "MONGO_URI": "mongodb://127.0.0.1:1/"}
STOP_LIMIT = 15.0  # seconds
QUEUE_SETTLES = 1.0  # seconds; a broker killed sooner has not saved the name of a new quorum queue
LISTENING = "0A"  # state in /proc/net/tcp
LOOPBACK = ("0100007F", "00000000000000000000000001000000")

CHILD = """
import os, signal, sys, time
def leave(*_):
    with open(os.environ["SIDAN_DATA_DIR"] + "/order", "a") as order:
        order.write(sys.argv[1] + "\\n")
    sys.exit()
if "wrong" in sys.argv and sys.argv[1] == "points":
    print("cannot start points: SIDAN_SLA_PROFILE: must be standard or demo")
    sys.exit(2)
signal.signal(signal.SIGTERM, signal.SIG_IGN if "stubborn" in sys.argv else leave)
print("up", flush=True)
while True:
    time.sleep(60)
"""

DRIVER = """
import sys
from deploy.local.environment import Settings
from deploy.local.kept import Stage
from deploy.local.supervisor import CannotStart, Part, Plan, supervise
child, *how = sys.argv[1:]
def part(name, stage, replicas=1):
    return Part(name, stage, [sys.executable, "-c", child, name, *how], replicas)
plan = Plan([part("points", Stage.SERVICES, 2), part("gateway", Stage.GATEWAY)])
try:
    sys.exit(supervise(Settings.from_environment(), plan))
except CannotStart as error:
    sys.exit(str(error))
"""


class System:
    """A supervisor as a process of its own."""

    def __init__(self, data_dir: Path, servers: Mapping[str, str], *how: str) -> None:
        data_dir.mkdir(exist_ok=True)
        self.run, self.data_dir, self._output = data_dir / "run", data_dir, data_dir / "output"
        own = {"SIDAN_DATA_DIR": str(data_dir), "SIDAN_HTTP_PORT": str(free_port())}
        unset = {name: "" for name in NO_SERVERS}
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-c", DRIVER, CHILD, *how],
                cwd=ROOT,
                env={**os.environ, **unset, **own, **servers},
                stdout=output,
                stderr=output,
            )

    def ready(self) -> "System":
        eventually(lambda: self.is_ready() and self._all_up(), 40)
        return self

    def is_ready(self) -> bool:
        return (self.run / "ready").exists() and self.pid("supervisor") == self.process.pid

    def pid(self, name: str) -> int:
        return int(eventually(lambda: _text(self.run / f"{name}.pid"), 20))

    def endpoint(self, name: str) -> str:
        return str(json.loads((self.run / "endpoints.json").read_text())[name])

    def output(self) -> str:
        return self._output.read_text()

    def kill(self, name: str) -> None:
        """End one process as a crash would, and wait until another runs in its place."""
        before = self.pid(name)
        os.kill(before, signal.SIGKILL)
        eventually(lambda: self.pid(name) != before, 20)

    def stop(self, number: int = signal.SIGTERM) -> float:
        """The seconds that an orderly stop took."""
        began = time.monotonic()
        self.process.send_signal(number)
        assert self.process.wait(STOP_LIMIT + 5) == 0, self.output()
        return time.monotonic() - began

    def left(self) -> list[int]:
        """Processes that still carry the mark of this system."""
        mark = f"SIDAN_DATA_DIR={self.data_dir}".encode()
        numbers = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in numbers if mark in _environment(pid)]

    def is_gone(self) -> bool:
        return self.left() == []

    def _all_up(self) -> bool:
        """Signals come after the handlers of the small programs are set."""
        logs = [self.data_dir / f"log/{name}.log" for name in ("points-1", "points-2", "gateway-1")]
        return all(log.exists() and "up" in log.read_text() for log in logs)


Start = Callable[..., System]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts systems under names; all of them are ended after the test."""
    systems: list[System] = []

    def begin(name: str, servers: Mapping[str, str] = NO_SERVERS, how: str = "") -> System:
        systems.append(System(tmp_path / name, servers, *how.split()))
        return systems[-1]

    yield begin
    for system in systems:
        system.process.kill()
        system.process.wait()
    for system in systems:
        eventually(system.is_gone, 30)


def test_a_killed_process_is_started_again_with_growing_delay_and_the_others_go_on(start: Start) -> None:
    system = start("one").ready()
    others = {name: system.pid(name) for name in ("points-1", "gateway-1")}
    for _ in range(3):
        system.kill("points-2")
    for delay in ("0.2", "0.4", "0.8"):
        assert f"points-2 ended (signal 9), starting again in {delay} s" in system.output()
    assert {name: system.pid(name) for name in others} == others


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_goes_in_order_and_leaves_no_process_and_no_file(start: Start, number: int) -> None:
    system = start("one").ready()
    system.stop(number)
    order = (system.data_dir / "order").read_text().split()
    assert order == ["gateway", "points", "points"]
    assert system.left() == []
    assert [file.name for file in system.run.iterdir()] == ["lock"]


def test_a_process_that_ignores_the_stop_is_killed_within_15_s(start: Start) -> None:
    system = start("one", how="stubborn").ready()
    assert system.stop() < STOP_LIMIT
    assert system.left() == []


def test_a_wrong_setting_is_told_and_ends_the_start(start: Start) -> None:
    system = start("one", how="wrong")
    assert system.process.wait(STOP_LIMIT + 5) == 1
    assert "cannot start points: SIDAN_SLA_PROFILE: must be standard or demo" in system.output()
    assert system.left() == []


def test_a_second_signal_hastens_the_stop(start: Start) -> None:
    system = start("one", how="stubborn").ready()
    system.process.send_signal(signal.SIGINT)
    time.sleep(1.5)
    assert system.stop(signal.SIGINT) < 4


def test_a_killed_supervisor_takes_its_processes_along_and_the_next_one_starts(start: Start) -> None:
    first = start("one").ready()
    first.process.kill()
    first.process.wait()
    eventually(first.is_gone, 5)
    start("one").ready().stop()


def test_processes_that_outlive_a_killed_supervisor_are_ended_by_the_next_one(start: Start) -> None:
    first = start("one", how="stubborn").ready()
    orphan = first.pid("points-1")
    first.process.kill()
    first.process.wait()
    second = start("one")
    eventually(second.is_ready, 30)
    assert orphan not in second.left()


def test_a_second_supervisor_on_the_same_data_is_refused_in_one_sentence(start: Start) -> None:
    first = start("one").ready()
    second = start("one")
    assert second.process.wait(10) == 1
    assert f"Sidan runs already in {first.data_dir}" in second.output()
    assert first.stop() < STOP_LIMIT


def test_secrets_are_made_once_and_for_their_owner_only(start: Start) -> None:
    file = start("one").ready().data_dir / "secrets.env"
    before = file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    start("one").process.wait(10)
    assert file.read_text() == before


@pytest.mark.long
def test_servers_come_back_on_their_ports_with_their_data_and_so_does_the_next_start(start: Start) -> None:
    system = start("one", {}).ready()
    amqp, mongo = system.endpoint("amqp"), system.endpoint("mongo")
    write(amqp, mongo)
    for name in ("rabbitmq-1", "mongod-1", "epmd-1"):
        system.kill(name)
    assert read(amqp, mongo) == ["kept"]
    assert system.stop() < STOP_LIMIT
    assert system.left() == []
    again = start("one", {}).ready()
    assert read(again.endpoint("amqp"), again.endpoint("mongo")) == ["kept"]


def test_two_systems_run_side_by_side_on_loopback_only(start: Start) -> None:
    systems = [start("one", {}), start("two", {})]
    for system in systems:
        system.ready()
    first, second = systems
    assert first.endpoint("amqp") != second.endpoint("amqp")
    write(first.endpoint("amqp"), first.endpoint("mongo"))
    with MongoClient[dict[str, Any]](second.endpoint("mongo")) as client:
        assert client.test.kept.count_documents({}) == 0
    for name in ("rabbitmq-1", "epmd-1", "mongod-1"):
        addresses = listening(first.pid(name))
        assert addresses and set(addresses) <= set(LOOPBACK), name
    assert len({node_of(system) for system in systems}) == 2, "the broker's tools find the node of each"
    first.stop()
    assert second.process.poll() is None and second.pid("rabbitmq-1") in second.left()


@pytest.mark.long
def test_servers_move_to_other_ports_when_theirs_are_taken(start: Start) -> None:
    first = start("one", {}).ready()
    write(first.endpoint("amqp"), first.endpoint("mongo"))
    ports = [int(first.endpoint(name).split(":")[-1].split("/")[0]) for name in ("amqp", "mongo")]
    first.stop()
    assert all(port_is_free(port) for port in ports)
    with occupied(ports[0]), occupied(ports[1]):
        again = start("one", {}).ready()
        assert read(again.endpoint("amqp"), again.endpoint("mongo")) == ["kept"]


def node_of(system: System) -> str:
    command = f". {system.data_dir}/rabbitmq/env && rabbitmqctl --quiet eval 'node().'"
    return subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout


def occupied(port: int) -> socket.socket:
    """Hold a port without answering on it."""
    holder = socket.socket()
    holder.bind(("127.0.0.1", port))
    return holder


def write(amqp: str, mongo: str) -> None:
    """One document and one message that must survive."""
    with Connection(amqp, transport_options={"confirm_publish": True}) as connection:
        queue = connection.SimpleQueue("kept", queue_args={"x-queue-type": "quorum"})
        queue.put("kept")
        queue.close()
    with MongoClient[dict[str, Any]](mongo) as client:
        client.test.kept.insert_one({"_id": "kept"})
    time.sleep(QUEUE_SETTLES)


def read(amqp: str, mongo: str) -> list[str]:
    """The ids of the documents, after one look at the message."""
    eventually(lambda: not port_is_free(int(amqp.split(":")[-1].split("/")[0])), 30)
    with Connection(amqp) as connection:
        queue = connection.SimpleQueue("kept", queue_args={"x-queue-type": "quorum"})
        message = queue.get(timeout=20)
        assert message.payload == "kept"
        message.requeue()
        queue.close()
    with MongoClient[dict[str, Any]](mongo) as client:
        return [document["_id"] for document in client.test.kept.find()]


def listening(pid: int) -> list[str]:
    """The local addresses, in hexadecimal, on which the process listens."""
    inodes = {os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.is_symlink()}
    lines = [line.split() for name in ("tcp", "tcp6") for line in _lines(Path("/proc/net") / name)]
    own = [row for row in lines if row[3] == LISTENING and f"socket:[{row[9]}]" in inodes]
    return [row[1].split(":")[0] for row in own]


def eventually(holds: Callable[[], Any], seconds: float) -> Any:
    """Poll until this gives something true; fail after the deadline."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.05)
    return found


def _text(file: Path) -> str:
    """What is in the file; nothing while it is replaced."""
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""


def _lines(table: Path) -> list[str]:
    return table.read_text().splitlines()[1:] if table.exists() else []


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
