"""Whole order lives over HTTP: place, accept, start, complete, rate, close, read; hours and points at the end."""

import json
import statistics
import time
from collections import Counter
from typing import Any

from bench import city
from bench.child import Child, children
from bench.processes import busy_seconds, cpu_seconds
from bench.report import Figure, median_figure, number
from bench.rounds import Settings, WrongResult, progress, quantile
from bench.servers import Servers
from bench.sides import Ours, Side, Stock

AT_A_TIME = 16
WARM_UP = 5.0  # seconds
SETTLE = 60.0
"""Seconds for hours and points to arrive when the load has ended."""
MAX_SETTLE = 10.0
"""A side that needs longer to catch up has let its backlog grow."""
POINTS = 1
"""For one shortest service."""
COMMANDS = ("place", "accept", "start", "complete", "rate", "close", "read")
MAX_P99 = 150  # ms

details: dict[str, Any] = {}


class Round:
    """One side under load, with what it cost."""

    def __init__(self, side: Side, earlier: list[dict[str, Any]], keyed: bool = False) -> None:
        self.side, self.earlier, self.keyed = side, earlier, keyed
        self.lives: list[dict[str, Any]] = []
        self.failures: list[str] = []
        self.rate = 0.0
        self.costs: dict[str, float] = {}
        self.backlog: list[int] = []
        self.settled = 0.0
        self.foreign = 0.0
        """Cores that processes of others used meanwhile: their part of a bad figure."""

    def run(self, servers: Servers, seconds: float, pace: float = 0) -> None:
        self.side.start()
        try:
            taken = max(Counter(life["volunteer"] for life in self.earlier).values(), default=0)
            plan = city.plan(self.side.tokens)
            generator = servers.child(
                "bench.load", "", role=self.side.name, host="127.0.0.1", port=self.side.port, villages=plan,
                taken=taken, keyed=self.keyed,
            )  # fmt: skip
            self._settle()  # a side that has just been filled has still to tell its services of it
            with children(generator):
                self.lives += self._load(generator, WARM_UP, pace)["lives"]
                self._measure(generator, seconds, pace)
                self._settle()
            self.earlier += self.lives
            compare(self.side, self.earlier)
        finally:
            self.side.processes.stop()

    def _load(self, generator: Child, seconds: float, pace: float) -> Any:
        ask(generator, {"workers": AT_A_TIME, "seconds": seconds, "pace": pace})
        answer = generator.answer(seconds + 60)
        self.failures += answer["failures"]
        return answer

    def _measure(self, generator: Child, seconds: float, pace: float) -> None:
        pids = self.side.processes.pids | {"generator": generator.pid}
        servers = self.side.servers
        pids |= {name: pid for name, pid in (("broker", servers.broker_pid), ("database", servers.database_pid)) if pid}
        before, busy = {name: cpu_seconds(pid) for name, pid in pids.items()}, busy_seconds()
        ask(generator, {"workers": AT_A_TIME, "seconds": seconds, "pace": pace})
        for _ in range(3):
            time.sleep(seconds / 3 - 0.2)
            self.backlog.append(self.side.depth())
        answer = generator.answer(seconds + 60)
        self.failures += answer["failures"]
        done = [life for life in answer["lives"] if life["at"] <= answer["begun"] + seconds]
        self.rate = len(done) / seconds
        used = sum(cpu_seconds(pid) - before[name] for name, pid in pids.items())
        self.foreign = (busy_seconds() - busy - used) / seconds
        self.costs = {
            name: 1000 * (cpu_seconds(pid) - before[name]) / len(answer["lives"]) for name, pid in pids.items()
        }
        self.took = {command: [1000 * life["took"][command] for life in answer["lives"]] for command in COMMANDS}
        self.lives += answer["lives"]

    def _settle(self) -> None:
        """Until nothing is on its way."""
        begun, quiet = time.monotonic(), 0
        while quiet < 3:
            quiet = quiet + 1 if self.side.depth() == 0 else 0
            if time.monotonic() - begun > SETTLE:
                raise WrongResult(f"{self.side.depth()} messages are still on their way after {SETTLE:g} s")
            time.sleep(0.2)
        self.settled = time.monotonic() - begun
        if self.backlog and self.settled > MAX_SETTLE:
            raise WrongResult(f"the backlog grew: {self.backlog}, gone {self.settled:.1f} s after the load")


def ask(generator: Child, what: dict[str, Any]) -> None:
    generator.say(json.dumps(what))


