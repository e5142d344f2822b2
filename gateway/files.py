"""Tables of others are read and written by a process of their own; see ``tables``."""

import asyncio
import json
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gateway import tables
from services.contracts.errors import Invalid, Unavailable

COMMAND = (sys.executable, "-I", str(Path(tables.__file__)))
LONGEST_LINE = 1 << 20  # bytes
UNREADABLE = "文件读不出来，请用 Excel 或 WPS 另存为 .xlsx 或 CSV 再上传"
AT_ONCE, PATIENCE = 2, 10.0
"""Files that one gateway has in hand, each of some hundred megabytes at most; seconds to wait for a place."""
RETRY_AFTER = 10  # seconds


class Desk:
    """Where files are read and written, a few at a time."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(AT_ONCE)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Raise ``Unavailable`` when none becomes free."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._places.acquire()
        except TimeoutError:
            raise Unavailable("正在处理别的文件，请稍后再试", RETRY_AFTER) from None
        try:
            yield
        finally:
            self._places.release()


async def read_rows(content: bytes) -> AsyncGenerator[Any]:
    """First ``{"headings", "rows"}``, then each row with its number; raise ``Invalid`` for what is no table."""
    async with _tables("read") as process:
        process.stdin.write(content)
        process.stdin.close()
        async for line in process.stdout:
            told = json.loads(line)
            if "unreadable" in told:
                raise Invalid(told["unreadable"], fields=[{"path": "file", "message": told["unreadable"]}])
            yield told
        if await process.wait():
            raise Invalid(UNREADABLE, fields=[{"path": "file", "message": UNREADABLE}])


async def write_workbook(rows: AsyncIterator[Sequence[Any]]) -> bytes:
    async with _tables("write") as process:
        async for row in rows:
            process.stdin.write(json.dumps(row).encode() + b"\n")
            await process.stdin.drain()
        process.stdin.close()
        written: bytes = await process.stdout.read()
        if await process.wait():
            raise Invalid("内容太多，写不成一个 Excel 文件，请改用 CSV，或按站点分别导出")
        return written


@asynccontextmanager
async def _tables(what: str) -> AsyncIterator[Any]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *COMMAND, what, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, env={}, limit=LONGEST_LINE
    )
    try:
        yield process
    except (BrokenPipeError, ConnectionResetError):
        raise Invalid(UNREADABLE, fields=[{"path": "file", "message": UNREADABLE}]) from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def attachment(name: str, plain_name: str) -> dict[str, str]:
    """To be saved under a name (RFC 5987), or a plain one by what does not know that."""
    return {"Content-Disposition": f"attachment; filename=\"{plain_name}\"; filename*=UTF-8''{quote(name)}"}
