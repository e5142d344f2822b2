"""The limit of the relay: py-amqp alone, pipelined confirms on one side, batched acknowledgements on the other."""

import sys
import time
from typing import Any
from urllib.parse import urlparse

import amqp

from bench.child import Parent

QUEUE = "bench.bare"
WINDOW = 500
PREFETCH = 500
ACKNOWLEDGE_EVERY = 100
QUIET = 1.0  # seconds


def connect(uri: str) -> amqp.Connection:
    parts = urlparse(uri)
    connection = amqp.Connection(
        f"{parts.hostname}:{parts.port}",
        parts.username or "guest",
        parts.password or "guest",
        virtual_host=parts.path[1:] or "/",
    )
    connection.connect()
    return connection


def declare(channel: amqp.Channel, queue: str) -> None:
    """Ours exists with arguments of its own."""
    if queue != QUEUE:
        return
    channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})


def publish(parent: Parent) -> None:
    connection = connect(parent.arguments["amqp"])
    channel = connection.channel()
    exchange, key = parent.arguments["exchange"], parent.arguments["key"]
    declare(channel, key)
    channel.confirm_select()
    open_tags: set[int] = set()

    def confirmed(tag: int, multiple: bool) -> None:
        if multiple:
            open_tags.difference_update([t for t in open_tags if t <= tag])
        else:
            open_tags.discard(tag)

    channel.events["basic_ack"].add(confirmed)
    ids = [f"{number:08d}" for number in range(parent.arguments["count"])]
    headers, body = parent.arguments["headers"], parent.arguments["body"]
    parent.await_go()
    started = time.monotonic()
    for tag, id in enumerate(ids, start=1):
        message = amqp.Message(
            body, content_type="application/json", delivery_mode=2, message_id=id, application_headers=headers
        )
        open_tags.add(tag)
        channel.basic_publish(message, exchange=exchange, routing_key=key)
        while len(open_tags) >= WINDOW:
            connection.drain_events()
    while open_tags:
        connection.drain_events()
    parent.tell({"started": started, "ids": ids})
    time.sleep(3600)


def consume(parent: Parent) -> None:
    connection = connect(parent.arguments["amqp"])
    channel = connection.channel()
    queue = parent.arguments["queue"]
    declare(channel, queue)
    channel.queue_purge(queue)
    channel.basic_qos(0, PREFETCH, False)
    received: list[tuple[str, float]] = []
    count = parent.arguments["count"]

    def take(message: Any) -> None:
        received.append((message.properties["message_id"], time.monotonic()))
        if len(received) % ACKNOWLEDGE_EVERY == 0 or len(received) == count:
            channel.basic_ack(message.delivery_tag, multiple=True)

    channel.basic_consume(queue, callback=take)
    parent.tell("ready")
    while len(received) < count:
        connection.drain_events()
    quiet(connection)
    parent.tell({"received": received})
    time.sleep(3600)


def quiet(connection: amqp.Connection) -> None:
    until = time.monotonic() + QUIET
    while time.monotonic() < until:
        try:
            connection.drain_events(timeout=0.1)
        except TimeoutError:
            pass


if __name__ == "__main__":
    asked = Parent()
    sys.exit(publish(asked) if asked.arguments["role"] == "publish" else consume(asked))
