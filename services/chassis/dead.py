"""Dead letters: what no attempt could handle, to look at, to put back, to drop."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import amqp

from services.chassis.messages import PREFIX
from services.chassis.topology import DEAD_SUFFIX

TOLD = ("reason", "trace", "failed-queue", "failed-at", "attempt")
"""Headers of the failure; a message that is put back starts without them."""


@dataclass(frozen=True)
class DeadLetter:
    queue: str
    """The queue that it came from and is put back to."""
    headers: dict[str, Any]
    body: bytes
    message_id: str
    tag: int

    @property
    def reason(self) -> str:
        """Ours, or the broker's when it gave up a message that ended its handlers."""
        died = self.headers.get("x-death") or [{}]
        return str(self.headers.get("reason") or f"broker: {died[0].get('reason', 'unknown')}")

    def attribute(self, name: str) -> str:
        return str(self.headers.get(PREFIX + name, ""))


class DeadLetters:
    """Works on a synchronous kombu connection; messages that are only looked at stay where they are."""

    def __init__(self, connection: Any, queues: Iterable[str]) -> None:
        self._connection, self._queues = connection, list(queues)

    def counts(self) -> dict[str, int]:
        """Dead letters by queue, of queues that exist."""
        return {queue: count for queue in self._queues if (count := self._count(queue)) is not None}

    def all(self) -> list[DeadLetter]:
        return [letter for queue in self._queues for letter in self._peek(queue)]

    def retry(self, wanted: Callable[[DeadLetter], bool]) -> list[DeadLetter]:
        """Put the wanted back to their queues; each leaves only when the broker has its copy."""
        return self._settle(wanted, self._put_back)

    def drop(self, wanted: Callable[[DeadLetter], bool]) -> list[DeadLetter]:
        return self._settle(wanted, lambda _channel, _letter: None)

    def _settle(self, wanted: Callable[[DeadLetter], bool], act: Callable[[Any, DeadLetter], None]) -> list[DeadLetter]:
        done = []
        for queue in self._queues:
            channel = self._connection.channel()
            channel.confirm_select()
            for letter in self._take(channel, queue):
                if wanted(letter):
                    act(channel, letter)
                    channel.basic_ack(letter.tag)
                    done.append(letter)
            channel.close()  # the others return to the queue
        return done

    def _peek(self, queue: str) -> list[DeadLetter]:
        channel = self._connection.channel()
        letters = list(self._take(channel, queue))
        channel.close()
        return letters

    def _take(self, channel: Any, queue: str) -> Iterator[DeadLetter]:
        """Each once: as many as there are now, for what is not acknowledged is not given twice."""
        for _ in range(self._count(queue) or 0):
            message = channel.basic_get(queue + DEAD_SUFFIX)
            if message is None:
                return
            body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
            message_id = message.properties.get("message_id") or ""
            yield DeadLetter(queue, message.headers or {}, body, message_id, message.delivery_tag)

    def _put_back(self, channel: Any, letter: DeadLetter) -> None:
        headers = {k: v for k, v in letter.headers.items() if k not in TOLD and not k.startswith("x-")}
        message = amqp.Message(
            letter.body,
            content_type="application/json",
            content_encoding="utf-8",
            delivery_mode=2,
            message_id=letter.message_id or None,
            application_headers=headers,
        )
        channel.basic_publish_confirm(message, "", letter.queue, mandatory=True, confirm_timeout=5)

    def _count(self, queue: str) -> int | None:
        channel = self._connection.channel()
        try:
            count = int(channel.queue_declare(queue + DEAD_SUFFIX, passive=True).message_count)
            channel.close()
            return count
        except amqp.exceptions.NotFound:
            return None
