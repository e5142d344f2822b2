"""What the collector of garbage has to look at."""

import gc


def keep_what_is_loaded() -> None:
    """Call it when a process is ready: modules and schemas stay as long as it runs.

    To look through them for garbage again and again takes 100 ms a time, in which nobody is answered.
    """
    gc.collect()
    gc.freeze()
