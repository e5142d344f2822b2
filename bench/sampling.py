"""Where a process of a benchmark spends its time: ``SIDAN_BENCH_PROFILE=<directory>`` samples every one of them."""

import atexit
import os
import signal
from collections import Counter
from pathlib import Path
from types import FrameType

INTERVAL = 0.002  # seconds of CPU
DEPTH = 40


def start(name: str) -> None:
    directory = os.environ.get("SIDAN_BENCH_PROFILE")
    if not directory:
        return
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()

    def sample(_number: int, frame: FrameType | None) -> None:
        seen: set[str] = set()
        while frame is not None and len(seen) < DEPTH:
            code = frame.f_code
            place = f"{'/'.join(code.co_filename.split('/')[-2:])}:{code.co_qualname}"
            if not seen:
                own[f"{place}:{frame.f_lineno}"] += 1
            seen.add(place)
            frame = frame.f_back
        whole.update(seen)

    def write(*_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        total = sum(own.values()) or 1
        lines = [f"{name}: {total} samples of {INTERVAL} s"]
        for title, counted in (("own", own), ("with what it calls", whole)):
            lines += ["", title, *(f"{100 * n / total:5.1f} %  {place}" for place, n in counted.most_common(60))]
        (Path(directory) / f"{name}-{os.getpid()}.txt").write_text("\n".join(lines) + "\n")

    def end(*_: object) -> None:
        write()
        os._exit(0)

    signal.signal(signal.SIGPROF, sample)
    signal.signal(signal.SIGTERM, end)
    signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    atexit.register(write)
