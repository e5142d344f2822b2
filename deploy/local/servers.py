"""RabbitMQ and MongoDB as private servers: one data directory each, loopback only.

A second start on the same directory is the same server with its data, on the same ports
where they are still free.
"""

import importlib.util
import json
import os
import random
import secrets
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from deploy.local.environment import write_private
from deploy.local.process import Process, rotate

TEMPLATES = Path(__file__).parent.parent / "rabbitmq"
RABBITMQ_BIN = Path("/usr/lib/rabbitmq/bin")  # Debian's wrappers in /usr/sbin insist on root
NOT_INITIALIZED = 94  # MongoDB's code of a replica set without a configuration
POLL = 0.05  # seconds
BOOT_WAIT = 6.0  # seconds
TOOLS = "# For the broker's own tools: (. <this file> && rabbitmqctl cluster_status)\n"
NOTHING: Mapping[str, str | int] = MappingProxyType({})


class ServerError(RuntimeError):
    """A server is missing, has ended or is not ready in time."""


class Server(Protocol):
    """One server or several that belong together."""

    data_dir: Path

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def alive(self) -> bool: ...
    def ready(self) -> bool: ...
    def wait_ready(self, timeout: float) -> None: ...


def free_port() -> int:
    """A free port of 127.0.0.1 below the range of outgoing connections.

    Inside that range a client that dials a stopped server may get connected to itself.
    """
    highest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(10240, highest)
        if port_is_free(port):
            return port


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on this port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


class RabbitMQ:
    """A broker with a node name, cookie, user and epmd of its own.

    ``shared`` is what it has in common with other nodes instead: a cookie, user, password, port of epmd.
    """

    def __init__(self, data_dir: Path, port: int | None = None, shared: Mapping[str, str | int] = NOTHING) -> None:
        self.data_dir = data_dir.resolve()
        self._server = _rabbitmq_command("rabbitmq-server")
        self._state = _State(self.data_dir, lambda: {**_new_identity(), **shared})
        self._state.keep_ports(*(name for name in ("epmd", "dist", "management") if name not in shared), amqp=port)
        self.epmd = Process(
            [_required("epmd"), "-port", str(self._state["epmd"]), "-address", "127.0.0.1"],
            self.data_dir / "log/epmd.log",
        )
        self._beam = Process([self._server], self.data_dir / "log/console.log", self._env(), self.data_dir)

    @property
    def node(self) -> str:
        """The name among Erlang's nodes."""
        return str(self._state["node"])

    @property
    def port(self) -> int:
        """Where AMQP is spoken."""
        return int(self._state["amqp"])

    @property
    def management_port(self) -> int:
        """Where the management page and its HTTP API are served."""
        return int(self._state["management"])

    @property
    def user(self) -> str:
        """The name of the only user."""
        return str(self._state["user"])

    @property
    def password(self) -> str:
        """The password of the only user."""
        return str(self._state["password"])

    @property
    def uri(self) -> str:
        """The broker's address with credentials, vhost ``/``."""
        return f"amqp://{self.user}:{self.password}@127.0.0.1:{self.port}/"

    @property
    def pid(self) -> int | None:
        """The process id of beam."""
        return self._beam.pid

    @property
    def exit_code(self) -> int | None:
        """How beam ended: negative for a signal, None while it runs."""
        return self._beam.exit_code

    def start(self) -> None:
        """Spawn epmd and the node and return at once."""
        self._write_configuration()
        if not self.epmd.alive():
            self.epmd.start()
        self._beam.start()

    def alive(self) -> bool:
        """Whether beam is running."""
        return self._beam.alive()

    def wait_ready(self, timeout: float = 30) -> None:
        """Return when the broker takes connections."""
        wait_until_ready("RabbitMQ", self, timeout)

    def stop(self, timeout: float = 10) -> None:
        """Shut down in order; kill what is left after ``timeout`` seconds."""
        self.stop_node(timeout)
        self.epmd.stop(timeout)

    def stop_node(self, timeout: float) -> None:
        """As ``stop``, without epmd."""
        self.terminate()
        if not self._beam.wait(timeout):
            self._beam.kill()

    def terminate(self) -> None:
        """Ask the node to shut down; one that boots is let do so first, or it may hang half-way."""
        deadline = time.monotonic() + BOOT_WAIT
        while self.alive() and not self.ready() and time.monotonic() < deadline:
            time.sleep(POLL)
        if self.alive():
            self._leave_statistics()
            self._beam.terminate()

    def kill(self) -> None:
        """End the node as a power cut would."""
        self.kill_node()
        self.epmd.kill()

    def kill_node(self) -> None:
        """As ``kill``, without epmd."""
        self._beam.kill()

    def ctl(self, *args: str) -> str:
        """The output of rabbitmqctl with these arguments."""
        command = [_rabbitmq_command("rabbitmqctl"), "--quiet", *args]
        done = subprocess.run(command, env=self._env(), capture_output=True, text=True, check=True)
        return done.stdout

    def ready(self) -> bool:
        """Whether the broker takes connections."""
        # The listener opens last of all: user, policies and management page are there by then.
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as probe:
                probe.sendall(b"AMQP\x00\x00\x09\x01")
                return probe.recv(1) != b""
        except OSError:
            return False

    def _leave_statistics(self) -> None:
        """Unhook the management agent, which would hold a stop up for 5 s."""
        unhook = "gen_event delete_handler [rabbit_event, rabbit_mgmt_db_handler, []]"
        command = ["erl_call", "-sname", self.node, "-a", unhook]
        with suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, env=self._env(), capture_output=True, timeout=1)

    def _write_configuration(self) -> None:
        definitions = self.data_dir / "definitions.json"
        values = {key: str(value) for key, value in self._state.values.items()}
        ports = {"port": values["amqp"], "management_port": values["management"]}
        write_private(definitions, _filled("definitions.json.in", values))
        conf = _filled("rabbitmq.conf.in", {**ports, "definitions": str(definitions)})
        (self.data_dir / "rabbitmq.conf").write_text(conf)
        (self.data_dir / "enabled_plugins").write_text("[rabbitmq_management].\n")
        write_private(self.data_dir / ".erlang.cookie", values["cookie"], mode=0o400)
        exports = [f"export {name}={shlex.quote(value)}\n" for name, value in self._own_env().items()]
        tools = f"export PATH={shlex.quote(str(Path(self._server).parent))}:$PATH\n"
        (self.data_dir / "env").write_text("".join([TOOLS, *exports, tools]))

    def _env(self) -> dict[str, str]:
        foreign = ("RABBITMQ_", "ERL_")
        return {key: value for key, value in os.environ.items() if not key.startswith(foreign)} | self._own_env()

    def _own_env(self) -> dict[str, str]:
        home = str(self.data_dir)
        return {
            "HOME": home,
            "RUNNING_UNDER_SYSTEMD": "true",  # the start script execs beam, no shell in between
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._state["epmd"]),
            "ERL_FLAGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE": f"{home}/rabbitmq-env.conf",
            "RABBITMQ_CONFIG_FILE": f"{home}/rabbitmq.conf",
            "RABBITMQ_DIST_PORT": str(self._state["dist"]),
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{home}/enabled_plugins",
            "RABBITMQ_LOG_BASE": f"{home}/log",
            "RABBITMQ_MAX_NUMBER_OF_PROCESSES": "65536",
            "RABBITMQ_MNESIA_BASE": f"{home}/mnesia",
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_PID_FILE": f"{home}/rabbitmq.pid",
            "RABBITMQ_SCHEDULER_BIND_TYPE": "u",  # bound schedulers would fight over cores
        }


