"""One scenario: load, a fault, recovery, rest, and the look at everything."""

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.chassis.dead import DeadLetter, DeadLetters
from tests.faults.fleet import SINGLE, Fleet, Layout, Stuck
from tests.faults.invariants import Evidence, check
from tests.faults.log import EventLog, Published
from tests.faults.oracle import DONE, Intent, Oracle
from tests.faults.workload import Client, Life, Workload

RECOVERY = 60.0
"""Seconds after the fault's end until a whole life must go through (I9)."""
REST = 90.0
"""Seconds until nothing is on its way any more."""
REST_WITHOUT = 25.0
"""Without a protection something may be on its way for ever."""
LOAD = 12.0
"""Seconds of load at least: meanwhile the orders that nobody takes climb their three tiers."""


@dataclass(frozen=True)
class Scenario:
    """``without`` names the protection that it is about; with it switched off the scenario must fail."""

    id: str
    name: str
    play: Callable[["Run"], None]
    layout: Layout = SINGLE
    per_commit: bool = False
    without: str = ""
    recovery: float = RECOVERY

    @property
    def fault(self) -> str:
        """As the catalogue numbers it: ``F3`` of ``F3-points``."""
        return self.id.partition("-")[0]


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    id: str,
    name: str,
    *,
    layout: Layout = SINGLE,
    per_commit: bool = False,
    without: str = "",
    recovery: float = RECOVERY,
) -> Callable[[Callable[["Run"], None]], Callable[["Run"], None]]:
    def add(play: Callable[[Run], None]) -> Callable[[Run], None]:
        assert id not in SCENARIOS, id
        SCENARIOS[id] = Scenario(id, name, play, layout, per_commit, without, recovery)
        return play

    return add


@dataclass
class Result:
    """A row of the table."""

    scenario: Scenario
    seed: int
    faults: int = 0
    commands: int = 0
    retried: int = 0
    lost: int = 0
    doubled: int = 0
    recovered: float | None = None
    """Seconds from the end of the fault until a whole life went through; None when it never did."""
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def green(self) -> bool:
        return not self.findings


