"""What an operator does with dead letters."""

import json
from typing import Any

import pytest

from services.chassis.topology import DEAD_SUFFIX
from tests.support.operate import Command, runs
from tests.support.processes import World, eventually
from tests.support.topology import QUEUE
from tests.support.wire import counted, envelope, publish, publish_events, the_dead

POISON = {"note": "poison"}


def some_dead_letters(world: World) -> None:
    """a2 and a3 wait behind a1, d1 failed alike; one message cannot be read."""
    world.start("beta").wait_started()
    publish_events(world, [counted("a", 1, **POISON), counted("a", 2), counted("d", 1, **POISON), counted("a", 3)])
    publish(world, {"cloudEvents_type": "cn.sidan.thing.happened.v1"}, b"call 13812345678")
    the_dead(world, 5)


def groups(sidan: Command) -> dict[str, Any]:
    """By the first word of the error."""
    return {found["error"].partition(" ")[0]: found for found in sidan.json("dead", "list")}


def test_dead_letters_are_grouped_by_handler_event_and_error_and_shown_without_personal_data(
    world: World, sidan: Command
) -> None:
    assert sidan("dead", "list").stdout == "no dead letters\n"
    some_dead_letters(world)
    found = groups(sidan)
    assert {error: g["count"] for error, g in found.items()} == {"ValueError:": 2, "waits": 2, "unreadable:": 1}
    assert found["ValueError:"]["queue"] == QUEUE and found["ValueError:"]["type"] == "cn.sidan.thing.happened.v1"
    assert found["ValueError:"]["oldest"] <= found["ValueError:"]["newest"]
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
    world.heal()
    done = sidan.json("dead", "retry", "--group", groups(sidan)["ValueError:"]["group"], "--by", "wang")
    assert done == {"retried": 2, "followed": 2}
    eventually(lambda: world.sequences("a") == [1, 2, 3] and world.sequences("d") == [1])
    eventually(lambda: world.parked() == [])
    assert world.depth(QUEUE + DEAD_SUFFIX) == 1, "the other group stays"
    (row,) = sidan.json("dead", "audit")
    assert (row["by"], row["action"], row["queue"], row["count"], row["followed"]) == ("wang", "retried", QUEUE, 2, 2)
    (stored,) = world.database("beta")["operations"].find()
    assert sorted(stored["ids"]) == ["a1", "d1"] and stored["ended"]


def test_later_events_that_die_while_the_failing_one_is_put_back_follow_it(world: World, sidan: Command) -> None:
    world.start("beta").wait_started()
    publish_events(world, [counted("a", 1, **POISON)])
    the_dead(world, 1)
    world.heal()
    with sidan.start("dead", "retry", "--all") as process:
        sequence = 1
        while runs(process):
            sequence += 1
            publish_events(world, [counted("a", sequence)])
        assert process.returncode == 0, process.communicate()
    eventually(lambda: world.sequences("a") == list(range(1, sequence + 1)))
    eventually(lambda: world.parked() == [])
    assert sequence > 5 and world.depth(QUEUE + DEAD_SUFFIX) == 0


def test_dropping_needs_a_reason_and_frees_what_waited(world: World, sidan: Command) -> None:
    some_dead_letters(world)
    assert sidan("dead", "drop", "a1").returncode == 2
    done = sidan("dead", "drop", "a1", "--reason", "twice, says 13812345678", "--by", "wang")
    assert done.stdout == "dropped: 1\nput back, since they waited behind these: 2\n"
    eventually(lambda: world.sequences("a") == [2, 3])
    publish_events(world, [counted("a", 4)])
    eventually(lambda: world.sequences("a") == [2, 3, 4])
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
    world.heal()
    killed = sidan("dead", *arguments, "--group", groups(sidan)["ValueError:"]["group"], SIDAN_CRASH_AT="copied")
    assert killed.returncode == -9
    eventually(lambda: world.depth(QUEUE + DEAD_SUFFIX) == 5, what="no original has gone")
    assert sidan("dead", *arguments, "--group", groups(sidan)["ValueError:"]["group"]).returncode == 0
    expected = [1, 2, 3] if arguments[0] == "retry" else [2, 3]
    eventually(lambda: world.sequences("a") == expected)
    eventually(lambda: world.parked() == [])
    assert world.depth(QUEUE + DEAD_SUFFIX) == 1
    assert [row["ended"] is None for row in sidan.json("dead", "audit")] == [False, True]


@pytest.mark.long
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
