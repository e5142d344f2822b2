"""AMQP connections that never hang: consuming with drain, publishing with pipelined confirms.

kombu opens the connection and declares the topology; the channel of py-amqp below it does the rest, since
kombu's own consumer and producer cost three times as much and wait without bounds, and messages are written
and read as whole frames (docs/adr/0002). On an open link only its reader waits for frames; everybody else
only sends.
"""

import socket
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import Any

import amqp
import eventlet
from amqp import spec
from eventlet.event import Event as Signal
from eventlet.semaphore import Semaphore
from kombu import Connection

from services.chassis import telemetry
from services.chassis.frames import Inbound, Incoming, Outgoing
from services.chassis.topology import EVENT_LOG

GONE = (amqp.exceptions.AMQPError, OSError, AttributeError)
"""py-amqp raises AttributeError where a connection was closed under a call."""
DEADLINE = 5.0
"""Seconds: no wait for the broker is longer."""
HEARTBEAT = 10  # seconds
RECONNECT_PAUSES = (0.1, 0.2, 0.5, 1.0, 2.0)  # seconds
REFUSALS = (amqp.exceptions.AccessRefused, amqp.exceptions.NotAllowed, amqp.exceptions.PreconditionFailed)
REFUSED_PAUSE = 5.0
"""Seconds after a refusal, which only an operator can change."""
CANCEL_POLL = 0.01  # seconds
RENEWAL = 10.0
"""Seconds from the first message that the broker refuses on a link to the next link."""

log = telemetry.logger("broker")


def send(channel: Any, outgoing: Outgoing) -> None:
    """Write without waiting; ``basic_publish`` would read from the socket first."""
    connection = channel.connection
    connection.transport.write(outgoing.frames(channel.channel_id, connection.frame_max))


class Link:
    """One connection, its reader and its heartbeat; opened again with growing pauses.

    ``on_open`` gets the fresh connection and may wait for answers; it runs before the reader.
    """

    def __init__(
        self,
        uri: str,
        name: str,
        on_open: Callable[[Any], None],
        on_lost: Callable[[], None],
        heartbeat: int = HEARTBEAT,
    ) -> None:
        self.uri, self.name, self.heartbeat = uri, name, heartbeat
        self._on_open, self._on_lost = on_open, on_lost
        self._connection: Any = None
        self._opened = Signal()
        self._stopping = False
        self._lost = 0
        self.blocked = False

    @property
    def is_open(self) -> bool:
        return bool(self._opened.ready())

    def start(self) -> None:
        self._reader = eventlet.spawn(self._live)
        self._pulse = eventlet.spawn(self._beat)

    def stop(self) -> None:
        """Close politely, but not for ever."""
        self._stopping = True
        self._pulse.kill()
        self._reader.kill()
        if self._connection is not None:
            with eventlet.Timeout(1, False):
                try:
                    self._connection.close()
                except GONE:
                    pass  # it is closed then
            cut(self._connection)

    def wait_open(self, seconds: float = DEADLINE) -> bool:
        with eventlet.Timeout(seconds, False):
            self._opened.wait()
            return True
        return False

    def cut(self, reason: str) -> None:
        """A suspect link is cut, never politely closed: the answer might not come (reliability)."""
        if self._connection is not None:
            log.warning("link cut", link=self.name, reason=reason)
            _shutdown(self._connection)

    def _live(self) -> None:
        pauses = iter(RECONNECT_PAUSES)
        while not self._stopping:
            try:
                self._open()
                pauses = iter(RECONNECT_PAUSES)
                self._read()
            except REFUSALS as error:
                log.error("broker refuses", link=self.name, reason=error.reply_text)
                pauses = iter([REFUSED_PAUSE])
            except Exception as error:  # whatever ends a connection, the next one is tried
                if not self._stopping:
                    log.warning("link lost", link=self.name, error=repr(error))
            self._drop()
            eventlet.sleep(next(pauses, RECONNECT_PAUSES[-1]))

    def _open(self) -> None:
        with eventlet.Timeout(2 * DEADLINE):
            factory = Connection(self.uri, connect_timeout=DEADLINE, heartbeat=self.heartbeat)
            connection = self._connection = factory.connection
            connection.on_blocked = lambda _reason: setattr(self, "blocked", True)
            connection.on_unblocked = lambda: setattr(self, "blocked", False)
            self.inbound, self.outbound = Inbound(connection), Outbound(connection)
            self._on_open(connection)
        self._opened.send()
        log.info("link open", link=self.name)

    def _read(self) -> None:
        # Also the bound of every write: a send that takes longer ends in an error, and the link is cut.
        self._connection.transport.sock.settimeout(DEADLINE)
        while True:
            try:
                self.inbound.read()
            except TimeoutError:
                continue  # nothing came; the heartbeat judges whether the link lives

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        self.blocked = False
        if self._opened.ready():
            self._opened = Signal()
        if connection is not None:
            cut(connection)
        self._on_lost()

    def _beat(self) -> None:
        while True:
            eventlet.sleep(self.heartbeat / 4)
            connection = self._connection
            if connection is None or not self.is_open:
                continue
            try:
                connection.heartbeat_tick(rate=2)
            except Exception as error:  # a missed heartbeat in any shape
                self.cut(repr(error))


