"""What an operator does with the command line: dead letters, queues."""

import json
import subprocess
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import amqp
import pytest
from kombu import Connection

from deploy.operate.migrating import difference
from services.chassis.clock import now
from services.chassis.parking import PARKING
from services.chassis.pauses import PAUSED, pause, resume
from services.chassis.topology import DEAD_SUFFIX, dead_lettered, quorum
from tests.support.operate import Command
from tests.support.processes import World, eventually
from tests.support.servers import Broker
from tests.support.topology import QUEUE
from tests.support.wire import channel_of, envelope, publish, publish_events, the_dead

POISON = {"note": "poison"}


def event(thing: str, sequence: int, **more: Any) -> Any:
    """Counted by thing."""
    return envelope(f"{thing}{sequence}", thing, sequence, counter=thing, **more)


def handled(world: World, thing: str) -> list[int]:
    """The sequences of a thing's events in the order in which they were applied."""
    counter = world.database("beta")["counters"].find_one({"_id": thing})
    return list(counter["sequences"]) if counter else []


def consumers(world: World, queue: str = QUEUE) -> int:
    with Connection(world.amqp_uri) as connection:
        return int(connection.default_channel.queue_declare(queue, passive=True).consumer_count)


def runs(process: subprocess.Popen[str]) -> bool:
    """Looked at ten times a second, which paces the traffic."""
    try:
        process.wait(0.1)
        return False
    except subprocess.TimeoutExpired:
        return True


# -- dead letters -------------------------------------------------------------------------------------


def some_dead_letters(world: World) -> None:
    """a2 and a3 wait behind a1, d1 failed alike; one message cannot be read."""
    world.start("beta").wait_started()
    publish_events(world, [event("a", 1, **POISON), event("a", 2), event("d", 1, **POISON), event("a", 3)])
    publish(world, {"cloudEvents_type": "cn.sidan.thing.happened.v1"}, b"call 13812345678")
    the_dead(world, 5)


def groups(sidan: Command) -> dict[str, Any]:
    """By the first word of the error."""
    return {found["error"].partition(" ")[0]: found for found in sidan.json("dead", "list")}


def heal(world: World) -> None:
    world.database("beta")["healed"].insert_one({})


def parked(world: World) -> list[Any]:
    return list(world.database("beta")[PARKING].find())


def test_dead_letters_are_grouped_by_handler_event_and_error_and_shown_without_personal_data(
    world: World, sidan: Command
) -> None:
    assert sidan("dead", "list").stdout == "no dead letters\n"
    some_dead_letters(world)
    found = groups(sidan)
    assert {error: g["count"] for error, g in found.items()} == {"ValueError:": 2, "waits": 2, "unreadable:": 1}
    assert found["ValueError:"]["queue"] == QUEUE and found["ValueError:"]["type"] == "cn.sidan.thing.happened.v1"
    assert found["ValueError:"]["oldest"] < found["ValueError:"]["newest"]
    assert groups(sidan) == found, "the ids of groups are stable"
    of_group = sidan.json("dead", "list", "--group", found["ValueError:"]["group"])
    assert {m["id"] for m in of_group} == {"a1", "d1"} and "138****5678" in of_group[0]["reason"]
    assert len(sidan.json("dead", "list", "--queue", QUEUE)) == 5
    assert "… and 3 more" in sidan("dead", "list", "--queue", QUEUE, "--limit", "2").stdout
    (unnamed,) = sidan.json("dead", "list", "--group", found["unreadable:"]["group"])
    shown = sidan("dead", "show", unnamed["id"]).stdout
    assert "138****5678" in shown and "13812345678" not in shown
    assert "cannot count this" in sidan("dead", "show", "a1").stdout
    assert world.depth(QUEUE + DEAD_SUFFIX) == 5, "looking takes nothing"


