"""A county with 2,000 teams and 50,000 volunteers: to place an order and offer it to whom it fits."""

from typing import Any

from bench.child import Child, children
from bench.report import Figure
from bench.rounds import Settings, WrongResult, quantile
from bench.servers import Servers

PREFIX = "bench_match_"
MEMBERS = 25
MAX_P99 = 30.0  # ms
MAX_GROWTH = 1.2
FILLING = 600.0  # seconds

details: dict[str, Any] = {}


def measure(servers: Servers, settings: Settings) -> list[Figure]:
    teams, count = settings.of(2_000, 500), settings.of(1_000, 200)
    elsewhere = settings.of(8_000, 1_000)
    servers.clear(PREFIX)
    child = servers.child("bench.ours.matching", PREFIX, teams=teams, members=MEMBERS, elsewhere=elsewhere, count=count)
    with children(child):
        child.say("teams")
        child.answer(FILLING)
        county, asked = placed(child, settings.rounds)
        child.say("elsewhere")
        child.answer(FILLING)
        city, _ = placed(child, settings.rounds)
    how = f"load, decide, commit; {asked:.0f} teams of {MEMBERS} asked a time; p50 {quantile(county, 0.5):.1f} ms"
    more = f"with {elsewhere} teams more elsewhere: p99 {quantile(city, 0.99):.1f} ms"
    half = {"p50 (ms)": quantile(county, 0.5), "p99 (ms)": quantile(county, 0.99)}
    whole = {"p50 (ms)": quantile(city, 0.5), "p99 (ms)": quantile(city, 0.99)}
    details["Placing and offering"] = [
        {"volunteers": teams * MEMBERS} | half, {"volunteers": (teams + elsewhere) * MEMBERS} | whole
    ]  # fmt: skip
    return [
        Figure(f"place and offer among {teams} teams, p99", half["p99 (ms)"], "ms", at_most=MAX_P99, note=how),
        Figure(
            "the same, p50", whole["p50 (ms)"], "ms", half["p50 (ms)"], f"without {elsewhere} teams elsewhere",
            at_most=MAX_GROWTH, note=more,
        ),
    ]  # fmt: skip


def placed(child: Child, rounds: int) -> tuple[list[float], float]:
    """Milliseconds of each, after a round that warms up, and the teams asked a time."""
    took: list[float] = []
    for round in range(rounds + 1):
        child.say("place")
        answer = child.answer(120)
        if answer["asked"] < 1:
            raise WrongResult("nobody was asked")
        took += [1000 * seconds for seconds in answer["seconds"]] if round else []
    return took, float(answer["asked"])
