"""A synchronous client of nameko's RPC protocol with several requests in flight; no eventlet."""

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import amqp
from kombu.connection import Connection

EXCHANGE = "nameko-rpc"
REPLIES = "amq.rabbitmq.reply-to"
IN_FLIGHT = 2
CONNECT_TIMEOUT = 3.0  # seconds
BROKEN = (OSError, amqp.exceptions.AMQPError)


class Away(Exception):
    """The service does not answer now; it may later."""


class Refused(Exception):
    """The service answered that the call is wrong."""


@dataclass(frozen=True)
class Call:
    method: str
    kwargs: dict[str, Any]


class RpcClient:
    """Calls one service. Every wait is bounded; ``Away`` says that it was in vain."""

    def __init__(self, uri: str, service: str) -> None:
        self._connection: Any = Connection(uri, connect_timeout=CONNECT_TIMEOUT)
        self._service = service
        self._ids = itertools.count()
        self._replies: dict[str, Any] = {}

    def __enter__(self) -> Self:
        try:
            self._connection.connect()
            self._channel = self._connection.channel()
            self._channel.basic_consume(REPLIES, no_ack=True, callback=self._receive)
        except BROKEN as error:
            raise Away(f"no broker: {error}") from None
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.release()

    def call(self, call: Call, timeout: float) -> Any:
        return self.call_all([call], timeout)[0]

    def call_all(self, calls: Sequence[Call], timeout: float) -> list[Any]:
        """The results in the order of ``calls``; ``timeout`` in seconds holds for each answer."""
        results: list[Any] = [None] * len(calls)
        todo, waiting = enumerate(calls), dict[str, int]()
        try:
            for index, call in itertools.islice(todo, IN_FLIGHT):
                waiting[self._send(call, timeout)] = index
            while waiting:
                correlation_id = self._await_any(waiting, timeout)
                results[waiting.pop(correlation_id)] = _result(self._replies.pop(correlation_id))
                for next_index, call in itertools.islice(todo, 1):
                    waiting[self._send(call, timeout)] = next_index
        except BROKEN as error:
            raise Away(f"connection lost: {error}") from None
        return results

    def _send(self, call: Call, timeout: float) -> str:
        correlation_id = str(next(self._ids))
        message = amqp.Message(
            json.dumps({"args": [], "kwargs": call.kwargs}),
            content_type="application/json",
            content_encoding="utf-8",
            reply_to=REPLIES,
            correlation_id=correlation_id,
            application_headers={"timeout": str(timeout)},
        )
        self._channel.basic_publish(message, EXCHANGE, f"{self._service}.{call.method}")
        return correlation_id

    def _receive(self, message: Any) -> None:
        self._replies[message.properties["correlation_id"]] = json.loads(message.body)

    def _await_any(self, waiting: dict[str, int], timeout: float) -> str:
        until = time.monotonic() + timeout
        while True:
            for correlation_id in waiting:
                if correlation_id in self._replies:
                    return correlation_id
            left = until - time.monotonic()
            if left <= 0:
                raise Away("no answer")
            try:
                self._connection.drain_events(timeout=left)
            except TimeoutError:
                continue


def _result(reply: dict[str, Any]) -> Any:
    error = reply["error"]
    if error is None:
        return reply["result"]
    if error["exc_type"] == "Unavailable":
        raise Away(error["value"])
    raise Refused(f"{error['exc_type']}: {error['value']}")
