"""The way in for people and systems: HTTP, identity, no rules."""
