"""Dead letters: what no attempt could handle, to look at."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import amqp

from services.chassis.frames import Outgoing
from services.chassis.messages import MAX_SEQUENCE_DIGITS, PREFIX
from services.chassis.topology import DEAD_SUFFIX
from services.contracts.privacy import mask

TOLD = ("reason", "trace", "failed-queue", "failed-at", "attempt")
"""Headers of the failure; a message that is put back starts without them."""
WAITS = "waits behind "
"""What the reason of a message begins with that nobody tried, since an earlier one of its aggregate is dead."""
SPECIFIC = re.compile(r"\b[0-9A-HJKMNP-TV-Z]{26}\b|\b[0-9a-f]{12,}\b|\d+")
"""Ids and numbers, in which the reasons of messages differ that failed alike."""
GROUP_DIGITS = 8


@dataclass(frozen=True)
class DeadLetter:
    queue: str
    """The queue that it came from and is put back to."""
    headers: dict[str, Any]
    body: bytes
    message_id: str
    tag: int

    @property
    def id(self) -> str:
        """The message's, or one made of its content where it has none."""
        if self.message_id:
            return self.message_id
        own = sorted((name, repr(value)) for name, value in self.headers.items() if not name.startswith("x-"))
        return "unnamed-" + hashlib.sha256(repr(own).encode() + self.body).hexdigest()[:12]

    @property
    def reason(self) -> str:
        """Ours, or the broker's when it gave up a message that ended its handlers."""
        return str(self.headers.get("reason") or f"broker: {self._death.get('reason', 'unknown')}")

    @property
    def failed_at(self) -> str:
        """ISO 8601; empty where nobody said."""
        told = self.headers.get("failed-at") or self._death.get("time", "")
        return told if isinstance(told, str) else told.isoformat()

    @property
    def waits(self) -> bool:
        """It was not tried: an earlier event of its aggregate is dead."""
        return self.reason.startswith(WAITS)

    @property
    def error(self) -> str:
        """The first line of the reason, without what is of this message alone."""
        first = (self.reason.splitlines() or [""])[0]
        return WAITS + "an earlier event" if self.waits else SPECIFIC.sub("*", mask(first))

    @property
    def group(self) -> str:
        """The same for all that failed alike: in one handler, with one type of event and one error."""
        key = "\n".join((self.queue, self.attribute("type"), self.error))
        return hashlib.sha256(key.encode()).hexdigest()[:GROUP_DIGITS]

    @property
    def subject(self) -> str:
        return self.attribute("subject")

    @property
    def sequence(self) -> int:
        """0 where it cannot be read."""
        digits = self.attribute("sequence")
        return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= MAX_SEQUENCE_DIGITS else 0

    @property
    def _death(self) -> dict[str, Any]:
        died = self.headers.get("x-death")
        return died[0] if isinstance(died, list) and died and isinstance(died[0], dict) else {}

    def attribute(self, name: str) -> str:
        return str(self.headers.get(PREFIX + name, ""))

    def restored(self) -> Outgoing:
        """As it was before it failed, for its queue."""
        headers = {k: v for k, v in self.headers.items() if k not in TOLD and not k.startswith("x-")}
        return Outgoing("", self.queue, self.body, headers, self.message_id)


class DeadLetters:
    """Works on a synchronous connection of py-amqp; what its user does not acknowledge stays where it is."""

    def __init__(self, connection: Any, queues: Iterable[str]) -> None:
        self._connection, self._queues = connection, list(queues)

    def all(self) -> list[DeadLetter]:
        return list(self.each())

    def each(self) -> Iterator[DeadLetter]:
        """One by one, without keeping them."""
        for queue in self._queues:
            channel = self._connection.channel()
            yield from self.take(channel, queue)
            channel.close()  # they return to the queue

    def take(self, channel: Any, queue: str) -> Iterator[DeadLetter]:
        """Each once: as many as there are now, for what is not acknowledged is not given twice."""
        channel.auto_decode = False
        for _ in range(self._count(queue) or 0):
            message = channel.basic_get(queue + DEAD_SUFFIX)
            if message is None:
                return
            message_id = message.properties.get("message_id") or ""
            body = bytes(message.body or b"")  # py-amqp has an empty text for an empty body
            yield DeadLetter(queue, message.headers or {}, body, message_id, message.delivery_tag)

    def _count(self, queue: str) -> int | None:
        channel = self._connection.channel()
        try:
            count = int(channel.queue_declare(queue + DEAD_SUFFIX, passive=True).message_count)
            channel.close()
            return count
        except amqp.exceptions.NotFound:
            return None
