"""What a service's process holds: its links to the broker, its database, relay, lease and health page."""

import math
import os
import socket
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import eventlet
import orjson
from eventlet import wsgi
from nameko.extensions import DependencyProvider, SharedExtension
from prometheus_client import make_wsgi_app
from pymongo import ASCENDING, IndexModel
from pymongo.errors import PyMongoError

from services.chassis import clock, telemetry, topology
from services.chassis.breaker import Breaker
from services.chassis.broker import Consumer, Consumers, Publisher
from services.chassis.keys import open_keys
from services.chassis.lease import Lease
from services.chassis.outbox import INDEX, Relay
from services.chassis.parking import Parking
from services.chassis.pauses import Pausable, Pauses
from services.chassis.repository import Repository
from services.chassis.settings import settings
from services.chassis.unit_of_work import IDEMPOTENCY, INBOX, Work, connect

INBOX_KEPT = 60 * 24 * 3600  # seconds
IDEMPOTENCY_KEPT = 7 * 24 * 3600  # seconds
CLOCK_PERIOD = 5.0  # seconds
DRAIN_OUTBOX = 2.0  # seconds
LAG_PROBE = 0.25  # seconds

log = telemetry.logger("process")


class Broker(SharedExtension):  # type: ignore[misc]
    """The two links of a process: acknowledgements go on while publishing is blocked."""

    def __init__(self) -> None:
        self.wanted: list[Consumer] = []
        """Entrypoints add theirs during ``setup``."""

    def setup(self) -> None:
        self.publisher = Publisher(settings().amqp_uri, self._declare, settings().heartbeat)

    def start(self) -> None:
        self.consumers = Consumers(
            settings().amqp_uri, self._declare_rpc, self.wanted, self.publisher.wait_open, settings().heartbeat
        )
        self.publisher.start()
        self.consumers.link.start()

    def stop(self) -> None:
        self.consumers.link.stop()
        self.publisher.stop()

    def _declare(self, connection: Any) -> None:
        config = self.container.config
        topology.declare(connection, config["publishers"], config["subscriptions"], settings().retry_delays)

    def _declare_rpc(self, connection: Any) -> None:
        self._declare(connection)
        topology.declare_rpc(connection, self.container.service_name)


class Storage(SharedExtension):  # type: ignore[misc]
    """The database of a process, and what its entrypoints know of it. The unit of work opens it in ``setup``."""

    def __init__(self) -> None:
        self.handlers: list[Pausable] = []
        """Subscribers add themselves during ``setup``."""

    def open(self) -> None:
        service = self.container.service_name
        self.client = connect(settings().mongo_uri, service)
        self.database = self.client[settings().database(service)]
        self.breaker = Breaker("database")
        self.parking = Parking(self.database, max(settings().retry_delays), paused=lambda q: q in self.pauses.queues)
        self.pauses = Pauses(self.database, self.handlers, self.parking)


def declared_indexes(repositories: Iterable[type[Repository[Any]]]) -> Iterator[tuple[str, IndexModel]]:
    """What a service's database has besides ``_id``, with the name of the collection."""
    for repository in repositories:
        for index in [*repository.indexes, *([INDEX] if repository.publishes else [])]:
            yield repository.collection, index
    for name, kept in ((INBOX, INBOX_KEPT), (IDEMPOTENCY, IDEMPOTENCY_KEPT)):
        yield name, IndexModel([("at", ASCENDING)], expireAfterSeconds=kept)


class UnitOfWork(DependencyProvider):  # type: ignore[misc]
    """Gives each worker a unit of work with the service's repositories: ``self.uow.orders.get(id)``."""

    broker = Broker()
    storage = Storage()

    def __init__(self, **repositories: type[Repository[Any]]) -> None:
        self.repositories = repositories

    def setup(self) -> None:
        self.storage.open()
        self.client, self.database = self.storage.client, self.storage.database
        self._await_database()
        self._follow_clock()
        holder = f"{socket.gethostname()}:{os.getpid()}"
        self.lease = Lease(self.database, "leader", holder)
        self._threads: list[Any] = []

    def start(self) -> None:
        names = [repository.collection for repository in self.repositories.values() if repository.publishes]
        self.relay = Relay(self.database, names, self.broker.publisher, self.lease)
        self._threads = [
            eventlet.spawn(run)
            for run in (
                self.lease.keep, self.relay.run, self.relay.keep_marking, self.storage.parking.keep,
                self.storage.pauses.keep, self._keep_time, _watch_loop,
            )
        ]  # fmt: skip
        if settings().metrics_port:
            self._threads.append(eventlet.spawn(self._serve_health))

    def stop(self) -> None:
        self.relay.drain(DRAIN_OUTBOX)
        for thread in self._threads:
            thread.kill()
        try:
            self.lease.release()
        except PyMongoError:
            pass  # it runs out by itself
        self.client.close()

    def get_dependency(self, worker_ctx: Any) -> Work:
        context = worker_ctx.data
        telemetry.enter(context.get("trace", telemetry.Trace()))
        until = context.get("until", math.inf)
        return Work(self.database, self.repositories, self.relay.wake, until, lambda: self.lease.held)

    def health(self) -> dict[str, Any]:
        """What this process can reach."""
        try:
            self.client.admin.command("ping")
            database = True
        except PyMongoError:
            database = False
        return {"database": database, "broker": self.broker.publisher.usable, "leader": self.lease.held}

    def _await_database(self) -> None:
        while True:
            try:
                self._ensure_indexes()
                open_keys(self.database, self.repositories.values())
                self.storage.pauses.read()
                return self.storage.parking.read()
            except PyMongoError as error:
                log.warning("waiting for the database", error=type(error).__name__)
                eventlet.sleep(0.5)

    def _follow_clock(self) -> None:
        def server() -> datetime:
            told: datetime = self.client.admin.command("hello")["localTime"]
            return told.replace(tzinfo=UTC)

        off = clock.follow(server)
        telemetry.CLOCK_OFFSET.set(off.total_seconds())

    def _keep_time(self) -> None:
        while True:
            eventlet.sleep(CLOCK_PERIOD)
            try:
                self._follow_clock()
            except PyMongoError:
                pass  # the last offset holds

    def _ensure_indexes(self) -> None:
        for collection, index in declared_indexes(self.repositories.values()):
            self.database[collection].create_indexes([index])

    def _serve_health(self) -> None:
        metrics = make_wsgi_app()

        def page(environ: dict[str, Any], respond: Any) -> Any:
            if environ["PATH_INFO"] == "/metrics":
                return metrics(environ, respond)
            health = self.health()
            up = health["database"] and health["broker"]
            respond("200 OK" if up else "503 Service Unavailable", [("Content-Type", "application/json")])
            return [orjson.dumps(health)]

        listener = eventlet.listen(("127.0.0.1", settings().metrics_port))
        wsgi.server(listener, page, log_output=False)


def _watch_loop() -> None:
    """Measure how late the event loop is; a handler that computes for long shows here."""
    while True:
        worst = 0.0
        for _ in range(4):
            asked = time.monotonic()
            eventlet.sleep(LAG_PROBE)
            worst = max(worst, time.monotonic() - asked - LAG_PROBE)
        telemetry.LOOP_LAG.set(worst)
