"""Personal data at rest: AES-GCM with the key of the environment."""

import base64
import hashlib
import hmac
import os
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.chassis.settings import settings
from services.contracts.privacy import Personal

NONCE_BYTES = 12
MARK = "enc1:"


@cache
def _cipher() -> AESGCM:
    return AESGCM(_key())


@cache
def _key() -> bytes:
    return base64.urlsafe_b64decode(settings().data_key.get_secret_value())


def encrypt(text: str) -> str:
    nonce = os.urandom(NONCE_BYTES)
    sealed = nonce + _cipher().encrypt(nonce, text.encode(), None)
    return MARK + base64.urlsafe_b64encode(sealed).decode()


def decrypt(stored: str) -> str:
    sealed = base64.urlsafe_b64decode(stored.removeprefix(MARK))
    return _cipher().decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None).decode()


def blind_index(text: str) -> str:
    """For exact look-up of an encrypted value, and for its uniqueness."""
    return hmac.new(_key(), b"blind:" + text.encode(), hashlib.sha256).hexdigest()


def blind_term(text: str) -> int:
    """For the search of parts of an encrypted value: 64 bits, as the database counts them."""
    digest = hmac.digest(_key(), b"term:" + text.encode(), "sha256")
    return int.from_bytes(digest[:8], "big", signed=True)


@cache
def personal_fields(aggregate: type) -> frozenset[str]:
    hints = get_type_hints(aggregate, include_extras=True)
    return frozenset(name for name, hint in hints.items() if _is_personal(hint))


def _is_personal(hint: Any) -> bool:
    if get_origin(hint) is Annotated and Personal in get_args(hint)[1:]:
        return True
    return any(_is_personal(part) for part in get_args(hint) if part is not type(None))
