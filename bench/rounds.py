"""Sides that take turns, and the check that nothing was lost or doubled."""

import statistics
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """How long a run may take."""

    seconds: float = 60.0
    rounds: int = 3
    quick: bool = False

    def of(self, full: int, quick: int) -> int:
        return quick if self.quick else full


class WrongResult(Exception):
    """A side lost or doubled something: its figure is worth nothing."""


def interleave(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """A B C, A B C, …: what disturbs the machine disturbs all sides."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, run in sides.items():
            values[name].append(run())
            progress(f"  {name}: {values[name][-1]:,.1f}")
    return values


def exactly_once(sent: Sequence[str], received: Sequence[str]) -> None:
    """By id: one lost and one doubled look right in a sum."""
    counted = Counter(received)
    lost = set(sent) - counted.keys()
    doubled = [id for id, times in counted.items() if times > 1]
    strange = counted.keys() - set(sent)
    if lost or doubled or strange:
        raise WrongResult(f"{len(lost)} lost, {len(doubled)} doubled, {len(strange)} never sent")


def quantile(values: Sequence[float], share: float) -> float:
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
