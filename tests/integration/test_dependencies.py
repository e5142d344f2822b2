"""What a service does when its database or its broker is away, or is not what it should be."""

import json
import time
from collections.abc import Iterator
from datetime import datetime

import pytest
from kombu import Connection

from deploy.local.servers import free_port
from deploy.reference.rpc import Away, Call, RpcClient
from services.chassis.topology import DEAD_SUFFIX, EVENT_LOG, dead_lettered
from services.contracts.errors import Unavailable
from tests.support.processes import ACTOR, CONSUMES, World, eventually
from tests.support.proxy import Proxy
from tests.support.servers import Broker
from tests.support.topology import QUEUE
from tests.support.wire import channel_of, commit_beneath, envelope, metric, publish_events

AT_ONCE = 0.1  # seconds
HEALED = 10.0  # seconds


def timed_answer(world: World) -> tuple[str, float]:
    """What a call of alpha that asks the database ends in, and after how many seconds."""
    with RpcClient(world.amqp_uri, "alpha") as client:
        asked = time.monotonic()
        try:
            client.call(Call("thing", {"actor": ACTOR, "id": "one"}), 6)
        except Away as away:
            return str(away), time.monotonic() - asked
        return "ok", time.monotonic() - asked


# -- the database -------------------------------------------------------------------------------------


def test_calls_are_refused_at_once_while_the_database_is_away_and_answered_soon_after(world: World) -> None:
    port = free_port()
    # Straight to the member, or the driver would find the way past the proxy.
    proxy, uri = Proxy.before(world.mongo_uri.replace("replicaSet=rs0", "directConnection=true"))
    world.start("alpha", MONGO_URI=uri, SIDAN_METRICS_PORT=str(port)).wait_started()
    world.call("alpha.add", command={"id": "one"})
    proxy.mode = "blackhole"
    eventually(lambda: timed_answer(world)[0] != "ok" and metric(port, "sidan_breaker_open") == 1)
    answers = [timed_answer(world) for _ in range(20)]
    assert {text for text, _ in answers} == {Unavailable().detail}
    assert sorted(took for _, took in answers)[15] < AT_ONCE, "only a trial takes longer"
    assert metric(port, "sidan_lease_age_seconds") > 2
    proxy.mode = "pass"
    eventually(lambda: timed_answer(world)[0] == "ok", seconds=HEALED)
    assert metric(port, "sidan_breaker_open") == 0
    eventually(lambda: metric(port, "sidan_lease_age_seconds") < 2)
    proxy.close()


# -- the broker ---------------------------------------------------------------------------------------


def test_a_handler_that_computes_for_longer_than_the_heartbeat_has_its_effect_once_and_all_goes_on(
    world: World,
) -> None:
    beta = world.start("beta", SIDAN_HEARTBEAT="1").wait_started()
    publish_events(world, [envelope("long", "long", note="burn:4"), envelope("next", "next", 2)])
    eventually(lambda: "next" in world.applied())
    eventually(lambda: world.depth() == 0)
    assert sorted(world.applied()) == ["long", "next"]
    assert beta.logged('"link":"consumer"', "link lost") or beta.logged('"link":"consumer"', "link cut")
    assert len(world.attempts("long")) == 1, "the redelivered one is known by the inbox before it runs"
    assert beta.alive


def test_a_deleted_queue_is_declared_again_and_the_log_says_what_may_be_lost(world: World) -> None:
    beta = world.start("beta").wait_started()
    world.start("alpha").wait_started()
    with channel_of(world) as channel:
        channel.queue_delete(QUEUE)
    eventually(lambda: beta.log.read_text().count(CONSUMES) == 2, what="the consumer goes on")
    (line,) = beta.logged("queue deleted")
    assert QUEUE in line and EVENT_LOG in line
    world.call("alpha.add", command={"id": "after"})
    eventually(lambda: world.applied() == ["after"])


def test_a_deleted_exchange_is_declared_again_and_its_events_are_published_then(world: World) -> None:
    world.start("beta").wait_started()
    world.start("alpha").wait_started()
    with channel_of(world) as channel:
        channel.exchange_delete("alpha.events")
    world.call("alpha.add", command={"id": "after"})
    eventually(lambda: world.unsent() == 0)


