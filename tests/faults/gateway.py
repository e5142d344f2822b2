"""``python -m tests.faults.gateway``: the gateway's process, with ``FAULTS_WITHOUT`` as in ``entry.py``."""

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any

import uvicorn

from gateway import __main__ as gateway
from gateway.load import Shedding
from gateway.rpc import RpcClient
from tests.faults.patching import patch


def no_accept_guard() -> None:
    """A connection that cannot be taken ends the process. (uvloop would take care of itself.)"""
    run = uvicorn.run
    patch(uvicorn, "run", lambda app, **settings: run(app, **{**settings, "loop": "asyncio"}))
    patch(asyncio.BaseEventLoop, "call_exception_handler", lambda *_: os._exit(1))


def no_shedding() -> None:
    """Every request is taken on, however much is under way."""
    patch(Shedding, "_is_too_much", lambda *_: False)


def no_call_deadline() -> None:
    """A call waits for its answer for a minute."""
    call = RpcClient.call

    def patient(self: RpcClient, method: str, arguments: Any, trace: Any, _deadline: float = 0) -> Any:
        return call(self, method, arguments, trace, 60)

    patch(RpcClient, "call", patient)


MUTATIONS: dict[str, Callable[[], None]] = {
    "accept-guard": no_accept_guard,
    "shedding": no_shedding,
    "call-deadline": no_call_deadline,
}

if __name__ == "__main__":
    for name in os.environ.get("FAULTS_WITHOUT", "").split(","):
        if name in MUTATIONS:
            MUTATIONS[name]()
    sys.exit(gateway.main())
