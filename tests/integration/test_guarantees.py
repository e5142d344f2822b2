"""What the chassis promises, each promise under its own name, against real servers."""

import threading
import time
from itertools import pairwise
from typing import Any

import httpx
import pytest

from deploy.local.servers import free_port
from deploy.reference.rpc import Away, Refused
from services.chassis.messages import PREFIX
from services.chassis.outbox import BATCH
from services.chassis.topology import DEAD_SUFFIX, UNROUTED
from services.chassis.unit_of_work import Work
from tests.support.operate import Command
from tests.support.processes import World, eventually
from tests.support.sample import SITE, Thing, ThingHappened, Things
from tests.support.system import Events
from tests.support.topology import QUEUE
from tests.support.wire import channel_of, envelope, publish, publish_events, the_dead


def add(world: World, id: str, **more: Any) -> None:
    world.call("alpha.add", command={"id": id, **more})


def added(world: World, id: str, **more: Any) -> bool:
    try:
        add(world, id, **more)
    except Away:
        return False
    return True


# -- 1 ------------------------------------------------------------------------------------------------


def test_state_and_its_events_commit_together_or_not_at_all(world: World) -> None:
    world.start("beta").wait_started()
    alpha = world.start("alpha", SIDAN_CRASH_AT="in_transaction").wait_started()
    with pytest.raises(Refused):
        add(world, "refused", refuse=True)
    world.call_in_vain("alpha.add", command={"id": "one", "twin": "two"})
    alpha.wait_exit()
    assert world.database("alpha")["things"].count_documents({}) == 0
    world.start("alpha").wait_started()
    eventually(lambda: added(world, "one", twin="two"), what="the dead process' transaction is over")
    eventually(lambda: len(world.applied()) >= 2)
    assert sorted(world.applied()) == ["one", "two"]


# -- 2 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["after_commit", "after_confirm"])
def test_a_crash_of_the_publisher_after_any_line_loses_no_event(world: World, point: str) -> None:
    world.start("beta").wait_started()
    alpha = world.start("alpha", SIDAN_CRASH_AT=point).wait_started()
    world.call_in_vain("alpha.add", command={"id": "one"}) if point == "after_commit" else add(world, "one")
    alpha.wait_exit()
    world.start("alpha").wait_started()
    eventually(lambda: world.unsent() == 0 and world.applied())
    eventually(lambda: world.depth() == 0)
    assert world.applied() == ["one"]


@pytest.mark.parametrize("point", ["before_commit", "in_transaction", "after_commit", "before_ack"])
def test_a_crash_of_the_subscriber_after_any_line_loses_no_event(world: World, point: str) -> None:
    beta = world.start("beta", SIDAN_CRASH_AT=point).wait_started()
    world.start("alpha").wait_started()
    add(world, "one")
    beta.wait_exit()
    world.start("beta").wait_started()
    add(world, "two")
    eventually(lambda: "two" in world.applied() and "one" in world.applied())
    assert sorted(world.applied()) == ["one", "two"]


# -- 3 ------------------------------------------------------------------------------------------------


def test_an_event_handled_twice_has_one_effect(world: World) -> None:
    world.start("beta").wait_started()
    for _ in range(3):
        same = envelope("the-same", "one")
        publish(world, same.headers(), same.data)
    other = envelope("another", "two", 2)
    publish(world, other.headers(), other.data)
    eventually(lambda: "two" in world.applied())
    publish(world, same.headers(), same.data)
    last = envelope("last", "three", 3)
    publish(world, last.headers(), last.data)
    eventually(lambda: "three" in world.applied())
    assert world.applied() == ["one", "two", "three"]


# -- 4 ------------------------------------------------------------------------------------------------