def test_a_deleted_queue_of_dead_letters_is_declared_again_and_holds_up_nobody(world: World) -> None:
    world.start("beta").wait_started()
    with channel_of(world) as channel:
        channel.queue_delete(QUEUE + DEAD_SUFFIX)
    publish_events(world, [envelope("bad", "bad", note="poison"), envelope("good", "good")])
    eventually(lambda: world.attempts("bad"))

    def dead() -> bool:
        with Connection(world.amqp_uri) as connection:
            try:
                return bool(connection.default_channel.queue_declare(QUEUE + DEAD_SUFFIX, passive=True).message_count)
            except connection.channel_errors:
                return False

    eventually(dead)
    publish_events(world, [envelope("later", "later")])
    eventually(lambda: world.applied() == ["good", "later"])


def test_a_queue_with_other_arguments_is_named_once_and_used_as_it_is(world: World) -> None:
    with channel_of(world) as channel:
        other = {**dead_lettered(QUEUE), "x-delivery-limit": 7}
        channel.queue_declare(QUEUE, durable=True, auto_delete=False, arguments=other)
    beta, alpha = world.start("beta"), world.start("alpha")
    beta.wait_started()
    alpha.wait_started()
    (line,) = beta.logged("other arguments")
    assert QUEUE in line and "x-delivery-limit" in line and '"level":"error"' in line
    world.call("alpha.add", command={"id": "one"})
    eventually(lambda: world.applied() == ["one"])
    assert beta.log.read_text().count(CONSUMES) == 1


def test_a_retry_level_with_other_arguments_is_refused_with_one_line_a_try_and_no_spin(world: World) -> None:
    with channel_of(world) as channel:
        channel.queue_declare("retry.0.2s", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
    beta = world.start("beta")
    eventually(lambda: len(beta.logged("broker refuses", '"link":"publisher"')) >= 2, what="it tries again")
    (first, second, *_) = beta.logged("broker refuses", '"link":"publisher"')
    assert "retry.0.2s" in first and "inequivalent arg" in first
    assert _seconds_between(first, second) > 4 and beta.alive
    with channel_of(world) as channel:
        channel.queue_delete("retry.0.2s")
    beta.wait_started()


@pytest.fixture
def user(broker: Broker, world: World) -> Iterator[str]:
    """A user of the service's own, with all permissions; the name."""
    name = "of-alpha"
    broker.ctl("add_user", name, "secret")
    grant(broker, world, name, ".*")
    yield name
    broker.ctl("delete_user", name)


def grant(broker: Broker, world: World, user: str, what: str) -> None:
    vhost = world.amqp_uri.rpartition("/")[2]
    broker.ctl("set_permissions", "-p", vhost, user, what, what, what)


def test_a_revoked_permission_is_named_without_a_spin_and_the_outbox_holds_the_events(
    world: World, broker: Broker, user: str
) -> None:
    uri = world.amqp_uri.replace(f"{broker.user}:{broker.password}", f"{user}:secret")
    world.start("beta").wait_started()
    ports = [free_port(), free_port()]
    alpha, _ = (world.start("alpha", AMQP_URI=uri, SIDAN_METRICS_PORT=str(p)).wait_started() for p in ports)
    grant(broker, world, user, "^$")
    broker.ctl("close_all_user_connections", user, "the test revokes")
    eventually(lambda: len(alpha.logged("broker refuses", '"link":"publisher"')) >= 2, what="it tries again")
    (first, second, *_) = alpha.logged("broker refuses", '"link":"publisher"')
    assert "ACCESS_REFUSED" in first
    assert _seconds_between(first, second) > 4 and alpha.alive
    commit_beneath(world, "held")  # it cannot be called while it has no broker
    eventually(lambda: all(metric(port, "sidan_outbox_oldest_seconds") > 1 for port in ports), what="both tell")
    grant(broker, world, user, ".*")
    eventually(lambda: world.applied() == ["held"])
    eventually(lambda: all(metric(port, "sidan_outbox_oldest_seconds") == 0 for port in ports))


def _seconds_between(*lines: str) -> float:
    first, second = (datetime.fromisoformat(json.loads(line)["timestamp"]) for line in lines)
    return (second - first).total_seconds()