class Run:
    """What a scenario plays with."""

    def __init__(self, scenario: Scenario, fleet: Fleet, load: Workload, log: EventLog, oracle: Oracle) -> None:
        self.scenario, self.fleet, self.workload, self._log, self._oracle = scenario, fleet, load, log, oracle
        self._events: list[Published] = []
        self._dead_before = fleet.all_dead()
        self.result = Result(scenario, load.seed)
        self.expected_dead: Counter[str] = Counter()
        self._trouble: list[tuple[datetime, datetime]] = []
        self._began: datetime | None = None

    @property
    def without(self) -> str:
        """The protection that is off in all processes."""
        return self.fleet.settings.get("FAULTS_WITHOUT", "")

    # -- for scenarios ----------------------------------------------------------------------------------

    @contextmanager
    def load(self, workers: int = 6, rate: float = 0.0, plans: tuple[str, ...] = ()) -> Iterator[Workload]:
        """Lives go on while the block is played, and for some time; they end before it is left."""
        begun = time.monotonic()
        with self.workload.running(workers, rate, plans):
            yield self.workload
            self.fleet.pause(max(0.0, begun + LOAD - time.monotonic()))
        self.fleet.until(self.workload.ended, 120, "the lives to end")

    @contextmanager
    def trouble(self, faults: int = 1) -> Iterator[None]:
        """The time of a fault: what is due in it may be late by it."""
        self.result.faults += faults
        begun = self.fleet.now()
        try:
            yield
        finally:
            recovered = self._recover()
            self._trouble.append((begun, self.fleet.now()))
            self.result.recovered = max(self.result.recovered or 0.0, recovered)
            if recovered > self.scenario.recovery:
                self.expect(False, f"recovered after {recovered:.1f} s only, not {self.scenario.recovery:g}")

    def expect(self, holds: Any, what: str) -> None:
        """Something that must hold beyond the invariants."""
        if not holds:
            self.result.findings.append(f"expected: {what}")

    def note(self, **values: Any) -> None:
        self.result.notes.update(values)

    def lives(self, count: int, plans: tuple[str, ...] = ("straight",)) -> list[Life]:
        """Some lives one after the other. Nothing is started again meanwhile, if it is the scenario that waits."""
        with Client(self.fleet.gateways) as http:
            return [self.workload.live(http, plans) for _ in range(count)]

    def cancel(self, life: Life) -> None:
        """As the resident; refused where it has gone too far."""
        with Client(self.fleet.gateways) as http:
            life.http = http
            life.cancel()

    def answer_seconds(self) -> float:
        """How long somebody waits for any answer at all."""
        begun = time.monotonic()
        self.fleet.person(self.workload.villages[0].resident).get("/v1/orders")
        return time.monotonic() - begun

    def intents(self) -> list[Intent]:
        return self._oracle.intents(self.scenario.id)

    def published(self) -> list[Published]:
        """Everything on the event log since the scenario began."""
        self._events += self._log.read()
        return self._events

    def dead_letters(self, queues: list[str]) -> list[DeadLetter]:
        with self.fleet.channel() as channel:
            return DeadLetters(channel.connection, queues).all()

    def crash(self, process: str, point: str, hit: int = 1, seconds: float = 30.0) -> None:
        """Kill a process at a line: it starts with the crash point, dies there, and is started again without."""
        with self.trouble():
            before = self.fleet.restarts[process]
            self.fleet.restart_with(process, SIDAN_CRASH_AT=f"{point}:{hit}")
            self.fleet.until(lambda: self.fleet.restarts[process] > before, seconds, f"{process} to die at {point}")

    # -- the end ----------------------------------------------------------------------------------------

    def _recover(self) -> float:
        """Seconds until a probe of a whole life goes through; each command of it insists as everybody does."""
        begun = time.monotonic()
        while not self._probed() and time.monotonic() - begun < RECOVERY:
            self.fleet.tick()
        return time.monotonic() - begun

    def _probed(self) -> bool:
        lived: list[Life] = []
        thread = threading.Thread(target=lambda: lived.extend(self.lives(1)))
        thread.start()
        self.fleet.until(lambda: not thread.is_alive(), 2 * RECOVERY + 10, "the probe")
        done = {i.step for i in self.intents() if i.life == lived[0].name and i.state == DONE}
        return "close" in done

    def rest(self) -> None:
        """Until nothing is on its way, every order that was left alone is unmet and what has ended is counted."""

        def quiet() -> bool:
            waiting = {"$or": [{"state": {"$in": ["placed", "offered"]}}, {"uncounted_since": {"$type": "date"}}]}
            return not (
                self.fleet.database("dispatch")["orders"].count_documents(waiting)
                or self.fleet.unsent()
                or self.fleet.waiting()
            )

        steady = 0
        until = time.monotonic() + (REST_WITHOUT if self.without else REST)
        while steady < 3 and time.monotonic() < until:
            self.fleet.pause(0.3)
            try:
                steady = steady + 1 if quiet() else 0
                if steady == 3 and self.fleet.in_hand():
                    steady = 0
            except (OSError, subprocess.CalledProcessError):
                steady = 0

    def finish(self) -> Result:
        result = self.result
        self.rest()
        intents = self.intents()
        evidence = Evidence(
            self.fleet,
            self.scenario.id,
            intents,
            self.published(),
            self._trouble,
            self.expected_dead + self._dead_before,
        )
        result.findings += check(evidence)
        result.commands = len(intents)
        result.retried = sum(intent.attempts > 1 for intent in intents)
        result.lost, result.doubled = evidence.lost, evidence.doubled
        tally = self.workload.tally
        result.notes |= {"lives": tally.lives, "p99 s": round(quantile(tally.seconds, 0.99), 2)}
        return result


def play(scenario: Scenario, fleet: Fleet, load: Workload, log: EventLog, oracle: Oracle) -> Result:
    """Play a scenario to its end, whatever happens in it."""
    begun = time.monotonic()
    load.begin(scenario.id)
    run = Run(scenario, fleet, load, log, oracle)
    try:
        scenario.play(run)
    except Stuck as error:
        run.expect(False, str(error))
    except Exception as error:
        run.expect(False, f"no {type(error).__name__}: {error}")
    fleet.heal()
    fleet.until(lambda: all(p.alive() for n, p in fleet.processes.items() if n not in fleet.down), 30)
    result = run.finish()
    result.seconds = time.monotonic() - begun
    return result


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[int(share * (len(values) - 1))] if values else 0.0
