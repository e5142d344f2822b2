"""``make up`` and ``make down``: the supervisor in the background."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from deploy.local.environment import ROOT, Settings, SettingsError
from deploy.local.process import rotate

POLL = 0.1  # seconds
STOP_TIMEOUT = 20.0  # seconds


def main(verb: str) -> int:
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    return {"up": up, "down": down}[verb](settings)


def up(settings: Settings) -> int:
    """Start, pass on what the supervisor says, return when the system is ready."""
    log = settings.logs / "supervisor.log"
    rotate(log)
    with log.open("ab") as output, log.open() as shown:
        shown.seek(0, os.SEEK_END)
        child = _spawn(output.fileno())
        ready = _is_ready(settings.run, child)
        while child.poll() is None and not ready:
            time.sleep(POLL)
            ready = _is_ready(settings.run, child)
            print(shown.read(), end="", flush=True)
        print(shown.read(), end="", flush=True)
    return 0 if ready else 1


def down(settings: Settings) -> int:
    """Ask the supervisor to stop everything and wait until it has."""
    pid = running(settings.run)
    if pid is None:
        print(f"Sidan does not run in {settings.data_dir}.")
        return 0
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_TIMEOUT
    while running(settings.run) == pid:
        if time.monotonic() > deadline:
            print(f"Sidan has not stopped within {STOP_TIMEOUT:g} s.", file=sys.stderr)
            return 1
        time.sleep(POLL)
    print("Sidan has stopped.")
    return 0


def running(run: Path) -> int | None:
    """The process id of the supervisor that holds this directory."""
    file = run / "supervisor.pid"
    if not file.exists():
        return None
    with (run / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read_text())
    return None


def _spawn(output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.local.supervisor"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def _is_ready(run: Path, child: subprocess.Popen[bytes]) -> bool:
    """Whether it is this supervisor, and not one that runs already, that is ready."""
    return (run / "ready").exists() and running(run) == child.pid


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
