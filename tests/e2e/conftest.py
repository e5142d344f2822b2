"""The whole system, once a session, and one with the short deadlines for tests of the clock."""

from collections.abc import Iterator
from contextlib import contextmanager
from secrets import token_hex
from typing import Any

import pytest
from pymongo import MongoClient

from deploy.local.servers import MongoDB, RabbitMQ
from tests.e2e.steps import Steps
from tests.support.servers import virtual_host
from tests.support.system import SERVICES, System, running

Servers = tuple[RabbitMQ, MongoDB]
READ_WHOLE = {"paused", "parking"}
"""What an operator or a failure has put there: as a rule nothing."""


@pytest.fixture(scope="session")
def system(rabbitmq: RabbitMQ, mongodb: MongoDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Under the standard profile."""
    prefix = f"e{token_hex(3)}_"
    with virtual_host(rabbitmq) as amqp_uri, every_query_by_an_index(mongodb, prefix):
        folder = tmp_path_factory.mktemp("system")
        with running(System(amqp_uri, mongodb.uri, prefix, folder)) as system:
            yield system


@contextmanager
def every_query_by_an_index(mongodb: MongoDB, prefix: str) -> Iterator[None]:
    """Fail when a service has looked through a whole collection, whatever the tests made it do."""
    scans = {"planSummary": {"$regex": "COLLSCAN"}, "appName": {"$in": [f"sidan-{name}" for name in SERVICES]}}
    with MongoClient[dict[str, Any]](mongodb.uri) as client:
        databases = [client[f"{prefix}{name}"] for name in SERVICES]
        for database in databases:
            database.command("profile", 1, filter=scans)
        yield
        found = [scan for database in databases for scan in database["system.profile"].find()]
    told = {(scan["ns"], str(scan["command"].get("filter", scan["command"]))) for scan in found}
    assert not {(name, what) for name, what in told if name.rsplit(".")[-1] not in READ_WHOLE}


@pytest.fixture(scope="module")
def hasty(rabbitmq: RabbitMQ, mongodb: MongoDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Under the demo profile, 5 s a tier, with little patience for a silent resident and two processes of dispatch."""
    with virtual_host(rabbitmq) as amqp_uri:
        folder = tmp_path_factory.mktemp("hasty")
        settings = {"SIDAN_SLA_PROFILE": "demo", "SIDAN_RATING_SILENCE_SECONDS": "2"}
        with running(
            System(amqp_uri, mongodb.uri, f"h{token_hex(3)}_", folder, twice=["dispatch"], **settings)
        ) as system:
            yield system


@pytest.fixture
def steps(system: System) -> Steps:
    return Steps(system)
