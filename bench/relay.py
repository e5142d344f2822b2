"""Committed outbox rows to a subscriber that does nothing: events per second."""

from typing import Any

from bench.bare.messages import QUEUE
from bench.child import Child, children
from bench.ours.services import SUBSCRIPTIONS, added, item
from bench.report import Figure, median_figure
from bench.rounds import Settings, exactly_once, interleave
from bench.servers import Servers
from services.chassis.messages import dump

PREFIX = "bench_relay_"
KEY = "item.added.130802.103.202"
STOCK_QUEUE = "evt-stock_source-item.added--stock_counter.count"
STOCK_WRITERS = (0, 1, 16)
"""0: the standalone dispatcher; else a service that dispatches from so many workers. The fastest counts."""


def measure(servers: Servers, settings: Settings) -> list[Figure]:
    count = settings.of(20_000, 3_000)
    best = fastest_stock(servers, settings.of(2_000, 1_000))
    sides = {
        "ours": lambda: ours(servers, count),
        "nameko": lambda: stock(servers, count // 2, best),
        "bare": lambda: bare(servers, count),
        "bare, our routes": lambda: bare(servers, count, "source.events", KEY, SUBSCRIPTIONS["counter"].queue),
    }
    rates = interleave(sides, settings.rounds)
    how = f"{count} rows, exactly once by id; nameko dispatching from {best or 'no service, standalone'} workers"
    return [
        median_figure("relay", "/s", rates["ours"], "nameko dispatcher + handler", rates["nameko"], 3.0, how),
        median_figure("relay", "/s", rates["ours"], "bare amqp, quorum queue", rates["bare"], 0.5),
        median_figure(
            "relay",
            "/s",
            rates["ours"],
            "bare amqp, our exchange, queue and event log",
            rates["bare, our routes"],
            None,
        ),
    ]


def fastest_stock(servers: Servers, count: int) -> int:
    return max(STOCK_WRITERS, key=lambda writers: stock(servers, count, writers))


def ours(servers: Servers, count: int) -> float:
    servers.clear(PREFIX)
    servers.empty(SUBSCRIPTIONS["counter"].queue)
    counter = servers.child("bench.ours.run", PREFIX, role="counter", count=count)
    source = servers.child("bench.ours.run", PREFIX, role="relay", subscribers=["counter"], count=count)
    return rate(source, counter)


def stock(servers: Servers, count: int, writers: int) -> float:
    servers.empty(STOCK_QUEUE)
    counter = servers.child("bench.stock.pair", PREFIX, role="counter", count=count, workers=16)
    source = servers.child("bench.stock.pair", PREFIX, role="dispatch", count=count, writers=writers)
    return rate(source, counter)


def bare(servers: Servers, count: int, exchange: str = "", key: str = QUEUE, queue: str = QUEUE) -> float:
    """By default straight to a queue; or what the broker does for ours, with nothing but the driver before it."""
    new = item("00000000")
    message = {"body": dump(added(new)).decode(), "headers": headers()}
    consumer = servers.child("bench.bare.messages", PREFIX, role="consume", count=count, queue=queue)
    publisher = servers.child(
        "bench.bare.messages", PREFIX, role="publish", count=count, exchange=exchange, key=key, **message
    )
    return rate(publisher, consumer)


def headers() -> dict[str, Any]:
    """As many and as long as ours."""
    names = ("specversion", "id", "type", "source", "subject", "time", "sequence", "sitecode")
    return {f"cloudEvents_{name}": "cn.sidan.item.added.v1" for name in names}


def rate(source: Child, sink: Child) -> float:
    """From the first attempt to publish to the last receipt."""
    with children(sink, source):
        source.go()
        sent, got = source.answer(60), sink.answer(60)
    exactly_once(sent["ids"], [id for id, _ in got["received"]])
    last = max(time for _, time in got["received"])
    return len(sent["ids"]) / (last - sent["started"])
