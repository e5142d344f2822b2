"""A queue with other arguments than are declared is migrated by the operator."""

import amqp
import pytest
from kombu import Connection

from deploy.operate.migrating import difference
from services.chassis.pauses import PAUSED
from services.chassis.topology import DEAD_SUFFIX, dead_lettered, quorum
from tests.support.operate import Command, runs
from tests.support.processes import World, eventually
from tests.support.topology import QUEUE
from tests.support.wire import channel_of, counted

pytestmark = pytest.mark.long

KILLED_AT = ("unbound", "moved", "emptied", "deleted", "moved", "bound", "moved")
"""On the way out of the queue, and on the way back; each next attempt begins with what the last has left."""


def declare_otherwise(world: World) -> None:
    """As an older version would have: without a delivery limit."""
    with channel_of(world) as channel:
        channel.exchange_declare("alpha.events", "topic", durable=True, auto_delete=False)
        channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments=quorum())
        channel.queue_bind(QUEUE, "alpha.events", "thing.happened.#")


def is_as_declared(world: World) -> bool:
    with Connection(world.amqp_uri) as connection:
        return difference(connection.connection, QUEUE, dead_lettered(QUEUE)) is None


def publish_as_the_relay(world: World, things: str, sequence: int) -> None:
    with channel_of(world) as channel:
        channel.confirm_select()
        for thing in things:
            e = counted(thing, sequence)
            message = amqp.Message(e.data, application_headers=e.headers(), message_id=e.id)
            channel.basic_publish_confirm(message, "alpha.events", e.routing_key)


def test_a_queue_with_other_arguments_is_migrated_under_traffic(world: World, sidan: Command) -> None:
    declare_otherwise(world)
    beta = world.start("beta").wait_started()
    assert "queue has other arguments" in beta.log.read_text()
    sequence = 0
    with sidan.start("queues", "migrate", QUEUE, "--by", "wang") as process:
        while runs(process):
            sequence += 1
            publish_as_the_relay(world, "abc", sequence)
        assert process.returncode == 0, process.communicate()
    publish_as_the_relay(world, "abc", sequence + 1)
    for thing in "abc":
        eventually(lambda: len(world.sequences(thing)) > sequence, 120, "all arrive")  # noqa: B023
        assert world.sequences(thing) == list(range(1, sequence + 2)), "each once, in order"
    assert is_as_declared(world) and sequence > 10
    assert world.database("beta")[PAUSED].count_documents({}) == 0
    eventually(lambda: world.parked() == [])
    assert world.depth(QUEUE + DEAD_SUFFIX) == 0
    assert [row["action"] for row in sidan.json("dead", "audit")] == ["migrated"]


def test_a_migration_that_is_killed_again_and_again_is_gone_on_with(world: World, sidan: Command) -> None:
    declare_otherwise(world)
    assert sidan("queues", "pause", QUEUE, "--reason", "so that messages gather").returncode == 0
    world.start("beta").wait_started()
    sequence = 1
    publish_as_the_relay(world, "abc", sequence)
    for point in KILLED_AT:
        with sidan.start("queues", "migrate", QUEUE, SIDAN_CRASH_AT=point) as process:
            while runs(process):
                sequence += 1
                publish_as_the_relay(world, "abc", sequence)
        assert process.returncode == -9, f"killed at {point}"
    publish_as_the_relay(world, "abc", sequence + 1)
    for arguments in (("resume", QUEUE), ("replay", "--queue", QUEUE, "--from", "first")):
        assert "finish that first with" in sidan("queues", *arguments).stderr
    assert sidan("queues", "migrate", QUEUE).returncode == 0
    assert is_as_declared(world) and world.consumers() == 0, "the operator's own pause holds"
    assert sidan("queues", "resume", QUEUE).returncode == 0
    for thing in "abc":
        eventually(lambda: len(world.sequences(thing)) > sequence, 120, "all arrive")  # noqa: B023
        assert world.sequences(thing) == list(range(1, sequence + 2)), "each once, in order"
    eventually(lambda: world.parked() == [])
    assert world.depth(QUEUE + DEAD_SUFFIX) == 0


def test_a_service_that_comes_up_meanwhile_lets_no_event_overtake(world: World, sidan: Command) -> None:
    """It declares the queue and binds it, so that new events are in it before the old ones are back."""
    declare_otherwise(world)
    publish_as_the_relay(world, "abc", 1)
    assert sidan("queues", "migrate", QUEUE, SIDAN_CRASH_AT="deleted").returncode == -9
    publish_as_the_relay(world, "ab", 2)
    world.start("beta").wait_started()
    publish_as_the_relay(world, "abc", 3)
    assert world.depth() == 3
    assert sidan("queues", "migrate", QUEUE).returncode == 0
    for thing, expected in {"a": [1, 2, 3], "b": [1, 2, 3], "c": [1, 3]}.items():
        eventually(lambda: len(world.sequences(thing)) == len(expected), what="all arrive")  # noqa: B023
        assert world.sequences(thing) == expected
    eventually(lambda: world.parked() == [])


def test_a_queue_is_migrated_by_one_command_at_a_time(world: World, sidan: Command) -> None:
    declare_otherwise(world)
    world.start("beta").wait_started()
    with Connection(world.amqp_uri) as other:
        other.default_channel.queue_declare(QUEUE + ".lock", exclusive=True)
        done = sidan("queues", "migrate", QUEUE)
    assert done.returncode == 1 and "is being moved by another command" in done.stderr
    assert world.consumers() == 1
