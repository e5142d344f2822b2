"""The running system that a command works on: where it is, and what its code declares."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from kombu import Connection
from pydantic import PositiveFloat, TypeAdapter, ValidationError
from pymongo import MongoClient
from pymongo.collection import Collection
from pymongo.database import Database

from deploy.topology import PUBLISHERS, service_class, subscriptions_of
from services.chassis.repository import Repository
from services.chassis.settings import Settings
from services.chassis.topology import Subscription

Document = dict[str, Any]
DELAYS = TypeAdapter(list[PositiveFloat])
WAIT = 5.0
"""Seconds that a server has to answer."""


class NoSystem(Exception):
    """Neither the environment nor the data directory says where the system is."""


@dataclass(frozen=True)
class System:
    """Found by ``AMQP_URI`` and ``MONGO_URI``, or by the local runtime's data directory."""

    services: Mapping[str, type]
    """The classes by name, whose code says what there should be."""
    publishers: Sequence[str]

    @classmethod
    def real(cls) -> "System":
        return cls({name: service_class(name) for name in PUBLISHERS}, PUBLISHERS)

    @cached_property
    def subscriptions(self) -> list[Subscription]:
        return [subscription for service in self.services.values() for subscription in subscriptions_of(service)]

    @property
    def delays(self) -> list[float]:
        """Of the retry levels, in seconds."""
        field, told = Settings.model_fields["retry_delays"], os.environ.get("SIDAN_RETRY_DELAYS")
        try:
            return list(DELAYS.validate_json(told) if told else field.default)
        except ValidationError:
            raise NoSystem("SIDAN_RETRY_DELAYS must be seconds as a JSON list, as [1, 10, 60]") from None

    def subscription(self, queue: str) -> Subscription | None:
        return next((s for s in self.subscriptions if s.queue == queue), None)

    @property
    def amqp_uri(self) -> str:
        return address("amqp", "AMQP_URI")

    @property
    def mongo_uri(self) -> str:
        return address("mongo", "MONGO_URI")

    @contextmanager
    def broker(self) -> Iterator[Any]:
        """A connection of py-amqp, which waits for nothing longer than it must."""
        with Connection(self.amqp_uri, connect_timeout=WAIT) as connection:
            yield connection.connection

    @cached_property
    def database_client(self) -> MongoClient[Document]:
        """For the life of the command."""
        return MongoClient(
            self.mongo_uri,
            tz_aware=True,
            w="majority",
            journal=True,
            serverSelectionTimeoutMS=int(WAIT * 1000),
            connectTimeoutMS=int(WAIT * 1000),
            appName="sidan-operate",
        )

    def close(self) -> None:
        if "database_client" in self.__dict__:
            self.database_client.close()

    def publishing(self) -> Iterator[tuple[str, Collection[Document]]]:
        """The collections whose aggregates have events, with a name for people."""
        for service, repository in self.repositories():
            if repository.publishes:
                yield f"{service}.{repository.collection}", self.database(service)[repository.collection]

    def repositories(self) -> Iterator[tuple[str, type[Repository[Any]]]]:
        for service, found in self.services.items():
            for repository in found.uow.repositories.values():  # type: ignore[attr-defined]
                yield service, repository

    def database(self, service: str) -> Database[Document]:
        prefix = os.environ.get("SIDAN_DATABASE_PREFIX") or Settings.model_fields["database_prefix"].default
        return self.database_client[f"{prefix}{service}"]


def address(name: str, variable: str) -> str:
    """Raise ``NoSystem``."""
    told = os.environ.get(variable) or endpoints().get(name)
    if not told:
        raise NoSystem(f"No running system: set {variable}, or start one with `make run`.")
    return str(told)


def endpoints() -> Document:
    """What the local runtime tells of itself; empty where none runs."""
    path = Path(os.environ.get("SIDAN_DATA_DIR", "var")) / "run" / "endpoints.json"
    try:
        found: Document = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    return found
