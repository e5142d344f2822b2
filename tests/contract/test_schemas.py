"""The published language is what others know of it, and a sample of each event is read by all its subscribers."""

import re
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from pydantic import BaseModel, ValidationError

from deploy import topology
from gateway import asyncapi
from services.chassis.messages import Envelope, dump, routing_key
from services.chassis.subscriber import Delivery, parse
from services.contracts.privacy import mask
from tests.contract import schemas
from tests.contract.schemas import SAMPLES

EVENTS, COMMANDS, GOLDEN = schemas.events(), schemas.commands(), schemas.golden()
FACTS = {
    "order": "placed offered accepted declined withdrawn escalated started completed rated closed cancelled rejected "
    "reopened unmet alerted messaged appointed missed photographed joined left "
    "visit_rated",
    "case": "opened referred settled taken",
    "support": "requested taken answered declined withdrawn rated",
    "hours": "recorded effective reversed",
    "points": "deposited reversed",
    "volunteer": "registered updated",
    "team": "formed updated",
    "site": "opened",
    "record": "added changed retired",
    "household": "updated",
}
"""Facts of the public contract that there are so far."""
PERSONAL = re.compile(
    r"(^|_)(name|phone|mobile|tel|id_number|id_card|address|birth|birth_date|sex|email|contact|description|comment|"
    r"summary|note|reason|remark)$"
)
NO_PERSON = {("item.published.v1", "name"), ("item.published.v1", "needs_address")}
"""What a service item is called, and whether it is served at home."""


def sample(name: str) -> dict[str, Any]:
    return orjson.loads((SAMPLES / f"{name}.json").read_bytes())


def delivery(told: dict[str, Any]) -> Delivery:
    return Delivery(orjson.dumps(told["data"]), told["headers"], "", 1, 1, 0)


# -- schemas --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*EVENTS, *COMMANDS])
def test_the_schema_is_the_golden_one(name: str) -> None:
    """After a change that is meant: ``python -m tests.contract.schemas --write``."""
    assert schemas.current()[name] == GOLDEN.get(name)


def test_no_golden_schema_is_left_over() -> None:
    assert set(GOLDEN) == {*EVENTS, *COMMANDS}


def test_what_is_current_breaks_nobody_who_knows_the_golden_schemas() -> None:
    assert list(schemas.breaks(GOLDEN, schemas.current())) == []


def test_the_facts_of_the_public_contract_are_published() -> None:
    published = {event.fact for event in EVENTS.values()}
    assert {f"{aggregate}.{fact}" for aggregate, facts in FACTS.items() for fact in facts.split()} <= published


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("order.completed.v1", {"order_id", "site", "tier", "team_id", "segments"}),
        ("hours.effective.v1", {"record_id", "volunteer_id", "source", "hours", "category"}),
        ("points.deposited.v1", {"entry_id", "account_id", "amount", "balance", "source"}),
    ],
)
def test_the_examples_of_the_public_contract_hold(name: str, fields: set[str]) -> None:
    assert fields <= set(GOLDEN[name]["required"])


