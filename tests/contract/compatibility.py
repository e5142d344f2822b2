"""Whether a changed schema still fits what others have built on the old one.

An event is read by subscribers that know the old schema, and old messages wait in queues and in the log for
subscribers that know the new one; so what was there stays as it is, and what is new is optional. A command
is sent by clients that know the old schema; so everything that was accepted still is.
"""

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

IDENTITY = ("$id", "x-source", "x-subject")
LOWER_BOUNDS = ("minimum", "exclusiveMinimum", "minLength", "minItems")
UPPER_BOUNDS = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
EXACT = ("pattern", "format", "const")


def event_breaks(old: Schema, new: Schema, path: str = "") -> Iterator[str]:
    """Why subscribers would fail; nothing when a new version is not needed."""
    for name in IDENTITY:
        if old.get(name) != new.get(name):
            yield f"{name} was {old.get(name)}"
    if "properties" not in old or "properties" not in new:
        if "items" in old and "items" in new:
            yield from event_breaks(old["items"], new["items"], f"{path}[]")
        elif _meaning(old) != _meaning(new):
            yield f"{path} is another type"
        return
    yield from (f"{name} is gone" for name in _paths(path, old["properties"].keys() - new["properties"].keys()))
    optional = new["properties"].keys() - _required(new)
    yield from (f"{name} was always present" for name in _paths(path, _required(old) & optional))
    yield from (f"{name} is not in old messages" for name in _paths(path, _required(new) - _required(old)))
    for name in sorted(old["properties"].keys() & new["properties"].keys()):
        yield from event_breaks(old["properties"][name], new["properties"][name], _at(path, name))


def command_breaks(old: Schema, new: Schema, path: str = "") -> Iterator[str]:
    """Why clients would be refused; nothing when a new version is not needed."""
    if "anyOf" in old or "anyOf" in new:
        for one in old.get("anyOf", [old]):
            if all(any(command_breaks(one, other, path)) for other in new.get("anyOf", [new])):
                yield f"{path} no longer takes {_brief(one)}"
        return
    if "enum" in new and not set(old.get("enum", [None])) <= set(new["enum"]):
        yield f"{path} takes fewer values"
    if not _same_type(old.get("type"), new.get("type")):
        yield f"{path} is another type"
    yield from _tighter(old, new, path)
    if new.get("items"):
        yield from command_breaks(old.get("items", {}), new["items"], f"{path}[]")
    if "properties" in old or "properties" in new:
        yield from _narrower_object(old, new, path)


def _narrower_object(old: Schema, new: Schema, path: str) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    yield from (f"{name} is gone" for name in _paths(path, before.keys() - after.keys()))
    yield from (f"{name} is required now" for name in _paths(path, _required(new) - _required(old)))
    for name in sorted(before.keys() & after.keys()):
        yield from command_breaks(before[name], after[name], _at(path, name))


def _tighter(old: Schema, new: Schema, path: str) -> Iterator[str]:
    for bound in LOWER_BOUNDS:
        if bound in new and new[bound] > old.get(bound, float("-inf")):
            yield f"{path} has a higher {bound}"
    for bound in UPPER_BOUNDS:
        if bound in new and new[bound] < old.get(bound, float("inf")):
            yield f"{path} has a lower {bound}"
    for keyword in EXACT:
        if keyword in new and new[keyword] != old.get(keyword):
            yield f"{path} has another {keyword}"


def _same_type(old: Any, new: Any) -> bool:
    return new is None or old == new or (old, new) == ("integer", "number")


def _required(schema: Schema) -> set[str]:
    return set(schema.get("required", ()))


def _meaning(schema: Schema) -> Schema:
    """A default is the reader's own matter, and values of an enum have no order."""
    told = {key: value for key, value in schema.items() if key != "default"}
    return told | ({"enum": sorted(schema["enum"])} if "enum" in schema else {})


def _paths(path: str, names: set[str]) -> list[str]:
    return [_at(path, name) for name in sorted(names)]


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _brief(schema: Schema) -> str:
    return str(schema.get("type", schema.get("enum", "this")))
