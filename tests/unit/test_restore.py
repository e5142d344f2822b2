"""A restore tells the events of a backup from later ones by their aggregates, so it must find each."""

import importlib
from typing import Any

import pytest
from nameko.extensions import DependencyProvider

from deploy.operate.restore import FOUND_BY, KEPT_IN
from deploy.topology import PUBLISHERS, service_class
from services.chassis.messages import Event


def published() -> list[type[Event]]:
    for name in PUBLISHERS:
        importlib.import_module(f"services.contracts.{name}")
    return [event for event in _below(Event) if "fact" in vars(event) and event.__module__.startswith("services.")]


def _below(kind: type[Any]) -> list[type[Any]]:
    return [found for child in kind.__subclasses__() for found in (child, *_below(child))]


@pytest.mark.parametrize("event", published(), ids=lambda event: str(event.fact))
def test_the_collection_of_every_event_is_known(event: type[Event]) -> None:
    word = event.fact.partition(".")[0]
    uow: DependencyProvider = service_class(event.owner).uow  # type: ignore[attr-defined]
    (repository,) = (r for r in uow.repositories.values() if r.collection == KEPT_IN[word])
    assert repository.publishes
    assert word in FOUND_BY or event.subject in ("site", f"{word}_id", "account_id")