def test_segments_and_sources_look_as_the_public_contract_says() -> None:
    segment = GOLDEN["order.completed.v1"]["properties"]["segments"]["items"]
    assert set(segment["properties"]) == {"volunteer_id", "from", "to"}
    for name in ("hours.effective.v1", "points.deposited.v1"):
        assert set(GOLDEN[name]["properties"]["source"]["properties"]) == {"type", "id"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_refuses_unknown_fields(name: str) -> None:
    assert all(part.get("additionalProperties") is False for part in objects(GOLDEN[name]))


@pytest.mark.parametrize("part", schemas.parts_of_commands().values(), ids=schemas.parts_of_commands())
def test_a_field_of_a_command_is_taken_by_its_published_name_only(part: type[BaseModel]) -> None:
    inner = {name for name, field in part.model_fields.items() if field.alias not in (None, name)}
    with pytest.raises(ValidationError) as refused:
        part.model_validate({name: None for name in inner} | {"unknown": None})
    extra = {error["loc"] for error in refused.value.errors() if error["type"] == "extra_forbidden"}
    assert extra == {(name,) for name in inner | {"unknown"}}


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_ignores_unknown_fields(name: str) -> None:
    assert all("additionalProperties" not in part for part in objects(GOLDEN[name]))


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_carries_no_personal_data(name: str) -> None:
    fields = {field for part in objects(GOLDEN[name]) for field in part["properties"]}
    assert not {field for field in fields if PERSONAL.search(field) and (name, field) not in NO_PERSON}
    text = (SAMPLES / f"{name}.json").read_text()
    assert mask(text) == text


def test_names_of_personal_fields_are_found() -> None:
    assert all(map(PERSONAL.search, ["name", "resident_name", "phone", "id_number", "home_address", "comment"]))
    assert not any(map(PERSONAL.search, ["team_id", "hours", "site", "placed_on", "by", "volunteer_id"]))


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Every part of a schema that has fields."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield schema
            parts = [*schema["properties"].values()]
        else:
            parts = [schema.get("items"), *schema.get("anyOf", ())]
        for part in parts:
            yield from objects(part)


# -- samples --------------------------------------------------------------------------------------------


def test_every_event_has_a_sample() -> None:
    assert {path.stem for path in SAMPLES.glob("*.json")} == set(EVENTS)


@pytest.mark.parametrize("name", EVENTS)
def test_the_sample_is_what_the_publisher_sends(name: str) -> None:
    told, event = sample(name), EVENTS[name]
    body = orjson.dumps(told["data"])
    read, envelope = event.model_validate(told["data"]), Envelope.parse(told["headers"], body)
    assert orjson.loads(dump(read)) == told["data"]
    assert envelope.headers() == told["headers"]
    assert (envelope.type, envelope.source) == (event.type(), f"/sidan/{event.owner}")
    assert (envelope.subject, envelope.site) == (read.subject_id(), read.site)
    assert (envelope.exchange, envelope.routing_key) == (told["exchange"], told["routing_key"])
    assert told["routing_key"] == routing_key(event.fact, read.site)


@pytest.mark.parametrize("subscription", topology.subscriptions(), ids=lambda subscription: subscription.queue)
def test_every_subscriber_reads_the_sample_of_its_event(subscription: Any) -> None:
    told = sample(f"{subscription.event.fact}.v{subscription.event.version}")
    for data in (told["data"], {**told["data"], "added": {"later": True}}):
        read = parse(subscription.event, delivery({**told, "data": data}))
        assert isinstance(read, Delivery)
        assert read.event == EVENTS[f"{subscription.event.fact}.v1"].model_validate(told["data"])


def test_subscribers_use_the_classes_of_the_publisher() -> None:
    assert {subscription.event for subscription in topology.subscriptions()} <= set(EVENTS.values())


def test_no_two_subscribers_share_a_queue() -> None:
    queues = [subscription.queue for subscription in topology.subscriptions()]
    assert len(queues) == len(set(queues))
    assert "evt-dispatch-order.completed--activities.record_hours" in queues


# -- AsyncAPI -------------------------------------------------------------------------------------------


def test_the_asyncapi_document_has_a_channel_a_message_and_an_operation_for_every_event() -> None:
    document = asyncapi.document()
    assert document["asyncapi"].startswith("3.")
    assert set(document["channels"]) == {event.fact for event in EVENTS.values()}
    for event in EVENTS.values():
        channel = document["channels"][event.fact]
        assert channel["messages"][event.__name__]["name"] == event.type()
        place = {"county": "130802", "township": "103", "village": "202"}
        assert channel["address"].format(**place) == routing_key(event.fact, "130802103202")
        assert set(channel["parameters"]) == set(place)
        assert document["operations"][f"publish.{event.fact}"]["channel"] == {"$ref": f"#/channels/{event.fact}"}


def test_every_reference_of_the_asyncapi_document_leads_somewhere() -> None:
    document = orjson.loads(orjson.dumps(asyncapi.document()))
    found = list(references(document))
    assert len(found) > len(EVENTS)
    for reference in found:
        target = document
        for part in reference.removeprefix("#/").split("/"):
            target = target[part]


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from ([part["$ref"]] if isinstance(part.get("$ref"), str) else ())
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from references(inner)
