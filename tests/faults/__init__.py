"""The fault suite: order lives under load, one fault at a time, and what must hold afterwards (docs/faults.md)."""
