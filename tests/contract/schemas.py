"""The golden schemas of the published language, one file per event and per command.

``python -m tests.contract.schemas --write`` brings them up to date, and refuses what would break others.
"""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import orjson
from pydantic import BaseModel

from gateway import asyncapi
from services.chassis.messages import Command, Event
from services.contracts import (
    activities,
    cases,
    dispatch,
    imports,
    notifications,
    points,
    records,
    registry,
    series,
    support,
)  # fmt: skip
from tests.contract.compatibility import Schema, command_breaks, event_breaks

FOLDER = Path(__file__).with_name("schemas")
SAMPLES = Path(__file__).with_name("samples")
COMMAND_PREFIX = "command."
ABSTRACT = (Command, records.RecordBody, records.PlacedBody)


def events() -> dict[str, type[Event]]:
    """By the name of their file."""
    return {f"{event.fact}.v{event.version}": event for event in asyncapi.events()}


def commands() -> dict[str, type[Command]]:
    modules = (registry, records, imports, dispatch, cases, support, series, notifications, activities, points)
    found = {value for module in modules for value in vars(module).values() if _is_command(value)}
    return {COMMAND_PREFIX + command.__name__: command for command in sorted(found, key=lambda c: c.__name__)}


def _is_command(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Command) and value not in ABSTRACT


def parts_of_commands() -> dict[str, type[BaseModel]]:
    """The commands and the models that they are made of."""
    return {part.__name__: part for command in commands().values() for part in _parts(command)}


def _parts(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from _parts(field.annotation)
    for inner in get_args(annotation):
        yield from _parts(inner)


def current() -> dict[str, Schema]:
    told = {name: event_schema(event) for name, event in events().items()}
    return told | {name: command_schema(command) for name, command in commands().items()}


def golden(folder: Path = FOLDER) -> dict[str, Schema]:
    return {path.stem: orjson.loads(path.read_bytes()) for path in sorted(folder.glob("*.json"))}


def breaks(old: dict[str, Schema], new: dict[str, Schema]) -> Iterator[str]:
    """Why somebody who knows ``old`` would fail with ``new``."""
    for name, schema in old.items():
        compare: Callable[[Schema, Schema], Iterator[str]]
        compare = command_breaks if name.startswith(COMMAND_PREFIX) else event_breaks
        if name not in new:
            yield f"{name}: is gone"
        else:
            yield from (f"{name}: {reason}" for reason in compare(schema, new[name]))


def write(folder: Path = FOLDER) -> list[str]:
    """Write what may be written; the reasons why the rest may not."""
    new = current()
    broken = list(breaks(golden(folder), new))
    names = {reason.partition(":")[0] for reason in broken}
    for name, schema in new.items():
        if name not in names:
            text = orjson.dumps(schema, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
            (folder / f"{name}.json").write_bytes(text)
    return broken


def event_schema(event: type[Event]) -> Schema:
    """As it is published."""
    about = {"$id": event.type(), "x-source": f"/sidan/{event.owner}", "x-subject": event.subject}
    return about | _bare(event.model_json_schema(mode="serialization"))


def command_schema(command: type[Command]) -> Schema:
    """As it is taken."""
    return _bare(command.model_json_schema(mode="validation"))


def _bare(schema: Schema, known: dict[str, Schema] | None = None) -> Schema:
    """Only what is checked: without titles and descriptions, definitions where they are used."""
    known = schema.get("$defs", {}) if known is None else known
    if "$ref" in schema:
        return _bare(known[schema["$ref"].rpartition("/")[2]], known)
    bare: Schema = {}
    for key, value in schema.items():
        if key == "properties":
            bare[key] = {name: _bare(part, known) for name, part in value.items()}
        elif key == "items":
            bare[key] = _bare(value, known)
        elif key == "anyOf":
            bare[key] = [_bare(part, known) for part in value]
        elif key not in ("$defs", "title", "description"):
            bare[key] = value
    return bare


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    if refused := write():
        sys.exit("Not written, for others rely on it; publish a new version beside it:\n  " + "\n  ".join(refused))
