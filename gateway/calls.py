"""One HTTP request on its way to a service."""

import hashlib
import os
from typing import Any

from fastapi import Depends, Request, Response
from fastapi.security import OAuth2PasswordBearer
from pydantic import BaseModel
from ulid import ULID

from gateway.answers import json_response
from gateway.identity import Tokens, bearer
from gateway.rpc import RpcClient
from services.chassis.telemetry import Trace, enter
from services.contracts.actor import Actor
from services.contracts.errors import invalid

IDEMPOTENCY_KEY = "idempotency-key"
MAX_KEY = 255  # characters
MAX_TRACE = 64  # characters

scheme = OAuth2PasswordBearer("/oauth/token", auto_error=False)


def trace_of(request: Request) -> Trace:
    """From the caller if it looks right, else new (W3C Trace Context)."""
    given = request.headers.get("traceparent", "")
    valid = len(given) == 55 and given.count("-") == 3
    traceparent = given if valid else f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"
    correlation = request.headers.get("x-correlation-id", "")
    usable = 0 < len(correlation) <= MAX_TRACE and correlation.isascii() and correlation.isprintable()
    trace = Trace(correlation if usable else str(ULID()), "", traceparent)
    enter(trace)
    return trace


class Call:
    """The caller and the request, ready to be passed on."""

    def __init__(self, request: Request, actor: Actor, trace: Trace) -> None:
        self.actor, self.trace = actor, trace
        self._request = request
        self._rpc: RpcClient = request.app.state.rpc

    async def query(self, method: str, **target: Any) -> Response:
        return json_response(await self.answer(method, **target))

    async def answer(self, method: str, **target: Any) -> Any:
        """Of a question, for what is made of it here."""
        return await self._ask(method, target)

    @property
    def wants_page(self) -> bool:
        """Whether a browser asks, and not a program."""
        return "text/html" in self._request.headers.get("accept", "")

    async def command(self, method: str, command: BaseModel | None = None, **target: Any) -> Response:
        return json_response(await self.tell(method, command, **target))

    async def create(self, method: str, command: BaseModel, resource: str, **target: Any) -> Response:
        """``201`` with the ``Location`` of what was made."""
        created = await self.tell(method, command, **target)
        return json_response(created, 201, {"Location": f"/v1/{resource}/{created['id']}"})

    async def tell(self, method: str, command: BaseModel | None = None, **target: Any) -> Any:
        """The answer to a command, for what is made of it here."""
        if command is not None:
            target["command"] = command.model_dump(mode="json", by_alias=True, exclude_unset=True)
        if idempotency := await self._idempotency():
            target["idempotency"] = idempotency
        return await self._ask(method, target)

    async def _ask(self, method: str, target: dict[str, Any]) -> Any:
        arguments = {"actor": self.actor.model_dump(mode="json"), **target}
        return await self._rpc.call(method, arguments, self.trace)

    async def _idempotency(self) -> dict[str, str] | None:
        """The key with a fingerprint of the request, which tells a repetition from another request."""
        key = self._request.headers.get(IDEMPOTENCY_KEY)
        if key is None:
            return None
        if not 0 < len(key) <= MAX_KEY:
            raise invalid("Idempotency-Key", f"长度要在 1 到 {MAX_KEY} 之间")
        body = await self._request.body()
        url = self._request.url
        about = f"{self._request.method} {url.path}{url.query and '?'}{url.query}\n".encode()
        return {"key": key, "fingerprint": hashlib.sha256(about + body).hexdigest()}


async def caller(request: Request, _token: str | None = Depends(scheme)) -> Call:
    """Who asks, not too often, with what is true of the account now."""
    state, trace = request.app.state, trace_of(request)
    tokens: Tokens = state.tokens
    claimed = tokens.read(bearer(request.headers.get("authorization")))
    state.rates.by_account(claimed.actor.id, request.method, request.scope["route"].path)
    return Call(request, await state.standings.of(claimed, trace), trace)
