"""Who publishes and who subscribes, read from the services themselves."""

import importlib
import inspect

from nameko.extensions import ENTRYPOINT_EXTENSIONS_ATTR

from services.chassis.subscriber import Subscriber
from services.chassis.topology import Subscription

PUBLISHERS = ("registry", "dispatch", "activities", "points")


def subscriptions() -> list[Subscription]:
    """Of all services, so that any process can declare the queues of all."""
    return [subscription for name in PUBLISHERS for subscription in _of_service(name)]


def _of_service(name: str) -> list[Subscription]:
    module = importlib.import_module(f"services.{name}.service")
    classes = [c for c in vars(module).values() if inspect.isclass(c) and getattr(c, "name", None) == name]
    return [
        Subscription(name, method_name, entrypoint.event)
        for service in classes
        for method_name, method in inspect.getmembers(service, inspect.isfunction)
        for entrypoint in getattr(method, ENTRYPOINT_EXTENSIONS_ATTR, ())
        if isinstance(entrypoint, Subscriber)
    ]
