"""The whole system as tests see it: four services, the gateway and the reference data, and people who use it."""

import base64
import json
import os
import secrets
import signal
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx
import pytest
from kombu import Connection, Exchange, Queue

from deploy.local.process import Process
from deploy.local.servers import free_port
from tests.support.processes import eventually

ROOT = Path(__file__).parents[2]
CHINA = ZoneInfo("Asia/Shanghai")
SERVICES = ("registry", "dispatch", "activities", "points")
READY = 300.0  # seconds
STOP = 15.0  # seconds
PATIENCE = 45.0
"""Seconds that one request may be repeated for, restarts included."""
PAUSE = 0.1  # seconds
PASSWORD = "demo"
COUNTIES = ("130802", "130824")
"""Where the people of the demo live. One test opens the whole city."""
EARLY, LATE = 10, 23
"""Hours of the day in China between which the tests need no clock of their own."""


class System:
    """Runs on given servers under ``prefix``; ``settings`` are environment variables on top of the standard ones.

    Services in ``twice`` run as two processes.
    """

    def __init__(
        self, amqp_uri: str, mongo_uri: str, prefix: str, folder: Path, twice: Sequence[str] = (), **settings: str
    ) -> None:
        self.amqp_uri, self.mongo_uri, self.prefix, self.folder = amqp_uri, mongo_uri, prefix, folder
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}"
        self.token_secret = secrets.token_bytes(32)
        self.data_key = settings.get("SIDAN_DATA_KEY") or base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
        self.offset = _offset()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIDAN_")}
        self._environment = inherited | {
            "AMQP_URI": amqp_uri,
            "MONGO_URI": mongo_uri,
            "EVENTLET_NO_GREENDNS": "yes",
            "SIDAN_DATABASE_PREFIX": prefix,
            "SIDAN_DATA_KEY": self.data_key,
            "SIDAN_TOKEN_SECRET": base64.urlsafe_b64encode(self.token_secret).decode(),
            "SIDAN_HTTP_PORT": str(self.port),
            "SIDAN_PROFILE": "local",
            "SIDAN_CENTERS": ",".join(COUNTIES),
            "TEST_CLOCK_OFFSET": str(self.offset.total_seconds()),
            **settings,
        }
        self.metrics: dict[str, int] = {}
        """The port of each service's health and metrics."""
        entry = "tests.support.clocked" if self.offset else "deploy.service"
        self.processes = {name: self._process(name, entry, name) for name in SERVICES}
        self.processes |= {f"{name}-2": self._process(f"{name}-2", entry, name) for name in twice}
        self.processes["gateway"] = self._process("gateway", "gateway")
        self.http = httpx.Client(base_url=self.address, timeout=10, trust_env=False)
        self.http.event_hooks["response"] = [self._note_refusal]
        self.refusals: list[str] = []
        """Headers and bodies of what was refused, for the search of what must not be there."""
        self._people: dict[str, Person] = {}
        self._taken: dict[str, timedelta] = defaultdict(timedelta)

    # -- processes ----------------------------------------------------------------------------------

    def start(self) -> Self:
        for process in self.processes.values():
            process.start()
        self.load()
        return self.wait_ready()

    def load(self) -> str:
        """The reference data; what the loader said."""
        loading = self._process("reference", "deploy.reference")
        loading.start()
        if not loading.wait(READY):
            loading.kill()
        said = loading.log.read_text()
        assert loading.exit_code == 0, said
        return said

    def wait_ready(self) -> Self:
        eventually(self.ready, READY, f"/readyz, see {self.folder}")
        return self

    def ready(self) -> bool:
        return _is_ready(self.http)

    def kill(self, name: str) -> None:
        """As a power cut would; nothing starts it again but ``restart``."""
        self.processes[name].kill()

    def restart(self, name: str) -> None:
        self.processes[name].start()

    @contextmanager
    def paused(self, *names: str) -> Iterator[None]:
        """These processes are there and do not answer."""
        pids = [pid for name in names if (pid := self.processes[name].pid)]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def stop(self) -> None:
        """Ask all to end; fail when one does not, or ends with an error."""
        for process in self.processes.values():
            process.terminate()
        stopped = {name: process.wait(STOP) for name, process in self.processes.items()}
        for process in self.processes.values():
            if process.alive():
                process.kill()
        self.http.close()
        codes = {name: process.exit_code for name, process in self.processes.items()}
        assert all(stopped.values()), f"still there after SIGTERM: {stopped}"
        gracefully = {0, -15}  # uvicorn drains, then ends by the signal it was sent
        assert set(codes.values()) <= gracefully, f"exit codes {codes}, see {self.folder}"

    def _note_refusal(self, response: httpx.Response) -> None:
        if response.is_error:
            response.read()
            self.refusals.append(f"{response.headers} {response.text}")

    @contextmanager
    def channel(self) -> Iterator[Any]:
        with Connection(self.amqp_uri) as connection:
            yield connection.channel()

    def log(self, name: str) -> str:
        return self.processes[name].log.read_text()

    def _process(self, name: str, module: str, *arguments: str) -> Process:
        command = [sys.executable, "-m", module, *arguments]
        if arguments:
            self.metrics[name] = free_port()
        own = {"SIDAN_METRICS_PORT": str(self.metrics.get(name, 0))}
        return Process(command, self.folder / f"{name}.log", {**self._environment, **own}, ROOT)

    @contextmanager
    def gateway(self, module: str = "gateway", **settings: str) -> Iterator[httpx.Client]:
        """One more gateway of the same system, with settings of its own; everybody's token is good there too."""
        port = free_port()
        environment = {**self._environment, "SIDAN_HTTP_PORT": str(port), **settings}
        log = self.folder / f"gateway-{port}.log"
        process = Process([sys.executable, "-m", module], log, environment, ROOT)
        process.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10, trust_env=False) as http:
            try:
                eventually(lambda: _is_ready(http), READY, f"/readyz, see {log}")
                yield http
            finally:
                process.terminate()
                process.wait(STOP)
                process.kill()

    # -- people and time ----------------------------------------------------------------------------

    def person(self, username: str) -> "Person":
        """Signed in; the same for the same name."""
        if username not in self._people:
            self._people[username] = Person(self, username)
        return self._people[username]

    def now(self) -> datetime:
        """What the services take the time to be."""
        return datetime.now(UTC) + self.offset

    def midnight(self) -> datetime:
        """When this day began in China."""
        return self.now().astimezone(CHINA).replace(hour=0, minute=0, second=0, microsecond=0)

    def segment(self, volunteer: str, minutes: float = 6) -> dict[str, str]:
        """A record of work today that touches no other of the volunteer; by default a tenth of an hour."""
        start = self.midnight() + self._taken[volunteer]
        self._taken[volunteer] += timedelta(minutes=minutes)
        return record(volunteer, start, start + timedelta(minutes=minutes))


