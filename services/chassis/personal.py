"""Personal data at rest: AES-GCM with the keys of a ring, which the process is given at its start (docs/adr/0011)."""

import base64
import hashlib
import hmac
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.contracts.privacy import Personal

NONCE_BYTES = 12
MARK = "enc2:"
FRESH = 5.0
"""Seconds after which who encrypts asks for the current key again; a rotation waits for much longer."""


class UnknownKey(ValueError):
    """A text that no key of the ring has made."""


@dataclass(frozen=True)
class Ring:
    """What a service encrypts with: new texts with the current key. The index key is for look-up and stays."""

    current: str
    ciphers: Mapping[str, AESGCM]
    index: bytes

    def encrypt(self, text: str) -> str:
        nonce = os.urandom(NONCE_BYTES)
        sealed = nonce + self.ciphers[self.current].encrypt(nonce, text.encode(), None)
        return f"{MARK}{self.current}:{base64.urlsafe_b64encode(sealed).decode()}"

    def decrypt(self, stored: str) -> str:
        """Raise ``UnknownKey``, and ``InvalidTag`` for what was changed."""
        id, _, text = stored.removeprefix(MARK).partition(":")
        cipher = self.ciphers.get(id)
        if cipher is None:
            raise UnknownKey
        sealed = base64.urlsafe_b64decode(text)
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None).decode()


class Keys:
    """The ring of this process: read again when it is old, and when a text has a key that came later."""

    def __init__(self, load: Callable[[], Ring]) -> None:
        self._load = load
        self.reload()

    def reload(self) -> Ring:
        asked = time.monotonic()
        self.ring, self._fresh_until = self._load(), asked + FRESH
        return self.ring

    def encrypt(self, text: str) -> str:
        ring = self.ring if time.monotonic() < self._fresh_until else self.reload()
        return ring.encrypt(text)

    def decrypt(self, stored: str) -> str:
        try:
            return self.ring.decrypt(stored)
        except UnknownKey:
            return self.reload().decrypt(stored)


_keys: Keys


def use(load: Callable[[], Ring]) -> None:
    """What gives this process its ring: one process serves one service."""
    global _keys
    _keys = Keys(load)


def encrypt(text: str) -> str:
    return _keys.encrypt(text)


def decrypt(stored: str) -> str:
    return _keys.decrypt(stored)


def blind_index(text: str) -> str:
    """For exact look-up of an encrypted value, and for its uniqueness."""
    return hmac.new(_keys.ring.index, b"blind:" + text.encode(), hashlib.sha256).hexdigest()


def blind_term(text: str) -> int:
    """For the search of parts of an encrypted value: 64 bits, as the database counts them."""
    digest = hmac.digest(_keys.ring.index, b"term:" + text.encode(), "sha256")
    return int.from_bytes(digest[:8], "big", signed=True)


def seal(document: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """With these of its texts encrypted; an empty one tells nothing."""
    return {**document, **{name: encrypt(document[name]) for name in names if document.get(name)}}


def unseal(document: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {**document, **{name: decrypt(document[name]) for name in names if document.get(name)}}


@cache
def personal_fields(aggregate: type) -> frozenset[str]:
    hints = get_type_hints(aggregate, include_extras=True)
    return frozenset(name for name, hint in hints.items() if _is_personal(hint))


def _is_personal(hint: Any) -> bool:
    if get_origin(hint) is Annotated and Personal in get_args(hint)[1:]:
        return True
    return any(_is_personal(part) for part in get_args(hint) if part is not type(None))
