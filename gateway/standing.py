"""What is true of an account now, whatever its token says: the token tells only whose it is."""

import time
from collections import OrderedDict
from dataclasses import dataclass

from gateway.identity import Claimed
from gateway.rpc import RpcClient
from gateway.settings import settings
from services.chassis.telemetry import Trace
from services.contracts.actor import Actor
from services.contracts.errors import ServiceError, Unauthenticated

REMEMBERED = 10_000
ANSWER = 0.4
"""Seconds; little, since the request itself has to be answered within 5 s too."""
AGAIN = 5.0
"""Seconds until the registry is asked again after it gave no answer."""


@dataclass(slots=True, frozen=True)
class Known:
    actor: Actor
    until: float


class Standings:
    """Asks the registry once in ``standing_seconds`` for each token in use.

    While it does not answer, what was known last goes on to hold, then what the token says: the whole
    system would stand still otherwise.
    """

    def __init__(self, rpc: RpcClient) -> None:
        self._rpc = rpc
        self._known: OrderedDict[str, Known] = OrderedDict()

    async def of(self, claimed: Claimed, trace: Trace) -> Actor:
        """Raise ``Unauthenticated`` for an account that is gone or suspended, or has another password since."""
        key = f"{claimed.stamp} {claimed.actor.id}"
        known = self._known.get(key)
        if known is None or known.until < time.monotonic():
            known = await self._ask(claimed, known, trace)
            self._known[key] = known
            self._known.move_to_end(key)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return known.actor

    async def _ask(self, claimed: Claimed, known: Known | None, trace: Trace) -> Known:
        arguments = {"actor": claimed.actor.model_dump(mode="json"), "stamp": claimed.stamp}
        try:
            found = await self._rpc.call("registry.standing", arguments, trace, ANSWER)
        except ServiceError as error:
            if error.problem()["status"] == Unauthenticated.status:
                raise
            return Known(known.actor if known else claimed.actor, time.monotonic() + AGAIN)
        return Known(Actor(**found), time.monotonic() + settings().standing_seconds)
