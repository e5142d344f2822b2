"""Publishes events from the log to one handler's queue again."""

import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from deploy.operate.audit import Operation
from deploy.operate.commands import PROGRESS, Misused, Refused, progress
from deploy.operate.copies import BATCH, Copies, count, refuse_while_moved, same
from deploy.operate.system import System
from services.chassis.crashpoints import crashpoint
from services.chassis.messages import PREFIX
from services.chassis.process import INBOX_KEPT
from services.chassis.topology import EVENT_LOG, Subscription

AHEAD = 500
"""Messages that the broker sends ahead."""
IDLE = 3.0
"""Seconds without a message after which the log is at its end."""
OFFSET = "x-stream-offset"


class Replay:
    """Of one queue; ``last`` is the offset that was read last."""

    def __init__(self, system: System, connection: Any, subscription: Subscription, options: Any) -> None:
        self.connection, self.queue, self.event, self.options = connection, options.queue, subscription.event, options
        self.database = system.database(subscription.service)
        self.copies, self.channel = Copies(connection), connection.channel()
        self.start, self.until = position(options.start), position(options.until) if options.until else None
        self.began = datetime.now(UTC)
        self.oldest = self.began - timedelta(seconds=INBOX_KEPT)
        self.read = deque[Any]()
        self.published = self.too_old = self.seen = 0
        self.last: int | None = None

    def run(self) -> None:
        """Raise ``Refused``; what was published then is absorbed when it is published again."""
        refuse_while_moved(self.connection, self.queue)
        for queue in (EVENT_LOG, self.queue):
            if count(self.connection, queue) is None:
                raise Refused(f"There is no queue {queue}: start the services, which declare it.")
        operation = Operation(
            self.database, "replayed", self.queue, self.options, start=self.options.start, until=self.options.until
        )
        self._consume()
        while batch := self._next():
            wanted = [message for message in batch if self._is_wanted(message)]
            self.copies.publish([same(message, self.queue) for message in wanted])
            crashpoint("replayed")
            self.published += len(wanted)
            operation.add([message.properties.get("message_id", "") for message in wanted])
            self.channel.basic_ack(batch[-1].delivery_tag, multiple=True)
            if self._is_over(batch[-1]):
                break
        self.channel.close()
        operation.end(last=self.last)

    def _consume(self) -> None:
        self.channel.auto_decode = False
        self.channel.basic_qos(0, AHEAD, False)
        self.channel.basic_consume(EVENT_LOG, callback=self.read.append, arguments={OFFSET: self.start})

    def _next(self) -> list[Any]:
        """A batch, or what came before the end."""
        until = time.monotonic() + IDLE
        while len(self.read) < BATCH and (left := until - time.monotonic()) > 0:
            with suppress(TimeoutError):
                self.connection.drain_events(timeout=left)
            if self.read and _offset(self.read[-1]) != self.last:
                self.last, until = _offset(self.read[-1]), time.monotonic() + IDLE
            if self.read and self._is_over(self.read[-1]):
                break
        batch = [self.read.popleft() for _ in range(min(BATCH, len(self.read)))]
        self.seen += len(batch)
        if self.seen % PROGRESS < len(batch):
            progress(f"{self.seen} events read, up to offset {self.last}; {self.published} published")
        return batch

    def _is_wanted(self, message: Any) -> bool:
        headers = message.headers or {}
        if headers.get(PREFIX + "type") != self.event.type() or self._is_over(message):
            return False
        at = _time(message)
        if isinstance(self.start, int) and _offset(message) < self.start:
            return False  # the broker begins with the chunk that holds it
        if isinstance(self.until, datetime) and at > self.until:
            return False
        self.too_old += at < self.oldest
        return at >= self.oldest

    def _is_over(self, message: Any) -> bool:
        """Past the asked end, or what was published after the replay began."""
        past = isinstance(self.until, int) and _offset(message) > self.until
        return past or _time(message) > self.began


def position(text: str) -> int | datetime | str:
    """An offset, a time or ``first``; raise ``Misused``."""
    if text.isascii() and text.isdecimal():
        return int(text)
    if text == "first":
        return text
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        raise Misused(f"{text!r} is no offset and no time: write it as 2026-11-25T08:00+08:00.") from None


def _offset(message: Any) -> int:
    return int((message.headers or {}).get(OFFSET, 0))


def _time(message: Any) -> datetime:
    """The event's; the beginning of time where it has none."""
    try:
        return datetime.fromisoformat((message.headers or {})[PREFIX + "time"]).astimezone(UTC)
    except (KeyError, ValueError, TypeError):
        return datetime.fromtimestamp(0, UTC)
