"""What the documentation of the interface shows can be sent as it is."""

from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter

from gateway import app, examples
from gateway.routes import identity

COMMANDS: dict[str, type[BaseModel]] = {
    route.path: route.body_field.field_info.annotation  # type: ignore[misc]
    for module in app.MODULES
    for route in module.router.routes
    if isinstance(route, APIRoute) and route.body_field and module is not identity
}
SAYING = {path: command for path, command in COMMANDS.items() if examples.shown(command)}


@pytest.mark.parametrize(("path", "command"), SAYING.items(), ids=SAYING)
def test_every_command_that_says_something_has_an_example_and_it_is_one(path: str, command: Any) -> None:
    example = examples.example_of(command)
    assert example and TypeAdapter(command).validate_python(example)
    assert set(example) <= examples.shown(command)


def test_the_document_shows_them() -> None:
    document = app.build().openapi()
    shown = document["paths"]["/v1/orders"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    assert shown == {"example": {"value": examples.ORDERS[COMMANDS["/v1/orders"]]}}


def test_no_example_is_of_what_nobody_can_send() -> None:
    assert set(examples.EXAMPLES) <= set(COMMANDS.values())
