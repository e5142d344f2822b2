"""One publisher and two handlers on stock nameko, as its documentation shows them."""

import eventlet

eventlet.monkey_patch()

import os  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
import warnings  # noqa: E402
from typing import Any, ClassVar  # noqa: E402

warnings.filterwarnings("ignore", category=DeprecationWarning)

import pymongo  # noqa: E402
from eventlet import tpool  # noqa: E402
from nameko.containers import ServiceContainer  # noqa: E402
from nameko.events import EventDispatcher, event_handler  # noqa: E402
from nameko.extensions import DependencyProvider  # noqa: E402
from nameko.standalone.events import event_dispatcher  # noqa: E402

from bench.child import Parent  # noqa: E402

QUIET = 1.0
"""Seconds to wait for what should not come: doubles."""


class Items(DependencyProvider):  # type: ignore[misc]
    """The same collection, driver and write concern as ours."""

    def setup(self) -> None:
        client = pymongo.MongoClient(os.environ["MONGO_URI"], w="majority", journal=True, tz_aware=True)
        self.collection = client[database(self.container.service_name)]["items"]

    def get_dependency(self, worker_ctx: Any) -> Any:
        return self.collection


class Source:
    name = "stock_source"

    dispatch = EventDispatcher()
    items = Items()


class Counter:
    name = "stock_counter"

    received: ClassVar[list[tuple[str, float]]] = []

    @event_handler("stock_source", "item.added")
    def count(self, payload: dict[str, Any]) -> None:
        self.received.append((payload["item_id"], time.monotonic()))


class Copier:
    name = "stock_copier"

    items = Items()

    @event_handler("stock_source", "item.added")
    def copy(self, payload: dict[str, Any]) -> None:
        new = {"_id": payload["item_id"], "amount": payload["amount"], "note": payload["note"], "version": 0}
        self.items.insert_one(new)


SERVICES = {"counter": Counter, "copier": Copier}


def database(service: str) -> str:
    return os.environ["SIDAN_DATABASE_PREFIX"] + service


def config(workers: int) -> dict[str, Any]:
    return {"AMQP_URI": os.environ["AMQP_URI"], "max_workers": workers}


def item(id: str) -> dict[str, Any]:
    return {"site": "130802103202", "item_id": id, "amount": len(id), "note": "a visit with scissors"}


class WorkerContext:
    """What a dependency asks of the worker that it is given to."""

    context_data: ClassVar[dict[str, Any]] = {}
    data: ClassVar[dict[str, Any]] = {}


def dependencies(running: ServiceContainer) -> dict[str, Any]:
    return {d.attr_name: d.get_dependency(WorkerContext) for d in running.dependencies}


def dispatch(parent: Parent) -> None:
    """Dispatch from memory: with the standalone dispatcher, or from the workers of a service."""
    ids = [f"{number:08d}" for number in range(parent.arguments["count"])]
    writers = parent.arguments["writers"]
    if writers:
        running = ServiceContainer(Source, config(writers))
        running.start()
        tell = dependencies(running)["dispatch"]
    else:
        standalone = event_dispatcher(config(1))
        tell = lambda event, payload: standalone("stock_source", event, payload)  # noqa: E731
    tell("warm.up", {})
    parent.await_go(tpool.execute)

    def worker(number: int) -> None:
        for id in ids[number :: max(1, writers)]:
            tell("item.added", item(id))

    started = time.monotonic()
    for thread in [eventlet.spawn(worker, number) for number in range(max(1, writers))]:
        thread.wait()
    parent.tell({"started": started, "ids": ids})
    time.sleep(3600)


def write(parent: Parent) -> None:
    """Insert, then dispatch, from several writers at once."""
    count, writers = parent.arguments["count"], parent.arguments["writers"]
    running = ServiceContainer(Source, config(writers))
    running.start()
    have = dependencies(running)
    have["dispatch"]("warm.up", {})
    parent.await_go(tpool.execute)
    ids = [f"{number:08d}" for number in range(count)]

    def writer(number: int) -> None:
        for id in ids[number::writers]:
            new = item(id)
            have["items"].insert_one({"_id": id, "amount": new["amount"], "note": new["note"], "version": 1})
            have["dispatch"]("item.added", new)

    started = time.monotonic()
    for thread in [eventlet.spawn(writer, number) for number in range(writers)]:
        thread.wait()
    parent.tell({"started": started, "ended": time.monotonic(), "ids": ids})
    running.wait()


def listen(parent: Parent, name: str) -> None:
    running = ServiceContainer(SERVICES[name], config(parent.arguments["workers"]))
    running.start()
    parent.tell("ready")
    if name == "counter":
        while len(Counter.received) < parent.arguments["count"]:
            eventlet.sleep(0.02)
        eventlet.sleep(QUIET)
        parent.tell({"received": Counter.received})
    running.wait()


def main() -> None:
    parent = Parent()
    role = parent.arguments["role"]
    if role == "dispatch":
        dispatch(parent)
    elif role == "write":
        write(parent)
    else:
        listen(parent, role)


if __name__ == "__main__":
    sys.exit(main())