class MongoDB:
    """A replica set of one member, so that transactions and change streams work."""

    HANDOVER_MS = 100
    """How long a stop waits for another primary: there is none to wait for."""

    def __init__(self, data_dir: Path, port: int | None = None, test_commands: bool = False) -> None:
        self.data_dir = data_dir.resolve()
        self._state = _State(self.data_dir, dict)
        self._state.keep_ports(mongo=port)
        self._log = self.data_dir / "log/mongod.log"
        self._mongod = Process(self._command(test_commands), self.data_dir / "log/console.log")

    @property
    def port(self) -> int:
        """Where mongod listens."""
        return int(self._state["mongo"])

    @property
    def uri(self) -> str:
        """The address of the replica set."""
        return f"mongodb://127.0.0.1:{self.port}/?replicaSet=rs0"

    @property
    def pid(self) -> int | None:
        """The process id of mongod."""
        return self._mongod.pid

    @property
    def exit_code(self) -> int | None:
        """How mongod ended: negative for a signal, None while it runs."""
        return self._mongod.exit_code

    def start(self) -> None:
        """Spawn mongod and return at once."""
        (self.data_dir / "db").mkdir(exist_ok=True)
        rotate(self._log)
        self._mongod.start()

    def alive(self) -> bool:
        """Whether mongod is running."""
        return self._mongod.alive()

    def wait_ready(self, timeout: float = 30) -> None:
        """Return when the member is the primary."""
        wait_until_ready("MongoDB", self, timeout)

    def ready(self) -> bool:
        """Whether the member is the primary; form or move the replica set if needed."""
        if port_is_free(self.port):
            return False
        direct = f"mongodb://127.0.0.1:{self.port}/?directConnection=true"
        with MongoClient[dict[str, Any]](direct, serverSelectionTimeoutMS=200) as client:
            return self._is_primary(client)

    def terminate(self) -> None:
        """Ask mongod to shut down and return at once."""
        self._mongod.terminate()

    def stop(self, timeout: float = 10) -> None:
        """Shut down in order; kill after ``timeout`` seconds."""
        self._mongod.stop(timeout)

    def kill(self) -> None:
        """End mongod as a power cut would."""
        self._mongod.kill()

    def _is_primary(self, client: MongoClient[dict[str, Any]]) -> bool:
        try:
            if not client.admin.command("hello")["isWritablePrimary"]:
                self._configure(client)
            return bool(client.admin.command("hello")["isWritablePrimary"])
        except PyMongoError:
            return False

    def _configure(self, client: MongoClient[dict[str, Any]]) -> None:
        host = f"127.0.0.1:{self.port}"
        try:
            config = client.admin.command("replSetGetConfig")["config"]
        except OperationFailure as error:
            if error.code == NOT_INITIALIZED:
                members = [{"_id": 0, "host": host}]
                client.admin.command("replSetInitiate", {"_id": "rs0", "members": members})
            return
        if config["members"][0]["host"] != host:
            config["members"][0]["host"] = host
            client.admin.command("replSetReconfig", config, force=True)

    def _command(self, test_commands: bool) -> list[str]:
        parameters = {
            "diagnosticDataCollectionEnabled": "false",
            "enableTestCommands": str(int(test_commands)),
            "shutdownTimeoutMillisForSignaledShutdown": str(self.HANDOVER_MS),
            "transactionLifetimeLimitSeconds": "5",  # what a killed process left open; ours take milliseconds
        }
        settings = [f"--setParameter={name}={value}" for name, value in parameters.items()]
        return [
            _mongod(),
            "--replSet=rs0",
            "--bind_ip=127.0.0.1",
            f"--port={self.port}",
            f"--dbpath={self.data_dir / 'db'}",
            f"--logpath={self._log}",
            "--logappend",
            "--logRotate=reopen",  # nothing but a start puts a log aside
            "--quiet",
            "--nounixsocket",
            "--wiredTigerCacheSizeGB=0.25",
            *settings,
        ]


