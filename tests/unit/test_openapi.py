"""What the documentation of the interface shows can be sent as it is."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from gateway.routes import volunteers


def shown() -> Iterator[tuple[str, Any, Any]]:
    """The path, the command and an example of it."""
    for route in volunteers.router.routes:
        if isinstance(route, APIRoute) and route.body_field:
            for example in route.body_field.field_info.examples or []:
                yield route.path, route.body_field.field_info.annotation, example


EXAMPLES = {path: (command, example) for path, command, example in shown()}


@pytest.mark.parametrize(("command", "example"), EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_is_a_command(command: Any, example: Any) -> None:
    assert TypeAdapter(command).validate_python(example)


def test_every_command_that_says_something_of_a_volunteer_has_an_example() -> None:
    assert len(EXAMPLES) == 10
