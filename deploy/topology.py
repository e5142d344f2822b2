"""Who publishes and who subscribes, read from the services themselves."""

import importlib
import inspect

from nameko.extensions import ENTRYPOINT_EXTENSIONS_ATTR

from services.chassis.subscriber import Subscriber
from services.chassis.topology import Subscription

PUBLISHERS = ("registry", "dispatch", "activities", "points")


def subscriptions() -> list[Subscription]:
    """Of all services, so that any process can declare the queues of all."""
    return [subscription for name in PUBLISHERS for subscription in subscriptions_of(service_class(name))]


def service_class(name: str) -> type:
    module = importlib.import_module(f"services.{name}.service")
    (found,) = [c for c in vars(module).values() if isinstance(c, type) and getattr(c, "name", None) == name]
    return found


def publishing() -> list[tuple[str, str]]:
    """Service and collection of all aggregates that have events."""
    return [
        (name, repository.collection)
        for name in PUBLISHERS
        for repository in service_class(name).uow.repositories.values()  # type: ignore[attr-defined]
        if repository.publishes
    ]


def subscriptions_of(service: type) -> list[Subscription]:
    return [
        Subscription(service.name, method_name, entrypoint.event)  # type: ignore[attr-defined]
        for method_name, method in inspect.getmembers(service, inspect.isfunction)
        for entrypoint in getattr(method, ENTRYPOINT_EXTENSIONS_ATTR, ())
        if isinstance(entrypoint, Subscriber)
    ]
