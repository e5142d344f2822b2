"""The system under fault: servers of its own, replicas that are started again when they die, links that can be cut."""

import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

import httpx
from kombu import Connection
from pymongo import MongoClient

from bench import city
from deploy.local.process import Process
from deploy.local.servers import MongoDB, RabbitMQ, free_port
from deploy.reference.rpc import Call, RpcClient
from deploy.topology import publishing, subscriptions
from services.chassis.dead import DeadLetters
from services.chassis.topology import DEAD_SUFFIX, retry_queue
from services.contracts.actor import SYSTEM
from tests.support.proxy import Proxy
from tests.support.system import ROOT, SERVICES, System

VILLAGES = 6
RETRY_DELAYS = (0.5, 2.0, 8.0)
"""Seconds; shorter than in production, so that a scenario sees all of them, and longer than a dead transaction."""
RESTART_PAUSE = 0.3  # seconds, as the local runtime's first
POLL = 0.05  # seconds
TOOL = 120.0  # seconds
HANDED_OVER = ("AMQP_URI", "MONGO_URI", "SIDAN_DATABASE_PREFIX", "SIDAN_RETRY_DELAYS", "SIDAN_DATA_KEY")
"""What the operator's command line is told of the system."""
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
ACTOR = SYSTEM.model_dump(mode="json")
ANSWER = 20.0  # seconds
LINKS = ("consumer", "publisher", "database")


class Stuck(Exception):
    """What was waited for did not come in time."""


@dataclass(frozen=True, eq=False)
class Layout:
    """How a system under fault is made up; scenarios of one layout share a running one."""

    name: str
    replicas: int = 1
    gateways: int = 1
    links: bool = False
    """With a proxy on each link of each process."""
    cluster: bool = False
    """Three nodes of the broker and three of the database."""
    disk: str = ""
    """Size of the database's disk, as ``mount`` takes it."""
    clocks: dict[str, str] = field(default_factory=dict)
    """How far the clock of a process is off, as ``faketime`` takes it, by the end of its name."""


SINGLE = Layout("single")
TWICE = Layout("twice", replicas=2, gateways=2)
LINKED = Layout("linked", links=True)
CLUSTER = Layout("cluster", replicas=2, cluster=True)
SMALL = Layout("small", disk="640m")
SKEWED = Layout("skewed", replicas=2, clocks={"": "+600s", "-2": "-3600s"})
LAYOUTS = {layout.name: layout for layout in (SINGLE, TWICE, LINKED, SMALL, SKEWED, CLUSTER)}


