"""A million volunteers in the directory: what staff of a village, a county and the city finds, page by page."""

from typing import Any

from bench.child import children
from bench.report import Figure
from bench.rounds import Settings, quantile
from bench.servers import Servers

PREFIX = "bench_search_"
MAX_P99 = 20.0  # ms
FILLING = 1800.0  # seconds

details: dict[str, Any] = {}


def measure(servers: Servers, settings: Settings) -> list[Figure]:
    people, count = settings.of(1_000_000, 20_000), settings.of(300, 100)
    servers.clear(PREFIX)
    child = servers.child("bench.ours.search", PREFIX, people=people, count=count)
    with children(child):
        child.say("fill")
        child.answer(FILLING)
        child.say("search")
        searches: dict[str, dict[str, Any]] = child.answer(600)
    servers.clear(PREFIX)
    every = [1000 * seconds for search in searches.values() for seconds in search["seconds"]]
    details["Searches (ms)"] = [line(what, search) for what, search in searches.items()]
    slowest = max(details["Searches (ms)"], key=lambda row: row["p99"])
    note = f"a page of 20 each, load to answer; slowest: {slowest['what']}, p99 {slowest['p99']:.1f} ms"
    return [
        Figure(
            f"search among {people} volunteers, p99", quantile(every, 0.99), "ms", at_most=MAX_P99, note=note
        ),
    ]  # fmt: skip


def line(what: str, search: dict[str, Any]) -> dict[str, Any]:
    took = [1000 * seconds for seconds in search["seconds"]]
    return {"what": what, "found a page": search["found"], "p50": quantile(took, 0.5), "p99": quantile(took, 0.99)}