def test_a_retry_brings_what_waited_behind_along_in_order(world: World, sidan: Command) -> None:
    some_dead_letters(world)
    heal(world)
    done = sidan.json("dead", "retry", "--group", groups(sidan)["ValueError:"]["group"], "--by", "wang")
    assert done == {"retried": 2, "followed": 2}
    eventually(lambda: handled(world, "a") == [1, 2, 3] and handled(world, "d") == [1])
    eventually(lambda: parked(world) == [])
    assert world.depth(QUEUE + DEAD_SUFFIX) == 1, "the other group stays"
    (row,) = sidan.json("dead", "audit")
    assert (row["by"], row["action"], row["queue"], row["count"], row["followed"]) == ("wang", "retried", QUEUE, 2, 2)
    (stored,) = world.database("beta")["operations"].find()
    assert sorted(stored["ids"]) == ["a1", "d1"] and stored["ended"]


def test_later_events_that_die_while_the_failing_one_is_put_back_follow_it(world: World, sidan: Command) -> None:
    world.start("beta").wait_started()
    publish_events(world, [event("a", 1, **POISON)])
    the_dead(world, 1)
    heal(world)
    with sidan.start("dead", "retry", "--all") as process:
        sequence = 1
        while runs(process):
            sequence += 1
            publish_events(world, [event("a", sequence)])
        assert process.returncode == 0, process.communicate()
    eventually(lambda: handled(world, "a") == list(range(1, sequence + 1)))
    eventually(lambda: parked(world) == [])
    assert sequence > 5 and world.depth(QUEUE + DEAD_SUFFIX) == 0


def test_dropping_needs_a_reason_and_frees_what_waited(world: World, sidan: Command) -> None:
    some_dead_letters(world)
    assert sidan("dead", "drop", "a1").returncode == 2
    done = sidan("dead", "drop", "a1", "--reason", "twice, says 13812345678", "--by", "wang")
    assert done.stdout == "dropped: 1\nput back, since they waited behind these: 2\n"
    eventually(lambda: handled(world, "a") == [2, 3])
    publish_events(world, [event("a", 4)])
    eventually(lambda: handled(world, "a") == [2, 3, 4])
    assert {m["id"] for m in sidan.json("dead", "list", "--queue", QUEUE)} >= {"d1"}
    assert world.depth(QUEUE + DEAD_SUFFIX) == 2
    (line,) = (json.loads(text) for text in done.stderr.splitlines())
    assert (line["event"], line["by"], line["count"]) == ("dropped", "wang", 1)
    assert line["reason"] == "twice, says 138****5678" == sidan.json("dead", "audit")[0]["reason"]


@pytest.mark.parametrize("arguments", [["retry"], ["drop", "--reason", "a test"]], ids=["retry", "drop"])
def test_a_settling_that_is_killed_half_way_loses_nothing_and_is_done_again(
    world: World, sidan: Command, arguments: list[str]
) -> None:
    some_dead_letters(world)
    heal(world)
    killed = sidan("dead", *arguments, "--group", groups(sidan)["ValueError:"]["group"], SIDAN_CRASH_AT="copied")
    assert killed.returncode == -9
    eventually(lambda: world.depth(QUEUE + DEAD_SUFFIX) == 5, what="no original has gone")
    assert sidan("dead", *arguments, "--group", groups(sidan)["ValueError:"]["group"]).returncode == 0
    expected = [1, 2, 3] if arguments[0] == "retry" else [2, 3]
    eventually(lambda: handled(world, "a") == expected)
    eventually(lambda: parked(world) == [])
    assert world.depth(QUEUE + DEAD_SUFFIX) == 1
    assert [row["ended"] is None for row in sidan.json("dead", "audit")] == [False, True]


