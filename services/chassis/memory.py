"""What a process keeps, and what the collector of garbage has to look at."""

import ctypes
import gc

ARENAS, MAPPED_FROM = -8, -3
"""glibc's ``M_ARENA_MAX`` and ``M_MMAP_THRESHOLD``."""
LARGE = 256 * 1024  # bytes
NEW_OBJECTS = 10_000
"""More of them than were freed make the collector look for cycles."""


def give_back_what_is_freed() -> None:
    """Call it before there are threads: each would keep what it once needed.

    Large blocks, 16 MB for each hash of a password, are mapped and go back one by one. Left to itself glibc
    raises its limit to the largest block that was ever freed, and one small block above a hole keeps all of it.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(ARENAS, 1)
        mallopt(MAPPED_FROM, LARGE)


def keep_what_is_loaded() -> None:
    """Call it when a process is ready: modules and schemas stay as long as it runs.

    To look through them for garbage again and again takes 100 ms a time, in which nobody is answered. Nor is a
    command that loads the volunteers of a place a reason to look: what it has made is freed when it ends.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(NEW_OBJECTS)
