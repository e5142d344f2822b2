"""A TCP proxy that disturbs what passes it, for tests of what a network does to clients and servers."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Self
from urllib.parse import urlsplit

from deploy.local.servers import free_port

CHUNK = 65536  # bytes
TICK = 0.05
"""Seconds: a rate is kept over so long."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of a socket whose close sends RST."""
TO_SERVER, TO_CLIENT = "to_server", "to_client"
ONE_WAY = ("pass", "blackhole", "delay", "rate", "cut", "half-close")
WHOLE = ("reset", "refuse")


class Proxy:
    """Stands before one server. ``mode`` holds for both ways, ``to_server`` and ``to_client`` for one.

    ``pass``; ``blackhole``: nothing arrives, nothing is refused, and what was sent comes when the mode changes;
    ``delay:<ms>``: each piece of up to 64 KiB comes so much later; ``rate:<bytes/s>``; ``cut:<n>``: the
    connection is reset when n more bytes have passed this way; ``half-close``: the receiver reads the end of
    the stream, and can still send.
    For both ways only: ``reset``: all connections are reset, new ones too; ``refuse``: nobody listens, and
    open connections go on.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self.port = free_port()
        self._modes = {TO_SERVER: "pass", TO_CLIENT: "pass"}
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._listener: asyncio.Server | None = None
        self._changed = asyncio.Event()
        self._wait(self._listen())

    @classmethod
    def before(cls, uri: str) -> "tuple[Self, str]":
        """A proxy for the server of an address, and the address through it; of several addresses the first."""
        uri = uri.split(";")[0]
        parts = urlsplit(uri)
        proxy = cls(f"{parts.hostname}:{parts.port}")
        return proxy, uri.replace(f":{parts.port}", f":{proxy.port}")

    @property
    def mode(self) -> str:
        return self._modes[TO_SERVER]

    @mode.setter
    def mode(self, mode: str) -> None:
        self._set({TO_SERVER: mode, TO_CLIENT: mode}, (*ONE_WAY, *WHOLE))

    @property
    def to_server(self) -> str:
        return self._modes[TO_SERVER]

    @to_server.setter
    def to_server(self, mode: str) -> None:
        self._set({TO_SERVER: mode}, ONE_WAY)

    @property
    def to_client(self) -> str:
        return self._modes[TO_CLIENT]

    @to_client.setter
    def to_client(self, mode: str) -> None:
        self._set({TO_CLIENT: mode}, ONE_WAY)

    def close(self) -> None:
        """Reset what is open and listen no more."""
        self._wait(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _wait(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _set(self, modes: dict[str, str], known: tuple[str, ...]) -> None:
        for mode in modes.values():
            if mode.partition(":")[0] not in known:
                raise ValueError(f"no mode {mode!r} here")
        self._wait(self._change(modes))

    async def _change(self, modes: dict[str, str]) -> None:
        self._modes |= modes
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        for connection in list(self._connections):
            connection.follow(modes)
        await (self._hush() if self.mode == "refuse" else self._listen())

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _hush(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _end(self) -> None:
        await self._hush()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        try:
            await self._connect(reader, writer)
        except* (OSError, asyncio.CancelledError):
            pass  # one end is gone and the other goes too, or the proxy ends
        finally:
            abort(writer)
            self._tasks.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode == "reset":
            return
        server_reader, server_writer = await asyncio.open_connection(*self._target)
        connection = _Connection({TO_SERVER: server_writer, TO_CLIENT: writer})
        self._connections.add(connection)
        try:
            connection.follow(self._modes)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(TO_SERVER, reader, connection))
                both.create_task(self._pump(TO_CLIENT, server_reader, connection))
            connection.close()
        finally:
            self._connections.discard(connection)
            connection.reset()

    async def _pump(self, way: str, reader: asyncio.StreamReader, connection: "_Connection") -> None:
        while data := await reader.read(CHUNK):
            await self._carry(way, data, connection)
        connection.end(way)

    async def _carry(self, way: str, data: bytes, connection: "_Connection") -> None:
        while self._modes[way] == "blackhole":
            await self._changed.wait()
        mode, _, value = self._modes[way].partition(":")
        if mode == "delay":
            await asyncio.sleep(int(value) / 1000)
        if mode == "rate":
            await connection.trickle(way, data, max(1, int(int(value) * TICK)))
        elif mode == "cut":
            await connection.send(way, connection.allowed(way, data))
        else:
            await connection.send(way, data)


class _Connection:
    """A client and its server; ``writers`` leads to the receiver of each way."""

    def __init__(self, writers: dict[str, asyncio.StreamWriter]) -> None:
        self._writers = writers
        self._left: dict[str, int] = {}
        self._ended: set[str] = set()

    def follow(self, modes: dict[str, str]) -> None:
        for way, text in modes.items():
            mode, _, value = text.partition(":")
            self._left.pop(way, None)
            if mode == "reset":
                self.reset()
            elif mode == "half-close":
                self.end(way)
            elif mode == "cut":
                self._left[way] = int(value)

    def allowed(self, way: str, data: bytes) -> bytes:
        """What may still pass."""
        data = data[: self._left[way]]
        self._left[way] -= len(data)
        return data

    async def send(self, way: str, data: bytes) -> None:
        if way not in self._ended:
            self._writers[way].write(data)
            await self._writers[way].drain()
        if self._left.get(way) == 0:
            self.reset()

    async def trickle(self, way: str, data: bytes, size: int) -> None:
        for start in range(0, len(data), size):
            await self.send(way, data[start : start + size])
            await asyncio.sleep(TICK)

    def end(self, way: str) -> None:
        if way not in self._ended and not self._writers[way].is_closing():
            self._ended.add(way)
            self._writers[way].write_eof()

    def close(self) -> None:
        """Both ends have said all, and it is on its way."""
        for writer in self._writers.values():
            writer.close()

    def reset(self) -> None:
        for writer in self._writers.values():
            abort(writer)


def abort(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    if not writer.transport.is_closing():
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        writer.transport.abort()