def _is_ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def _offset() -> timedelta:
    """What makes it evening in China, when the day there is too young or too old for a day's work."""
    now = datetime.now(CHINA)
    if EARLY <= now.hour < LATE:
        return timedelta()
    return now.replace(hour=21, minute=0) - now


def record(volunteer: str, start: datetime, end: datetime) -> dict[str, str]:
    return {"volunteer": volunteer, "from": start.isoformat(), "to": end.isoformat()}


class Person:
    """Somebody with an account; signs in at the first request."""

    def __init__(self, system: System, username: str) -> None:
        self.username = username
        self._system = system
        self._token = ""

    def __repr__(self) -> str:
        return self.username

    @property
    def token(self) -> str:
        if not self._token:
            response = sign_in(self._system.http, self.username)
            response.raise_for_status()
            self._token = response.json()["access_token"]
        return self._token

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def request(self, method: str, path: str, key: str | None = None, **arguments: Any) -> httpx.Response:
        headers = self.headers | arguments.pop("headers", {}) | ({"Idempotency-Key": key} if key else {})
        return self._system.http.request(method, path, headers=headers, **arguments)

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return self.request("GET", path, **arguments)

    def post(self, path: str, body: Any = None, key: str | None = None) -> httpx.Response:
        return self.request("POST", path, key, json={} if body is None else body)

    def read(self, path: str) -> Any:
        """The resource; fail when there is none."""
        return _content(self.get(path))

    def read_when_up(self, path: str) -> Any:
        """As ``read``, asking again while a service is away."""
        response = eventually(lambda: (r := self.get(path)).status_code != 503 and r, PATIENCE, f"GET {path}")
        return _content(response)

    def do(self, path: str, body: Any = None) -> Any:
        """The answer to a command that must succeed."""
        return _content(self.post(path, body))

    def insist(self, path: str, body: Any = None) -> Any:
        """As ``do``, asking again with the same key while the answer is unknown."""
        key, until = str(uuid4()), time.monotonic() + PATIENCE
        while True:
            try:
                response = self.post(path, body, key)
                if response.status_code < 500:
                    return _content(response)
                problem = response.text
            except httpx.HTTPError as error:
                problem = repr(error)
            if time.monotonic() > until:
                pytest.fail(f"POST {path} had no answer within {PATIENCE:g} s: {problem}")
            time.sleep(PAUSE)


