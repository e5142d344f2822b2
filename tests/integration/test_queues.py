"""What an operator does with queues: pause, resume, drain, replay."""

import time
from dataclasses import replace
from datetime import timedelta

import amqp
import pytest

from services.chassis.clock import now
from services.chassis.pauses import pause, resume
from services.chassis.topology import DEAD_SUFFIX
from tests.support.operate import Command
from tests.support.processes import World, eventually
from tests.support.servers import Broker
from tests.support.topology import QUEUE
from tests.support.wire import channel_of, counted, publish_events

pytestmark = pytest.mark.long

# -- pause, resume ----------------------------------------------------------------------------


def test_a_paused_queue_is_left_alone_by_all_replicas_within_2_s_and_after_restarts(
    world: World, sidan: Command
) -> None:
    replicas = [world.start("beta").wait_started() for _ in range(2)]
    publish_events(world, [counted("slow", n, note="slow:0.05") for n in range(1, 400)])
    eventually(lambda: world.sequences("slow"))
    done = sidan("queues", "pause", QUEUE, "--reason", "the ministry calls", "--by", "wang")
    assert done.returncode == 0, done.stderr
    eventually(lambda: (seen := world.sequences("slow")) and world.depth() == 399 - len(seen), what="all are ready")
    before = len(world.sequences("slow"))
    assert before < 399
    for replica in replicas:
        replica.stop()
    world.start("beta").wait_started()
    publish_events(world, [counted("new", 1)])
    eventually(lambda: world.depth() == 400 - before, what="the new one is in the queue")
    assert world.consumers() == 0
    (row,) = sidan.json("queues", "list")["queues"]
    assert (row["paused"]["by"], row["paused"]["reason"]) == ("wang", "the ministry calls")
    assert row["ready"] == 400 - before and row["consumers"] == 0
    assert sidan("queues", "resume", QUEUE).returncode == 0
    eventually(lambda: len(world.sequences("slow")) == 399 and world.sequences("new") == [1])
    assert sorted(world.sequences("slow")) == list(range(1, 400)), "each once"
    assert world.depth(QUEUE + DEAD_SUFFIX) == 0


def test_a_pause_takes_effect_within_2_s(world: World, sidan: Command) -> None:
    replicas = [world.start("beta").wait_started() for _ in range(2)]
    eventually(lambda: world.consumers() == 2)
    assert all(replica.alive for replica in replicas)
    for _ in range(3):
        pause(world.database("beta"), QUEUE, "wang", "a test")
        eventually(lambda: world.consumers() == 0, 2.0, "no replica takes messages")
        resume(world.database("beta"), QUEUE)
        eventually(lambda: world.consumers() == 2, 2.0, "both take messages again")


def test_pausing_and_resuming_say_what_is_wrong(world: World, sidan: Command) -> None:
    world.start("beta").wait_started()
    for arguments in (
        ("pause", "evt-nobody", "--reason", "a test"),
        ("pause", QUEUE),
        ("resume", QUEUE),
        ("resume", "evt-nobody"),
        ("drain", "evt-nobody"),
        ("migrate", QUEUE),
        ("replay", "--queue", QUEUE, "--from", "yesterday"),
    ):
        done = sidan("queues", *arguments)
        assert done.returncode in (1, 2) and done.stdout == "" and done.stderr, arguments
    assert sidan("queues", "pause", QUEUE, "--reason", "first").returncode == 0
    done = sidan("queues", "pause", QUEUE, "--reason", "second")
    assert done.returncode == 1 and "is paused already" in done.stderr
    assert [row["action"] for row in sidan.json("dead", "audit")] == ["paused"]


# -- drain ------------------------------------------------------------------------------------