def test_first_publications_of_an_aggregate_are_in_order_with_several_replicas(world: World) -> None:
    replicas = [world.start("alpha") for _ in range(3)]
    for replica in replicas:
        replica.wait_started()
    things, touches = [f"thing-{n}" for n in range(8)], 25
    with Events(world.amqp_uri) as events:
        for thing in things:
            add(world, thing)
        workers = [threading.Thread(target=_touch, args=(world, thing, touches)) for thing in things]
        for worker in workers:
            worker.start()
        eventually(lambda: len(events) > len(things) * touches / 4)
        holder = _relay_holder(world, replicas)
        holder.kill()
        killed = time.monotonic()
        before = len(events)
        eventually(lambda: len(events) > before, seconds=5, what="another relay took over")
        assert time.monotonic() - killed < 5
        for worker in workers:
            worker.join()
        expected = {thing: list(range(1, touches + 2)) for thing in things}
        eventually(lambda: world.unsent() == 0)
        eventually(lambda: all(len(events.first_publications()[t]) == touches + 1 for t in things))
        assert events.first_publications() == expected


def _touch(world: World, thing: str, times: int) -> None:
    done = 0
    while done < times:
        try:
            world.call("alpha.touch", timeout=3, command={"id": thing})
        except Exception:  # the replica that had the call was killed: the outcome is read below
            pass
        done = int(world.database("alpha")["things"].find_one({"_id": thing})["touched"])


def _relay_holder(world: World, replicas: list[Any]) -> Any:
    lease = eventually(lambda: world.database("alpha")["leases"].find_one({"_id": "leader"}))
    return next(replica for replica in replicas if lease["holder"].endswith(f":{replica.pid}"))


def test_what_a_dead_process_has_left_is_published_once_and_in_order(world: World) -> None:
    world.start("beta").wait_started()  # which declares the exchange
    left = [f"thing-{n}" for n in range(2 * BATCH + 1)]
    work = Work(world.database("alpha"), {"things": Things})
    for thing in left:
        happened = ThingHappened(site=SITE, thing_id=thing, counter=thing)
        work.things.add(Thing(thing, thing), happened, happened)
    work.commit_each()
    with Events(world.amqp_uri) as events:
        for replica in [world.start("alpha") for _ in range(2)]:
            replica.wait_started()
        eventually(lambda: world.unsent() == 0)
        eventually(lambda: len(events) >= 2 * len(left))
        assert events.first_publications() == {thing: [1, 2] for thing in left}
        assert len(events) == 2 * len(left), "some are doubled"


# -- 5 ------------------------------------------------------------------------------------------------


def test_an_event_published_before_its_subscriber_ever_ran_is_delivered_to_it(world: World) -> None:
    world.start("alpha").wait_started()
    add(world, "early")
    eventually(lambda: world.unsent() == 0)
    world.start("beta").wait_started()
    eventually(lambda: world.applied() == ["early"])


# -- 6 ------------------------------------------------------------------------------------------------


def test_a_failing_handler_ends_in_the_dead_letters_after_growing_delays_and_can_be_put_back(
    world: World, sidan: Command
) -> None:
    world.start("beta").wait_started()
    world.start("alpha").wait_started()
    add(world, "bad", note="poison")
    add(world, "good")
    eventually(lambda: "good" in world.applied(), what="the others go on")
    (letter,) = the_dead(world, 1)
    times = world.attempts("bad")
    pauses = [(later - earlier).total_seconds() for earlier, later in pairwise(times)]
    retries = [pause for pause in pauses if pause > 0.15]
    assert [round(delay, 1) <= pause for delay, pause in zip((0.2, 0.5, 1.0), retries, strict=True)] == [True] * 3
    assert letter.reason == "ValueError: cannot count this, call 138****5678"
    assert "in count" in letter.headers["trace"] and "13812345678" not in letter.headers["trace"]
    assert letter.headers["attempt"] == 3 and letter.headers["failed-queue"] == QUEUE
    world.database("beta")["healed"].insert_one({})
    assert sidan.json("dead", "retry", letter.message_id) == {"retried": 1, "followed": 0}
    eventually(lambda: "bad" in world.applied())
    assert world.applied() == ["good", "bad"] and world.depth(QUEUE + DEAD_SUFFIX) == 0


