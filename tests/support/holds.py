"""Crash points at which a test holds a sample process, instead of ending it, to do something meanwhile."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import eventlet
from eventlet.patcher import original

from services.chassis import crashpoints

POLL = 0.02  # seconds
HOLDS = "SAMPLE_HOLDS"
WHOLE = "whole process"


def install() -> None:
    """In a process; before what asks for crash points is imported."""
    folder, kill = Path(os.environ[HOLDS]), crashpoints.crashpoint

    def crashpoint(name: str, of: str = "") -> None:
        kill(name, of)
        hold = folder / name
        if not hold.exists():
            return
        sleep = original("time").sleep if hold.read_text() == WHOLE else eventlet.sleep
        with reached(hold).open("a") as arrivals:
            arrivals.write(".")
        while hold.exists():
            sleep(POLL)

    crashpoints.crashpoint = crashpoint


@contextmanager
def held(folder: Path, point: str, whole: bool) -> Iterator[Path]:
    """In a test: whoever comes to ``point`` waits there until this ends."""
    hold = folder / point
    reached(hold).unlink(missing_ok=True)
    hold.write_text(WHOLE if whole else "greenthread")
    try:
        yield hold
    finally:
        hold.unlink()


def reached(hold: Path) -> Path:
    return hold.with_suffix(".reached")


def wait_reached(hold: Path, times: int = 1, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not reached(hold).exists() or reached(hold).stat().st_size < times:
        assert time.monotonic() < until, f"{times} did not come to {hold.name}"
        time.sleep(POLL)
