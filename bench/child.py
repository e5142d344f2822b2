"""A process of a benchmark: it says when it is ready, starts when it is told, and answers in JSON."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from bench import sampling

READY_SECONDS = 60.0


class ChildFailed(Exception):
    """First line what happened, for the results; below where to look, and the end of what the process wrote."""


class Child:
    """The parent's end. Messages are lines of JSON; standard error goes to a file."""

    def __init__(self, module: str, arguments: dict[str, Any], environment: dict[str, str], log: Path) -> None:
        self.module, self._log = module, log
        self._command = [sys.executable, "-m", module, json.dumps(arguments)]
        self._environment = os.environ | environment
        self._lines: Queue[str] = Queue()
        self._process: subprocess.Popen[str] | None = None

    @property
    def pid(self) -> int:
        return self._running.pid

    @property
    def _running(self) -> "subprocess.Popen[str]":
        assert self._process is not None
        return self._process

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self._environment,
                text=True,
                start_new_session=True,
            )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._running.stdout is not None
        for line in self._running.stdout:
            self._lines.put(line)
        self._lines.put("")

    def answer(self, seconds: float) -> Any:
        """The next message. Raise ``ChildFailed`` when the process ends or stays silent."""
        try:
            line = self._lines.get(timeout=seconds)
        except Empty:
            raise ChildFailed(f"{self.module} is silent\nsee {self._log}") from None
        if not line:
            raise ChildFailed(f"{self.module} ended\nsee {self._log}\n{self._log.read_text()[-2000:]}")
        return json.loads(line)

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        self.answer(seconds)

    def go(self) -> None:
        self.say("go")

    def say(self, line: str) -> None:
        assert self._running.stdin is not None
        self._running.stdin.write(line + "\n")
        self._running.stdin.flush()

    def stop(self, seconds: float = 10.0) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def children(*wanted: Child) -> Iterator[None]:
    """Each is ready before the next one starts, so name who listens first."""
    try:
        for child in wanted:
            child.start()
            child.wait_ready()
        yield
    finally:
        for child in wanted:
            child.stop()


class Parent:
    """The child's end. What others print goes to standard error, so that it spoils no message."""

    def __init__(self) -> None:
        self.arguments: dict[str, Any] = json.loads(sys.argv[1])
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        sampling.start(f"{Path(sys.argv[0]).parent.name}-{self.arguments.get('role', '')}")

    def tell(self, message: Any) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def await_go(self, wait: Callable[[Callable[[], str]], Any] = lambda read: read()) -> None:
        """Say that all is ready. ``wait`` runs a blocking read beside an event loop."""
        self.tell("ready")
        wait(sys.stdin.readline)
