"""Many pending orders, a thousand of them due in the same second: how late the last one escalates."""

import statistics
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.child import children
from bench.processes import cpu_seconds
from bench.report import Figure
from bench.rounds import Settings, WrongResult, progress, quantile
from bench.servers import Servers
from bench.sides import Ours

FEW = 1_000
SOON = 4.0
"""Seconds from setting the deadlines to their second."""
LATEST = 60.0  # seconds
IDLE = 5.0  # seconds
PROBES = 400
MAX_LATE = 3.0  # seconds
MAX_GROWTH = 1.3

details: dict[str, Any] = {}


def measure(servers: Servers, settings: Settings) -> list[Figure]:
    pending, due = settings.of(100_000, 10_000), settings.of(1_000, 200)
    side = Ours(servers)
    side.start()
    try:
        fill(servers, FEW)
        few = idle_tick(side)
        fill(servers, pending - FEW)
        many = idle_tick(side)
        late = [escalate(side, due) for _ in range(settings.rounds)]
    finally:
        side.processes.stop()
    details["Idle tick"] = [{"pending": FEW} | few, {"pending": pending} | many]
    rounds = ", ".join(f"{seconds:.2f}" for seconds in late)
    note = f"{pending} pending, each of the {due} once: one hop, one timeline entry, one event; rounds {rounds} s"
    cost = f"its query; it examined {many['examined']} documents and keys, and {few['examined']} at {FEW} pending"
    return [
        Figure(f"{due} due at once: last one late by", statistics.median(late), "s", at_most=MAX_LATE, note=note),
        Figure(
            "idle tick",
            many["query (pings)"],
            "pings",
            few["query (pings)"],
            f"at {FEW} pending",
            at_most=MAX_GROWTH,
            note=cost,
        ),
    ]


def fill(servers: Servers, count: int) -> None:
    progress(f"  {count} pending orders …")
    with children(servers.child("bench.ours.orders", Ours.prefix, count=count)):
        pass


def idle_tick(side: Ours) -> dict[str, Any]:
    """The query of a tick when nothing is due: what the database examines, how long it takes, what all burn.

    In pings of the database in between, which share the speed that the machine has at the moment.
    """
    database = side.database("dispatch")
    asked, found = its_query(database)
    took, pings = list[float](), list[float]()
    for _ in range(PROBES):
        begun = time.perf_counter()
        list(database.orders.find(asked["filter"], sort=asked["sort"], limit=asked["limit"]))
        took.append(time.perf_counter() - begun)
        database.command("ping")
        pings.append(time.perf_counter() - begun - took[-1])
    pids = [pid for pid in (side.processes.pids["dispatch"], side.servers.database_pid) if pid]
    before = [cpu_seconds(pid) for pid in pids]
    time.sleep(IDLE)
    burnt = sum(cpu_seconds(pid) for pid in pids) - sum(before)
    return {
        "plan": found["planSummary"],
        "examined": found["docsExamined"] + found["keysExamined"],
        "query (µs)": 1e6 * quantile(took, 0.1),
        "query (pings)": quantile(took, 0.1) / quantile(pings, 0.1),
        "dispatch and database (ms CPU a second)": 1000 * burnt / IDLE,
    }


def its_query(database: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """As the running service sends it, from the database's profiler."""
    database.command("profile", 2)
    try:
        time.sleep(2)
    finally:
        database.command("profile", 0)
    asked = database["system.profile"].find_one(
        {"ns": f"{database.name}.orders", "command.filter.due_at": {"$exists": True}, "op": "query"}, sort=[("ts", -1)]
    )
    database.drop_collection("system.profile")
    if asked is None:
        raise WrongResult("no tick within 2 s")
    sort = list(asked["command"]["sort"].items())
    return {"filter": asked["command"]["filter"], "sort": sort, "limit": asked["command"]["limit"]}, asked


def escalate(side: Ours, count: int) -> float:
    """Seconds from the deadline to the last of ``count`` escalations."""
    database = side.database("dispatch")
    waiting = {"tier": "station", "state": "offered"}
    ids = [order["_id"] for order in database.orders.find(waiting, {"_id": 1}).limit(count)]
    with side.servers.channel() as channel:
        queue = channel.queue_declare(exclusive=True).queue
        channel.queue_bind(queue, "dispatch.events", "order.escalated.#")
        told: list[str] = []
        channel.basic_consume(queue, no_ack=True, callback=lambda m: told.append(m.headers["cloudEvents_subject"]))
        deadline = (datetime.now(UTC) + timedelta(seconds=SOON)).replace(microsecond=0)
        database.orders.update_many({"_id": {"$in": ids}}, {"$set": {"due_at": deadline, "tier_due_at": deadline}})
        while database.orders.count_documents({"due_at": {"$lte": deadline}}):
            if (datetime.now(UTC) - deadline).total_seconds() > LATEST:
                raise WrongResult(f"not all escalated within {LATEST:g} s")
            time.sleep(0.02)
        late = (datetime.now(UTC) - deadline).total_seconds()
        collect(channel, told, count)
    check_once(list(database.orders.find({"_id": {"$in": ids}})), Counter(told))
    return late


def collect(channel: Any, told: list[str], count: int) -> None:
    """Until all are told, and a moment longer for doubles."""
    until = time.monotonic() + 15
    quiet = 1.0
    while time.monotonic() < until and quiet > 0:
        try:
            channel.connection.drain_events(timeout=0.1)
        except TimeoutError:
            quiet -= 0.1 if len(told) >= count else 0


def check_once(orders: list[dict[str, Any]], told: Counter[str]) -> None:
    wrong: Counter[str] = Counter()
    for order in orders:
        hops = sum(entry["event"] == "escalated" for entry in order["timeline"])
        wrong["not one hop up"] += hops != 1 or order["tier"] != "institute"
        wrong["not one event"] += told[order["_id"]] != 1
    wrong["told of others"] += len(told - Counter(order["_id"] for order in orders)) > 0
    if found := {what: n for what, n in wrong.items() if n}:
        raise WrongResult(str(found))
