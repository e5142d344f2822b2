"""How often one may ask: by address, by account, by account and route, and with wrong passwords.

Our own few lines: the storage in memory of the library ``limits`` starts a thread every 10 ms that looks at
every key, and never forgets the keys of a moving window. Each gateway counts for itself, so a limit holds
per gateway.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from gateway.answers import refuse
from gateway.settings import Settings
from services.chassis import telemetry
from services.contracts.errors import TooManyRequests

REMEMBERED = 20_000
"""Keys of one meter, about 5 MB; those that were quiet longest are forgotten first."""
SCARCE = {
    ("POST", "/v1/orders"), ("POST", "/v1/volunteers"), ("POST", "/v1/teams"), ("POST", "/v1/imports"),
    ("POST", "/v1/orders/{order_id}/photos"),
}  # fmt: skip
"""Routes that make something: people take them seldom. The second tells which id numbers are registered, the last
two are work."""
OPERATION = ("/healthz", "/readyz", "/metrics")
"""Never refused: whoever watches must see, above all when there is much to do."""


class Meter:
    """At most ``burst`` at once and ``rate`` a second over time for each key (generic cell rate algorithm).

    A rate of 0 is no limit. ``clock`` gives seconds.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = 1 / rate if rate else 0.0
        self._slack = max(0.0, burst - 1) * self._interval
        self._clock = clock
        self._due: OrderedDict[str, float] = OrderedDict()

    @classmethod
    def per_second(cls, rate: float) -> "Meter":
        return cls(rate, 2 * rate)

    @classmethod
    def per_minute(cls, rate: float) -> "Meter":
        return cls(rate / 60, rate)

    def take(self, key: str) -> float:
        """Count one; if it is one too many, the seconds until the next may come, and nothing is counted."""
        if not self._interval:
            return 0.0
        now = self._clock()
        due = max(self._due.get(key, now), now)
        if due - now > self._slack:
            return due - now - self._slack
        self._due[key] = due + self._interval
        self._due.move_to_end(key)
        if len(self._due) > REMEMBERED:
            self._due.popitem(last=False)
        return 0.0

    def give_back(self, key: str) -> None:
        if key in self._due:
            self._due[key] -= self._interval

    def __len__(self) -> int:
        return len(self._due)


class Rates:
    """The meters of one gateway; each method raises ``TooManyRequests``."""

    def __init__(self, limits: Settings) -> None:
        self._addresses = Meter.per_second(limits.rate_address)
        self._accounts = Meter.per_second(limits.rate_account)
        self._scarce = Meter.per_minute(limits.rate_scarce)
        self._names = Meter.per_minute(limits.guesses_name)
        self._guessers = Meter.per_minute(limits.guesses_address)

    def from_address(self, address: str) -> None:
        _take(self._addresses, address, "address")

    def by_account(self, account: str, method: str, route: str) -> None:
        _take(self._accounts, account, "account")
        if (method, route) in SCARCE:
            _take(self._scarce, f"{account} {method} {route}", "scarce")

    def guess(self, name: str, address: str) -> None:
        """Before a password is looked at, whether there is such an account or not; see ``take_back``."""
        _take(self._guessers, address, "guesses-address")
        _take(self._names, name, "guesses-name")

    def take_back(self, name: str, address: str) -> None:
        """It was none: only wrong passwords count."""
        self._guessers.give_back(address)
        self._names.give_back(name)


def _take(meter: Meter, key: str, reason: str) -> None:
    if wait := meter.take(key):
        telemetry.REFUSED.labels(reason).inc()
        seconds = math.ceil(wait)
        raise TooManyRequests(f"请求过于频繁，请在 {seconds} 秒后再试", retry_after=seconds)


def address_of(scope: Any) -> str:
    """Of the client. Of IPv6 the network, since one household has 2⁶⁴ addresses."""
    host: str = (scope.get("client") or ("", 0))[0]
    if ":" not in host:
        return host
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    assert isinstance(address, IPv6Address)
    return str(address.ipv4_mapped or ip_network((address, 64), strict=False))


class AddressLimit:
    """ASGI middleware: ``429`` to an address that asks too often, before anything of its request is read."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["path"] not in OPERATION:
            try:
                scope["app"].state.rates.from_address(address_of(scope))
            except TooManyRequests as error:
                await refuse(error, scope, receive, send)
                return
        await self._app(scope, receive, send)
