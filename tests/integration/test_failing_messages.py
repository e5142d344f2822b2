"""A failing message stops nobody but later messages of its own aggregate; an outage charges no message."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pymongo import MongoClient

from deploy.local.servers import free_port
from services.chassis.dead import DeadLetter
from services.chassis.parking import Parking, put_back
from services.chassis.topology import DEAD_SUFFIX
from tests.support.operate import Command
from tests.support.processes import World, eventually
from tests.support.topology import QUEUE
from tests.support.wire import counted, envelope, metric, publish_events, the_dead

EVERYTHING: dict[str, Any] = {}
TIMED_OUT = {"errorCode": 50}  # MaxTimeMSExpired: transient, and the connection is fine
CUT_OFF = {"closeConnection": True}


@contextmanager
def failing(world: World, command: str, how: dict[str, Any]) -> Iterator[None]:
    """Every such command of beta fails in the server."""
    point: dict[str, Any] = {"configureFailPoint": "failCommand"}
    data = {"failCommands": [command], "appName": "sidan-beta", **how}
    with MongoClient[dict[str, Any]](world.mongo_uri) as client:
        client.admin.command({**point, "mode": "alwaysOn", "data": data})
        try:
            yield
        finally:
            client.admin.command({**point, "mode": "off"})


def tried(world: World, thing: str, sequence: int) -> int:
    return int(world.database("beta")["attempts"].count_documents({"thing_id": thing, "sequence": sequence}))


# -- outage -------------------------------------------------------------------------------------------


def test_an_outage_that_is_no_lost_connection_spends_no_attempts(world: World) -> None:
    port = free_port()
    beta = world.start("beta", SIDAN_METRICS_PORT=str(port)).wait_started()
    events = [envelope(f"event-{n}", f"thing-{n}", n + 1) for n in range(120)]
    with failing(world, "commitTransaction", TIMED_OUT):
        publish_events(world, events)
        eventually(lambda: "outage begins" in beta.log.read_text())
        seen = world.database("beta")["attempts"].count_documents(EVERYTHING)
        # One attempt a second: longer than all the retry delays together.
        eventually(lambda: world.database("beta")["attempts"].count_documents(EVERYTHING) >= seen + 4)
        assert world.applied() == [] and world.depth(QUEUE + DEAD_SUFFIX) == 0
        assert metric(port, "sidan_outage") == 1 and metric(port, "sidan_in_hand") > 100
    eventually(lambda: len(world.applied()) >= len(events), what="all are handled")
    assert sorted(world.applied()) == sorted(event.subject for event in events)
    assert world.depth(QUEUE + DEAD_SUFFIX) == 0
    assert beta.log.read_text().count("outage is over") == 1
    assert metric(port, "sidan_outage") == metric(port, "sidan_in_hand") == 0
    eventually(lambda: world.parked() == [])


@pytest.mark.parametrize("how", [TIMED_OUT, CUT_OFF], ids=["timed-out", "cut-off"])
def test_one_message_that_always_fails_like_an_outage_stops_nobody_and_dies(world: World, how: dict[str, Any]) -> None:
    world.start("beta").wait_started()
    with failing(world, "dbStats", how):
        publish_events(world, [counted("bad", 1, note="stats")])
        others = 0
        while not world.depth(QUEUE + DEAD_SUFFIX):
            others += 1
            publish_events(world, [counted("good", others)])
            eventually(lambda: len(world.sequences("good")) == others, what="the others go on")  # noqa: B023
            assert others < 100
        (letter,) = the_dead(world, 1)
    assert letter.headers["attempt"] == 3
    assert world.sequences("good") == list(range(1, others + 1)) and world.sequences("bad") == []


# -- later events of a failing aggregate --------------------------------------------------------------

POISON = {"note": "poison"}
REFUSED = "ValueError: cannot count this, call 138****5678"


def test_later_events_of_a_failing_aggregate_wait_and_die_behind_it_and_are_put_back_in_order(
    world: World, sidan: Command
) -> None:
    world.start("beta").wait_started()
    publish_events(
        world, [counted("a", 1, **POISON), counted("a", 2), counted("b", 1), counted("a", 3), counted("b", 2)]
    )
    eventually(lambda: world.sequences("b") == [1, 2], what="others are not held up")
    assert world.depth(QUEUE + DEAD_SUFFIX) == 0, "the first is still being retried"
    letters = the_dead(world, 3)
    assert reasons(letters) == {"a1": REFUSED, **behind("a1", "a2", "a3")}
    publish_events(world, [counted("a", 4), counted("b", 3)])
    letters = the_dead(world, 4)
    assert reasons(letters)["a4"] == "waits behind a1"
    assert [tried(world, "a", sequence) for sequence in (2, 3, 4)] == [0, 0, 0]
    world.heal()
    assert sidan.json("dead", "retry", "--all") == {"retried": 4, "followed": 0}
    eventually(lambda: world.sequences("a") == [1, 2, 3, 4])
    eventually(lambda: world.parked() == [])
    assert world.depth(QUEUE + DEAD_SUFFIX) == 0 and world.sequences("b") == [1, 2, 3]


def test_later_events_go_on_in_order_after_a_retry_succeeds(world: World) -> None:
    world.start("beta").wait_started()
    publish_events(world, [counted("a", 1, **POISON), *(counted("a", n) for n in range(2, 30))])
    eventually(lambda: tried(world, "a", 1) >= 2, what="a retry")
    world.heal()
    eventually(lambda: len(world.sequences("a")) == 29)
    assert world.sequences("a") == list(range(1, 30))
    eventually(lambda: world.parked() == [])


def test_a_dropped_head_frees_the_rest_but_what_failed_itself(world: World, sidan: Command) -> None:
    world.start("beta").wait_started()
    for number, sequence in enumerate((2, 1), start=1):
        publish_events(world, [counted("a", sequence, **POISON)])
        assert set(reasons(the_dead(world, number)).values()) == {REFUSED}, "each has been tried"
    assert sidan.json("dead", "drop", "a1", "--reason", "a test") == {"dropped": 1, "followed": 0}
    publish_events(world, [counted("a", 3)])
    assert reasons(the_dead(world, 2)) == {"a2": REFUSED, **behind("a2", "a3")}
    world.heal()
    assert sidan.json("dead", "retry", "--all") == {"retried": 2, "followed": 0}
    eventually(lambda: world.sequences("a") == [2, 3])
    eventually(lambda: world.parked() == [])
    publish_events(world, [counted("a", 4)])
    eventually(lambda: world.sequences("a") == [2, 3, 4])


def reasons(letters: list[DeadLetter]) -> dict[str, str]:
    return {letter.message_id: letter.reason for letter in letters}


def behind(head: str, *ids: str) -> dict[str, str]:
    return {id: f"waits behind {head}" for id in ids}


def test_duplicates_of_what_is_handled_hold_nobody_up(world: World) -> None:
    world.start("beta").wait_started()
    publish_events(world, [counted("a", 1), counted("a", 3), counted("a", 2, **POISON)])
    eventually(lambda: world.parked())
    publish_events(world, [counted("a", 1), counted("a", 3), counted("a", 4), counted("a", 1)])
    eventually(lambda: world.depth() == 0)
    world.heal()
    eventually(lambda: world.sequences("a") == [1, 3, 2, 4])
    eventually(lambda: world.parked() == [])
    assert world.depth(QUEUE + DEAD_SUFFIX) == 0


@pytest.mark.parametrize("point", ["parked", "before_ack", "after_commit"])
def test_a_killed_consumer_leaves_no_row_behind(world: World, point: str) -> None:
    """Before the copy is made; before the failed is acknowledged; before the healed has left the row."""
    beta = world.start("beta", SIDAN_CRASH_AT=point).wait_started()
    publish_events(world, [counted("a", 1, **POISON), counted("a", 2)])
    eventually(lambda: world.parked())
    world.heal()
    beta.wait_exit()
    world.start("beta").wait_started()
    eventually(lambda: world.sequences("a") == [1, 2])
    eventually(lambda: world.parked() == [])
    eventually(lambda: world.depth() == 0)
    assert world.sequences("a") == [1, 2] and world.depth(QUEUE + DEAD_SUFFIX) == 0


def test_what_a_killed_replica_left_is_cleared_by_the_one_that_handles_its_message(world: World) -> None:
    """At once, before it has read the rows the next time."""
    replicas = [world.start("beta", SIDAN_CRASH_AT="parked").wait_started() for _ in range(2)]
    publish_events(world, [counted("a", 1, note="once")])
    eventually(lambda: world.sequences("a") == [1])
    assert [replica.alive for replica in replicas].count(True) == 1
    eventually(lambda: world.parked() == [])
    assert tried(world, "a", 1) == 2


def test_replicas_know_of_each_others_failures(world: World) -> None:
    ports = [free_port(), free_port()]
    for port in ports:
        # not dead before it is healed, however slow the rest
        delays = {"SIDAN_RETRY_DELAYS": "[1, 1.5, 2, 3, 5, 8, 13]"}
        world.start("beta", SIDAN_METRICS_PORT=str(port), **delays).wait_started()
    publish_events(world, [counted("a", 1, **POISON)])
    eventually(lambda: all(metric(port, "sidan_parked_aggregates") == 1 for port in ports))
    publish_events(world, [counted("a", n) for n in range(2, 40)] + [counted("b", n) for n in range(1, 40)])
    eventually(lambda: len(world.sequences("b")) == 39)
    assert world.sequences("a") == []
    world.heal()
    eventually(lambda: len(world.sequences("a")) == 39)
    assert world.sequences("a") == list(range(1, 40))
    eventually(lambda: all(metric(port, "sidan_parked_aggregates") == 0 for port in ports))


# -- the rows -----------------------------------------------------------------------------------------


def test_a_head_that_never_comes_back_is_let_go(world: World) -> None:
    parking = Parking(world.database("beta"), longest_delay=0, lost_after=1)
    parking.enter(QUEUE, "a", "a1", 1, level=0, dead=False)
    parking.enter(QUEUE, "dead", "d1", 1, level=0, dead=True)
    assert parking.arrive(QUEUE, "a", "a2", 2, level=0).head == "a1"
    for _ in range(3):
        parking.read()
    assert parking.arrive(QUEUE, "a", "a2", 2, level=0).head == "a1", "it may still come"
    for _ in range(2):
        parking.read()
    assert parking.arrive(QUEUE, "a", "a2", 2, level=0).head == "a2"
    assert parking.arrive(QUEUE, "dead", "d2", 2, level=0).dead, "a dead letter may lie for years"


def test_what_arrives_behind_an_event_that_is_put_back_waits_instead_of_dying(world: World) -> None:
    parking = Parking(world.database("beta"), longest_delay=0)
    parking.enter(QUEUE, "a", "a1", 1, level=0, dead=True)
    put_back(world.database("beta"), QUEUE, "a", "a1")
    place = parking.arrive(QUEUE, "a", "a2", 2, level=0)
    assert (place.head, place.dead) == ("a1", False)


def test_a_head_whose_queue_is_paused_is_not_taken_for_lost(world: World) -> None:
    paused = {QUEUE}
    parking = Parking(world.database("beta"), longest_delay=0, lost_after=1, paused=lambda queue: queue in paused)
    parking.enter(QUEUE, "a", "a1", 1, level=0, dead=False)
    for _ in range(20):
        parking.read()
    assert parking.arrive(QUEUE, "a", "a2", 2, level=0).head == "a1"
    paused.clear()
    for _ in range(2):
        parking.read()
    assert parking.arrive(QUEUE, "a", "a2", 2, level=0).head == "a1", "the time begins when the queue goes on"
    for _ in range(2):
        parking.read()
    assert parking.arrive(QUEUE, "a", "a2", 2, level=0).head == "a2"


@pytest.mark.parametrize("text", ["$events", "a.b", "中文", "x" * 2000])
def test_a_row_takes_any_text_for_what_it_is(world: World, text: str) -> None:
    parking = Parking(world.database("beta"), longest_delay=0)
    parking.enter(QUEUE, text, text, 1, level=2, dead=False)
    place = parking.arrive(QUEUE, text, f"{text}2", 2, level=0)
    assert (place.head, place.dead, place.level) == (text, False, 2)
    parking.leave(QUEUE, text, text)
    parking.leave(QUEUE, text, f"{text}2")
    assert world.parked() == [] and not parking.holds(QUEUE, text)
