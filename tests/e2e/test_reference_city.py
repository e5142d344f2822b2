"""The whole city is opened once, however often the loader runs; other tests open two of its counties."""

from collections.abc import Iterator
from secrets import token_hex
from typing import Any

import pytest
from pymongo import MongoClient

from deploy.local.servers import MongoDB, RabbitMQ
from deploy.reference import divisions
from tests.support.servers import virtual_host
from tests.support.system import System, running

pytestmark = pytest.mark.long

TIERS = ("city", "center", "institute", "station")


@pytest.fixture
def city(rabbitmq: RabbitMQ, mongodb: MongoDB, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with virtual_host(rabbitmq) as amqp_uri:
        folder = tmp_path_factory.mktemp("city")
        with running(System(amqp_uri, mongodb.uri, f"c{token_hex(3)}_", folder, SIDAN_CENTERS="")) as system:
            yield system


def test_every_village_of_the_city_is_known_where_orders_are_placed_and_a_second_load_does_nothing(
    city: System,
) -> None:
    with MongoClient[dict[str, Any]](city.mongo_uri) as client:
        registry, dispatch = (client[f"{city.prefix}{name}"] for name in ("registry", "dispatch"))
        counted = [registry.sites.count_documents({"tier": tier, "has_post": True}) for tier in TIERS]
        assert counted == [1, 11, 217, 2643]
        assert dispatch.places.count_documents({}) == len(divisions.sites())
        versions = {site["_id"]: site["version"] for site in registry.sites.find({}, ["version"])}
        assert "is loaded already" in city.load()
        assert {site["_id"]: site["version"] for site in registry.sites.find({}, ["version"])} == versions
