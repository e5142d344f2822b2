"""How protections are switched off and wrappers put around what is there."""

from typing import Any


def patch(owner: Any, name: str, value: Any) -> None:
    """Put ``value`` where ``owner`` has ``name``; raise ``AttributeError`` when it has no such thing."""
    getattr(owner, name)
    setattr(owner, name, value)
