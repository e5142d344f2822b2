"""How soon the whole system is ready, and what memory it holds."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.processes import memory_mb, request
from bench.report import Figure
from bench.rounds import Settings
from bench.servers import Servers
from bench.sides import SERVICES
from deploy.local.servers import free_port

SUPERVISOR = "deploy.local.supervisor"
MAX_READY = 30.0  # seconds
MAX_SERVICE = 110.0  # MB
MAX_ALL = 1600.0  # MB
REST = 5.0
"""Seconds after readiness: what start-up needed is given back."""

details: dict[str, Any] = {}


def measure(_servers: Servers, _settings: Settings) -> list[Figure]:
    """As ``make run`` on an empty data directory, reference city included."""
    with tempfile.TemporaryDirectory(prefix="sidan-bench-run-") as directory:
        port = free_port()
        environment = os.environ | {"SIDAN_HTTP_PORT": str(port), "SIDAN_DATA_DIR": directory}
        for name in ("AMQP_URI", "MONGO_URI"):
            environment.pop(name, None)
        with (Path(directory) / "supervisor.out").open("wb") as log:
            started = time.monotonic()
            supervisor = subprocess.Popen(
                [sys.executable, "-m", SUPERVISOR], stdout=log, stderr=log, env=environment, start_new_session=True
            )
        try:
            ready = await_ready(port, supervisor, started)
            time.sleep(REST)
            memory = {name: memory_mb(pid) for name, pid in pids(Path(directory) / "run").items()}
        finally:
            supervisor.send_signal(signal.SIGTERM)
            supervisor.wait(60)
    details["Memory (MB)"] = [{"process": name, **parts} for name, parts in sorted(memory.items())]
    services = {
        name: parts["rss"] for name, parts in memory.items() if name.rpartition("-")[0] in (*SERVICES, "gateway")
    }
    largest = max(services, key=services.__getitem__)
    return [
        Figure(
            "ready after", ready, "s", at_most=MAX_READY, note="make run, installed, empty data directory, city loaded"
        ),
        Figure(
            "largest service", services[largest], "MB", at_most=MAX_SERVICE, note=f"resident: {json.dumps(services)}"
        ),
        Figure(
            "all processes", sum(parts["pss"] for parts in memory.values()), "MB", at_most=MAX_ALL, note="proportional"
        ),
    ]


def await_ready(port: int, supervisor: "subprocess.Popen[bytes]", started: float) -> float:
    while supervisor.poll() is None and time.monotonic() - started < 120:
        try:
            if request("GET", port, "/readyz", None, {}, 3.0)[0] == 200:
                return time.monotonic() - started
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError("the system did not get ready")


def pids(run: Path) -> dict[str, int]:
    return {file.stem: int(file.read_text()) for file in run.glob("*.pid")}
