"""The envelope key as services are given it: from the environment, a mounted file or the local runtime's file."""

import os
from collections.abc import Iterator
from pathlib import Path

from deploy.local.environment import data_dir, load_secrets
from deploy.operate.commands import Misused
from deploy.operate.system import Document
from services.chassis.keys import Envelope, WrongKey, unwrapped

DATA_KEY, NEW_DATA_KEY = "SIDAN_DATA_KEY", "SIDAN_NEW_DATA_KEY"


def envelope_key(name: str = DATA_KEY) -> Envelope | None:
    """None where it is not known here. Raise ``Misused`` for what is no key."""
    text = next(_told(name), "").strip()
    try:
        return Envelope(text) if text else None
    except ValueError as error:
        raise Misused(f"{name} {error}.") from None


def required_key(name: str = DATA_KEY) -> Envelope:
    """Raise ``Misused``."""
    found = envelope_key(name)
    if found is None:
        raise Misused(f"Set {name}, or SIDAN_SECRETS_DIR to the folder with a file of this name.")
    return found


def fits(ring: Document) -> bool:
    """Whether the envelope key that is set wraps the keys of the ring."""
    own = envelope_key()
    try:
        return own is not None and bool(unwrapped(ring, own))
    except WrongKey:
        return False


def _told(name: str) -> Iterator[str]:
    if told := os.environ.get(name):
        yield told
    if mounted := os.environ.get("SIDAN_SECRETS_DIR"):
        yield from (file.read_text() for file in Path(mounted).iterdir() if file.name.upper() == name)
    if (local := data_dir() / "secrets.env").exists():
        yield load_secrets(local).get(name, "")