GOOD = envelope("junk", "one").headers()
UNREADABLE = [
    ({}, b"{}"),
    (GOOD, b"not json"),
    (GOOD, b"\xff\xfe"),
    (GOOD, b"[]"),
    (GOOD, b'{"site": "1"}'),
    ({**GOOD, PREFIX + "time": "yesterday"}, b"{}"),
    ({**GOOD, PREFIX + "sequence": 7}, b"{}"),
    (GOOD, b"[" * 20_000),
    (GOOD, b" " * 300_000),
]


def test_a_body_that_cannot_be_parsed_ends_in_the_dead_letters_at_once(world: World, sidan: Command) -> None:
    beta = world.start("beta").wait_started()
    for headers, body in UNREADABLE:
        publish(world, headers, body)
    fine = envelope("fine", "fine")
    publish(world, fine.headers(), fine.data)
    eventually(lambda: world.applied() == ["fine"])
    assert all(letter.reason for letter in the_dead(world, len(UNREADABLE)))
    dropped = sidan.json("dead", "drop", "--all", "--reason", "not ours")
    assert dropped == {"dropped": len(UNREADABLE), "followed": 0}
    assert world.depth(QUEUE + DEAD_SUFFIX) == 0 and beta.alive


# -- 7 ------------------------------------------------------------------------------------------------


def test_500_events_on_one_hot_account_from_4_replicas_all_arrive_none_dead(world: World) -> None:
    events = [envelope(f"event-{n}", f"thing-{n}", n + 1) for n in range(500)]
    replicas = [world.start("beta") for _ in range(4)]
    for replica in replicas:
        replica.wait_started()
    publish_events(world, events)
    eventually(lambda: len(world.applied()) >= len(events), seconds=60)
    assert sorted(world.applied()) == sorted(event.subject for event in events)
    assert world.depth(QUEUE + DEAD_SUFFIX) == 0


# -- 8 ------------------------------------------------------------------------------------------------


def test_a_service_tells_how_it_is_and_what_it_measures(world: World) -> None:
    port = free_port()
    world.start("alpha", SIDAN_METRICS_PORT=str(port)).wait_started()
    add(world, "one")
    eventually(lambda: world.unsent() == 0)
    address = f"http://127.0.0.1:{port}"
    health = httpx.get(f"{address}/", trust_env=False)
    assert health.status_code == 200 and health.json() == {"database": True, "broker": True, "leader": True}
    metrics = httpx.get(f"{address}/metrics", trust_env=False).text
    assert 'sidan_handled_total{entrypoint="alpha.add",outcome="ok"} 1.0' in metrics
    assert "sidan_outbox_published_total 1.0" in metrics


def test_forged_and_foreign_headers_are_not_passed_on(world: World) -> None:
    world.start("beta").wait_started()
    forged = envelope("forged", "bad", note="poison")
    headers = {**forged.headers(), "x-death": [{"count": 99}], "nameko.user_id": "admin", "x-custom": "1", "attempt": 2}
    publish(world, headers, forged.data)
    (letter,) = the_dead(world, 1)
    assert not {"nameko.user_id", "x-custom"} & letter.headers.keys()
    assert not any(d.get("count") == 99 for d in letter.headers.get("x-death", []))


def test_what_nobody_is_bound_to_is_kept(world: World) -> None:
    """By the broker's policy; the queue is declared with the rest."""
    world.start("alpha").wait_started()
    with channel_of(world) as channel:
        channel.exchange_unbind("sidan.events", "alpha.events", "#")
        channel.queue_unbind(QUEUE, "alpha.events", "thing.happened.#")
    add(world, "lonely")
    eventually(lambda: world.depth(UNROUTED) == 1)
