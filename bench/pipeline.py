"""Commit on one side, handled with a commit on the other: pairs of business writes per second."""

import time
from collections.abc import Callable
from typing import Any

from bench.child import Child, children
from bench.ours.services import SUBSCRIPTIONS
from bench.report import Figure, median_figure
from bench.rounds import Settings, exactly_once, interleave
from bench.servers import Servers

PREFIX = "bench_pipe_"
STOCK_QUEUE = "evt-stock_source-item.added--stock_copier.copy"
WRITERS = 16
POLL = 0.02  # seconds


def measure(servers: Servers, settings: Settings) -> list[Figure]:
    count = settings.of(12_000, 3_000)
    green = fastest_bare(servers, settings.of(2_000, 1_000))
    sides = {
        "ours": lambda: ours(servers, count),
        "nameko": lambda: stock(servers, count // 2),
        "bare": lambda: bare(servers, count, green),
    }
    rates = interleave(sides, settings.rounds)
    how = f"{count} items, {WRITERS} writers, w=majority, journal; exactly once by id"
    limit = f"bare with {'greenthreads' if green else 'threads'}: insert with its event + transaction with inbox row"
    return [
        median_figure("pipeline", "/s", rates["ours"], "nameko, no guarantee", rates["nameko"], 1.0, how),
        median_figure("pipeline", "/s", rates["ours"], "bare transactions", rates["bare"], 0.5, limit),
    ]


def fastest_bare(servers: Servers, count: int) -> bool:
    return max((True, False), key=lambda green: bare(servers, count, green))


def ours(servers: Servers, count: int) -> float:
    servers.clear(PREFIX)
    servers.empty(SUBSCRIPTIONS["copier"].queue)
    copier = servers.child("bench.ours.run", PREFIX, role="copier")
    source = servers.child(
        "bench.ours.run", PREFIX, role="write", subscribers=["copier"], count=count, writers=WRITERS, pace=0
    )
    return pair(servers, source, copier, count, PREFIX + "copier")


def stock(servers: Servers, count: int) -> float:
    servers.clear(PREFIX)
    servers.empty(STOCK_QUEUE)
    for name in ("stock_source", "stock_copier"):
        servers.mongo[PREFIX + name]["items"].create_index("amount")  # a collection with one index, as ours
    copier = servers.child("bench.stock.pair", PREFIX, role="copier", workers=WRITERS)
    source = servers.child("bench.stock.pair", PREFIX, role="write", count=count, writers=WRITERS)
    return pair(servers, source, copier, count, PREFIX + "stock_copier")


def pair(servers: Servers, source: Child, copier: Child, count: int, database: str) -> float:
    copies = servers.mongo[database]["items"]
    with children(copier, source):
        source.go()
        wait_for(lambda: copies.estimated_document_count() >= count, 120)
        ended = time.monotonic()
        sent = source.answer(10)
        time.sleep(0.5)  # doubles would come now
        exactly_once(sent["ids"], [document["_id"] for document in copies.find({}, {"_id": 1})])
    return count / (ended - sent["started"])


def wait_for(done: Callable[[], Any], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise TimeoutError(f"not done within {seconds:g} s")
        time.sleep(POLL)


def bare(servers: Servers, count: int, green: bool) -> float:
    servers.clear(PREFIX)
    sides = [
        servers.child(
            "bench.bare.transactions",
            PREFIX,
            role=role,
            count=count,
            writers=WRITERS,
            green=green,
            database=PREFIX + role,
        )
        for role in ("first", "second")
    ]
    with children(*sides):
        for side in sides:
            side.go()
        answers = [side.answer(120) for side in sides]
    return count / (max(a["ended"] for a in answers) - min(a["started"] for a in answers))
