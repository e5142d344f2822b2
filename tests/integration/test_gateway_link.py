"""The gateway's link to the broker: whatever ends it, it is opened again, and the loop never waits for it."""

import asyncio
import time
from pathlib import Path

import pytest
from kombu import Connection, Exchange

from deploy.local.servers import RabbitMQ
from gateway.rpc import EXCHANGE, RpcClient, Unreachable
from services.chassis.telemetry import Trace
from tests.support.servers import started

OPEN = 30.0
"""Seconds in which the link has to be there."""
STEP = 0.01  # seconds
BLOCKED = 1.0
"""Seconds in which the loop must have come round, on a busy machine too."""


async def opened(client: RpcClient, server: RabbitMQ) -> None:
    """The link is there, and the broker answers on it: that nobody serves this method."""
    async with asyncio.timeout(OPEN):
        while not client.connected:
            await asyncio.sleep(STEP)
    try:
        await client.call("nobody.nothing", {}, Trace())
    except Unreachable:
        return
    raise AssertionError("the broker did not say that nobody answers")


async def longest_turn(until: asyncio.Task[None]) -> float:
    """Seconds of the longest time that the loop did not come round."""
    longest, last = 0.0, time.monotonic()
    while not until.done():
        await asyncio.sleep(STEP)
        now = time.monotonic()
        longest, last = max(longest, now - last), now
    return longest


@pytest.mark.long
def test_a_broker_that_says_goodbye_is_dialled_again_without_holding_up_the_loop(tmp_path: Path) -> None:
    async def scenario(server: RabbitMQ) -> None:
        with Connection(server.uri) as connection:
            Exchange(EXCHANGE, type="topic", durable=True)(connection.default_channel).declare()
        client = RpcClient(server.uri)
        await client.start()
        await opened(client, server)
        for end in (lambda: server.ctl("close_all_connections", "bye"), lambda: server.stop_node(10)):
            ending = asyncio.create_task(asyncio.to_thread(end))
            assert await longest_turn(ending) < BLOCKED
            if not server.alive():
                await asyncio.to_thread(server.start)
                await asyncio.to_thread(server.wait_ready, 60)
            await opened(client, server)
            assert server.ctl("list_connections", "pid").count("<") == 1, "the old one is gone"
        await client.stop()

    with started(RabbitMQ, tmp_path) as server:
        asyncio.run(scenario(server))
