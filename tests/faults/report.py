"""The table of a run, and where it is kept."""

import shutil
from pathlib import Path

from tests.faults.run import Result

SHOWN = 6
"""Findings of one scenario that are printed."""
HEAD = ("scenario", "faults", "commands", "retried", "lost", "doubled", "recovered", "took", "")


def line(result: Result) -> str:
    verdict = "ok" if result.green else "FAILED"
    found = "".join(f"\n      {finding}" for finding in result.findings[:SHOWN])
    more = f"\n      … and {len(result.findings) - SHOWN} more" if len(result.findings) > SHOWN else ""
    notes = ", ".join(f"{name} {value}" for name, value in result.notes.items())
    return (
        f"  {result.scenario.id:14} {verdict:6} {result.seconds:5.1f} s  {result.scenario.name} ({notes}){found}{more}"
    )


def table(results: list[Result], mutate: bool) -> str:
    rows = [HEAD, *(_row(result, mutate) for result in results)]
    total = (
        "all", str(sum(r.faults for r in results)), str(sum(r.commands for r in results)),
        str(sum(r.retried for r in results)), str(sum(r.lost for r in results)), str(sum(r.doubled for r in results)),
        _seconds(max((r.recovered or 0.0 for r in results), default=0.0)), _seconds(sum(r.seconds for r in results)), "",
    )  # fmt: skip
    rows.append(total)
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _row(result: Result, mutate: bool) -> tuple[str, ...]:
    name = f"{result.scenario.id} {result.scenario.name}" + (f" [without {result.scenario.without}]" if mutate else "")
    verdict = ("seen" if not result.green else "NOT SEEN") if mutate else ("ok" if result.green else "FAILED")
    counts = (result.faults, result.commands, result.retried, result.lost, result.doubled)
    recovered = "-" if result.recovered is None else _seconds(result.recovered)
    return (name, *map(str, counts), recovered, _seconds(result.seconds), verdict)


def verdict(results: list[Result], mutate: bool, folder: Path) -> int:
    """0 when every scenario is green, or red where its protection is off."""
    wrong = [r for r in results if r.green == mutate]
    if wrong:
        print(f"{len(wrong)} of {len(results)} scenarios {'were blind' if mutate else 'failed'}; logs are in {folder}")
        return 1
    shutil.rmtree(folder)
    print(f"{len(results)} scenarios passed")
    return 0


def _seconds(value: float) -> str:
    return f"{value:.1f} s"
