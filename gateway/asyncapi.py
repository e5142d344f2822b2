"""The events as an AsyncAPI 3 document, made from the contracts."""

from functools import cache
from typing import Any

from pydantic.json_schema import models_json_schema

from services.chassis.messages import Event
from services.contracts import activities, cases, dispatch, points, records, registry, support

OWNERS = (registry, records, dispatch, cases, support, activities, points)


@cache
def events() -> tuple[type[Event], ...]:
    """Every published event class, by type."""
    found = {
        value.type(): value
        for module in OWNERS
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Event) and hasattr(value, "fact")
    }
    return tuple(found[name] for name in sorted(found))


@cache
def document() -> dict[str, Any]:
    template = "#/components/schemas/{model}"
    _, schemas = models_json_schema([(e, "serialization") for e in events()], ref_template=template)
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Sidan events", "version": "1", "description": "CloudEvents 1.0, binary mode"},
        "defaultContentType": "application/json",
        "channels": {event.fact: _channel(event) for event in events()},
        "operations": {f"publish.{event.fact}": _operation(event) for event in events()},
        "components": {"schemas": schemas["$defs"]},
    }


def _channel(event: type[Event]) -> dict[str, Any]:
    return {
        "address": f"{event.fact}.{{county}}.{{township}}.{{village}}",
        "parameters": {level: {} for level in ("county", "township", "village")},
        "messages": {event.__name__: _message(event)},
        "bindings": {"amqp": {"is": "routingKey", "exchange": {"name": "sidan.events", "type": "topic"}}},
    }


def _message(event: type[Event]) -> dict[str, Any]:
    return {
        "name": event.type(),
        "summary": (event.__doc__ or "").strip().splitlines()[0] if event.__doc__ else event.fact,
        "payload": {"$ref": f"#/components/schemas/{event.__name__}"},
    }


def _operation(event: type[Event]) -> dict[str, Any]:
    return {"action": "send", "channel": {"$ref": f"#/channels/{event.fact}"}}