def test_thousands_are_put_back_with_progress(world: World, sidan: Command) -> None:
    count = 2000
    world.start("beta").wait_started()
    letters = [envelope(f"e{n}", f"t{n % 50}", n + 1, counter="all") for n in range(count)]
    publish_events(world, reversed(letters), QUEUE + DEAD_SUFFIX)
    done = sidan("dead", "retry", "--all", "--json")
    assert json.loads(done.stdout)["retried"] == count
    assert f"{QUEUE}: 1000 dead letters read" in done.stderr and f"{QUEUE}: 1000 settled" in done.stderr
    eventually(lambda: len(world.applied("all")) == count)
    sequences = world.database("beta")["counters"].find_one({"_id": "all"})["sequences"]
    of_one = [s for s in sequences if s % 50 == 1]
    assert of_one == sorted(of_one), "in order per aggregate, though they died in another"
    assert world.depth(QUEUE + DEAD_SUFFIX) == 0


@pytest.mark.parametrize(
    "arguments",
    [("retry",), ("retry", "nobody"), ("retry", "--group", "00000000"), ("show", "nobody"), ("list", "--queue", "no")],
)
def test_a_command_that_hits_nothing_says_what_to_do(world: World, sidan: Command, arguments: tuple[str, ...]) -> None:
    done = sidan("dead", *arguments)
    assert done.returncode in (1, 2) and done.stdout == "" and done.stderr.endswith(".\n")


# -- queues: pause, resume ----------------------------------------------------------------------------


def test_a_paused_queue_is_left_alone_by_all_replicas_within_2_s_and_after_restarts(
    world: World, sidan: Command
) -> None:
    replicas = [world.start("beta").wait_started() for _ in range(2)]
    publish_events(world, [event("slow", n, note="slow:0.05") for n in range(1, 400)])
    eventually(lambda: handled(world, "slow"))
    began = time.monotonic()
    done = sidan("queues", "pause", QUEUE, "--reason", "the ministry calls", "--by", "wang")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 10
    eventually(lambda: (seen := handled(world, "slow")) and world.depth() == 399 - len(seen), what="all are ready")
    before = len(handled(world, "slow"))
    assert before < 399
    for replica in replicas:
        replica.stop()
    world.start("beta").wait_started()
    publish_events(world, [event("new", 1)])
    eventually(lambda: world.depth() == 400 - before, what="the new one is in the queue")
    assert consumers(world) == 0
    (row,) = sidan.json("queues", "list")["queues"]
    assert (row["paused"]["by"], row["paused"]["reason"]) == ("wang", "the ministry calls")
    assert row["ready"] == 400 - before and row["consumers"] == 0
    assert sidan("queues", "resume", QUEUE).returncode == 0
    eventually(lambda: len(handled(world, "slow")) == 399 and handled(world, "new") == [1])
    assert sorted(handled(world, "slow")) == list(range(1, 400)), "each once"
    assert world.depth(QUEUE + DEAD_SUFFIX) == 0


def test_a_pause_takes_effect_within_2_s(world: World, sidan: Command) -> None:
    replicas = [world.start("beta").wait_started() for _ in range(2)]
    eventually(lambda: consumers(world) == 2)
    assert all(replica.alive for replica in replicas)
    for _ in range(3):
        pause(world.database("beta"), QUEUE, "wang", "a test")
        eventually(lambda: consumers(world) == 0, 2.0, "no replica takes messages")
        resume(world.database("beta"), QUEUE)
        eventually(lambda: consumers(world) == 2, 2.0, "both take messages again")


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


# -- queues: drain ------------------------------------------------------------------------------------


def test_drain_waits_until_queues_retry_levels_and_outboxes_are_empty(
    world: World, sidan: Command, broker: Broker
) -> None:
    sidan.environment["SIDAN_MANAGEMENT_URL"] = f"http://127.0.0.1:{broker.management_port}"
    alpha = world.start("alpha").wait_started()
    world.start("beta").wait_started()
    publish_events(world, [event("slow", n, note="slow:0.03") for n in range(1, 300)])
    publish_events(world, [event("once", 1, note="once")])
    done = sidan("queues", "drain", "--timeout", "60")
    assert done.returncode == 0 and "left in" in done.stderr and done.stdout == "all is empty\n"
    assert len(handled(world, "slow")) == 299 and handled(world, "once") == [1]
    alpha.kill()
    world.database("alpha")["things"].insert_one({"_id": "x", "outbox": [{"id": "e"}], "outbox_since": now()})
    left = sidan("queues", "drain", "--quiet", "1", "--timeout", "2")
    assert left.returncode == 1 and "outbox of alpha.things  1" in left.stdout


