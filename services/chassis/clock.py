"""The time, as the database's server has it, to the millisecond that it keeps.

All processes judge deadlines by one clock, so that a replica whose own is wrong moves nothing early or late.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

TOLERATED = timedelta(milliseconds=250)
"""Clocks that are synchronised differ by less; then the own one is kept, which goes more evenly."""

_offset = timedelta()


def now() -> datetime:
    own = datetime.now(UTC) + _offset
    return own.replace(microsecond=own.microsecond // 1000 * 1000)


def follow(ask_server: Callable[[], datetime]) -> timedelta:
    """Set the time by the server's, which is asked once; return how far the own clock is off."""
    global _offset
    asked, began = datetime.now(UTC), time.monotonic()
    server = ask_server()
    half = timedelta(seconds=(time.monotonic() - began) / 2)
    off = server - asked - half
    _offset = off if abs(off) > TOLERATED + half else timedelta()
    return off
