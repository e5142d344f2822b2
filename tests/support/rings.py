"""A key ring in memory, for tests of what encrypts without a database."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.chassis import personal
from services.chassis.personal import Keys, Ring

RING = Ring("one", {"one": AESGCM(bytes(range(32)))}, bytes(range(32)))


def use_ring(monkeypatch: pytest.MonkeyPatch, ring: Ring = RING) -> None:
    """For the rest of the test."""
    monkeypatch.setattr(personal, "_keys", Keys(lambda: ring), raising=False)
