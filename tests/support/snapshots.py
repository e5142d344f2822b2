"""What the databases hold, as hashes: whether a batch of refused calls has changed anything."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu import Connection
from pymongo import MongoClient

from deploy.topology import subscriptions
from tests.support.processes import eventually
from tests.support.system import System

ALIVE = ("leases",)
"""Collections that change without anybody's doing."""
QUIET = 0.3
"""Seconds without a change after which nothing is taken to be under way; messages in hand show in no queue."""

Contents = dict[str, str]


def contents(client: MongoClient[dict[str, Any]], system: System) -> Contents:
    """A hash of each collection of each service."""
    names = [name for name in client.list_database_names() if name.startswith(system.prefix)]
    hashes = {name: client[name].command("dbHash")["collections"] for name in names}
    return {f"{d}.{c}": found for d, of in hashes.items() for c, found in of.items() if c not in ALIVE}


def contents_at_rest(system: System) -> Contents:
    """Once all that was begun has come to its end."""
    known: Contents = {}
    since = 0.0

    def quiet(client: MongoClient[dict[str, Any]], channel: Any) -> bool:
        nonlocal known, since
        busy = _is_busy(client, channel, system)  # first, or what ends between would be in what was found
        found = contents(client, system)
        if busy or found != known:
            known, since = found, time.monotonic()
        return time.monotonic() - since > QUIET

    with MongoClient[dict[str, Any]](system.mongo_uri) as client, Connection(system.amqp_uri) as connection:
        eventually(lambda: quiet(client, connection.default_channel), what="the databases come to rest")
    return known


def _is_busy(client: MongoClient[dict[str, Any]], channel: Any, system: System) -> bool:
    databases = [client[name] for name in client.list_database_names() if name.startswith(system.prefix)]
    unsent = {"outbox_since": {"$exists": True}}
    if client[f"{system.prefix}dispatch"]["orders"].find_one({"uncounted_since": {"$type": "date"}}):
        return True
    return any(d[c].find_one(unsent) for d in databases for c in d.list_collection_names()) or any(
        channel.queue_declare(subscription.queue, passive=True).message_count for subscription in subscriptions()
    )


@contextmanager
def unchanged(system: System, *besides: str) -> Iterator[None]:
    """Fail when the block changes anything in any database, ``besides`` some collections."""
    before = contents_at_rest(system)
    yield
    after = contents_at_rest(system)
    names = {name for name in before.keys() | after.keys() if not name.endswith(besides)}
    changed = {name for name in names if before.get(name) != after.get(name)}
    assert not changed, f"changed: {sorted(changed)}"
