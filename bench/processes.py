"""Processes of a system under test, and what the kernel counts of them."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")


class Processes:
    """By name; stopped in reverse order of their start."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, module: str, *arguments: str, environment: Mapping[str, str]) -> None:
        profiled = ["bench.profiled"] if os.environ.get("SIDAN_BENCH_PROFILE") else []
        command = [sys.executable, "-m", *profiled, module, *arguments]
        with (self._logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | environment,
                start_new_session=True,
            )

    @property
    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self._running.items()}

    def check(self) -> None:
        """Raise when one has ended."""
        for name, process in self._running.items():
            if process.poll() is not None:
                raise RuntimeError(f"{name} ended: {(self._logs / f'{name}.log').read_text()[-2000:]}")

    def stop(self, seconds: float = 15.0) -> None:
        for process in reversed(self._running.values()):
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + seconds
        for process in self._running.values():
            try:
                process.wait(max(0.1, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def busy_seconds() -> float:
    """What all processes of the machine have used of all cores so far."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS


def memory_mb(pid: int) -> dict[str, float]:
    """``rss``, and ``pss``, which shares what processes share."""
    values = {"rss": 0.0, "pss": 0.0}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name.lower() in values:
            values[name.lower()] = int(rest.split()[0]) / 1024
    return values


def get(port: int, path: str, token: str = "", timeout: float = 10.0) -> Any:
    status, answer = request("GET", port, path, None, {"Authorization": f"Bearer {token}"} if token else {}, timeout)
    if status != 200:
        raise RuntimeError(f"GET {path}: {status} {answer[:300]!r}")
    return json.loads(answer)


def request(
    method: str, port: int, path: str, body: str | bytes | None, headers: Mapping[str, str], timeout: float = 10.0
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def await_ready(port: int, path: str, processes: Processes, seconds: float) -> None:
    until = time.monotonic() + seconds
    while True:
        processes.check()
        try:
            if request("GET", port, path, None, {}, 5.0)[0] == 200:
                return
        except OSError:
            pass
        if time.monotonic() > until:
            raise TimeoutError(f"{path} is not ready within {seconds:g} s")
        time.sleep(0.1)
