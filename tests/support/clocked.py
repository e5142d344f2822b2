"""``python -m tests.support.clocked <service>``: a service whose clock is ``TEST_CLOCK_OFFSET`` seconds ahead."""

import os
import runpy
from datetime import timedelta

from services.chassis import clock

real, offset = clock.now, timedelta(seconds=float(os.environ["TEST_CLOCK_OFFSET"]))
clock.now = lambda: real() + offset

if __name__ == "__main__":
    runpy.run_module("deploy.service", run_name="__main__", alter_sys=True)