class Outbound:
    """What a connection writes: frame by frame as py-amqp does, or whole messages at once."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._send = connection.transport._write
        self._lock = Semaphore(1)
        connection.transport._write = self.write

    def frames(self, channel: int, messages: Iterable[Outgoing]) -> bytes:
        return b"".join([message.frames(channel, self._connection.frame_max) for message in messages])

    def write(self, frames: Any) -> None:
        with self._lock:  # a large write may wait half-way, and nobody may write into it
            self._send(frames)
        self._connection.bytes_sent += 1


def _shutdown(connection: Any) -> None:
    if not connection.connected:
        return  # py-amqp would dial again to show its transport
    try:
        connection.transport.sock.shutdown(socket.SHUT_RDWR)
    except GONE:
        pass  # gone already


def cut(connection: Any) -> None:
    _shutdown(connection)
    try:
        connection.collect()
    except Exception as error:  # a half-closed connection may fail in any way; it is given up here
        log.debug("collect failed", error=repr(error))


class Publisher:
    """Publishes batches with pipelined confirms, and replies without.

    ``publish`` ends within the deadline whatever the broker does.
    """

    def __init__(self, uri: str, declare: Callable[[Any], None], heartbeat: int = HEARTBEAT) -> None:
        self._declare = declare
        self._link = Link(uri, "publisher", self._opened, self._lost, heartbeat)
        self._sending = Semaphore(1)
        self._waiting: dict[int, tuple[_Batch, int]] = {}
        self._returned: set[str] = set()
        self._tag = 0
        self._refused_since = 0.0
        self.start, self.stop = self._link.start, self._link.stop
        self.wait_open = self._link.wait_open
        telemetry.BROKER_LINK.set_function(lambda: self._link.is_open)
        telemetry.BROKER_BLOCKED.set_function(lambda: self._link.blocked)

    @property
    def usable(self) -> bool:
        return self._link.is_open and not self._link.blocked

    def publish(self, messages: Sequence[Outgoing], deadline: float = DEADLINE) -> list[bool]:
        """For each message whether the broker has it for good; what it has not may still arrive."""
        batch = _Batch(len(messages))
        with eventlet.Timeout(deadline, False):
            if self._link.wait_open(deadline):
                self._send(messages, batch)
                batch.done.wait()
        if batch.open:
            self._abandon(batch)
        return batch.confirmed

    def reply(self, message: Outgoing) -> None:
        """Send without confirm: a caller whose answer is lost asks again."""
        if not self._link.is_open:
            return
        try:
            with eventlet.Timeout(DEADLINE):
                self._outbound.write(self._outbound.frames(self._replies, [message]))
        except (*GONE, eventlet.Timeout) as error:
            self._link.cut(f"reply failed: {error!r}")

    def reopen(self, reason: str) -> None:
        """Begin anew, with the declarations."""
        self._link.cut(reason)

    def _send(self, messages: Sequence[Outgoing], batch: "_Batch") -> None:
        with self._sending:
            frames = self._outbound.frames(self._channel, messages)
            for position, outgoing in enumerate(messages):
                self._tag += 1
                self._waiting[self._tag] = (batch, position)
                batch.ids[position] = outgoing.id
            try:
                self._outbound.write(frames)
            except GONE as error:
                self._link.cut(f"publish failed: {error!r}")

    def _abandon(self, batch: "_Batch") -> None:
        """Unconfirmed in time: the link is suspect, unless it is gone already."""
        if any(waiting is batch for waiting, _ in self._waiting.values()):
            self._link.cut("no confirm in time")

    def _opened(self, connection: Any) -> None:
        self._declare(connection)
        self._replies = connection.channel().channel_id
        channel = connection.channel()
        channel.confirm_select()
        channel.events["basic_ack"].add(lambda tag, multiple: self._settle(tag, multiple, True))
        channel.events["basic_nack"].add(self._refused)
        channel.events["basic_return"].add(self._on_return)
        self._channel, self._outbound, self._tag = channel.channel_id, self._link.outbound, 0
        self._refused_since = 0.0

    def _refused(self, tag: int, multiple: bool) -> None:
        """For want of a majority, or of room; or because of the channel.

        One that first published to a quorum queue while that had no leader may never reach it again (seen with
        RabbitMQ 3.10 when a node dies), so after a while another is tried. Not at once: answers to callers take
        the same link.
        """
        self._settle(tag, multiple, False)
        self._refused_since = self._refused_since or time.monotonic()
        if time.monotonic() - self._refused_since > RENEWAL:
            self._link.cut("messages not taken by the broker")

    def _on_return(self, _error: Any, exchange: str, routing_key: str, message: Any) -> None:
        log.error("nobody is bound", exchange=exchange, routing_key=routing_key)
        self._returned.add(message.properties.get("message_id", ""))

    def _settle(self, tag: int, multiple: bool, accepted: bool) -> None:
        # Tags were added in order, so a settled run is at the front.
        tags = list(takewhile(lambda waiting: waiting <= tag, self._waiting)) if multiple else [tag]
        for settled in tags:
            batch, position = self._waiting.pop(settled, (None, 0))
            if batch is not None:
                routed = batch.ids[position] not in self._returned
                self._returned.discard(batch.ids[position])
                batch.settle(position, accepted and routed)

    def _lost(self) -> None:
        lost, self._waiting = list(self._waiting.values()), {}
        for batch, position in lost:
            batch.settle(position, False)


class _Batch:
    def __init__(self, size: int) -> None:
        self.confirmed = [False] * size
        self.ids = [""] * size
        self.open = size
        self.done = Signal()
        if size == 0:
            self.done.send()

    def settle(self, position: int, confirmed: bool) -> None:
        self.confirmed[position] = confirmed
        self.open -= 1
        if self.open == 0:
            self.done.send()


class Consumer:
    """One queue on a channel of its own; unsettled messages return to the queue when the link is lost."""

    def __init__(
        self,
        queue: str,
        prefetch: int,
        receive: Callable[[Incoming], None],
        acknowledge: bool = True,
        paused: Callable[[], bool] = lambda: False,
    ) -> None:
        self.queue, self.prefetch, self._receive = queue, prefetch, receive
        self._acknowledge, self._paused = acknowledge, paused
        # Nobody keeps requests: they live for seconds.
        self._remedy = f"replay the stream {EVENT_LOG} into it" if acknowledge else "none, callers ask again"
        self._channel: Any = None
        self.generation = 0
        """Grows with every channel: a delivery tag of an older one must not be acknowledged."""

    def open(self, connection: Any, inbound: Inbound) -> None:
        channel = connection.channel()
        channel.auto_decode = False
        channel.basic_qos(0, self.prefetch, False)
        self.generation += 1
        self._channel = channel
        inbound.receivers[channel.channel_id] = self._receive
        if not self._paused():
            self._consume(nowait=False)

    def _consume(self, nowait: bool) -> None:
        channel, connection = self._channel, self._channel.connection

        def receive(message: Any) -> None:
            self._receive(Incoming.of(message))

        channel.callbacks[self.queue] = receive  # before the first message can come
        channel.basic_consume(
            self.queue,
            consumer_tag=self.queue,
            no_ack=not self._acknowledge,
            callback=receive,
            on_cancel=lambda _tag: self._cancelled(connection),
            nowait=nowait,
        )

    def _cancelled(self, connection: Any) -> None:
        """Begin anew, with the declarations."""
        log.error("queue deleted; what was in it may be lost", queue=self.queue, remedy=self._remedy)
        _shutdown(connection)

    def cancel(self) -> None:
        """Take no more; what was on its way has arrived when this returns."""
        channel = self._channel
        if channel is None:
            return
        try:
            channel.send_method(spec.Basic.Cancel, "sb", (self.queue, False))
            with eventlet.Timeout(DEADLINE, False):
                while self.queue in channel.callbacks:
                    eventlet.sleep(CANCEL_POLL)
        except GONE as error:
            log.warning("cancelling failed", queue=self.queue, error=repr(error))

    def pause(self) -> None:
        """As ``cancel``, for sure: without an answer the link is cut, and not consumed from when it is open again."""
        channel = self._channel
        self.cancel()
        if channel is not None and channel is self._channel and self.queue in channel.callbacks:
            _shutdown(channel.connection)
        if not self._paused():
            self.resume()  # that came while this waited

    def resume(self) -> None:
        """Take again. The reader sees a refusal; on a lost link there is nothing to do."""
        if self._channel is None or self.queue in self._channel.callbacks:
            return
        try:
            self._consume(nowait=True)
        except GONE as error:
            log.warning("consuming failed, the link is opened again", queue=self.queue, error=repr(error))

    def lost(self) -> None:
        self._channel = None
        self.generation += 1

    def settle(
        self, generation: int, tag: int, *, multiple: bool = False, accept: bool = True, requeue: bool = False
    ) -> None:
        """Acknowledge, or reject; on a lost channel the broker delivers again, and that is fine."""
        if generation != self.generation or self._channel is None:
            return
        try:
            if accept:
                self._channel.basic_ack(tag, multiple=multiple)
            else:
                self._channel.basic_reject(tag, requeue=requeue)
        except GONE as error:
            log.warning("settling failed, the broker will deliver again", queue=self.queue, error=repr(error))


class Consumers:
    """All consumers of a process on one link.

    ``ready`` waits, not for ever, until what they take can be answered.
    """

    def __init__(
        self,
        uri: str,
        declare: Callable[[Any], None],
        consumers: Sequence[Consumer],
        ready: Callable[[], Any],
        heartbeat: int = HEARTBEAT,
    ) -> None:
        self._declare, self._consumers, self._ready = declare, consumers, ready
        self.link = Link(uri, "consumer", self._opened, self._lost, heartbeat)

    def _opened(self, connection: Any) -> None:
        self._declare(connection)
        self._ready()
        for consumer in self._consumers:
            consumer.open(connection, self.link.inbound)

    def _lost(self) -> None:
        for consumer in self._consumers:
            consumer.lost()
