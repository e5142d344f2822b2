"""Processes that start fast: forked off one that has loaded the libraries, and none of our code.

Most of the start of a service is the import of what it stands on. A forked process reads its environment and imports
our modules as any other does.
"""

import atexit
import importlib
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

LIBRARIES = (
    "nameko.containers", "nameko.rpc", "kombu", "amqp", "pymongo", "pydantic", "pydantic_settings", "structlog",
    "prometheus_client", "orjson", "cryptography.hazmat.primitives.ciphers.aead", "argon2", "holidays",
    "dateutil.rrule", "ulid", "zoneinfo",
)  # fmt: skip
ROOT = Path(__file__).parents[2]
POLL = 0.02  # seconds


class Spawner:
    """The process that the others are forked off; it ends with this one, and they with it."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.support.spawner"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "EVENTLET_NO_GREENDNS": "yes"},
        )  # fmt: skip
        atexit.register(self.close)

    def ask(self, **request: Any) -> Any:
        assert self._server.stdin is not None and self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def close(self) -> None:
        self._server.communicate()


@cache
def spawner() -> Spawner:
    return Spawner()


class Spawned:
    """``python -m module arguments`` with its output in ``log``; what ``subprocess.Popen`` tells of a process."""

    def __init__(self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.returncode: int | None = None
        log.touch()
        self.pid: int = spawner().ask(
            module=module, arguments=list(arguments), environment=dict(environment), log=str(log)
        )

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = spawner().ask(poll=self.pid)
        return self.returncode

    def wait(self, timeout: float) -> int:
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(POLL)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def serve() -> dict[str, Any] | None:
    """Answer until nobody asks any more; in a forked process, return what it is to become."""
    children: set[int] = set()
    for line in sys.stdin:
        request = json.loads(line)
        if pid := request.get("poll"):
            ended, status = os.waitpid(pid, os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if ended else None
            children -= {ended}
        else:
            answer = os.fork()
            if answer == 0:
                return dict(request)
            children.add(answer)
        print(json.dumps(answer), flush=True)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    return None


def become(request: Mapping[str, Any]) -> None:
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(request["environment"])
    random.seed()
    sys.argv = [request["module"], *request["arguments"]]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    import eventlet

    eventlet.monkey_patch()
    for library in LIBRARIES:
        importlib.import_module(library)
    if wanted := serve():
        become(wanted)
