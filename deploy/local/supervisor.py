"""``make run``: starts broker, database, services and gateway, keeps them up, stops them in order."""

import fcntl
import http.client
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local.environment import ROOT, Settings, SettingsError, child_environment, write_private
from deploy.local.keeper import Keeper, Stopping, say
from deploy.local.kept import Stage, WrongSetting
from deploy.local.leftovers import end_leftovers
from deploy.local.process import Process
from deploy.local.servers import MongoDB, RabbitMQ, ServerError, free_port, port_is_free

SERVICES = ("registry", "dispatch", "activities", "points")
PROBE_TIMEOUT = 1.0  # seconds
PROBE_INTERVAL = 0.1  # seconds

WELCOME = """
你好！欢迎使用四单。Sidan is ready after {seconds:.1f} s: {address}

  accounts  resident resident2 station institute center leader1 leader2 leader3 leader4
            volunteer1 volunteer2 admin, password demo; client municipal, secret demo
  try it    {elsewhere}make demo
            curl {address}/oauth/token -d grant_type=password -d username=resident -d password=demo
  API       {address}/docs
  broker    {broker}
  logs      {logs}
  stop      Ctrl-C or {elsewhere}make down
"""


@dataclass(frozen=True)
class Part:
    """A program of the system and its place in a stop."""

    name: str
    stage: Stage
    command: Sequence[str]
    replicas: int = 1


@dataclass(frozen=True)
class Plan:
    """What runs beside broker and database."""

    parts: Sequence[Part]
    reference: Sequence[str] = ()
    """Loads the reference data; run until it succeeds."""
    probe: str = ""
    """The page that answers 200 when everything is ready."""


class Supervisor:
    """One system on one data directory; belongs to the main thread."""

    def __init__(self, settings: Settings, plan: Plan) -> None:
        self._settings, self._plan = settings, plan
        self._keeper = Keeper(settings.run)
        self._began = time.monotonic()
        self._broker = None if settings.amqp_uri else RabbitMQ(settings.data_dir / "rabbitmq")
        self._database = None if settings.mongo_uri else MongoDB(settings.data_dir / "mongodb")
        self._amqp = settings.amqp_uri or (self._broker.uri if self._broker else "")
        self._mongo = settings.mongo_uri or (self._database.uri if self._database else "")
        self._environment = child_environment(settings, self._amqp, self._mongo)

    def run(self) -> int:
        """Keep the system up until a signal comes."""
        try:
            self._bring_up()
            self._keeper.until(lambda: False)
        except Stopping:
            say("stopping: gateway, services, broker, database")
        except WrongSetting as error:
            raise CannotStart(f"{error}\nCorrect it and start again; everything is stopped.") from None
        finally:
            self._keeper.stop()
            forget_addresses(self._settings.run)
        say("stopped")
        return 0

    def _bring_up(self) -> None:
        say(f"你好！Sidan starts in {self._settings.data_dir}")
        self._start_servers()
        self._publish_addresses(dict(self._start_parts()))
        self._await_servers()
        self._load_reference()
        self._await_ready()
        say(self._welcome())
        (self._settings.run / "ready").touch()

    def _start_servers(self) -> None:
        if self._database:
            self._keeper.keep("mongod-1", Stage.DATABASE, self._database)
        if self._broker:
            self._keeper.keep("epmd-1", Stage.PORT_MAPPER, self._broker.epmd)
            self._keeper.keep("rabbitmq-1", Stage.BROKER, self._broker)

    def _start_parts(self) -> Iterator[tuple[str, int]]:
        """The metrics port of each process; they load while the servers do."""
        for part in self._plan.parts:
            for replica in range(1, part.replicas + 1):
                port = free_port()
                self._start_part(part, replica, port)
                yield f"{part.name}-{replica}", port

    def _start_part(self, part: Part, replica: int, metrics_port: int) -> None:
        name = f"{part.name}-{replica}"
        own = {"SIDAN_REPLICA": str(replica), "SIDAN_METRICS_PORT": str(metrics_port)}
        log = self._settings.logs / f"{name}.log"
        process = Process(part.command, log, {**self._environment, **own}, ROOT)
        self._keeper.keep(name, part.stage, process)

    def _publish_addresses(self, metrics: dict[str, int]) -> None:
        addresses = {
            "http": self._settings.address,
            "amqp": self._amqp,
            "mongo": self._mongo,
            "management": self._management(),
            "metrics": {name: f"{self._measured_at(name, port)}/metrics" for name, port in metrics.items()},
        }
        file = self._settings.run / "endpoints.json"
        write_private(file, json.dumps(addresses, indent=2) + "\n")

    def _await_servers(self) -> None:
        for name, server in (("database", self._database), ("broker", self._broker)):
            if server:
                self._keeper.until(server.ready, f"the {name}, see {server.data_dir}/log")
                say(f"{name} is up after {self._elapsed():.1f} s")

    def _load_reference(self) -> None:
        if self._plan.reference:
            loader = Process(self._plan.reference, None, self._environment, ROOT)
            self._keeper.complete("loading the reference data", loader)

    def _await_ready(self) -> None:
        if self._plan.probe:
            answers = partial(_answers, self._settings.address, self._plan.probe)
            page = f"{self._settings.address}{self._plan.probe}, see {self._settings.logs}"
            self._keeper.until(answers, page, PROBE_INTERVAL)

    def _measured_at(self, name: str, port: int) -> str:
        """The gateway needs no port of its own for that."""
        return self._settings.address if name.startswith("gateway") else f"http://127.0.0.1:{port}"

    def _management(self) -> str | None:
        return f"http://127.0.0.1:{self._broker.management_port}" if self._broker else None

    def _welcome(self) -> str:
        secret = f"user and password in {self._settings.run}/endpoints.json"
        return WELCOME.format(
            seconds=self._elapsed(),
            elsewhere="" if self._settings.data_dir == ROOT / "var" else f"SIDAN_DATA_DIR={self._settings.data_dir} ",
            address=self._settings.address,
            broker=f"{self._management()}, {secret}" if self._broker else "from AMQP_URI",
            logs=self._settings.logs,
        )

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


