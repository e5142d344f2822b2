"""Places where a test may kill the process. Without ``SIDAN_CRASH_AT`` they do nothing."""

import os
import signal

_name, _, _hit = os.environ.get("SIDAN_CRASH_AT", "").partition(":")
_left = int(_hit or 1)


def crashpoint(name: str) -> None:
    """``SIDAN_CRASH_AT=after_commit:3`` ends the process by SIGKILL at the third hit."""
    global _left
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
