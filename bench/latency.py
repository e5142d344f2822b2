"""Commit to handler start, one event at a time on an idle system."""

from bench.child import children
from bench.ours.services import SUBSCRIPTIONS
from bench.report import Figure
from bench.rounds import Settings, exactly_once, quantile
from bench.servers import Servers

PREFIX = "bench_late_"
PACE = 0.05  # seconds


def measure(servers: Servers, settings: Settings) -> list[Figure]:
    count = settings.of(400, 100)
    servers.clear(PREFIX)
    servers.empty(SUBSCRIPTIONS["counter"].queue)
    counter = servers.child("bench.ours.run", PREFIX, role="counter", count=count)
    source = servers.child(
        "bench.ours.run", PREFIX, role="write", subscribers=["counter"], count=count, writers=1, pace=PACE
    )
    with children(counter, source):
        source.go()
        sent, got = source.answer(count * PACE * 2 + 30), counter.answer(30)
    exactly_once(sent["ids"], [id for id, _ in got["received"]])
    committed = sent["times"]
    late = [1000 * (time - committed[id][1]) for id, time in got["received"]]
    whole = [1000 * (time - committed[id][0]) for id, time in got["received"]]
    with_commit = f"p50 {quantile(whole, 0.5):.1f}, p99 {quantile(whole, 0.99):.1f} ms"
    how = f"{count} events at {1 / PACE:g}/s; with the commit itself {with_commit}"
    return [
        Figure("latency p50", quantile(late, 0.5), "ms", at_most=15, note=how),
        Figure("latency p99", quantile(late, 0.99), "ms", at_most=60),
    ]
