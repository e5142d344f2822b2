"""A process that is started again when it ends."""

import time
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path

from deploy.local.process import Process, Startable

FIRST_DELAY = 0.2  # seconds
LONGEST_DELAY = 10.0  # seconds
STEADY = 30.0  # seconds up after which an end counts as the first

WRONG_SETTING = 2  # exit code of our processes

Say = Callable[[str], None]


class WrongSetting(Exception):
    """What a process says that no restart can mend."""


class Stage(IntEnum):
    """The order of a stop."""

    GATEWAY = 1
    SERVICES = 2
    BROKER = 3
    PORT_MAPPER = 4
    DATABASE = 5


class Kept:
    """Restarts one process with growing delay and keeps its process id in a file."""

    def __init__(self, name: str, stage: Stage, process: Startable, run: Path, say: Say) -> None:
        self.name, self.stage, self.process = name, stage, process
        self._pid_file = run / f"{name}.pid"
        self._say = say
        self._delay = FIRST_DELAY
        self._started = 0.0
        self._due: float | None = None
        """When to start again; None while it runs."""

    def start(self) -> None:
        """Spawn and note the process id."""
        self.process.start()
        self._note()

    def tick(self) -> None:
        """Notice an end, and start again when the delay is over. Raise ``WrongSetting``."""
        if self.process.alive():
            if self._due is not None:  # the broker starts its epmd if it has to
                self._note()
        elif self._due is None:
            self._plan_restart()
        elif time.monotonic() >= self._due:
            self.start()

    def end(self) -> None:
        """Kill what is left and forget the process id."""
        if self.process.alive():
            self._say(f"{self.name} did not end in time and is killed")
        self.process.kill()
        self._pid_file.unlink(missing_ok=True)

    def _note(self) -> None:
        self._started, self._due = time.monotonic(), None
        self._pid_file.write_text(f"{self.process.pid}\n")

    def _plan_restart(self) -> None:
        now = time.monotonic()
        if self.process.exit_code == WRONG_SETTING and isinstance(self.process, Process):
            raise WrongSetting(self.process.last_words() or f"{self.name} ended with {self._reason()}")
        if now - self._started > STEADY:
            self._delay = FIRST_DELAY
        self._due = now + self._delay
        self._pid_file.unlink(missing_ok=True)
        self._say(f"{self.name} ended ({self._reason()}), starting again in {self._delay:g} s")
        self._delay = min(self._delay * 2, LONGEST_DELAY)

    def _reason(self) -> str:
        code = self.process.exit_code or 0
        return f"signal {-code}" if code < 0 else f"exit code {code}"
