"""A bound on what a client may send."""

from typing import Any

import orjson

from services.contracts.errors import TooLarge

MAX_BODY = 1_000_000  # bytes
DRAINED = 16 * MAX_BODY
"""Read and thrown away, so that the client can finish sending and read the answer."""


class BodyLimit:
    """ASGI middleware: ``413`` for a body over the limit, whether it says its length or not."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            await _refuse(send)
            return
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


async def _refuse(send: Any) -> None:
    body = orjson.dumps(TooLarge("请求内容超过 1 MB，请减小后再试").problem())
    headers = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
