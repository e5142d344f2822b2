"""Keeps processes up until a signal comes, and stops them in order."""

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path

from deploy.local.kept import Kept, Stage
from deploy.local.process import Process, Startable

STOP_BY = {
    Stage.GATEWAY: 4.5,
    Stage.SERVICES: 12.5,
    Stage.BROKER: 13.8,
    Stage.PORT_MAPPER: 14.0,
    Stage.DATABASE: 14.7,
}
"""Seconds after the signal when what is left of a stage is killed; services drain for 8."""
SAME_SIGNAL = 1.0  # seconds in which make passes on what a whole process group got already
HASTE = 0.5  # seconds that a stage is given after a second signal
RETRY = 2.0  # seconds
REMINDER = 30.0  # seconds
POLL = 0.05  # seconds


class Stopping(Exception):
    """A signal asked for the end."""


class Keeper:
    """Belongs to the main thread: signals arrive there, and children end with it."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self._kept: list[Kept] = []
        self._asked: float | None = None
        self._hastened = False
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: self._note_signal())

    def keep(self, name: str, stage: Stage, process: Startable) -> None:
        """Start the process now and whenever it ends."""
        kept = Kept(name, stage, process, self._run, say)
        self._kept.append(kept)
        kept.start()

    def until(self, holds: Callable[[], bool], what: str = "", every: float = POLL) -> None:
        """Keep everything up until this holds; raise ``Stopping`` after a signal."""
        reminder = time.monotonic() + REMINDER
        while not holds():
            self._tick()
            time.sleep(every)
            if what and time.monotonic() > reminder:
                say(f"still waiting for {what}")
                reminder += REMINDER

    def pause(self, seconds: float) -> None:
        """Keep everything up for a while."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end)

    def complete(self, name: str, process: Process) -> None:
        """Run a process to its good end, again after a bad one."""
        while process.exit_code != 0:
            process.start()
            try:
                self.until(lambda: not process.alive())
            finally:
                process.stop(HASTE)
            if process.exit_code:
                say(f"{name} failed, trying again in {RETRY:g} s")
                self.pause(RETRY)

    def stop(self) -> None:
        """End everything, stage by stage, within 15 s of the signal."""
        began = self._asked or time.monotonic()
        for stage, members in groupby(sorted(self._kept, key=_stage), key=_stage):
            self._stop_stage(list(members), began + STOP_BY[stage])
        self._kept.clear()

    def _stop_stage(self, members: Sequence[Kept], deadline: float) -> None:
        began = time.monotonic()
        for kept in members:
            kept.process.terminate()
        while any(kept.process.alive() for kept in members):
            now = time.monotonic()
            if now > deadline or (self._hastened and now - began > HASTE):
                break
            time.sleep(POLL)
        for kept in members:
            kept.end()

    def _tick(self) -> None:
        if self._asked is not None:
            raise Stopping
        for kept in self._kept:
            kept.tick()

    def _note_signal(self) -> None:
        now = time.monotonic()
        if self._asked is None:
            self._asked = now
        elif now - self._asked > SAME_SIGNAL:
            self._hastened = True


def say(text: str) -> None:
    """Print, even where nobody reads any more."""
    with suppress(OSError):
        print(text, flush=True)


def _stage(kept: Kept) -> Stage:
    return kept.stage
