"""What a process does between a signal to stop and its end, one behaviour a test."""

import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from services.chassis.topology import DEAD_SUFFIX, retry_queue
from tests.support.failpoints import failing
from tests.support.processes import Sample, World, eventually
from tests.support.proxy import Proxy
from tests.support.servers import Broker
from tests.support.topology import QUEUE
from tests.support.wire import envelope, full, publish_events, request

AT_ONCE = 3.0
"""Seconds for a process that has nothing to wait for, on a busy machine."""


def stopped_after(sample: Sample) -> float:
    """Seconds from the signal to the end, which is no error."""
    asked = time.monotonic()
    assert sample.stop() == 0
    return time.monotonic() - asked


def ask_to_stop(sample: Sample) -> None:
    """It has begun to stop when this returns."""
    sample.signal(signal.SIGTERM)
    eventually(lambda: sample.logged("stopping"))


def settled(world: World, *things: str) -> None:
    """Another process handles what is left; each has had its one effect."""
    world.start("beta")
    eventually(lambda: set(things) <= set(world.applied()), what=f"{things} handled")
    eventually(lambda: world.depth() == 0)
    assert sorted(world.applied()) == sorted(things)


# -- events -------------------------------------------------------------------------------------------


def test_a_stop_lets_the_running_handler_finish_and_returns_the_backlog(world: World) -> None:
    beta = world.start("beta").wait_started()
    backlog = [f"waiting-{n}" for n in range(30)]
    with beta.held_at("before_commit") as wait_held:
        publish_events(world, [envelope("running", "running")])
        wait_held()
        publish_events(world, [envelope(id, id) for id in backlog])
        eventually(lambda: world.depth() == 0, what="all is in its hands")
        ask_to_stop(beta)
    assert beta.wait_exit() == 0 and world.applied() == ["running"]
    assert not any(map(world.attempts, backlog)), "nothing else was begun"
    eventually(lambda: world.depth() == len(backlog), what="the rest is in the queue again, and only the rest")
    settled(world, "running", *backlog)
    assert len(world.attempts("running")) == 1


def test_a_handler_that_takes_too_long_is_given_up_and_its_message_delivered_again(world: World) -> None:
    beta = world.start("beta", SIDAN_DRAIN_SECONDS="1").wait_started()
    publish_events(world, [envelope("endless", "endless", note="dawdle:60")])
    eventually(lambda: world.attempts("endless"))
    assert 1 < stopped_after(beta) < 1 + AT_ONCE
    assert beta.logged("drain took too long") and world.applied() == []
    settled(world, "endless")
    assert len(world.attempts("endless")) == 2


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_a_second_signal_changes_nothing(world: World, second: signal.Signals) -> None:
    beta = world.start("beta").wait_started()
    with beta.held_at("before_commit") as wait_held:
        publish_events(world, [envelope("running", "running")])
        wait_held()
        ask_to_stop(beta)
        beta.signal(second)
    assert beta.wait_exit() == 0
    assert len(beta.logged("stopping")) == 1 and not beta.logged("Traceback"), beta.log.read_text()
    assert world.applied() == ["running"] and world.depth() == 0 and len(world.attempts("running")) == 1


@pytest.fixture
def link(world: World) -> Iterator[tuple[Proxy, str]]:
    proxy, uri = Proxy.before(world.amqp_uri)
    yield proxy, uri
    proxy.close()


@pytest.mark.parametrize("how", ["blackhole", "reset"])
def test_a_stop_while_the_broker_is_away_ends_and_the_effect_is_one(
    world: World, link: tuple[Proxy, str], how: str
) -> None:
    proxy, uri = link
    beta = world.start("beta", AMQP_URI=uri).wait_started()
    with beta.held_at("before_commit") as wait_held:
        publish_events(world, [envelope("running", "running")])
        wait_held()
        proxy.mode = how
        ask_to_stop(beta)
    asked = time.monotonic()
    assert beta.wait_exit() == 0 and time.monotonic() - asked < 2 * AT_ONCE
    assert world.applied() == ["running"], "the handler was let finish"
    proxy.mode = "reset"  # now the broker knows too
    settled(world, "running")
    assert len(world.attempts("running")) == 1


