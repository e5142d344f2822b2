"""Real servers for the tests: one RabbitMQ and one MongoDB a session, a vhost and a prefix a test."""

import secrets
import shutil
from collections.abc import Iterator
from typing import TypeVar

import httpx
import pytest
from pymongo import MongoClient

from deploy.local.servers import MongoDB, RabbitMQ

Server = TypeVar("Server", RabbitMQ, MongoDB)

ALL = {"configure": ".*", "write": ".*", "read": ".*"}
UNROUTED = {
    "pattern": r"^.*\.events$",
    "apply-to": "exchanges",
    "definition": {"alternate-exchange": "unrouted"},
}


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """The session's broker; a test that stops it starts it again."""
    yield from _running(RabbitMQ(tmp_path_factory.mktemp("rabbitmq")))


@pytest.fixture(scope="session")
def mongodb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoDB]:
    """The session's database; a test that stops it starts it again."""
    yield from _running(MongoDB(tmp_path_factory.mktemp("mongodb"), test_commands=True))


def _running(server: Server) -> Iterator[Server]:
    server.start()
    try:
        server.wait_ready(60)
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.data_dir)


@pytest.fixture
def amqp_uri(rabbitmq: RabbitMQ) -> Iterator[str]:
    """A vhost of the test's own, with the policy for messages that nobody is bound to."""
    vhost = f"test-{secrets.token_hex(4)}"
    with management(rabbitmq) as client:
        client.put(f"/vhosts/{vhost}", json={}).raise_for_status()
        client.put(f"/permissions/{vhost}/{rabbitmq.user}", json=ALL).raise_for_status()
        client.put(f"/policies/{vhost}/unrouted", json=UNROUTED).raise_for_status()
        yield f"{rabbitmq.uri}{vhost}"
        client.delete(f"/vhosts/{vhost}")


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


def management(rabbitmq: RabbitMQ) -> httpx.Client:
    """A client of the broker's HTTP API."""
    return httpx.Client(
        base_url=f"http://127.0.0.1:{rabbitmq.management_port}/api",
        auth=(rabbitmq.user, rabbitmq.password),
        trust_env=False,
    )
