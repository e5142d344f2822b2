"""Sample services as processes that tests start, stop and kill."""

import base64
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection
from pymongo import MongoClient

from deploy.reference.rpc import Away, Call, RpcClient
from services.chassis.parking import PARKING
from services.contracts.actor import SYSTEM
from tests.support import holds
from tests.support.spawner import Spawned
from tests.support.topology import QUEUE

ROOT = Path(__file__).parents[2]
KEY = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
CONSUMES = '"link":"consumer","event":"link open"'
DEADLINE = 90.0  # seconds; on a slow machine a process takes many to start
ACTOR = SYSTEM.model_dump(mode="json")


def eventually(holds: Callable[[], Any], seconds: float = DEADLINE, what: str | Callable[[], str] = "") -> Any:
    """Poll until ``holds`` gives something true; fail after the deadline."""
    until = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        if time.monotonic() > until:
            pytest.fail(f"not within {seconds:g} s: {what() if callable(what) else what or holds}")
        time.sleep(0.05)


class Sample:
    """A process of a sample service."""

    def __init__(self, name: str, environment: dict[str, str], log: Path) -> None:
        self.log = log
        self._holds = log.with_suffix(".holds")
        self._holds.mkdir()
        environment = {**os.environ, holds.HOLDS: str(self._holds), **environment}
        self._process = Spawned("tests.support.run", [name], environment, log)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_started(self) -> "Sample":
        """Until it consumes."""
        eventually(lambda: CONSUMES in self.log.read_text() or not self.alive, what="started")
        assert self.alive, self.log.read_text()
        return self

    def wait_exit(self, seconds: float = DEADLINE) -> int:
        return self._process.wait(seconds)

    def logged(self, *words: str) -> list[str]:
        """Lines with all the words."""
        return [line for line in self.log.read_text().splitlines() if all(word in line for word in words)]

    @contextmanager
    def held_at(self, point: str, whole: bool = False) -> Iterator[Callable[..., None]]:
        """Whoever comes to that crash point waits there, or with ``whole`` the process with him.

        Gives a function that returns when somebody has come, or as many as its argument says.
        """
        with holds.held(self._holds, point, whole) as hold:
            yield lambda times=1: holds.wait_reached(hold, times)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self) -> int:
        if self.alive:
            self.signal(signal.SIGTERM)
        return self.wait_exit()

    def kill(self) -> None:
        if self.alive:
            self._process.kill()
        self.wait_exit()


class World:
    """The broker, the database and the sample services of one test."""

    def __init__(self, amqp_uri: str, mongo_uri: str, prefix: str, folder: Path) -> None:
        self.amqp_uri, self.mongo_uri, self.prefix, self.folder = amqp_uri, mongo_uri, prefix, folder
        self.mongo: MongoClient[dict[str, Any]] = MongoClient(mongo_uri, tz_aware=True)
        self.samples: list[Sample] = []

    def start(self, name: str, **settings: str) -> Sample:
        environment = {
            "AMQP_URI": self.amqp_uri, "MONGO_URI": self.mongo_uri, "SIDAN_DATABASE_PREFIX": self.prefix,
            "SIDAN_DATA_KEY": KEY, "SIDAN_RETRY_DELAYS": "[0.2, 0.5, 1]", "EVENTLET_NO_GREENDNS": "yes", **settings,
        }  # fmt: skip
        sample = Sample(name, environment, self.folder / f"{name}-{len(self.samples)}.log")
        self.samples.append(sample)
        return sample

    def close(self) -> None:
        for sample in self.samples:
            sample.kill()
        self.mongo.close()

    def database(self, service: str) -> Any:
        return self.mongo[self.prefix + service]

    def call(self, method: str, timeout: float = 20, **kwargs: Any) -> Any:
        service, _, name = method.partition(".")
        with RpcClient(self.amqp_uri, service) as client:
            return client.call(Call(name, {"actor": ACTOR, **kwargs}), timeout)

    def add(self, *things: str, **more: Any) -> None:
        """Commands, one after the other; the event of each thing follows."""
        for id in things:
            self.call("alpha.add", command={"id": id, **more})

    def call_in_vain(self, method: str, **kwargs: Any) -> None:
        """A call whose process dies over it."""
        with pytest.raises(Away):
            self.call(method, timeout=2, **kwargs)

    def applied(self, counter: str = "counter") -> list[str]:
        found = self.database("beta")["counters"].find_one({"_id": counter})
        return list(found["applied"]) if found else []

    def sequences(self, counter: str) -> list[int]:
        """Of the events that were counted there, in the order in which they were applied."""
        found = self.database("beta")["counters"].find_one({"_id": counter})
        return list(found["sequences"]) if found else []

    def parked(self) -> list[dict[str, Any]]:
        """What waits behind a failing event, and the marks of those that fail."""
        return list(self.database("beta")[PARKING].find())

    def heal(self) -> None:
        """Poison is handled from now on."""
        self.database("beta")["healed"].insert_one({})

    def attempts(self, thing_id: str) -> list[Any]:
        return [row["at"] for row in self.database("beta")["attempts"].find({"thing_id": thing_id}).sort("at")]

    def unsent(self) -> int:
        return int(self.database("alpha")["things"].count_documents({"outbox_since": {"$exists": True}}))

    @property
    def vhost(self) -> str:
        return self.amqp_uri.rpartition("/")[2]

    def depth(self, queue: str = QUEUE) -> int:
        return int(self._declared(queue).message_count)

    def consumers(self, queue: str = QUEUE) -> int:
        return int(self._declared(queue).consumer_count)

    def _declared(self, queue: str) -> Any:
        with Connection(self.amqp_uri) as connection:
            return connection.default_channel.queue_declare(queue, passive=True)