class CannotStart(Exception):
    """A reason that the operator can remove."""


def real_plan(replicas: int) -> Plan:
    """All services, the gateway and the reference city."""
    services = [Part(name, Stage.SERVICES, _module("deploy.service", name), replicas) for name in SERVICES]
    gateway = Part("gateway", Stage.GATEWAY, _module("gateway"))
    return Plan([*services, gateway], _module("deploy.reference"), "/readyz")


def supervise(settings: Settings, plan: Plan) -> int:
    """Run the only supervisor of this data directory."""
    os.environ["SIDAN_DATA_DIR"] = str(settings.data_dir)  # marks every child
    settings.run.mkdir(parents=True, exist_ok=True)
    with alone(settings.run):
        forget_addresses(settings.run)
        end_leftovers(settings.run, settings.data_dir)
        if plan.probe and not port_is_free(settings.port, settings.host):
            raise CannotStart(
                f"Port {settings.port} of {settings.host} is taken:"
                " stop what listens there or set SIDAN_HTTP_PORT to another port."
            )
        (settings.run / "supervisor.pid").write_text(f"{os.getpid()}\n")
        try:
            return Supervisor(settings, plan).run()
        finally:
            (settings.run / "supervisor.pid").unlink(missing_ok=True)


def forget_addresses(run: Path) -> None:
    """Nobody shall take a system for running that is not."""
    for name in ("ready", "endpoints.json"):
        (run / name).unlink(missing_ok=True)


def main() -> int:
    try:
        settings = Settings.from_environment()
        return supervise(settings, real_plan(settings.replicas))
    except (CannotStart, ServerError, SettingsError) as error:
        print(error, file=sys.stderr)
        return 1


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Hold the lock of this directory; a lock ends with its process, a process id is used again."""
    with (run / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(f"Sidan runs already in {run.parent}: stop it with make down.") from None
        yield


def _answers(address: str, page: str) -> bool:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=PROBE_TIMEOUT)
    try:
        connection.request("GET", page)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", name, *arguments]


if __name__ == "__main__":
    sys.exit(main())
