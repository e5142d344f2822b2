"""Places where a test may kill the process. Without ``SIDAN_CRASH_AT`` they do nothing."""

import os
import signal

_where, _, _hit = os.environ.get("SIDAN_CRASH_AT", "").partition(":")
_name, _, _of = _where.partition("@")
_left = int(_hit or 1)


def crashpoint(name: str, of: str = "") -> None:
    """``SIDAN_CRASH_AT=after_commit:3`` ends the process by SIGKILL at the third hit.

    ``in_transaction@orders:3`` counts the hits of ``orders`` only.
    """
    global _left
    if name != _name or _of not in ("", of):
        return
    _left -= 1
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
