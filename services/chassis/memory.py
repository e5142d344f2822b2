"""What a process keeps, and what the collector of garbage has to look at."""

import ctypes
import gc

ARENAS = -8
"""glibc's ``M_ARENA_MAX``."""


def share_one_arena() -> None:
    """Call it before there are threads: each would keep what it once needed, 14 MB where passwords are hashed."""
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(ARENAS, 1)


def keep_what_is_loaded() -> None:
    """Call it when a process is ready: modules and schemas stay as long as it runs.

    To look through them for garbage again and again takes 100 ms a time, in which nobody is answered.
    """
    gc.collect()
    gc.freeze()