def test_a_stop_in_an_outage_returns_what_is_in_hand(world: World) -> None:
    beta = world.start("beta").wait_started()
    things = [f"thing-{n}" for n in range(20)]
    with failing(world.mongo, ["commitTransaction"], "alwaysOn", errorCode=50, appName="sidan-beta"):
        publish_events(world, [envelope(thing, thing, n + 1) for n, thing in enumerate(things)])
        eventually(lambda: beta.logged("outage begins"))
        assert stopped_after(beta) < 2 * AT_ONCE
        eventually(lambda: world.depth() == len(things))
    assert world.depth(QUEUE + DEAD_SUFFIX) == 0
    settled(world, *things)


def test_a_stop_while_the_broker_refuses_a_retry_copy_ends_and_returns_the_message(
    world: World, broker: Broker
) -> None:
    beta = world.start("beta", SIDAN_DRAIN_SECONDS="1").wait_started()
    with full(world, broker, retry_queue(0.2)):
        publish_events(world, [envelope("refused", "refused", note="once")])
        eventually(lambda: beta.logged("a copy was not taken"))
        assert stopped_after(beta) < 1 + AT_ONCE
        eventually(lambda: world.depth() == 1)
    settled(world, "refused")


# -- requests -----------------------------------------------------------------------------------------


def test_a_stop_answers_the_running_call(world: World) -> None:
    alpha = world.start("alpha").wait_started()
    answers: list[Any] = []
    caller = threading.Thread(target=lambda: answers.append(world.call("alpha.add", command={"id": "one"})))
    with alpha.held_at("before_commit") as wait_held:
        caller.start()
        wait_held()
        alpha.signal(signal.SIGTERM)
        eventually(lambda: world.consumers("rpc-alpha") == 0, what="it takes no more")
    assert alpha.wait_exit() == 0
    caller.join()
    assert answers == [{"id": "one"}]


def test_a_stop_runs_the_requests_that_have_arrived_and_leaves_later_ones_to_the_next_process(world: World) -> None:
    alpha = world.start("alpha", SIDAN_MAX_WORKERS="1").wait_started()
    arrived = [f"arrived-{n}" for n in range(3)]
    with alpha.held_at("before_commit") as wait_held:
        for id in arrived:
            request(world, "alpha.add", command={"id": id})
        wait_held()
        eventually(lambda: world.depth("rpc-alpha") == 0)
        alpha.signal(signal.SIGTERM)
        eventually(lambda: world.consumers("rpc-alpha") == 0)
        request(world, "alpha.add", command={"id": "later"})
    assert alpha.wait_exit() == 0
    assert things(world) == set(arrived) and world.depth("rpc-alpha") == 1
    world.start("alpha")
    eventually(lambda: things(world) == {*arrived, "later"})


def things(world: World) -> set[str]:
    return set(world.database("alpha")["things"].distinct("_id"))


def test_a_stop_publishes_what_was_committed_before_it_ends(world: World) -> None:
    alpha = world.start("alpha").wait_started()
    caller = threading.Thread(target=lambda: world.add("one"))
    with alpha.held_at("after_commit") as wait_held:
        caller.start()
        wait_held()
        alpha.signal(signal.SIGTERM)
        eventually(lambda: world.consumers("rpc-alpha") == 0)
        assert world.unsent() == 1
    assert alpha.wait_exit() == 0
    caller.join()
    assert world.unsent() == 0 and world.depth() == 1


# -- before it has begun ------------------------------------------------------------------------------


def test_a_process_that_waits_for_its_database_ends_at_once(world: World) -> None:
    proxy, uri = Proxy.before(world.mongo_uri.replace("replicaSet=rs0", "directConnection=true"))
    with proxy:
        proxy.mode = "refuse"
        beta = world.start("beta", MONGO_URI=uri)
        eventually(lambda: beta.logged("waiting for the database"))
        asked = time.monotonic()
        beta.signal(signal.SIGTERM)
        assert beta.wait_exit() == -signal.SIGTERM and time.monotonic() - asked < AT_ONCE