def test_drain_waits_until_queues_retry_levels_and_outboxes_are_empty(
    world: World, sidan: Command, broker: Broker
) -> None:
    sidan.environment["SIDAN_MANAGEMENT_URL"] = f"http://127.0.0.1:{broker.management_port}"
    alpha = world.start("alpha").wait_started()
    world.start("beta").wait_started()
    publish_events(world, [counted("slow", n, note="slow:0.03") for n in range(1, 300)])
    publish_events(world, [counted("once", 1, note="once")])
    done = sidan("queues", "drain", "--timeout", "60")
    assert done.returncode == 0 and "left in" in done.stderr and done.stdout == "all is empty\n"
    assert len(world.sequences("slow")) == 299 and world.sequences("once") == [1]
    alpha.kill()
    world.database("alpha")["things"].insert_one({"_id": "x", "outbox": [{"id": "e"}], "outbox_since": now()})
    left = sidan("queues", "drain", "--quiet", "1", "--timeout", "2")
    assert left.returncode == 1 and "outbox of alpha.things  1" in left.stdout


def test_drain_does_not_wait_for_a_paused_queue(world: World, sidan: Command) -> None:
    world.start("beta").wait_started()
    assert sidan("queues", "pause", QUEUE, "--reason", "a test").returncode == 0
    publish_events(world, [counted("a", 1)])
    began = time.monotonic()
    done = sidan("queues", "drain", QUEUE)
    assert (
        done.returncode == 1
        and f"{QUEUE} is paused and not empty: resume it first.\n" == done.stderr.splitlines(True)[-1]
    )
    assert time.monotonic() - began < 100  # it would wait for 300 s


# -- replay -----------------------------------------------------------------------------------


def test_a_deleted_queue_is_filled_from_the_log_and_what_was_handled_is_absorbed(world: World, sidan: Command) -> None:
    world.start("alpha").wait_started()
    beta = world.start("beta").wait_started()
    world.add("a", "b")
    eventually(lambda: world.applied() == ["a", "b"])
    between = now()
    beta.stop()
    world.add("c", "d")
    eventually(lambda: world.depth() == 2)
    with channel_of(world) as channel:
        channel.queue_delete(QUEUE)
    world.start("beta").wait_started()
    assert sidan.json("queues", "replay", "--queue", QUEUE, "--from", "1", "--until", "2")["published"] == 2
    eventually(lambda: world.applied() == ["a", "b", "c"])
    done = sidan.json("queues", "replay", "--queue", QUEUE, "--from", between.isoformat())
    assert done["published"] >= 2
    eventually(lambda: world.applied() == ["a", "b", "c", "d"])
    assert sidan("queues", "replay", "--queue", QUEUE, "--from", "first", SIDAN_CRASH_AT="replayed").returncode == -9
    assert sidan.json("queues", "replay", "--queue", QUEUE, "--from", "first")["published"] == 4
    eventually(lambda: world.depth() == 0)
    assert world.applied() == ["a", "b", "c", "d"]


def test_a_replay_leaves_out_what_the_inbox_does_not_remember(world: World, sidan: Command) -> None:
    world.start("beta").wait_started()
    old = replace(counted("old", 1), time=now() - timedelta(days=61))
    with channel_of(world) as channel:
        channel.confirm_select()
        message = amqp.Message(old.data, application_headers=old.headers(), message_id=old.id)
        channel.basic_publish_confirm(message, "sidan.events", "thing.happened.1.2.3")
    done = sidan.json("queues", "replay", "--queue", QUEUE, "--from", "first")
    assert (done["published"], done["too_old"]) == (0, 1)


# -- what is away -------------------------------------------------------------------------------------


@pytest.mark.parametrize("variable", ["AMQP_URI", "MONGO_URI"])
def test_a_server_that_is_away_is_told_in_a_sentence(world: World, sidan: Command, variable: str) -> None:
    away = {"AMQP_URI": "amqp://127.0.0.1:1/", "MONGO_URI": "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=500"}
    done = sidan("queues", "list", **{variable: away[variable]})
    assert done.returncode == 3 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and variable in done.stderr
