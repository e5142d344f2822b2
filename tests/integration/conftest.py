"""One world per test: a virtual host and databases of its own on the session's servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import World


@pytest.fixture
def world(amqp_uri: str, mongo_uri: str, database_prefix: str, tmp_path: Path) -> Iterator[World]:
    world = World(amqp_uri, mongo_uri, database_prefix, tmp_path)
    yield world
    world.close()
