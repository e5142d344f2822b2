"""``python -m tests.support.operate dead list``: the operator's command line on the sample services."""

import json
import os
import subprocess
import sys
from typing import Any

from deploy.cli import main
from deploy.operate.system import System
from tests.support.cli import called
from tests.support.processes import KEY, ROOT, World
from tests.support.sample import AlphaService, BetaService
from tests.support.topology import PUBLISHERS


def samples() -> System:
    """Of one command each: it keeps its connection to the database."""
    return System({"alpha": AlphaService, "beta": BetaService}, PUBLISHERS)


class Command:
    """Called, or started as a process of its own, as an operator does it."""

    def __init__(self, world: World) -> None:
        self.environment = {
            **os.environ, "AMQP_URI": world.amqp_uri, "MONGO_URI": world.mongo_uri,
            "SIDAN_DATABASE_PREFIX": world.prefix, "SIDAN_RETRY_DELAYS": "[0.2, 0.5, 1]",
            "SIDAN_DATA_DIR": str(world.folder), "SIDAN_DATA_KEY": KEY,
        }  # fmt: skip

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", "tests.support.operate", *arguments],
            cwd=ROOT, env=self.environment | environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        if not environment:
            return called(arguments, self.environment, samples())
        with self.start(*arguments, **environment) as process:
            out, err = process.communicate(timeout=60)
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    def json(self, *arguments: str) -> Any:
        done = self(*arguments, "--json")
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)


def runs(process: subprocess.Popen[str]) -> bool:
    """Looked at ten times a second, which paces the traffic."""
    try:
        process.wait(0.1)
        return False
    except subprocess.TimeoutExpired:
        return True


if __name__ == "__main__":
    sys.exit(main(system=samples()))
