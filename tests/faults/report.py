"""The table of a run, and where it is kept."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

from bench.report import machine, revision, table, versions
from tests.faults.catalogue import ABSENT, ELSEWHERE
from tests.faults.run import Result

SHOWN = 6
"""Findings of one scenario that are printed."""
RESULTS = Path(__file__).parents[2] / "bench" / "results"
HEADINGS = ("scenario", "faults", "commands", "retried", "lost", "doubled", "recovered", "took", "verdict")


def line(result: Result) -> str:
    """What is printed as soon as a scenario is over."""
    findings = [
        *result.findings[:SHOWN],
        *([f"… and {more} more"] if (more := len(result.findings) - SHOWN) > 0 else []),
    ]
    notes = ", ".join(f"{name} {value}" for name, value in result.notes.items())
    verdict = "ok" if result.green else "FAILED"
    head = f"  {result.scenario.id:14} {verdict:6} {result.seconds:5.1f} s  {result.scenario.name} ({notes})"
    return "\n      ".join([head, *findings])


def rows(results: list[Result], mutate: bool) -> str:
    found = [_row(result, mutate) for result in results]
    sums = [
        str(sum(getattr(r, name) for r in results)) for name in ("faults", "commands", "retried", "lost", "doubled")
    ]
    slowest = max((result.recovered or 0.0 for result in results), default=0.0)
    total = ("all", *sums, _seconds(slowest), _seconds(sum(result.seconds for result in results)), "")
    return table([*found, total], HEADINGS)


def _row(result: Result, mutate: bool) -> tuple[str, ...]:
    scenario = result.scenario
    name = f"{scenario.id} {scenario.name}" + (f" – without {scenario.without}" if mutate else "")
    right, wrong = ("seen", "BLIND") if mutate else ("ok", "FAILED")
    counts = (result.faults, result.commands, result.retried, result.lost, result.doubled)
    recovered = "" if result.recovered is None else _seconds(result.recovered)
    verdict = right if result.green != mutate else wrong
    return (name, *map(str, counts), recovered, _seconds(result.seconds), verdict)


def verdict(results: list[Result], mutate: bool, folder: Path) -> int:
    """0 when every scenario is green, or red where its protection is off."""
    wrong = [result.scenario.id for result in results if result.green == mutate]
    if wrong:
        print(
            f"{len(wrong)} of {len(results)} {'were blind' if mutate else 'failed'}: {', '.join(wrong)}; see {folder}"
        )
        return 1
    shutil.rmtree(folder)
    print(f"{len(results)} scenarios {'were seen to fail' if mutate else 'passed'}")
    return 0


def write(results: list[Result], mutate: bool, servers: dict[str, str]) -> Path:
    """Keep the table with the seed, the machine and all versions."""
    kind = "mutations" if mutate else "faults"
    file = RESULTS / f"{datetime.now(UTC):%Y-%m-%d}-{kind}-{revision()}.md"
    notes = [f"- **{r.scenario.id}**: " + ", ".join(f"{k} {v}" for k, v in r.notes.items()) for r in results]
    missing = [f"- {fault}: {why}" for fault, why in {**ABSENT, **ELSEWHERE}.items()]
    parts = [
        f"# {kind.capitalize()} at {revision()}, seed {results[0].seed}", rows(results, mutate), "\n".join(notes),
        "## Not played", "\n".join(missing),
        *(f"## {title}\n\n" + ", ".join(f"{name} {value}" for name, value in told.items())
          for title, told in (("Machine", machine()), ("Versions", versions(servers)))),
    ]  # fmt: skip
    file.write_text("\n\n".join(parts) + "\n")
    return file


def _seconds(value: float) -> str:
    return f"{value:.1f} s"