class _State:
    """What a server must find again at its next start, readable by its owner only."""

    def __init__(self, data_dir: Path, initial: Callable[[], dict[str, str | int]]) -> None:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = data_dir / "state.json"
        known = self._file.exists()
        self.values: dict[str, str | int] = json.loads(self._file.read_text()) if known else initial()

    def __getitem__(self, key: str) -> str | int:
        return self.values[key]

    def keep_ports(self, *names: str, **wanted: int | None) -> None:
        """Choose the ports of these names: the wanted, else the last, else a free one."""
        for name in [*names, *wanted]:
            self.values[name] = wanted.get(name) or _free_again(int(self.values.get(name, 0)))
        write_private(self._file, json.dumps(self.values, indent=2))


def _free_again(port: int) -> int:
    return port if port and port_is_free(port) else free_port()


def _new_identity() -> dict[str, str | int]:
    return {
        "node": f"sidan-{secrets.token_hex(4)}@localhost",
        "user": "sidan",
        "password": secrets.token_urlsafe(24),
        "cookie": secrets.token_hex(20).upper(),
    }


def wait_until_ready(name: str, server: Server, timeout: float) -> None:
    """Raise ``ServerError`` when it ends before, or takes longer than ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    logs = server.data_dir / "log"
    while not server.ready():
        if not server.alive():
            raise ServerError(f"{name} ended while starting, see {logs}")
        if time.monotonic() > deadline:
            raise ServerError(f"{name} was not ready within {timeout:g} s, see {logs}")
        time.sleep(POLL)


def _filled(template: str, values: dict[str, str]) -> str:
    text = (TEMPLATES / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    return text


def _rabbitmq_command(name: str) -> str:
    packaged = RABBITMQ_BIN / name
    return str(packaged) if packaged.exists() else _required(name)


def _required(command: str) -> str:
    found = shutil.which(command)
    if not found:
        raise ServerError(
            "RabbitMQ is not installed: run `apt-get install rabbitmq-server` or set AMQP_URI to a broker of your own."
        )
    return found


def _mongod() -> str:
    found = shutil.which("mongod")
    wheel = importlib.util.find_spec("fiftyone")
    for folder in wheel.submodule_search_locations or [] if wheel else []:
        found = found or shutil.which("mongod", path=f"{folder}/db/bin")
    if not found:
        raise ServerError(
            "MongoDB is not installed: run `make install`, put a mongod on the PATH"
            " or set MONGO_URI to a replica set of your own."
        )
    return found
