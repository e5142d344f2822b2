"""One child process: a session of its own, a bounded log file, an end with its starter."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

LOG_LIMIT = 20 * 1024 * 1024  # bytes, checked at start
KILL_WAIT = 5.0  # seconds


class Startable(Protocol):
    """What a supervisor needs to know of a process or server."""

    @property
    def pid(self) -> int | None: ...
    @property
    def exit_code(self) -> int | None: ...
    def start(self) -> None: ...
    def alive(self) -> bool: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Process:
    """A restartable child; start it from the main thread, it ends with the thread that did."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path | None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.command = [*_dying_with_parent(), *command]
        self.log = log
        self.env = dict(os.environ if env is None else env)
        self.cwd = cwd
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the running child."""
        return self._child.pid if self._child and self.alive() else None

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal, None while it runs or was never started."""
        return self._child.poll() if self._child else None

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log and self.log.exists() else []
        return lines[-1] if lines else ""

    def start(self) -> None:
        """Spawn and return at once; without a log the child writes where its starter does."""
        if self.log:
            rotate(self.log)
        with self.log.open("ab") if self.log else nullcontext() as output:
            self._child = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.env,
                cwd=self.cwd,
                start_new_session=True,
            )

    def alive(self) -> bool:
        """Whether the child was started and has not ended."""
        return self._child is not None and self._child.poll() is None

    def terminate(self) -> None:
        """Ask the child to end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the child without asking and reap it."""
        self._signal(signal.SIGKILL)
        self.wait(KILL_WAIT)

    def wait(self, timeout: float) -> bool:
        """Whether the child has ended within ``timeout`` seconds."""
        try:
            if self._child:
                self._child.wait(max(timeout, 0))
        except subprocess.TimeoutExpired:
            return False
        return True

    def stop(self, timeout: float) -> None:
        """Ask, wait ``timeout`` seconds, then kill."""
        self.terminate()
        if not self.wait(timeout):
            self.kill()

    def _signal(self, number: int) -> None:
        if self._child:
            self._child.send_signal(number)


def rotate(log: Path) -> None:
    """Make the directory of ``log`` and put a grown log aside, replacing the one before."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_name(f"{log.name}.1"))


def _dying_with_parent() -> list[str]:
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
