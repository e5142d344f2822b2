"""What tests put on the wire and read from it, past the services."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import amqp
import httpx
from kombu import Connection

from services.chassis.clock import now
from services.chassis.dead import DeadLetter, DeadLetters
from services.chassis.messages import Envelope
from services.chassis.topology import DEAD_SUFFIX, RPC_EXCHANGE
from tests.support.processes import ACTOR, World, eventually
from tests.support.servers import Broker, management
from tests.support.topology import QUEUE


@contextmanager
def channel_of(world: World) -> Iterator[Any]:
    with Connection(world.amqp_uri) as connection:
        yield connection.default_channel


def publish(world: World, headers: dict[str, Any], body: bytes, key: str = QUEUE, **properties: Any) -> None:
    _publish(world, [amqp.Message(body, application_headers=headers, **properties)], key)


def request(world: World, method: str, **kwargs: Any) -> None:
    """A call whose caller does not wait for the answer, in the queue when this returns."""
    body = json.dumps({"args": [], "kwargs": {"actor": ACTOR, **kwargs}}).encode()
    _publish(world, [amqp.Message(body, application_headers={"timeout": "30"})], method, RPC_EXCHANGE)


def publish_events(world: World, events: Iterable[Envelope], queue: str = QUEUE) -> None:
    """In this order, as the relay would."""
    _publish(world, (amqp.Message(e.data, application_headers=e.headers(), message_id=e.id) for e in events), queue)


def _publish(world: World, messages: Iterable[amqp.Message], key: str, exchange: str = "") -> None:
    with channel_of(world) as channel:
        channel.confirm_select()
        for message in messages:  # without a confirm a closing channel may take some with it
            channel.basic_publish_confirm(message, exchange, key)


@contextmanager
def full(world: World, broker: Broker, queue: str) -> Iterator[None]:
    """The broker takes no more into a retry level: what is there stays, since it is to go to no queue."""
    policy = f"/policies/{world.vhost}/full"
    with management(broker) as client:
        _publish(world, [amqp.Message(b"", delivery_mode=2) for _ in range(3)], "nowhere", queue)
        limits = {"pattern": f"^{queue}$", "apply-to": "queues", "definition": {"max-length": 1}}
        client.put(policy, json=limits).raise_for_status()
        try:
            yield
        finally:
            client.delete(policy).raise_for_status()


def envelope(id: str, thing: str, sequence: int = 1, **data: Any) -> Envelope:
    content = {"site": "130802103202", "thing_id": thing, "counter": "counter", **data}
    return Envelope(
        id, "cn.sidan.thing.happened.v1", "/sidan/alpha", thing, now(), sequence, "130802103202",
        json.dumps(content).encode(),
    )  # fmt: skip


def counted(thing: str, sequence: int, **data: Any) -> Envelope:
    """An event of a thing that has a counter of its own."""
    return envelope(f"{thing}{sequence}", thing, sequence, counter=thing, **data)


def commit_beneath(world: World, *things: str) -> None:
    """New things with the events that tell of them, as alpha would have them in its outbox; it is not asked."""
    for id in things:
        event = envelope(id, id)
        row = {"id": event.id, "type": event.type, "source": event.source, "subject": id, "time": event.time}
        row |= {"sequence": 1, "site": event.site, "data": event.data}
        document: dict[str, Any] = {"_id": id, "version": 1, "counter": "counter", "touched": 0}
        world.database("alpha")["things"].insert_one({**document, "outbox": [row], "outbox_since": event.time})


def the_dead(world: World, count: int) -> list[DeadLetter]:
    """When there are ``count`` of them; they are in the queue again afterwards."""
    eventually(lambda: world.depth(QUEUE + DEAD_SUFFIX) == count, what=f"{count} dead letters")
    with Connection(world.amqp_uri) as connection:
        letters = DeadLetters(connection.connection, [QUEUE]).all()
    # What was looked at returns a moment after the channel is closed.
    eventually(lambda: world.depth(QUEUE + DEAD_SUFFIX) == count, what="they are back")
    return letters


def metric(port: int, name: str) -> float:
    """The sum over the labels."""
    page = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
    lines = (line.rpartition(" ") for line in page.splitlines() if not line.startswith("#"))
    return sum(float(value) for label, _, value in lines if label.partition("{")[0] == name)
