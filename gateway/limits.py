"""Bounds on what a client may send, and on how long it may take."""

import asyncio
import re
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from gateway.answers import refuse
from gateway.settings import settings
from services.contracts.errors import ServiceError, TooLarge, TooSlow, Unavailable

MAX_BODY = 1_000_000  # bytes
MAX_PHOTO = 10 * MAX_BODY
PHOTOS = re.compile(r"/v1/orders/[^/]+/photos")
LARGE_AT_ONCE = 4
"""Bodies over ``MAX_BODY`` that are held at a time, however many clients send one."""
MAX_FILE = 20_000_000
FILES = ("/v1/imports",)
"""Here a file may be sent. It is read when it is known who sends it, so that nobody else fills the memory."""
DRAINED = 16 * MAX_BODY
"""Read and thrown away, so that the client can finish sending and read the answer."""
BODY = "sidan.body"
"""Where later middleware finds the body in the ASGI scope."""


class BodyLimit:
    """ASGI middleware: ``413`` for a body over the limit, whether it says its length or not, ``408`` for a slow one."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._large = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        if scope["path"] in FILES:
            await self._app(scope, _counting(receive), send)
            return
        limit = MAX_PHOTO if PHOTOS.fullmatch(scope["path"]) else MAX_BODY
        with ExitStack() as held:
            try:
                async with asyncio.timeout(settings().body_seconds):
                    body = await _read(receive, limit, lambda: self._has_place(held))
            except TimeoutError:
                await refuse(TooSlow("请求内容没有按时传完，请检查网络后再试"), scope, receive, send)
                return
            except ServiceError as error:
                await refuse(error, scope, receive, send)
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

    def _has_place(self, held: ExitStack) -> bool:
        """For one more large body, until it is let go."""
        if self._large >= LARGE_AT_ONCE:
            return False
        self._large += 1
        held.callback(self._leave)
        return True

    def _leave(self) -> None:
        self._large -= 1


def _counting(receive: Any) -> Any:
    """Raise ``TooLarge`` for more than a file may be."""
    size = 0

    async def counted() -> Any:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_FILE:
            if message.get("more_body"):
                await _drain(receive, 0)
            raise TooLarge("文件超过 20 MB，请拆成几个再上传")
        return message

    return counted


async def _drain(receive: Any, size: int) -> None:
    """Read on after ``size`` bytes, so that the client can finish sending, and read the answer."""
    while size <= DRAINED:
        message = await receive()
        size += len(message.get("body", b""))
        if not message.get("more_body"):
            return


async def _read(receive: Any, limit: int, has_place: Callable[[], bool]) -> bytes:
    """Raise ``TooLarge``, or ``Unavailable`` where there is no place for a large one."""
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b"".join(chunks)
        chunk = message.get("body", b"")
        before, size = size, size + len(chunk)
        error: ServiceError | None = None
        if size > limit:
            error = TooLarge(f"请求内容超过 {limit // 1_000_000} MB，请减小后再试")
        elif before <= MAX_BODY < size and not has_place():
            error = Unavailable("正在接收的照片较多，请稍后再试")
        if error is not None:
            chunks.clear()
            if message.get("more_body"):
                await _drain(receive, size)
            raise error
        chunks.append(chunk)
        if not message.get("more_body"):
            return b"".join(chunks)
