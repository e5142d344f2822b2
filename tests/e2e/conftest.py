"""The whole system, once a session, and one with the short deadlines for tests of the clock."""

from collections.abc import Iterator
from secrets import token_hex

import pytest

from deploy.local.servers import MongoDB, RabbitMQ
from tests.e2e.steps import Steps
from tests.support.servers import virtual_host
from tests.support.system import System, running

Servers = tuple[RabbitMQ, MongoDB]


@pytest.fixture(scope="session")
def system(rabbitmq: RabbitMQ, mongodb: MongoDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Under the standard profile."""
    with virtual_host(rabbitmq) as amqp_uri:
        folder = tmp_path_factory.mktemp("system")
        with running(System(amqp_uri, mongodb.uri, f"e{token_hex(3)}_", folder)) as system:
            yield system


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
