"""The catalogue: importing a module adds its scenarios, in the order of their numbers where it matters."""

from tests.faults.scenarios import broker, crashes, database, messages, races, stops

__all__ = ["broker", "crashes", "database", "messages", "races", "stops"]
