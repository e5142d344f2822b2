"""What the broker holds, as documents: the event log, dead letters, the heads of queues."""

import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import takewhile
from typing import Any

import amqp

from deploy.operate.commands import Refused
from deploy.operate.system import Document
from services.chassis.broker import Outgoing, send
from services.chassis.dead import DeadLetters
from services.chassis.messages import PREFIX
from services.chassis.topology import EVENT_LOG

PREFETCH = 500
PATIENCE = 20.0  # seconds
MARKER = "marker"
"""Header of a message that only says where the log ended; readers of the log skip it."""


class Unconfirmed(Refused):
    """The broker has not taken something."""


def logged(connection: Any, since: datetime) -> Iterator[Document]:
    """The event log from about ``since`` to what is now its end, oldest first. Raise ``TimeoutError``."""
    marker, found, ended = uuid.uuid4().hex, list[Document](), list[bool]()

    def note(message: Any) -> None:
        if MARKER not in message.headers:
            found.append(document(message))
        elif message.headers[MARKER] == marker:
            ended.append(True)
        message.channel.basic_ack(message.delivery_tag)

    channel = connection.channel()
    channel.confirm_select()
    end = amqp.Message(b"{}", application_headers={MARKER: marker}, delivery_mode=2)
    channel.basic_publish_confirm(end, "", EVENT_LOG, confirm_timeout=PATIENCE)
    channel.basic_qos(0, PREFETCH, False)
    channel.basic_consume(EVENT_LOG, callback=note, arguments={"x-stream-offset": since})
    while not ended:
        connection.drain_events(timeout=PATIENCE)
        yield from found
        found.clear()
    channel.close()


def dead(connection: Any, queues: Iterable[str]) -> Iterator[Document]:
    """Dead letters; they stay where they are."""
    for letter in DeadLetters(connection, queues).all():
        yield {"queue": letter.queue, "headers": letter.headers, "body": letter.body, "message_id": letter.message_id}


def oldest_waiting(connection: Any, queues: Iterable[str]) -> datetime | None:
    """When the event was told that waits longest at the head of a queue; it stays there."""
    channel = connection.channel()
    times = []
    for queue in queues:
        message = channel.basic_get(queue)
        if message is not None:
            channel.basic_reject(message.delivery_tag, requeue=True)
            times.append(time_of(message.headers or {}))
    channel.close()
    return min((time for time in times if time is not None), default=None)


def time_of(headers: Document) -> datetime | None:
    try:
        return datetime.fromisoformat(str(headers.get(f"{PREFIX}time")))
    except ValueError:
        return None


def document(message: Any) -> Document:
    body = message.body.encode() if isinstance(message.body, str) else bytes(message.body)
    headers = {name: value for name, value in message.headers.items() if name != "x-stream-offset"}
    return {"headers": headers, "body": body, "message_id": message.properties.get("message_id") or ""}


def message(document: Document) -> amqp.Message:
    return amqp.Message(
        document["body"],
        content_type="application/json",
        content_encoding="utf-8",
        delivery_mode=2,
        message_id=document["message_id"] or None,
        application_headers=document["headers"],
    )


class Sending:
    """Publishes to queues by name, many at a time; every one is confirmed when the block ends.

    Raise ``Unconfirmed`` when the broker refuses one.
    """

    def __init__(self, connection: Any) -> None:
        self._connection, self._channel = connection, connection.channel()
        self._channel.confirm_select()
        self._channel.events["basic_ack"].add(self._confirmed)
        self._channel.events["basic_nack"].add(self._refused)
        self._waiting: dict[int, None] = {}
        self._tag = 0
        self.count = 0

    def __call__(self, queue: str, document: Document) -> None:
        self._tag += 1
        self._waiting[self._tag] = None
        send(self._channel, Outgoing("", queue, b"", mandatory=False), message(document))
        self.count += 1
        while len(self._waiting) >= PREFETCH:
            self._connection.drain_events(timeout=PATIENCE)

    def __enter__(self) -> "Sending":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        while self._waiting and kind is None:
            self._connection.drain_events(timeout=PATIENCE)
        self._channel.close()

    def _confirmed(self, tag: int, multiple: bool) -> None:
        for settled in list(takewhile(lambda waiting: waiting <= tag, self._waiting)) if multiple else [tag]:
            del self._waiting[settled]

    def _refused(self, tag: int, multiple: bool) -> None:
        raise Unconfirmed("The broker did not take a message: see its log and its disk, then run the command again.")
