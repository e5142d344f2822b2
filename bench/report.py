"""Figures, their verdicts, the table, and the files under ``results/``."""

import json
import platform
import statistics
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("nameko", "kombu", "amqp", "eventlet", "pymongo", "pydantic", "fastapi", "uvicorn")
HEADINGS = ("figure", "ours", "against", "baseline", "ratio", "target", "verdict")


@dataclass
class Figure:
    """One measured promise. ``at_least``/``at_most`` bind the ratio, or the value where there is no baseline."""

    name: str
    ours: float
    unit: str
    baseline: float | None = None
    against: str = ""
    at_least: float | None = None
    at_most: float | None = None
    rounds: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Median of the turns' ratios: what disturbs the machine for minutes disturbs neighbours alike."""
        if not self.baseline:
            return None
        if len(self.rounds) == 2:
            return statistics.median(ours / theirs for ours, theirs in zip(*self.rounds.values(), strict=True))
        return self.ours / self.baseline

    @property
    def met(self) -> bool | None:
        judged = self.ours if self.ratio is None else self.ratio
        if self.at_least is not None:
            return judged >= self.at_least
        if self.at_most is not None:
            return judged < self.at_most
        return None

    def row(self) -> tuple[str, ...]:
        verdict = {True: "met", False: "MISSED", None: ""}[self.met]
        return (
            self.name,
            f"{number(self.ours)} {self.unit}",
            self.against,
            "" if self.baseline is None else f"{number(self.baseline)} {self.unit}",
            "" if self.ratio is None else f"{self.ratio:.2f}",
            self._target(),
            verdict,
        )

    def _target(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.at_least:g}"
        return "" if self.at_most is None else f"< {self.at_most:g}"


def median_figure(
    name: str, unit: str, ours: list[float], against: str, baseline: list[float], at_least: float | None, note: str = ""
) -> Figure:
    """Of sides that ran in turn."""
    rounds = {"ours": ours, against: baseline}
    return Figure(
        name,
        statistics.median(ours),
        unit,
        statistics.median(baseline),
        against,
        at_least=at_least,
        rounds=rounds,
        note=note,
    )


def number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def table(rows: list[tuple[str, ...]], headings: tuple[str, ...] = HEADINGS) -> str:
    """Markdown that also reads well in a terminal."""
    cells = [headings, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    memory = Path("/proc/meminfo").read_text().split()[1]
    return {
        "cpu": model,
        "cores": sum(line.startswith("processor") for line in lines),
        "memory": f"{int(memory) / 1024 / 1024:.0f} GB",
        "kernel": platform.release(),
        "load before": Path("/proc/loadavg").read_text().split()[0],
    }


def versions(server_versions: dict[str, str]) -> dict[str, str]:
    return {"python": platform.python_version(), **server_versions, **{name: version(name) for name in PACKAGES}}


def revision() -> str:
    try:
        command = ["git", "rev-parse", "--short", "HEAD"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


@dataclass
class Report:
    """Everything that one run says."""

    settings: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, str]
    figures: list[Figure] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    revision: str = field(default_factory=revision)

    def table(self) -> str:
        return table([figure.row() for figure in self.figures])

    def write(self, directory: Path) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        stem = directory / f"{self.started:%Y-%m-%d}-{self.revision}"
        self.write_json(stem.with_suffix(".json"))
        stem.with_suffix(".md").write_text(self.markdown())
        return stem.with_suffix(".md")

    def write_json(self, path: Path) -> None:
        content = asdict(self) | {"started": self.started.isoformat()}
        for figure, written in zip(self.figures, content["figures"], strict=True):
            written |= {"ratio": figure.ratio, "met": figure.met}
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False, default=str) + "\n")

    def markdown(self) -> str:
        parts = [f"# Benchmarks at {self.revision}, {self.started:%Y-%m-%d %H:%M} UTC", self.table()]
        notes = [f"- **{figure.name}**: {figure.note}" for figure in self.figures if figure.note]
        notes += [f"- **{name}** failed: {reason}" for name, reason in self.failures.items()]
        parts += ["\n".join(notes)] if notes else []
        rounds = [
            (f.name, side, ", ".join(map(number, values))) for f in self.figures for side, values in f.rounds.items()
        ]
        if rounds:
            parts += ["## Each round", table(rounds, ("figure", "side", "rounds"))]
        for title, rows in self.details.items():
            parts += [f"## {title}", detail(rows)]
        for title, told in (("Machine", self.machine), ("Versions", self.versions), ("Settings", self.settings)):
            parts += [f"## {title}", ", ".join(f"{name} {value}" for name, value in told.items())]
        return "\n\n".join(parts) + "\n"


def detail(rows: Any) -> str:
    """A list of uniform records as a table, anything else as it is."""
    if isinstance(rows, list) and rows and isinstance(rows[0], dict):
        headings = tuple(rows[0])
        return table([tuple(shown(row.get(name, "")) for name in headings) for row in rows], headings)
    return "```\n" + json.dumps(rows, indent=1, ensure_ascii=False, default=str) + "\n```"


def shown(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)