class Fleet(System):
    """A system whose processes are kept up. All waiting is done by ``until``, which looks after them meanwhile."""

    def __init__(self, layout: Layout, broker: Any, database: Any, folder: Path, **settings: str) -> None:
        self.layout, self.broker, self.database_server = layout, broker, database
        self.settings = settings
        self.proxies: dict[tuple[str, str], Proxy] = {}
        self.restarts: Counter[str] = Counter()
        self.down: set[str] = set()
        """Processes that a scenario wants to stay away."""
        self._due: dict[str, float] = {}
        self.ports: dict[str, int] = {}
        twice = SERVICES if layout.replicas > 1 else ()
        super().__init__(
            broker.uri, database.uri, f"f{token_hex(3)}_", folder, twice=twice, FAULTS_TRACE=str(folder),
            SIDAN_SLA_PROFILE="demo", SIDAN_RETRY_DELAYS=str(list(RETRY_DELAYS)), **settings,
        )  # fmt: skip
        for number in range(2, layout.gateways + 1):
            self.processes[f"gateway-{number}"] = self._process(f"gateway-{number}", "gateway")
        self.mongo: MongoClient[dict[str, Any]] = MongoClient(database.uri, tz_aware=True)

    @property
    def gateways(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports.values()]

    def replicas(self, service: str) -> list[str]:
        return [name for name in self.processes if name.partition("-")[0] == service]

    def services(self) -> list[str]:
        """All processes but the gateways."""
        return [name for name in self.processes if not name.startswith("gateway")]

    def database(self, service: str) -> Any:
        return self.mongo[self.prefix + service]

    def _process(self, name: str, module: str, *arguments: str) -> Process:
        if module in ("deploy.service", "tests.support.clocked"):
            module = "tests.faults.entry"
        elif module == "gateway":
            module = "tests.faults.gateway"
        process = super()._process(name, module, *arguments)
        process.env = {**process.env, **self._links(name), **self._clock(name)}
        if module == "tests.faults.gateway":
            self.ports[name] = self.port if name == "gateway" else free_port()
            process.env["SIDAN_HTTP_PORT"] = str(self.ports[name])
        elif module == "tests.faults.entry":
            process.env["SIDAN_METRICS_PORT"] = str(free_port())
        return process

    def _links(self, name: str) -> dict[str, str]:
        if not self.layout.links or name == "reference":
            return {}
        uris = {}
        for link in LINKS if not name.startswith("gateway") else ("consumer",):
            given = self.mongo_uri if link == "database" else self.amqp_uri
            self.proxies[name, link], uris[link] = Proxy.before(given)
        found = {"AMQP_URI": uris["consumer"]}
        if "database" in uris:
            # The driver would go to the address that the set names, past the proxy.
            found["MONGO_URI"] = uris["database"].partition("?")[0] + "?directConnection=true"
            found["FAULTS_PUBLISHER_URI"] = uris["publisher"]
        return found

    def _clock(self, name: str) -> dict[str, str]:
        """Another wall clock by libfaketime; time that only goes on is left alone."""
        end = "-2" if name.endswith("-2") else ""
        if end not in self.layout.clocks or name.startswith(("gateway", "reference")):
            return {}
        return {
            "LD_PRELOAD": str(FAKETIME), "FAKETIME": self.layout.clocks[end], "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }  # fmt: skip

    # -- life -----------------------------------------------------------------------------------------

    def start(self) -> "Fleet":
        super().start()
        self._settle_people()
        return self

    def _settle_people(self) -> None:
        """The people of the lives, beside those of the demo."""
        villages = self.villages()
        steps = (
            ("add_volunteer", city.volunteers(villages)),
            ("form_team", city.teams(villages)),
            ("add_account", city.accounts(villages)),
        )
        with RpcClient(self.broker_uri(), "registry") as registry:
            for method, commands in steps:
                calls = [Call(method, {"actor": ACTOR, "command": c.model_dump(mode="json")}) for c in commands]
                registry.call_all(calls, ANSWER)
        wanted = len(villages) * city.TEAMS
        center = f"/v1/sites/{city.COUNTY}/matching-rules"  # whoever misses a visit on purpose is asked again
        self.person("admin").do(
            center, {"approve": [{"name": "fits", "title": "符合条件"}], "no_shows": {"limit": 100, "days": 1}}
        )
        self.until(
            lambda: self.database("dispatch")["teams"].count_documents({"_id": {"$regex": "^bench-"}}) >= wanted,
            what="the teams",
        )

    def villages(self) -> list[city.Village]:
        return city.villages()[:VILLAGES]

    def broker_uri(self) -> str:
        """Of a node that runs."""
        return self.amqp_uri.partition(";")[0]

    def tick(self) -> None:
        """Start again what has died, unless it is to stay away."""
        for name, process in self.processes.items():
            if process.alive() or name in self.down:
                continue
            due = self._due.setdefault(name, time.monotonic() + RESTART_PAUSE)
            if time.monotonic() >= due:
                del self._due[name]
                process.env.pop("SIDAN_CRASH_AT", None)
                self.restarts[name] += 1
                process.start()

    def until(self, holds: Callable[[], Any], seconds: float = 60.0, what: str = "") -> float:
        """How long it took; raise ``Stuck``."""
        begun = time.monotonic()
        while True:
            self.tick()
            if holds():
                return time.monotonic() - begun
            if time.monotonic() - begun > seconds:
                raise Stuck(f"not within {seconds:g} s: {what or holds}")
            time.sleep(POLL)

    def pause(self, seconds: float) -> None:
        """For faults that last for a while; never to wait for something."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end, seconds + 5)

    def heal(self) -> None:
        """Everything that a scenario may have left out of order is put right."""
        self.down.clear()
        for name, process in self.processes.items():
            self.signal(name, signal.SIGCONT)
            if process.env.get("FAULTS_WRAP"):
                self.restart_with(name, FAULTS_WRAP="")
        for proxy in self.proxies.values():
            proxy.mode = "pass"
        for server in (self.broker, self.database_server):
            for member in getattr(server, "nodes", getattr(server, "members", ())):
                member.resume()
            if not server.alive():
                server.start()
            self.until(server.ready, 90, "the servers")

    def end(self) -> None:
        self.down = set(self.processes)
        for name in self.processes:
            self.signal(name, signal.SIGCONT)
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(12)
            process.kill()
        for proxy in self.proxies.values():
            proxy.close()
        self.http.close()
        self.mongo.close()

    # -- what can be done to a process ----------------------------------------------------------------

    def signal(self, name: str, number: int) -> None:
        if pid := self.processes[name].pid:
            os.kill(pid, number)

    def restart_with(self, name: str, **environment: str) -> None:
        """In order, with other variables; ``wait_serving`` tells when it is there."""
        process = self.processes[name]
        self.down.add(name)
        process.terminate()
        process.wait(12)
        process.env.update(environment)
        self.down.discard(name)
        process.start()

    def serving(self, name: str) -> bool:
        """Whether this very process has its links."""
        try:
            if name.startswith("gateway"):
                return (
                    httpx.get(f"http://127.0.0.1:{self.ports[name]}/readyz", timeout=3, trust_env=False).status_code
                    == 200
                )
            port = self.processes[name].env["SIDAN_METRICS_PORT"]
            return httpx.get(f"http://127.0.0.1:{port}/", timeout=3, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def metric(self, name: str, metric: str) -> float:
        """The sum over labels, of one process."""
        port = self.ports.get(name) or self.processes[name].env["SIDAN_METRICS_PORT"]
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=3, trust_env=False).text
        lines = [line for line in text.splitlines() if line.startswith(metric)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)

    def sidan(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The operator's command line on the system under fault."""
        given = self.processes["points"].env
        environment = {**os.environ, **{name: given[name] for name in HANDED_OVER}}
        return subprocess.run(
            [ROOT / "sidan", *arguments], env=environment, capture_output=True, text=True, timeout=TOOL, check=False
        )

    def versions(self) -> dict[str, str]:
        with self.channel() as channel:
            broker = channel.connection.server_properties["version"]
        return {"rabbitmq": str(broker), "mongodb": str(self.mongo.server_info()["version"])}

    # -- what is on its way ---------------------------------------------------------------------------

    @contextmanager
    def channel(self) -> Iterator[Any]:
        with Connection(self.amqp_uri, connect_timeout=5) as connection:
            yield connection.default_channel

    def unsent(self) -> int:
        return sum(self.database(s)[c].count_documents({"outbox_since": {"$exists": True}}) for s, c in publishing())

    def waiting(self) -> int:
        """Messages in the queues of handlers and in the retry levels."""
        names = [s.queue for s in subscriptions()] + [retry_queue(delay) for delay in RETRY_DELAYS]
        return sum(self.depth(name) for name in names)

    def in_hand(self) -> int:
        """Messages that handlers were given and have not acknowledged; asking costs a second."""
        node = next(node for node in getattr(self.broker, "nodes", [self.broker]) if node.alive())
        told = node.ctl("list_queues", "name", "messages_unacknowledged", "--no-table-headers")
        counts = dict(line.split("\t") for line in told.splitlines())
        return sum(int(counts.get(s.queue, 0)) for s in subscriptions())

    def depth(self, queue: str) -> int:
        with self.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).message_count)

    def dead_ids(self, queue: str) -> Counter[str]:
        """Message ids in the dead letters of a queue; they stay there."""
        if not self.depth(queue + DEAD_SUFFIX):
            return Counter()
        with Connection(self.amqp_uri, connect_timeout=5) as connection:
            return Counter(letter.message_id for letter in DeadLetters(connection.connection, [queue]).all())

    def all_dead(self) -> Counter[str]:
        return sum((self.dead_ids(s.queue) for s in subscriptions()), Counter())


