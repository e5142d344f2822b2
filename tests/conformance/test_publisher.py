"""What the publisher promises, one behaviour a test: without a confirm an event stays in the outbox.

Crashes of a publisher and its order with several replicas: ``tests/integration/test_guarantees.py``; what an
operator changes at the broker: ``test_dependencies.py`` there.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from deploy.local.servers import RabbitMQ
from deploy.reference.rpc import Away
from services.chassis.broker import DEADLINE
from services.chassis.topology import ALL_EVENTS
from tests.conformance.conftest import Pair
from tests.support.processes import eventually
from tests.support.servers import UNROUTED
from tests.support.system import Events
from tests.support.topology import QUEUE
from tests.support.wire import channel_of, commit_beneath, request

EXCHANGE = "alpha.events"
SLACK = 1.0
"""Seconds, for a busy machine."""


def arrived(pair: Pair, *things: str) -> None:
    """The outbox is empty, and each event has had one effect."""
    eventually(lambda: pair.unsent() == 0, what="nothing is left in the outbox")
    eventually(lambda: len(pair.applied()) >= len(things), what="all arrive")
    eventually(lambda: pair.depth() == 0)
    assert sorted(pair.applied()) == sorted(things)


def added(pair: Pair, thing: str) -> bool:
    try:
        pair.add(thing)
    except Away:
        return False
    return True


# -- confirms -----------------------------------------------------------------------------------------


@contextmanager
def refusing(pair: Pair) -> Iterator[None]:
    """Somebody is bound whose queue takes nothing, so the broker confirms no event."""
    narrow = {"x-max-length": 0, "x-overflow": "reject-publish"}
    with channel_of(pair) as channel:
        channel.queue_declare("narrow", auto_delete=False, arguments=narrow)
        channel.queue_bind("narrow", EXCHANGE, "#")
        try:
            yield
        finally:
            channel.queue_delete("narrow")


def test_an_event_that_the_broker_refuses_stays_in_the_outbox_and_later_ones_of_its_aggregate_with_it(
    pair: Pair,
) -> None:
    with Events(pair.amqp_uri) as events:
        with refusing(pair):
            pair.add("refused")
            pair.call("alpha.touch", command={"id": "refused"})
            eventually(lambda: len(events) >= 4, what="it is tried again and again")
            assert pair.alpha.logged("not confirmed") and pair.unsent() == 1
            assert events.first_publications() == {"refused": [1]}
        arrived(pair, "refused", "refused")
        eventually(lambda: events.first_publications() == {"refused": [1, 2]})


def test_an_event_that_nobody_is_bound_to_is_returned_and_stays_in_the_outbox(pair: Pair) -> None:
    """Where the policy of an alternate exchange is missing."""
    unrouted = f"/policies/{pair.vhost}/unrouted"
    with pair.management() as client, channel_of(pair) as channel:
        client.delete(unrouted).raise_for_status()
        exchange = f"/exchanges/{pair.vhost}/{EXCHANGE}"
        eventually(lambda: not client.get(exchange).raise_for_status().json().get("policy"), what="it takes effect")
        channel.exchange_unbind(ALL_EVENTS, EXCHANGE, "#")
        channel.queue_unbind(QUEUE, EXCHANGE, "thing.happened.#")
        try:
            pair.add("lonely")
            eventually(
                lambda: len(pair.alpha.logged("nobody is bound", "thing.happened")) >= 2, what="it is tried again"
            )
            assert pair.unsent() == 1
        finally:
            channel.queue_bind(QUEUE, EXCHANGE, "thing.happened.#")
            channel.exchange_bind(ALL_EVENTS, EXCHANGE, "#")
            client.put(unrouted, json=UNROUTED).raise_for_status()
    arrived(pair, "lonely")


def test_an_event_whose_confirm_is_lost_with_the_link_is_published_again_with_its_id(pair: Pair) -> None:
    with Events(pair.amqp_uri) as events:
        with pair.alpha.held_at("after_commit") as wait_held:
            request(pair, "alpha.add", command={"id": "unheard"})
            wait_held()
            pair.links["alpha"].to_client = "blackhole"
        eventually(lambda: pair.applied() == ["unheard"])
        assert pair.unsent() == 1
        pair.reset("alpha")
        arrived(pair, "unheard")
        eventually(lambda: len(events) == 2)
        assert len(set(events.ids())) == 1


def test_links_that_are_closed_again_and_again_lose_no_event(pair: Pair) -> None:
    things = [f"thing-{n}" for n in range(120)]
    for start in range(0, len(things), 20):
        commit_beneath(pair, *things[start : start + 20])
        pair.reset("alpha")
    arrived(pair, *things)


# -- waits --------------------------------------------------------------------------------------------


def test_a_publish_on_a_dead_link_ends_within_5_seconds_and_is_done_again_on_another(pair: Pair) -> None:
    with pair.alpha.held_at("after_commit") as wait_held:
        request(pair, "alpha.add", command={"id": "dead"})
        wait_held()
        pair.links["alpha"].mode = "blackhole"
    began = time.monotonic()
    eventually(lambda: pair.alpha.logged("no confirm in time"), seconds=DEADLINE + SLACK)
    assert time.monotonic() - began > DEADLINE - SLACK and pair.unsent() == 1 and pair.applied() == []
    pair.links["alpha"].mode = "pass"
    arrived(pair, "dead")


def test_a_publish_on_a_blocked_link_ends_within_5_seconds_and_the_outbox_holds_the_event(pair: Pair) -> None:
    pair.broker.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        # The broker takes no request from a link that publishes, so the state is changed beneath the service.
        commit_beneath(pair, "blocked")
        before = len(pair.alpha.logged("not confirmed"))
        eventually(lambda: len(pair.alpha.logged("not confirmed")) > before, seconds=12, what="the publish gave up")
        assert pair.unsent() == 1
    finally:
        pair.broker.ctl("set_vm_memory_high_watermark", "0.4")
    arrived(pair, "blocked")


def test_a_restarted_broker_is_used_again_by_the_same_processes(pair: Pair) -> None:
    broker = pair.broker
    node = broker if isinstance(broker, RabbitMQ) else broker.nodes[0]
    pair.add("before")
    arrived(pair, "before")
    node.ctl("stop_app")
    try:
        commit_beneath(pair, "meanwhile")
    finally:
        node.ctl("start_app")
        broker.wait_ready()
    eventually(lambda: added(pair, "after"), what="it takes requests again")
    arrived(pair, "before", "meanwhile", "after")