def test_drain_does_not_wait_for_a_paused_queue(world: World, sidan: Command) -> None:
    world.start("beta").wait_started()
    assert sidan("queues", "pause", QUEUE, "--reason", "a test").returncode == 0
    publish_events(world, [event("a", 1)])
    began = time.monotonic()
    done = sidan("queues", "drain", QUEUE)
    assert (
        done.returncode == 1
        and f"{QUEUE} is paused and not empty: resume it first.\n" == done.stderr.splitlines(True)[-1]
    )
    assert time.monotonic() - began < 20


# -- queues: migrate ----------------------------------------------------------------------------------


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
            e = event(thing, sequence)
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
        eventually(lambda: len(handled(world, thing)) > sequence, 120, "all arrive")  # noqa: B023
        assert handled(world, thing) == list(range(1, sequence + 2)), "each once, in order"
    assert is_as_declared(world) and sequence > 10
    assert world.database("beta")[PAUSED].count_documents({}) == 0
    eventually(lambda: parked(world) == [])
    assert world.depth(QUEUE + DEAD_SUFFIX) == 0
    assert [row["action"] for row in sidan.json("dead", "audit")] == ["migrated"]


@pytest.mark.parametrize("point", ["unbound", "moved", "emptied", "deleted", "moved:2", "bound", "moved:3"])
def test_a_migration_that_is_killed_is_gone_on_with(world: World, sidan: Command, point: str) -> None:
    declare_otherwise(world)
    assert sidan("queues", "pause", QUEUE, "--reason", "so that messages gather").returncode == 0
    world.start("beta").wait_started()
    publish_as_the_relay(world, "abc", 1)
    with sidan.start("queues", "migrate", QUEUE, SIDAN_CRASH_AT=point) as process:
        sequence = 1
        while runs(process):
            sequence += 1
            publish_as_the_relay(world, "abc", sequence)
    assert process.returncode == -9
    publish_as_the_relay(world, "abc", sequence + 1)
    for arguments in (("resume", QUEUE), ("replay", "--queue", QUEUE, "--from", "first")):
        assert "finish that first with" in sidan("queues", *arguments).stderr
    assert sidan("queues", "migrate", QUEUE).returncode == 0
    assert is_as_declared(world) and consumers(world) == 0, "the operator's own pause holds"
    assert sidan("queues", "resume", QUEUE).returncode == 0
    for thing in "abc":
        eventually(lambda: len(handled(world, thing)) > sequence, 120, "all arrive")  # noqa: B023
        assert handled(world, thing) == list(range(1, sequence + 2)), "each once, in order"
    eventually(lambda: parked(world) == [])
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
        eventually(lambda: len(handled(world, thing)) == len(expected), what="all arrive")  # noqa: B023
        assert handled(world, thing) == expected
    eventually(lambda: parked(world) == [])


def test_a_queue_is_migrated_by_one_command_at_a_time(world: World, sidan: Command) -> None:
    declare_otherwise(world)
    world.start("beta").wait_started()
    with Connection(world.amqp_uri) as other:
        other.default_channel.queue_declare(QUEUE + ".lock", exclusive=True)
        done = sidan("queues", "migrate", QUEUE)
    assert done.returncode == 1 and "is being moved by another command" in done.stderr
    assert consumers(world) == 1


# -- queues: replay -----------------------------------------------------------------------------------


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
    old = replace(event("old", 1), time=now() - timedelta(days=61))
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
