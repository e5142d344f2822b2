"""``python -m tests.faults``: play the catalogue, check the invariants, print one table.

``ONLY=F7`` or ``ONLY=F1,F12`` plays these, ``ONLY=commit`` the group of every commit; ``SEED=…`` repeats a
run; ``MUTATE=1`` switches the protection of each scenario off and expects it to fail.
"""

import logging
import os
import signal
import sys
import tempfile
import warnings
from itertools import groupby
from pathlib import Path

import pytest

warnings.filterwarnings("ignore", message=r"\s*Eventlet")
logging.getLogger("amqp").setLevel(logging.ERROR)  # it tells of every message that comes while a channel closes

from tests.faults import report, scenarios  # noqa: E402
from tests.faults.fleet import LAYOUTS, Layout, running  # noqa: E402
from tests.faults.log import EventLog  # noqa: E402
from tests.faults.oracle import Oracle  # noqa: E402
from tests.faults.run import SCENARIOS, Result, Scenario, play  # noqa: E402
from tests.faults.workload import Workload  # noqa: E402

assert scenarios
FIXED_SEED = 20_26


def main() -> int:
    if len(sys.argv) > 1:
        print(__doc__, file=sys.stderr)
        return 2
    only = os.environ.get("ONLY", "")
    seed = int(os.environ.get("SEED") or FIXED_SEED)
    mutate = os.environ.get("MUTATE", "") not in ("", "0")
    wanted = chosen(only)
    if not wanted:
        print(f"no scenario is called {only!r}; there are: {', '.join(SCENARIOS)}", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    folder = Path(os.environ.get("FAULTS_DIR") or tempfile.mkdtemp(prefix="sidan-faults-"))
    print(f"seed {seed}, {len(wanted)} scenarios, logs in {folder}", flush=True)
    servers: dict[str, str] = {}
    results = mutated(wanted, folder, seed, servers) if mutate else all_of(wanted, folder, seed, servers)
    print(report.rows(results, mutate))
    if not only:
        print(f"written to {report.write(results, mutate, servers)}")
    return report.verdict(results, mutate, folder)


def chosen(only: str) -> list[Scenario]:
    if only == "commit":
        return [scenario for scenario in SCENARIOS.values() if scenario.per_commit]
    names = [name for name in only.split(",") if name]
    return [s for s in SCENARIOS.values() if not names or s.id in names or s.fault in names]


def all_of(wanted: list[Scenario], folder: Path, seed: int, servers: dict[str, str]) -> list[Result]:
    """Scenarios of one layout share a running system."""
    results = []
    for name, group in groupby(sorted(wanted, key=_layout), key=_layout):
        results += in_one_system(LAYOUTS[name], list(group), folder / name, seed, servers)
    return results


def mutated(wanted: list[Scenario], folder: Path, seed: int, servers: dict[str, str]) -> list[Result]:
    """Each protection off in a system of its own, with all scenarios that are about it."""
    results = []
    about = [scenario for scenario in wanted if scenario.without]
    for (name, without), group in groupby(sorted(about, key=_protection), key=_protection):
        results += in_one_system(LAYOUTS[name], list(group), folder / f"{name}-{without}", seed, servers, without)
    return results


def in_one_system(
    layout: Layout, wanted: list[Scenario], folder: Path, seed: int, servers: dict[str, str], without: str = ""
) -> list[Result]:
    folder.mkdir(parents=True)
    oracle = Oracle(folder / "oracle.sqlite")
    results: list[Result] = []
    try:
        with running(layout, folder, FAULTS_WITHOUT=without) as fleet:
            servers |= fleet.versions()
            load = Workload(fleet, fleet.gateways, fleet.villages(), oracle, seed)
            log = EventLog(fleet)
            log.read()
            print(f"{layout.name} system is up" + (f", without {without}" if without else ""), flush=True)
            for scenario in wanted:
                results.append(play(scenario, fleet, load, log, oracle))
                print(report.line(results[-1]), flush=True)
    except (Exception, pytest.fail.Exception) as error:
        print(f"the {layout.name} system gave up: {error!r}", flush=True)
        for scenario in wanted[len(results) :]:
            # Without a protection too: that the system does not start proves nothing about the scenario.
            results.append(Result(scenario, seed, findings=[] if without else ["the system gave up"]))
    oracle.close()
    return results


def _layout(scenario: Scenario) -> str:
    return scenario.layout.name


def _protection(scenario: Scenario) -> tuple[str, str]:
    return scenario.layout.name, scenario.without


if __name__ == "__main__":
    sys.exit(main())
