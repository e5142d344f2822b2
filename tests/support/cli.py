"""The operator's command line in the test's own process: most of a short command is the start of its own."""

import io
import os
import subprocess
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from deploy.cli import main
from deploy.operate.system import System


def called(
    arguments: tuple[str, ...], environment: Mapping[str, str], system: System | None = None
) -> subprocess.CompletedProcess[str]:
    """What it has said, and the exit code; an exception that it does not handle fails the test."""
    said, complained = io.StringIO(), io.StringIO()
    with patch.dict(os.environ, environment, clear=True), redirect_stdout(said), redirect_stderr(complained):
        try:
            code = main(list(arguments), system)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(arguments, code, said.getvalue(), complained.getvalue())
