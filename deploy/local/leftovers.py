"""What a supervisor that was killed has left behind."""

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

POLL = 0.05  # seconds
DRAIN = 12.0  # seconds


def end_leftovers(run: Path, data_dir: Path) -> None:
    """End what a killed supervisor of this data directory has left behind."""
    mark = f"SIDAN_DATA_DIR={data_dir}".encode()
    pids = {pid for pid in _noted(run) if _carries(pid, mark)}
    for number, patience in ((signal.SIGTERM, DRAIN), (signal.SIGKILL, 1.0)):
        for pid in pids:
            _signal(pid, number)
        deadline = time.monotonic() + patience
        while pids and time.monotonic() < deadline:
            pids = {pid for pid in pids if _carries(pid, mark)}
            time.sleep(POLL)
    for file in run.glob("*.pid"):
        file.unlink(missing_ok=True)


def _noted(run: Path) -> Iterable[int]:
    texts = (file.read_text().strip() for file in run.glob("*-*.pid"))
    return [int(text) for text in texts if text.isdigit()]


def _carries(pid: int, mark: bytes) -> bool:
    """Whether the process was started for this system: ids are used again."""
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
