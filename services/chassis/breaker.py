"""A circuit breaker: what is away is not asked again by everybody, each for as long as its patience lasts.

Our own few lines, since pybreaker runs every call under one lock of threads, circuitbreaker lets all callers
in after a fixed pause, and aiobreaker and purgatory are made for one kind of concurrency each. This one is
plain state without waiting, so it is right in greenthreads and in asyncio alike.
"""

import random
import time
from collections.abc import Callable

from services.chassis import telemetry

FAILURES = 5
"""In a row, and within the window, to open."""
WINDOW = 30.0  # seconds
FIRST_PAUSE = 0.5
"""Seconds until the first trial; twice as long after each that fails."""
LONGEST_PAUSE = 2.0  # seconds
TRIAL = 5.0
"""Seconds for the outcome of a trial; one that is never told does not keep the breaker open for ever."""

log = telemetry.logger("breaker")


class Breaker:
    """Closed: all may call. Open: nobody. Half-open, after a pause: one may try.

    Ask ``allow`` before a call and tell its outcome; ``clock`` gives seconds.
    """

    def __init__(self, dependency: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.dependency, self._clock = dependency, clock
        self._failures: list[float] = []
        self._pause = FIRST_PAUSE
        self._next_trial = 0.0
        self._is_open = self._trying = False
        telemetry.BREAKER.labels(dependency).set(0)

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open``."""
        if not self._is_open:
            return "closed"
        return "half-open" if self._trying else "open"

    def allow(self) -> bool:
        """Whether to call; if not, the caller's answer is that the dependency is away."""
        if not self._is_open:
            return True
        if self._clock() < self._next_trial:
            return False
        self._trying = True
        self._next_trial = self._clock() + TRIAL
        return True

    def succeeded(self) -> None:
        self._failures.clear()
        if self._is_open:
            self._is_open = self._trying = False
            self._pause = FIRST_PAUSE
            telemetry.BREAKER.labels(self.dependency).set(0)
            log.warning("breaker closed", dependency=self.dependency)

    def failed(self) -> None:
        """The call did not reach the dependency, or got no answer in time."""
        if self._is_open:
            if self._trying:
                self._trying = False
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
                self._plan_trial()
            return  # else it began before the breaker opened
        now = self._clock()
        self._failures = [at for at in self._failures if at > now - WINDOW] + [now]
        if len(self._failures) >= FAILURES:
            self._is_open = True
            self._plan_trial()
            telemetry.BREAKER.labels(self.dependency).set(1)
            log.warning("breaker open", dependency=self.dependency)

    def _plan_trial(self) -> None:
        """Up to a quarter later, so that replicas do not try at the same moment."""
        self._next_trial = self._clock() + self._pause * random.uniform(1, 1.25)
