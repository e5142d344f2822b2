"""Bounds on what a client may send, and on how long it may take."""

import asyncio
from typing import Any

from gateway.answers import refuse
from gateway.settings import settings
from services.contracts.errors import TooLarge, TooSlow

MAX_BODY = 1_000_000  # bytes
DRAINED = 16 * MAX_BODY
"""Read and thrown away, so that the client can finish sending and read the answer."""
BODY = "sidan.body"
"""Where later middleware finds the body in the ASGI scope."""


class BodyLimit:
    """ASGI middleware: ``413`` for a body over the limit, whether it says its length or not, ``408`` for a slow one."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(settings().body_seconds):
                body = await _read(receive)
        except TimeoutError:
            await refuse(TooSlow("请求内容没有按时传完，请检查网络后再试"), scope, receive, send)
            return
        if body is None:
            await refuse(TooLarge("请求内容超过 1 MB，请减小后再试"), scope, receive, send)
            return
        scope[BODY] = body
        delivered = False

        async def replay() -> Any:
            nonlocal delivered
            if delivered:
                return await receive()
            delivered = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)


async def _read(receive: Any) -> bytes | None:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(chunks)
        chunk = message.get("body", b"")
        size += len(chunk)
        if size <= MAX_BODY:
            chunks.append(chunk)
        if not message.get("more_body") or size > DRAINED:
            return b"".join(chunks) if size <= MAX_BODY else None
