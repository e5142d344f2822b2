"""The load generator: whole order lives over keep-alive HTTP, cheap, and the same for every side.

Closed loop: so many lives at a time. With ``pace``, open loop: so many lives begin each second, whatever
became of the others, and what a late generator costs counts as latency.
"""

import asyncio
import sys
import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import orjson
import uvloop

from bench.child import Parent

SEGMENT = timedelta(minutes=3)
"""The shortest time that is worth a point."""
CHINA_OFFSET = timedelta(hours=8)


class Failed(Exception):
    """A request was answered with an error."""


class Connection(asyncio.Protocol):
    """One request at a time; reads just as much of HTTP as both sides speak."""

    transport: Any

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def request(self, head: bytes, body: bytes) -> "asyncio.Future[tuple[int, bytes]]":
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.find(b"content-length:")
        size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + size:
            return
        body, self._buffer = self._buffer[end + 4 : end + 4 + size], self._buffer[end + 4 + size :]
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((int(head[9:12]), body))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"connection lost: {error}"))


class Slots:
    """Each volunteer's next free time of today, so that no service record is refused."""

    def __init__(self, taken: int) -> None:
        day = datetime.now(UTC) + CHINA_OFFSET
        self._midnight = day.replace(hour=0, minute=0, second=0, microsecond=0) - CHINA_OFFSET
        self._next: dict[str, Any] = defaultdict(lambda: count(taken))

    def take(self, volunteer: str) -> tuple[str, str]:
        start = self._midnight + next(self._next[volunteer]) * SEGMENT
        if start + SEGMENT > datetime.now(UTC):
            raise Failed("the day is too young for so many services; run later")
        return start.isoformat(), (start + SEGMENT).isoformat()


class Load:
    def __init__(self, arguments: dict[str, Any]) -> None:
        self.host, self.port = arguments["host"], arguments["port"]
        self.villages: list[dict[str, Any]] = arguments["villages"]
        self.slots = Slots(arguments["taken"])
        self.keyed = arguments.get("keyed", False)
        self.run = arguments["taken"]
        self.numbers = count()
        self.free: list[Connection] = []
        self.lives: list[dict[str, Any]] = []
        self.failures: list[str] = []

    async def life(self, due: float) -> None:
        """Place, accept, start, complete, rate, close, read."""
        number = next(self.numbers)
        village = self.villages[number % len(self.villages)]
        turn = number // len(self.villages)
        team = village["teams"][turn % len(village["teams"])]
        volunteer = team["members"][turn // len(village["teams"]) % len(team["members"])]
        start, end = self.slots.take(volunteer)
        record = {"volunteer": volunteer, "from": start, "to": end}
        connection = await self.connection()
        took: dict[str, float] = {}

        async def ask(what: str, method: str, path: str, token: str, body: Any = None) -> Any:
            begun = due if what == "place" else time.monotonic()
            content = b"" if body is None else orjson.dumps(body)
            head = (
                f"{method} {path} HTTP/1.1\r\nHost: {self.host}\r\nAuthorization: Bearer {token}\r\n"
                "Content-Type: application/json\r\n"
            )
            if self.keyed:
                head += f"Idempotency-Key: {number}-{what}-{self.run}\r\n"
            status, answer = await connection.request(head.encode(), content)
            took[what] = time.monotonic() - begun
            if status >= 300:
                raise Failed(f"{what}: {status} {answer[:300].decode(errors='replace')}")
            return orjson.loads(answer)

        wish = {"service_item": "home-haircut", "description": "请上门理发", "target_group": "elderly"}
        order = (await ask("place", "POST", "/v1/orders", village["resident"], wish))["id"]
        path = f"/v1/orders/{order}"
        await ask("accept", "POST", f"{path}/accept", team["leader"], {"team": team["id"]})
        await ask("start", "POST", f"{path}/start", team["leader"], {})
        await ask("complete", "POST", f"{path}/complete", team["leader"], {"records": [record], "summary": "理发一次"})
        await ask("rate", "POST", f"{path}/rate", village["resident"], {"score": 5})
        await ask("close", "POST", f"{path}/close", village["staff"], {})
        read = await ask("read", "GET", path, village["resident"])
        self.free.append(connection)
        self.lives.append(
            {"order": order, "volunteer": volunteer, "state": read["state"], "at": time.monotonic(), "took": took}
        )

    async def connection(self) -> Connection:
        """One that is open: a server closes those that were idle for some seconds."""
        while self.free:
            connection = self.free.pop()
            if not connection.transport.is_closing():
                return connection
        _, connection = await asyncio.get_running_loop().create_connection(Connection, self.host, self.port)
        return connection

    async def lived(self, due: float) -> None:
        try:
            await self.life(due)
        except (Failed, OSError, ValueError) as error:
            self.failures.append(str(error))
            await asyncio.sleep(0.1)

    async def closed(self, workers: int, seconds: float) -> None:
        until = time.monotonic() + seconds

        async def worker() -> None:
            while time.monotonic() < until:
                await self.lived(time.monotonic())

        await asyncio.gather(*(worker() for _ in range(workers)))

    async def open(self, pace: float, seconds: float) -> None:
        begun = time.monotonic()
        going: set[asyncio.Task[None]] = set()
        for number in range(int(pace * seconds)):
            due = begun + number / pace
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            going.add(asyncio.create_task(self.lived(due)))
            going = {task for task in going if not task.done()}
        await asyncio.gather(*going)


async def run(parent: Parent) -> None:
    arguments = parent.arguments
    load = Load(arguments)
    while True:
        asked = orjson.loads(await asyncio.to_thread(sys.stdin.readline) or b'{"end": true}')
        if asked.get("end"):
            return
        load.lives, load.failures = [], []
        begun = time.monotonic()
        if asked["pace"]:
            await load.open(asked["pace"], asked["seconds"])
        else:
            await load.closed(asked["workers"], asked["seconds"])
        parent.tell({"begun": begun, "ended": time.monotonic(), "lives": load.lives, "failures": load.failures})


if __name__ == "__main__":
    told = Parent()
    told.tell("ready")
    uvloop.run(run(told))
