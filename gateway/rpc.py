"""nameko's RPC protocol on one asyncio connection: pipelined calls, each with a deadline.

py-amqp reads from the event loop as it does under Celery; nothing here waits for the broker but the call
that asked.
"""

import asyncio
import itertools
import os
from collections.abc import Mapping
from typing import Any

import amqp
import orjson
from amqp import spec
from kombu import Connection

from services.chassis import telemetry
from services.chassis.breaker import Breaker
from services.chassis.telemetry import Trace
from services.contracts.errors import ServiceError, Unavailable

DEADLINE = 4.5
"""Seconds until a silent service is given up; services give themselves less."""
EXCHANGE = "nameko-rpc"
REPLY_TO = "amq.rabbitmq.reply-to"
"""The broker's own pseudo queue: no reply queue that outlives a dead gateway."""
HEARTBEAT = 10  # seconds
SEND_TIMEOUT = 1.0  # seconds
PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds
READ_CHUNK = 65536  # bytes
RENEWAL = 5.0
"""Seconds between two connections that are opened for want of answers."""

log = telemetry.logger("rpc")


class Problem(ServiceError):
    """An error as a service has answered it."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(str(problem.get("detail", "")))
        self._problem = problem

    def problem(self) -> dict[str, Any]:
        return self._problem


class Unreachable(Unavailable):
    """The broker has no queue for it."""


class RpcClient:
    """``await call("dispatch.order", …)`` → the result; raise ``ServiceError``, ``Unavailable`` in time."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._connection: Any = None
        self._channel: Any = None
        self._watched: dict[Any, int] = {}
        self._blocked = False
        self._waiting: dict[str, asyncio.Future[Any]] = {}
        self._breakers: dict[str, Breaker] = {}
        self._numbers = itertools.count()
        self._prefix = os.urandom(6).hex()
        telemetry.BROKER_LINK.set_function(lambda: self._channel is not None)
        telemetry.BROKER_BLOCKED.set_function(lambda: self._blocked)

    @property
    def connected(self) -> bool:
        return self._channel is not None and not self._blocked

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._renewal = self._loop.time()
        self._lost = asyncio.Event()
        self._keeper = asyncio.create_task(self._keep_connected())

    async def stop(self) -> None:
        self._keeper.cancel()
        self._drop()

    async def call(self, method: str, arguments: Mapping[str, Any], trace: Trace, deadline: float = DEADLINE) -> Any:
        breaker = self._breaker(method.partition(".")[0])
        if not self.connected or not breaker.allow():
            raise Unavailable()
        correlation_id = f"{self._prefix}-{next(self._numbers)}"
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[correlation_id] = answer
        try:
            self._send(method, arguments, trace, correlation_id, deadline)
            async with asyncio.timeout(deadline):
                reply = await answer
        except TimeoutError:
            log.warning("no answer in time", method=method, correlation_id=trace.correlation_id)
            if deadline >= DEADLINE:  # who had less patience does not know
                breaker.failed()
                self._doubt()
            raise Unavailable() from None
        except Unreachable:
            breaker.succeeded()  # nobody waited for that, so everybody may ask
            raise
        finally:
            self._waiting.pop(correlation_id, None)
        breaker.succeeded()
        if reply["error"] is not None:
            raise as_error(reply["error"])
        return reply["result"]

    def _breaker(self, service: str) -> Breaker:
        if service not in self._breakers:
            self._breakers[service] = Breaker(service)
        return self._breakers[service]

    def _send(
        self, method: str, arguments: Mapping[str, Any], trace: Trace, correlation_id: str, deadline: float
    ) -> None:
        message = amqp.Message(
            orjson.dumps({"args": [], "kwargs": arguments}),
            content_type="application/json",
            content_encoding="utf-8",
            reply_to=REPLY_TO,
            correlation_id=correlation_id,
            expiration=str(int(deadline * 1000)),
            delivery_mode=1,
            application_headers={
                "correlationid": trace.correlation_id,
                "traceparent": trace.traceparent,
                "timeout": str(deadline),
            },
        )
        try:
            self._channel.send_method(spec.Basic.Publish, "Bssbb", (0, EXCHANGE, method, True, False), message)
        except (amqp.exceptions.AMQPError, OSError, AttributeError) as error:
            self._lose(error)
            raise Unavailable() from None

    async def _keep_connected(self) -> None:
        pauses = iter(PAUSES)
        while True:
            self._lost.clear()
            try:
                self._use(*await asyncio.to_thread(self._connect))
                pauses = iter(PAUSES)
                await self._lost.wait()
            except Exception as error:  # whatever ends a connection, the next one is tried
                log.warning("broker away", error=repr(error))
            self._drop()
            await asyncio.sleep(next(pauses, PAUSES[-1]))

    def _doubt(self) -> None:
        """No answer: that may be the service's fault, or the channel's.

        A channel that first published to a quorum queue while that had no leader may never reach it again
        (seen with RabbitMQ 3.10 when a node dies), so others are asked through a new one.
        """
        if self.connected and self._loop.time() - self._renewal > RENEWAL:
            self._renewal = self._loop.time()
            self._renewing = asyncio.create_task(self._renew(self._connection))

    async def _renew(self, old: Any) -> None:
        """Calls that are under way on the old connection keep it until their time is over."""
        try:
            new = await asyncio.to_thread(self._connect)
        except (amqp.exceptions.AMQPError, OSError) as error:
            log.warning("connection not renewed", error=repr(error))
            return
        if self._connection is not old:  # lost meanwhile, and opened again
            return close(new[0])
        self._use(*new)
        log.warning("connection renewed for want of answers")
        await asyncio.sleep(DEADLINE)
        self._retire(old)

    def _connect(self) -> tuple[Any, Any]:
        """Blocking, in a thread; the loop takes over afterwards."""
        connection = Connection(self._uri, connect_timeout=DEADLINE, heartbeat=HEARTBEAT).connection
        connection.on_blocked = lambda _reason: setattr(self, "_blocked", True)
        connection.on_unblocked = lambda: setattr(self, "_blocked", False)
        channel = connection.channel()
        channel.auto_decode = False
        channel.basic_consume(REPLY_TO, no_ack=True, callback=self._on_reply)
        channel.events["basic_return"].add(self._on_return)
        return connection, channel

    def _use(self, connection: Any, channel: Any) -> None:
        self._connection, self._channel = connection, channel
        transport = connection.transport
        transport.sock.settimeout(SEND_TIMEOUT)
        # The loop watches a descriptor of its own: py-amqp closes the socket's when the broker says goodbye,
        # and the next client could get the same number.
        watched = self._watched[connection] = os.dup(transport.sock.fileno())

        def receive(_size: int) -> bytes:
            try:
                return os.read(watched, READ_CHUNK)  # ``recv`` would wait as long as a send may
            except BlockingIOError:
                # py-amqp keeps a half-read frame on a timeout, and only then.
                raise TimeoutError from None

        transport._quick_recv = receive
        self._loop.add_reader(watched, self._read, connection)
        self._beat(connection)

    def _read(self, connection: Any) -> None:
        try:
            while True:
                connection.drain_events()
        except TimeoutError:
            pass  # everything that had come is read
        except Exception as error:  # whatever a broken connection raises, it is opened anew
            if connection is self._connection:
                self._lose(error)
            else:
                self._retire(connection)

    def _beat(self, connection: Any) -> None:
        if self._connection is not connection:
            return
        try:
            connection.heartbeat_tick(rate=2)
        except (amqp.exceptions.AMQPError, OSError) as error:
            self._lose(error)
            return
        self._loop.call_later(HEARTBEAT / 4, self._beat, connection)

    def _on_reply(self, message: Any) -> None:
        answer = self._waiting.get(message.properties.get("correlation_id", ""))
        if answer is not None and not answer.done():
            answer.set_result(orjson.loads(message.body))

    def _on_return(self, _error: Any, _exchange: str, routing_key: str, message: Any) -> None:
        """No queue: the service has never run."""
        answer = self._waiting.get(message.properties.get("correlation_id", ""))
        if answer is not None and not answer.done():
            log.warning("nobody answers", method=routing_key)
            answer.set_exception(Unreachable())

    def _lose(self, error: BaseException) -> None:
        log.warning("connection lost", error=repr(error))
        self._channel = None
        self._lost.set()

    def _drop(self) -> None:
        connection, self._connection, self._channel, self._blocked = self._connection, None, None, False
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Unavailable())
        if connection is not None:
            self._retire(connection)

    def _retire(self, connection: Any) -> None:
        if (watched := self._watched.pop(connection, None)) is not None:
            self._loop.remove_reader(watched)
            os.close(watched)
        close(connection)


def close(connection: Any) -> None:
    """Never politely: the answer might not come."""
    try:
        connection.collect()
    except (amqp.exceptions.AMQPError, OSError, AttributeError) as error:
        log.debug("already closed", error=repr(error))


def as_error(error: dict[str, Any]) -> ServiceError:
    problem = error.get("problem")
    return Problem(problem) if problem else ServiceError()
