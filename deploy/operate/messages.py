"""What the broker holds, as documents: the event log, dead letters, the heads of queues."""

import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

import amqp

from deploy.operate.copies import ADDED
from deploy.operate.system import Document
from services.chassis.dead import DeadLetters
from services.chassis.frames import Outgoing
from services.chassis.messages import PREFIX
from services.chassis.topology import EVENT_LOG

PREFETCH = 500
PATIENCE = 20.0  # seconds
LARGEST = 1 << 63
MARKER = "marker"
"""Header of a message that only says where the log ended; readers of the log skip it."""


def logged(connection: Any, since: datetime) -> Iterator[Document]:
    """The event log from about ``since`` to what is now its end, oldest first. Raise ``TimeoutError``."""
    marker, found, ended = uuid.uuid4().hex, list[Document](), list[bool]()

    def note(message: Any) -> None:
        told = (message.headers or {}).get(MARKER)
        if told is None:
            found.append(document(message))
        elif told == marker:
            ended.append(True)
        message.channel.basic_ack(message.delivery_tag)

    channel = connection.channel()
    channel.auto_decode = False
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
    for letter in DeadLetters(connection, queues).each():
        told = {"queue": letter.queue, "id": letter.id, "message_id": letter.message_id}
        yield {**told, "headers": plain(letter.headers), "body": letter.body}


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
    headers = {name: plain(value) for name, value in (message.headers or {}).items() if name not in ADDED}
    return {"headers": headers, "body": bytes(message.body), "message_id": message.properties.get("message_id") or ""}


def outgoing(document: Document, queue: str) -> Outgoing:
    """As it was, for a queue."""
    properties = {"type": document["headers"].get(f"{PREFIX}type", "")}
    return Outgoing("", queue, document["body"], document["headers"], document["message_id"], properties)


def plain(value: Any) -> Any:
    """What BSON can hold: strangers may send headers of any type."""
    if isinstance(value, dict):
        return {str(name).replace("\0", ""): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, int):
        return value if -LARGEST <= value < LARGEST else str(value)
    return value if isinstance(value, str | float | bytes | datetime | None) else str(value)
