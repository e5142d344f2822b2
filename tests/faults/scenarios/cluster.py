"""F8 to F10, F28 to F30: members of the cluster and of the replica set that die, stand still, or hand over."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.fleet import CLUSTER, Stuck
from tests.faults.run import Run, scenario
from tests.support.clusters import MongoMember, MongoSet, Node
from tests.support.packets import unheard

SERVER_RECOVERY = 30.0  # seconds
MENDS_ITSELF = 20.0  # seconds
BEHIND = 1.5  # seconds
HAND_OVERS = 3
HOT_QUEUE = "evt-dispatch-order.completed--activities.record_hours"


def rejoin(run: Run, *nodes: Node) -> None:
    """A node that stood still for so long may come back into a partition, which only its restart ends."""
    broker = run.fleet.broker
    try:
        run.fleet.until(broker.ready, MENDS_ITSELF)
    except Stuck:
        for node in nodes:
            node.ctl("stop_app")
            node.ctl("start_app")
        run.note(**{"restarted by hand": len(nodes)})
        run.fleet.until(broker.ready, 90, "three nodes")


@scenario("F8", "the leader of a queue is killed", layout=CLUSTER, without="outbox", recovery=SERVER_RECOVERY)
def leader_killed(run: Run) -> None:
    broker = run.fleet.broker
    with run.load():
        run.fleet.pause(2)
        leader = broker.leader_of("/", HOT_QUEUE)
        with run.trouble():
            leader.kill()
            run.fleet.pause(5)
        leader.start()
        run.fleet.until(broker.ready, 90, "three nodes")


@scenario("F9-minority", "one node of three stands still", layout=CLUSTER, without="outbox", recovery=SERVER_RECOVERY)
def node_paused(run: Run) -> None:
    broker = run.fleet.broker
    with run.load():
        with run.trouble(), broker.nodes[0].paused():
            run.fleet.pause(15)
        rejoin(run, broker.nodes[0])


@scenario("F9-majority", "two nodes of three stand still", layout=CLUSTER, without="outbox", recovery=SERVER_RECOVERY)
def majority_paused(run: Run) -> None:
    """Nothing is confirmed meanwhile; the outboxes grow, and drain afterwards."""
    broker = run.fleet.broker
    with run.load():
        with run.trouble(), broker.nodes[1].paused(), broker.nodes[2].paused():
            run.fleet.pause(12)
        rejoin(run, *broker.nodes[1:])


@scenario(
    "F10",
    "one node of three hears the others, and is not heard",
    layout=CLUSTER,
    without="outbox",
    recovery=SERVER_RECOVERY,
)
def node_unheard(run: Run) -> None:
    """They take it for dead while it takes them for alive; no two parts confirm for themselves."""
    broker = run.fleet.broker
    node, ports = broker.nodes[0], {one.peer_port for one in broker.nodes}
    with run.load():
        with run.trouble(), unheard(node.pid, ports):
            run.fleet.until(lambda: broker.nodes[1].sees() == {n.node for n in broker.nodes[1:]}, 40, "two nodes alone")
            run.fleet.pause(5)
        rejoin(run, node)


@contextmanager
def others_behind(database: MongoSet, primary: MongoMember) -> Iterator[None]:
    """What is written meanwhile is on the primary alone: whoever calls that done loses it with the primary."""
    others = [member for member in database.members if member is not primary]
    for member in others:
        member.admin("configureFailPoint", "stopReplProducer", mode="alwaysOn")
    try:
        time.sleep(BEHIND)
        yield
    finally:
        for member in others:
            member.admin("configureFailPoint", "stopReplProducer", mode="off")


@scenario(
    "F28",
    "the database's primary hands over, again and again",
    layout=CLUSTER,
    without="driver-retries,transient-retries",
    recovery=SERVER_RECOVERY,
)
def step_downs(run: Run) -> None:
    """Hardly a request notices."""
    database = run.fleet.database_server
    with run.load() as load, run.trouble(faults=HAND_OVERS):
        for _ in range(HAND_OVERS):
            database.step_down(5)
            run.fleet.until(database.primary, 30, "a primary")
            run.fleet.pause(4)
        failed = load.tally.failed_attempts
    run.expect(failed <= 2 * HAND_OVERS, f"hardly a request fails; {failed} of {load.tally.attempts} did")


@scenario(
    "F29-kill",
    "the database's primary is killed, and comes back",
    layout=CLUSTER,
    without="majority",
    recovery=SERVER_RECOVERY,
)
def primary_killed(run: Run) -> None:
    database = run.fleet.database_server
    with run.load():
        run.fleet.pause(2)
        primary = database.primary()
        with run.trouble():
            with others_behind(database, primary):
                primary.kill()
            run.fleet.until(database.primary, 30, "another primary")
        primary.start()
        run.fleet.until(database.ready, 60, "three members")


@scenario(
    "F29-still",
    "the database's primary stands still",
    layout=CLUSTER,
    without="majority",
    recovery=SERVER_RECOVERY,
)
def primary_paused(run: Run) -> None:
    database = run.fleet.database_server
    with run.load():
        run.fleet.pause(2)
        primary = database.primary()
        with run.trouble():
            with others_behind(database, primary):
                primary.pause()
            run.fleet.pause(20)
            primary.resume()
        run.fleet.until(database.ready, 60, "three members")


@scenario(
    "F30",
    "no primary: two members of three are down",
    layout=CLUSTER,
    without="majority",
    recovery=SERVER_RECOVERY,
)
def no_primary(run: Run) -> None:
    """Commands are refused clearly and in time. The one that was alone is the last to come back."""
    database = run.fleet.database_server
    with run.load(), run.trouble(faults=2):
        alone = database.primary()
        down = [member for member in database.members if member is not alone]
        for member in down:
            member.kill()
        run.fleet.pause(15)
        slowest = max(run.answer_seconds() for _ in range(3))
        with alone.paused():
            for member in down:
                member.start()
            run.fleet.until(database.primary, 30, "a primary")
        run.fleet.until(database.ready, 60, "three members")
    run.expect(slowest < 5, f"an answer within 5 s, it took {slowest:.1f}")