@contextmanager
def running(layout: Layout, folder: Path, **settings: str) -> Iterator[Fleet]:
    """Started, with servers of its own; nothing of it is left afterwards but its logs."""
    broker, database = _servers(layout, folder)
    if layout.disk:
        (folder / "mongodb").mkdir(exist_ok=True)
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={layout.disk}", "none", str(folder / "mongodb")], check=True
        )
    broker.start()
    database.start()
    try:
        broker.wait_ready(60)
        database.wait_ready(60)
        fleet = Fleet(layout, broker, database, folder / "log", **settings)
        try:
            yield fleet.start()
        finally:
            fleet.end()
    finally:
        broker.stop()
        database.stop()
        if layout.disk:
            subprocess.run(["umount", str(folder / "mongodb")], check=True)
        for server in ("rabbitmq", "mongodb"):
            leave_logs(folder / server)


def leave_logs(folder: Path) -> None:
    """Of servers that have ended: their data are large, and tell nobody anything."""
    for path in folder.rglob("*"):
        if path.is_file() and path.parent.name != "log":
            path.unlink()


def _servers(layout: Layout, folder: Path) -> tuple[Any, Any]:
    if layout.cluster:
        from tests.support.clusters import MongoSet, RabbitCluster

        return RabbitCluster(folder / "rabbitmq"), MongoSet(folder / "mongodb")
    return RabbitMQ(folder / "rabbitmq"), MongoDB(folder / "mongodb", test_commands=True)
