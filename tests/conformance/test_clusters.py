"""The clusters that other tests break do what those tests take for granted."""

from collections.abc import Iterator

import pytest
from kombu import Connection

from tests.support.clusters import MEMBERS, MongoSet, RabbitCluster
from tests.support.processes import eventually
from tests.support.servers import started

pytestmark = pytest.mark.cluster
KINDS = ("quorum", "stream")


@pytest.fixture(scope="module")
def mongo_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoSet]:
    with started(MongoSet, tmp_path_factory.mktemp("mongo-set")) as server:
        yield server


@pytest.mark.parametrize("kind", KINDS)
def test_a_queue_has_a_replica_on_each_node_and_survives_its_leader(rabbit_cluster: RabbitCluster, kind: str) -> None:
    name = f"three-{kind}"
    with Connection(rabbit_cluster.uri) as connection:
        arguments = {"x-queue-type": kind}
        connection.default_channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
    assert rabbit_cluster.replicas_of("/", name) == MEMBERS
    leader = eventually(lambda: rabbit_cluster.leader_of("/", name))
    leader.kill()
    another = eventually(lambda: (found := rabbit_cluster.leader_of("/", name)) is not leader and found)
    assert another.alive() and not rabbit_cluster.alive()
    leader.start()
    rabbit_cluster.wait_ready()


def test_a_paused_node_says_nothing_and_is_back_when_resumed(rabbit_cluster: RabbitCluster) -> None:
    node = rabbit_cluster.nodes[0]
    with node.paused():
        assert node.alive() and not node.ready()
        assert rabbit_cluster.running() is not node
    rabbit_cluster.wait_ready()


def test_a_set_hands_over_when_its_primary_steps_down_is_paused_or_killed(mongo_set: MongoSet) -> None:
    def another(than: object) -> object:
        return (found := mongo_set.primary()) is not than and found

    first = mongo_set.primary()
    mongo_set.step_down()
    second = eventually(lambda: another(first))
    with second.paused():
        third = eventually(lambda: another(second))
    mongo_set.wait_ready()
    third.kill()
    assert eventually(lambda: another(third)).alive()
    third.start()
    mongo_set.wait_ready()


def test_both_start_again_on_their_data(rabbit_cluster: RabbitCluster, mongo_set: MongoSet) -> None:
    for server in (rabbit_cluster, mongo_set):
        server.stop()
        assert not server.alive()
        server.start()
        server.wait_ready()
    with Connection(rabbit_cluster.uri) as connection:
        connection.default_channel.queue_declare(f"three-{KINDS[0]}", passive=True)
