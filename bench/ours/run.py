"""A process with one service on the chassis: ``source`` publishes, ``counter`` and ``copier`` subscribe."""

import eventlet

eventlet.monkey_patch()

import sys  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from datetime import UTC, datetime, timedelta  # noqa: E402
from typing import Any, ClassVar  # noqa: E402

warnings.filterwarnings("ignore", category=DeprecationWarning)

from eventlet import tpool  # noqa: E402
from nameko.containers import ServiceContainer  # noqa: E402

from bench.child import Parent  # noqa: E402
from bench.ours.services import SERVICES, SUBSCRIPTIONS, Counter, Items, added, item  # noqa: E402
from services.chassis.process import UnitOfWork  # noqa: E402
from services.chassis.settings import settings  # noqa: E402
from services.chassis.telemetry import configure_logging  # noqa: E402
from services.chassis.unit_of_work import Work, connect  # noqa: E402

BULK = 1000
QUIET = 1.0
"""Seconds to wait for what should not come: doubles."""


class WorkerContext:
    data: ClassVar[dict[str, Any]] = {}


def container(name: str, subscribers: list[str]) -> ServiceContainer:
    config = {
        "AMQP_URI": settings().amqp_uri,
        "max_workers": settings().max_workers,
        "publishers": ["source"],
        "subscriptions": [SUBSCRIPTIONS[subscriber] for subscriber in subscribers],
    }
    return ServiceContainer(SERVICES[name], config)


def unit_of_work(running: ServiceContainer) -> UnitOfWork:
    (found,) = [d for d in running.dependencies if isinstance(d, UnitOfWork)]
    return found


def links_open(provider: UnitOfWork) -> bool:
    broker = provider.broker
    return broker.publisher.wait_open(20) and broker.consumers.link.wait_open(20)


def relay(parent: Parent, subscribers: list[str]) -> None:
    """Publish what was committed before; somebody else holds the lease until all is ready."""
    ids = [f"{number:08d}" for number in range(parent.arguments["count"])]
    database = connect(settings().mongo_uri, "source")[settings().database("source")]
    for start in range(0, len(ids), BULK):
        work = Work(database, {"items": Items})
        for id in ids[start : start + BULK]:
            new = item(id)
            work.items.add(new, added(new))
        work.commit_each()
    other = {"_id": "leader", "holder": "bench", "until": datetime.now(UTC) + timedelta(hours=1)}
    database["leases"].insert_one(other)
    running = container("source", subscribers)
    running.start()
    provider = unit_of_work(running)
    links_open(provider)
    parent.await_go(tpool.execute)
    started = time.monotonic()
    database["leases"].delete_one({"_id": "leader"})
    assert provider.lease.renew()
    provider.relay.wake({})
    parent.tell({"started": started, "ids": ids})
    running.wait()


def write(parent: Parent, subscribers: list[str]) -> None:
    """Commit items from several writers at once, or one by one at a steady pace."""
    count, writers, pace = (parent.arguments[name] for name in ("count", "writers", "pace"))
    running = container("source", subscribers)
    running.start()
    provider = unit_of_work(running)
    links_open(provider)
    while not provider.lease.held:
        eventlet.sleep(0.05)
    parent.await_go(tpool.execute)
    times: dict[str, tuple[float, float]] = {}

    def writer(number: int) -> None:
        for position in range(number, count, writers):
            if pace:
                eventlet.sleep(pace)
            work = provider.get_dependency(WorkerContext)
            new = item(f"{position:08d}")
            before = time.monotonic()
            work.run(lambda work=work, new=new: work.items.add(new, added(new)), 10)
            times[new.id] = (before, time.monotonic())

    started = time.monotonic()
    threads = [eventlet.spawn(writer, number) for number in range(writers)]
    for thread in threads:
        thread.wait()
    parent.tell({"started": started, "ended": time.monotonic(), "times": times, "ids": list(times)})
    running.wait()


def listen(parent: Parent, name: str) -> None:
    running = container(name, [name])
    running.start()
    links_open(unit_of_work(running))
    parent.tell("ready")
    if name == "counter":
        while len(Counter.received) < parent.arguments["count"]:
            eventlet.sleep(0.02)
        eventlet.sleep(QUIET)
        parent.tell({"received": Counter.received})
    running.wait()


def main() -> None:
    parent = Parent()
    configure_logging("bench", "WARNING")
    role, subscribers = parent.arguments["role"], parent.arguments.get("subscribers", [])
    if role == "relay":
        relay(parent, subscribers)
    elif role == "write":
        write(parent, subscribers)
    else:
        listen(parent, role)


if __name__ == "__main__":
    sys.exit(main())