def compare(side: Side, lives: list[dict[str, Any]]) -> None:
    """Order by order: closed, one effective record of the right volunteer, one entry of the right amount."""
    volunteers = {life["volunteer"] for life in lives}
    hours, entries = side.hours(volunteers), side.entries(volunteers)
    wrong: Counter[str] = Counter()
    for life in lives:
        records = hours[life["order"]]
        if life["state"] != "closed":
            wrong["not closed"] += 1
        elif not records:
            wrong["hours lost"] += 1
        elif len(records) > 1:
            wrong["hours doubled"] += 1
        elif (records[0]["state"], records[0]["volunteer"]) != ("effective", life["volunteer"]):
            wrong[f"hours {records[0]['state']}"] += 1
        else:
            posted = entries[records[0]["id"]]
            if [(e["volunteer"], e["amount"]) for e in posted] != [(life["volunteer"], POINTS)]:
                wrong["points lost" if not posted else "points doubled or wrong"] += 1
    credited = Counter(life["volunteer"] for life in lives)
    service = "stock_registry" if isinstance(side, Stock) else "registry"
    totals = {t["_id"]: t for t in side.database(service).totals.find({"_id": {"$in": list(volunteers)}})}
    wrong["totals wrong"] += sum(totals.get(v, {}).get("points", 0) < POINTS * n for v, n in credited.items())
    if found := {what: n for what, n in wrong.items() if n}:
        text = f"{side.name}: {found} of {len(lives)} lives"
        if side.promises:
            raise WrongResult(text)
        progress(f"  {text}")


def in_turn(
    sides: list[Side], servers: Servers, settings: Settings, keyed: bool = False
) -> tuple[dict[str, list[Round]], dict[str, list[dict[str, Any]]]]:
    """The rounds of each side, and all its lives."""
    lived: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
    rounds: dict[str, list[Round]] = {side.name: [] for side in sides}
    for _ in range(max(1, settings.rounds)):
        # There and back, half a round each, so that a machine that gets slower or faster does so for all.
        for side in [*sides, *reversed(sides)]:
            turn = Round(side, lived[side.name], keyed)
            turn.run(servers, settings.seconds / 2)
            rounds[side.name].append(turn)
            progress(f"  {side.name}: {turn.rate:.1f} lives/s, CPU {sum(turn.costs.values()):.1f} ms a life")
            progress(f"    backlog {turn.backlog}, settled in {turn.settled:.1f} s, {len(turn.failures)} failed")
            if turn.failures:
                progress(f"    {Counter(turn.failures).most_common(3)}")
    return rounds, lived


def measure(servers: Servers, settings: Settings) -> list[Figure]:
    sides: list[Side] = [Ours(servers), Stock(servers)]
    rounds, lived = in_turn(sides, servers, settings)
    rates = {name: [turn.rate for turn in turns] for name, turns in rounds.items()}
    paced = Round(sides[0], lived["ours"])
    pace = statistics.median(rates["ours"]) / 2
    paced.run(servers, settings.seconds / 2, pace)
    details["CPU per life (ms)"] = [costs(name, turns) for name, turns in rounds.items()]
    details["Latency of each command at half load (ms)"] = [latency(paced, command) for command in COMMANDS]
    worst = max(quantile(took, 0.99) for took in paced.took.values())
    ours = rounds["ours"]
    settled, failed = max(turn.settled for turn in ours), sum(len(turn.failures) for turn in ours)
    note = (
        f"{AT_A_TIME} at a time, {settings.seconds / 2:g} s a turn, order by order: nothing lost, nothing doubled; "
        f"on the way at a third, two thirds and the end {[turn.backlog for turn in ours]}, "
        f"all arrived {settled:.1f} s after the load; {failed} requests failed"
    )
    return [
        median_figure("order lives", "/s", rates["ours"], "stock nameko", rates["nameko"], 1.0, note),
        Figure(
            "worst command p99 at half load",
            worst,
            "ms",
            at_most=MAX_P99,
            note=f"open loop, {number(pace)} lives begin each second; {paced.foreign:.2f} cores used by others",
        ),
    ]


def costs(name: str, turns: list[Round]) -> dict[str, Any]:
    parts = {part: statistics.median(turn.costs[part] for turn in turns) for part in turns[0].costs}
    whole = sum(cost for part, cost in parts.items() if part != "generator")
    foreign = max(turn.foreign for turn in turns)
    return {"side": name, **parts, "all without generator": whole, "cores used by others": foreign}


def latency(turn: Round, command: str) -> dict[str, Any]:
    took = turn.took[command]
    return {
        "command": command,
        **{f"p{share * 100:g}": quantile(took, share) for share in (0.5, 0.95, 0.99)},
        "worst": max(took),
    }
