"""The checker finds what breaks others, and lets pass what does not."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import orjson
import pytest

from services.contracts.dispatch import OrderCompleted, PlaceOrder
from tests.contract import schemas
from tests.contract.compatibility import command_breaks, event_breaks

EVENT = schemas.current()["order.completed.v1"]
COMMAND = schemas.current()["command.CompleteOrder"]
PLACE = schemas.current()["command.PlaceOrder"]
TEXT, NUMBER = {"type": "string"}, {"type": "integer"}


def changed(schema: dict[str, Any], *path: str, **values: Any) -> dict[str, Any]:
    """A copy with other values at a path; None takes a key away."""
    copy = deepcopy(schema)
    part = copy
    for step in path:
        part = part[step]
    for key, value in values.items():
        if value is None:
            del part[key]
        else:
            part[key] = value
    return copy


def without(schema: dict[str, Any], field: str) -> dict[str, Any]:
    copy = changed(schema, "properties", **{field: None})
    copy["required"] = [name for name in copy["required"] if name != field]
    return copy


def renamed(schema: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    copy = without(schema, old)
    copy["properties"][new] = schema["properties"][old]
    copy["required"].append(new)
    return copy


SEGMENT = ("properties", "segments", "items")

FINE_FOR_SUBSCRIBERS = {
    "nothing": EVENT,
    "a new optional field": changed(EVENT, "properties", added=TEXT),
    "a new optional field in a list": changed(EVENT, *SEGMENT, "properties", added=TEXT),
    "another order of fields": changed(EVENT, required=[*reversed(EVENT["required"])]),
    "another order of values": changed(EVENT, "properties", "tier", enum=["station", "city", "center", "institute"]),
    "a default for what may be absent": changed(EVENT, "properties", added={**TEXT, "default": "x"}),
}
BREAKS_SUBSCRIBERS = {
    "a removed field": without(EVENT, "team_id"),
    "a renamed field": renamed(EVENT, "team_id", "team"),
    "another type": changed(EVENT, "properties", team_id=NUMBER),
    "a field that may be null": changed(EVENT, "properties", team_id={"anyOf": [TEXT, {"type": "null"}]}),
    "a field that may be absent": changed(EVENT, required=[n for n in EVENT["required"] if n != "team_id"]),
    "a new field that old messages lack": changed(
        EVENT, properties={**EVENT["properties"], "added": TEXT}, required=[*EVENT["required"], "added"]
    ),
    "one value less": changed(EVENT, "properties", "tier", enum=["center", "institute", "station"]),
    "one value more": changed(EVENT, "properties", "tier", enum=["city", "center", "institute", "station", "county"]),
    "another format": changed(EVENT, "properties", placed_on={"type": "string", "format": "date"}),
    "a list that was none": changed(EVENT, "properties", team_id={"type": "array", "items": TEXT}),
    "a removed field in a list": changed(EVENT, *SEGMENT, "properties", **{"from": None}),
    "another type in a list": changed(EVENT, *SEGMENT, "properties", volunteer_id=NUMBER),
    "another publisher": changed(EVENT, **{"x-source": "/sidan/activities"}),
    "another subject": changed(EVENT, **{"x-subject": "team_id"}),
    "another type of event": changed(EVENT, **{"$id": "cn.sidan.order.done.v1"}),
}


@pytest.mark.parametrize("new", FINE_FOR_SUBSCRIBERS.values(), ids=FINE_FOR_SUBSCRIBERS)
def test_subscribers_do_not_mind(new: dict[str, Any]) -> None:
    assert list(event_breaks(EVENT, new)) == []


@pytest.mark.parametrize("new", BREAKS_SUBSCRIBERS.values(), ids=BREAKS_SUBSCRIBERS)
def test_subscribers_need_a_new_version(new: dict[str, Any]) -> None:
    assert list(event_breaks(EVENT, new))


RECORD = ("properties", "records", "items")
GROUPS = PLACE["properties"]["target_group"]["enum"]

FINE_FOR_CLIENTS = {
    "nothing": (COMMAND, COMMAND),
    "a new optional field": (COMMAND, changed(COMMAND, "properties", added=TEXT)),
    "a field that may be left out": (COMMAND, changed(COMMAND, required=["records"])),
    "a longer text": (COMMAND, changed(COMMAND, "properties", "summary", maxLength=5000)),
    "a text without bounds": (COMMAND, changed(COMMAND, "properties", summary=TEXT)),
    "more records": (COMMAND, changed(COMMAND, "properties", "records", maxItems=20)),
    "one group more": (PLACE, changed(PLACE, "properties", "target_group", enum=[*GROUPS, "pets"])),
    "a field that may be null": (
        PLACE,
        changed(PLACE, "properties", urgent={"anyOf": [{"type": "boolean"}, {"type": "null"}]}),
    ),
    "a number that may be a fraction": ({"type": "integer"}, {"type": "number"}),
    "another default": (PLACE, changed(PLACE, "properties", "urgent", default=True)),
}
BREAKS_CLIENTS = {
    "a removed field": (COMMAND, changed(COMMAND, "properties", evidence=None)),
    "a new required field": (
        COMMAND,
        changed(COMMAND, properties={**COMMAND["properties"], "added": TEXT}, required=[*COMMAND["required"], "added"]),
    ),
    "an optional field that is required": (COMMAND, changed(COMMAND, required=[*COMMAND["required"], "evidence"])),
    "another type": (COMMAND, changed(COMMAND, "properties", summary=NUMBER)),
    "a shorter text": (COMMAND, changed(COMMAND, "properties", "summary", maxLength=100)),
    "a longer least text": (COMMAND, changed(COMMAND, "properties", "summary", minLength=10)),
    "fewer records": (COMMAND, changed(COMMAND, "properties", "records", maxItems=5)),
    "a bound where there was none": ({"type": "integer"}, {"type": "integer", "minimum": 1}),
    "one group less": (PLACE, changed(PLACE, "properties", "target_group", enum=GROUPS[1:])),
    "values where any text was right": (PLACE, changed(PLACE, "properties", "description", enum=["a"])),
    "a field that may not be null": (PLACE, changed(PLACE, "properties", address={"type": "string", "maxLength": 300})),
    "a shorter text that may be null": (
        PLACE,
        changed(PLACE, "properties", address={"anyOf": [{"type": "string", "maxLength": 30}, {"type": "null"}]}),
    ),
    "another pattern": (COMMAND, changed(COMMAND, *RECORD, "properties", "volunteer", pattern="^v")),
    "a removed field in a list": (COMMAND, changed(COMMAND, *RECORD, "properties", **{"from": None})),
    "a required field in what may be null": (
        PLACE,
        changed(PLACE, "properties", "preferred", "anyOf", 0, required=["from", "to", "flexible"]),
    ),
}


@pytest.mark.parametrize(("old", "new"), FINE_FOR_CLIENTS.values(), ids=FINE_FOR_CLIENTS)
def test_clients_do_not_mind(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert list(command_breaks(old, new)) == []


@pytest.mark.parametrize(("old", "new"), BREAKS_CLIENTS.values(), ids=BREAKS_CLIENTS)
def test_clients_would_be_refused(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert list(command_breaks(old, new))


def test_every_change_is_named_with_its_path() -> None:
    new = changed(without(EVENT, "team_id"), *SEGMENT, "properties", volunteer_id=NUMBER)
    assert list(event_breaks(EVENT, new)) == ["team_id is gone", "segments[].volunteer_id is another type"]


def test_an_event_or_a_command_that_is_gone_is_named() -> None:
    old = {"order.completed.v1": EVENT, "command.PlaceOrder": PLACE}
    assert list(schemas.breaks(old, {})) == ["order.completed.v1: is gone", "command.PlaceOrder: is gone"]


def test_a_new_event_or_version_breaks_nobody() -> None:
    old = {"order.completed.v1": EVENT}
    assert list(schemas.breaks(old, {**old, "order.completed.v2": without(EVENT, "team_id")})) == []


def test_schemas_are_written_unless_that_would_break_others(tmp_path: Path) -> None:
    assert schemas.write(tmp_path) == []
    assert schemas.golden(tmp_path) == schemas.current()
    old = changed(EVENT, "properties", leader=TEXT)
    (tmp_path / "order.completed.v1.json").write_bytes(orjson.dumps(old))
    assert schemas.write(tmp_path) == ["order.completed.v1: leader is gone"]
    assert schemas.golden(tmp_path)["order.completed.v1"] == old


class OrderCompletedWithCrew(OrderCompleted):
    """As a careless developer would change it."""

    crew: list[str]


class OrderCompletedWithCrewPerhaps(OrderCompleted):
    crew: tuple[str, ...] = ()


class PlaceOrderWithPhone(PlaceOrder):
    phone: str


class PlaceOrderWithPhonePerhaps(PlaceOrder):
    phone: str | None = None


def test_real_classes_are_judged_alike() -> None:
    assert list(event_breaks(EVENT, schemas.event_schema(OrderCompletedWithCrew))) == ["crew is not in old messages"]
    assert list(event_breaks(EVENT, schemas.event_schema(OrderCompletedWithCrewPerhaps))) == []
    assert list(command_breaks(PLACE, schemas.command_schema(PlaceOrderWithPhone))) == ["phone is required now"]
    assert list(command_breaks(PLACE, schemas.command_schema(PlaceOrderWithPhonePerhaps))) == []
