"""Real servers for the tests: one RabbitMQ and one MongoDB a session, a vhost and a prefix a test."""

import base64
import secrets
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from pymongo import MongoClient

from deploy.local.servers import MongoDB, RabbitMQ
from services.chassis.settings import settings
from tests.support.clusters import RabbitCluster
from tests.support.operate import Command
from tests.support.processes import World
from tests.support.rings import use_ring
from tests.support.servers import Broker, started, virtual_host


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """The session's broker; a test that stops it starts it again."""
    with started(RabbitMQ, tmp_path_factory.mktemp("rabbitmq")) as server:
        yield server


@pytest.fixture(scope="session")
def rabbit_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitCluster]:
    """The session's cluster; a test that stops a node starts it again."""
    with started(RabbitCluster, tmp_path_factory.mktemp("rabbit-cluster")) as server:
        yield server


@pytest.fixture(scope="session")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoDB]:
    """The session's database; a test that stops it starts it again."""
    with started(partial(MongoDB, test_commands=True), tmp_path_factory.mktemp("mongodb")) as server:
        yield server


@pytest.fixture(scope="session", params=["node", pytest.param("cluster", marks=pytest.mark.cluster)])
def broker(request: pytest.FixtureRequest) -> Broker:
    """One node; with ``-m cluster`` three."""
    server: Broker = request.getfixturevalue("rabbitmq" if request.param == "node" else "rabbit_cluster")
    return server


@pytest.fixture
def amqp_uri(broker: Broker) -> Iterator[str]:
    """A vhost of the test's own."""
    with virtual_host(broker) as uri:
        yield uri


@pytest.fixture
def mongo_uri(mongodb: MongoDB) -> str:
    """The session's replica set."""
    return mongodb.uri


@pytest.fixture
def database_prefix(mongo_uri: str) -> Iterator[str]:
    """What the test's database names begin with; they are dropped after it."""
    prefix = f"t{secrets.token_hex(3)}_"
    yield prefix
    with MongoClient[dict[str, object]](mongo_uri) as client:
        for name in client.list_database_names():
            if name.startswith(prefix):
                client.drop_database(name)


@pytest.fixture
def world(amqp_uri: str, mongo_uri: str, database_prefix: str, tmp_path: Path) -> Iterator[World]:
    """A virtual host and databases of the test's own, for the sample services."""
    world = World(amqp_uri, mongo_uri, database_prefix, tmp_path)
    yield world
    world.close()


@pytest.fixture
def sidan(world: World) -> Command:
    """The operator's command line on the test's sample services."""
    return Command(world)


@pytest.fixture
def data_key(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keys for personal data in the test's own process."""
    use_ring(monkeypatch)
    monkeypatch.setenv("SIDAN_DATA_KEY", base64.urlsafe_b64encode(bytes(range(32))).decode())
    monkeypatch.setenv("AMQP_URI", "amqp://nowhere")
    monkeypatch.setenv("MONGO_URI", "mongodb://nowhere")
    settings.cache_clear()
    yield
    settings.cache_clear()
