"""The catalogue: importing a module adds its scenarios, in the order of their numbers where it matters."""

from tests.faults.scenarios import (
    backup,
    broker,
    capabilities,
    cluster,
    crashes,
    database,
    messages,
    races,
    stops,
    surroundings,
)

__all__ = [
    "backup", "broker", "capabilities", "cluster", "crashes", "database", "messages", "races", "stops", "surroundings",
]  # fmt: skip