def sign_in(http: httpx.Client, username: str, password: str = PASSWORD) -> httpx.Response:
    if username == "municipal":
        form = {"grant_type": "client_credentials", "client_id": username, "client_secret": password}
    else:
        form = {"grant_type": "password", "username": username, "password": password}
    return http.post("/oauth/token", data=form)


def _content(response: httpx.Response) -> Any:
    assert response.is_success, f"{response.request.method} {response.request.url.path}: {response.text}"
    return response.json()


class Events:
    """What passes ``sidan.events`` while it is open."""

    def __init__(self, amqp_uri: str) -> None:
        self._connection = Connection(amqp_uri)
        self._closing = threading.Event()
        self._seen: list[tuple[str, dict[str, Any], Any]] = []
        queue = Queue("", Exchange("sidan.events", "topic", no_declare=True), "#", exclusive=True)
        self._consumer = self._connection.Consumer(queue, callbacks=[self._receive], no_ack=True)
        self._consumer.consume()
        self._thread = threading.Thread(target=self._drain)

    def of(self, subject: str) -> list[str]:
        """The facts of an aggregate, as they came."""
        return [fact for fact, headers, _ in self._seen if headers["cloudEvents_subject"] == subject]

    def ids(self) -> list[str]:
        return [headers["cloudEvents_id"] for _, headers, _ in self._seen]

    def __len__(self) -> int:
        return len(self._seen)

    def first_publications(self) -> dict[str, list[int]]:
        """The sequences of each aggregate in the order of the broker, duplicates left out."""
        first: dict[str, list[int]] = defaultdict(list)
        for _, headers, _ in list(self._seen):
            sequences, sequence = first[headers["cloudEvents_subject"]], int(headers["cloudEvents_sequence"])
            if sequence not in sequences:
                sequences.append(sequence)
        return first

    def text(self) -> str:
        """All that was said, headers and bodies."""
        return json.dumps(self._seen, ensure_ascii=False)

    def _receive(self, body: Any, message: Any) -> None:
        fact = ".".join(message.delivery_info["routing_key"].split(".")[:2])
        self._seen.append((fact, message.headers, body))

    def _drain(self) -> None:
        while not self._closing.is_set():
            try:
                self._connection.drain_events(timeout=0.1)
            except TimeoutError:
                continue

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._closing.set()
        self._thread.join()
        self._connection.release()


@contextmanager
def running(system: System) -> Iterator[System]:
    """Started and ready; stopped in the end, whatever happens between."""
    try:
        yield system.start()
    finally:
        system.stop()
