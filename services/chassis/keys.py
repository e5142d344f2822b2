"""The key ring of a service: one document of its database with its keys, each wrapped by the envelope key.

The envelope key is the environment's. While it is changed the ring holds each key under both, the old one and the new.
"""

import hmac
import os
import secrets
from collections.abc import Iterable
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pymongo.database import Database

from services.chassis import personal
from services.chassis.clock import now
from services.chassis.personal import NONCE_BYTES, Ring, personal_fields
from services.chassis.repository import Document, Repository
from services.chassis.settings import settings
from services.contracts.privacy import KEY_BYTES, random_key

KEYS, RING = "keys", "ring"
INDEX = "index"
"""Among the ids of the data keys, that of the key for look-up."""


class WrongKey(Exception):
    """Keys that do not fit the data; the text says which, and what to do."""


class Envelope:
    """The key that wraps the keys of all rings."""

    def __init__(self, text: str) -> None:
        """Raise ``ValueError`` for what is no key."""
        key = random_key(text)
        self._cipher = AESGCM(key)
        self.name = hmac.digest(key, b"sidan envelope", "sha256").hex()[:16]
        """Tells one envelope key from another, and nothing else."""

    def wrap(self, id: str, key: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, key, id.encode())

    def unwrap(self, id: str, wrapped: bytes) -> bytes:
        """Raise ``InvalidTag`` when it was changed, or is the wrap of another key."""
        return self._cipher.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], id.encode())

    def new_key(self, id: str) -> Document:
        return {"at": now(), "wraps": {self.name: self.wrap(id, os.urandom(KEY_BYTES))}}


def new_id() -> str:
    """Short, since every encrypted text begins with it."""
    return secrets.token_hex(4)


def stored(database: Database[Document]) -> Document | None:
    return database[KEYS].find_one({"_id": RING})


def make(database: Database[Document], envelope: Envelope) -> None:
    """Of replicas that begin at once one makes the ring, and all find that one."""
    id = new_id()
    keys = {id: envelope.new_key(id), INDEX: envelope.new_key(INDEX)}
    fresh = {"current": id, "envelope": envelope.name, "keys": keys}
    database[KEYS].update_one({"_id": RING}, {"$setOnInsert": fresh}, upsert=True)


def data_keys(ring: Document) -> list[str]:
    return [id for id in ring["keys"] if id != INDEX]


def unwrapped(ring: Document, envelope: Envelope) -> dict[str, bytes]:
    """The keys by id. Raise ``WrongKey``."""
    try:
        return {id: envelope.unwrap(id, key["wraps"][envelope.name]) for id, key in ring["keys"].items()}
    except (KeyError, InvalidTag):
        raise WrongKey("SIDAN_DATA_KEY is not the key that wraps the keys of its personal data: set that one") from None


def opened(ring: Document, envelope: Envelope) -> Ring:
    """Raise ``WrongKey``."""
    keys = unwrapped(ring, envelope)
    index = keys.pop(INDEX)
    return Ring(ring["current"], {id: AESGCM(key) for id, key in keys.items()}, index)


def load(database: Database[Document], envelope: Envelope) -> Ring:
    """Raise ``WrongKey``."""
    ring = stored(database)
    if ring is None:
        raise WrongKey(f"the keys of {database.name} are gone: restore a backup")
    return opened(ring, envelope)


def open_keys(database: Database[Document], repositories: Iterable[type[Repository[Any]]] = ()) -> None:
    """Give this process the ring of its database, made at the first start.

    Raise ``WrongKey``, also where there is personal data already that no ring is for.
    """
    envelope = Envelope(settings().data_key.get_secret_value())
    if stored(database) is None:
        # Who finds data looks again: it may be that of a replica which has made the ring meanwhile.
        if _has_personal(database, repositories) and stored(database) is None:
            raise WrongKey(
                f"{database.name} holds personal data and no keys for it, so an earlier version has written it:"
                " go on with that version, or begin with empty databases"
            )
        make(database, envelope)
    personal.use(lambda: load(database, envelope))


def _has_personal(database: Database[Document], repositories: Iterable[type[Repository[Any]]]) -> bool:
    """Asked of the collections' metadata: nothing is read."""
    kept = (repository.collection for repository in repositories if personal_fields(repository.aggregate))
    return any(database[name].estimated_document_count() for name in kept)
