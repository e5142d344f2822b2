"""F5, F6, F15, F36: processes that are killed at random, asked to end, or stand still."""

import random
import signal
import time
from collections import Counter
from functools import partial

from tests.faults.fleet import TWICE, Fleet
from tests.faults.run import Run, quantile, scenario

LEASE_OVER = 5.0  # seconds: a relay or a timer that dies is replaced within
STILL = 20.0  # seconds, ten times the lease
KILLING = 300.0  # seconds
LIVES = 10.0  # a second
LONGEST_WAIT = 10.0  # seconds


@scenario("F5", "a random process killed every 3 to 7 s, two of each", layout=TWICE, without="outbox")
def random_kills(run: Run) -> None:
    """Every accepted command is done, and nobody who repeats theirs waits for long."""
    rng = random.Random(run.result.seed)
    lasts = KILLING if not run.without else KILLING / 10
    with run.load(workers=24, rate=LIVES) as load, run.trouble(faults=0):
        end = time.monotonic() + lasts
        while time.monotonic() < end:
            run.fleet.pause(rng.uniform(3, 7))
            run.fleet.processes[rng.choice(sorted(run.fleet.processes))].kill()
            run.result.faults += 1
        run.note(**{"lives/s": round(load.tally.lives / lasts, 1)})
    p99 = quantile(load.tally.seconds, 0.99)
    run.expect(p99 < LONGEST_WAIT, f"99 of a hundred commands done in {LONGEST_WAIT:g} s, it took {p99:.1f}")


@scenario("F6", "every process stopped and started again in turn, under load", layout=TWICE, without="drain")
def rolling_restart(run: Run) -> None:
    """No duplicate is caused by it, and no request fails."""
    before = handled(run.fleet)
    with run.load(workers=8) as load:
        run.fleet.pause(2)
        for name in run.fleet.processes:
            run.fleet.restart_with(name)
            run.result.faults += 1
            run.fleet.until(partial(run.fleet.serving, name), 30, name)
        failed = load.tally.failed_attempts
    run.rest()
    published = Counter(event.id for event in run.published())
    again = Counter()
    for (queue, event), times in (handled(run.fleet) - before).items():
        again[queue] += max(0, times - published[event])
    run.expect(not again.total(), f"no event is delivered again; these were: {dict(again)}")
    run.expect(failed == 0, f"no request fails; {failed} of {load.tally.attempts} did")


def handled(fleet: Fleet) -> Counter[tuple[str, str]]:
    """How often each queue's handler has taken each event to its end."""
    lines = (line for file in fleet.folder.glob("handled-*.tsv") for line in file.read_text().splitlines())
    return Counter((queue, event) for queue, event, *_ in (line.split("\t") for line in lines))


@scenario("F15", "a process stands still for ten leases, and goes on", layout=TWICE, without="compare-and-set")
def standing_still(run: Run) -> None:
    with run.load():
        for service in ("dispatch", "points"):
            name = run.fleet.replicas(service)[0]
            with run.trouble():
                run.fleet.signal(name, signal.SIGSTOP)
                run.fleet.pause(STILL)
                run.fleet.signal(name, signal.SIGCONT)


@scenario("F36-down", "no timer runs when orders fall due", without="timers")
def timers_down(run: Run) -> None:
    """Late, but once; the gap is the time of the fault."""
    run.lives(6, ("left_alone",))
    with run.trouble():
        run.fleet.down.add("dispatch")
        run.fleet.processes["dispatch"].kill()
        run.fleet.pause(8)
        run.fleet.down.discard("dispatch")
    run.rest()


@scenario("F36-many", "two timers at once, neither with a lease", layout=TWICE, without="compare-and-set")
def timers_at_once(run: Run) -> None:
    for name in run.fleet.replicas("dispatch"):
        run.fleet.restart_with(name, FAULTS_WITHOUT=_with(run, "lease"))
    run.fleet.until(lambda: all(map(run.fleet.serving, run.fleet.replicas("dispatch"))), 30, "dispatch")
    with run.load(plans=("left_alone", "straight")), run.trouble():
        run.fleet.pause(10)
    run.rest()
    for name in run.fleet.replicas("dispatch"):
        run.fleet.restart_with(name, FAULTS_WITHOUT=run.without)


def _with(run: Run, more: str) -> str:
    return ",".join(filter(None, (run.without, more)))
