"""All databases of a system as they were at one moment, read while it goes on."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bson import Timestamp
from pymongo import MongoClient
from pymongo.client_session import ClientSession
from pymongo.database import Database
from pymongo.errors import OperationFailure

from deploy.operate.commands import Refused
from deploy.operate.system import Document, System

OPERATION = "operation"
"""The tools' own database, since services share none."""
TOO_OLD, CATALOG_CHANGED = 239, 246  # MongoDB: SnapshotTooOld, SnapshotUnavailable
KEEP_LONGER = (
    "the database keeps its past for {seconds} s, and reading took longer. Let it keep more, and start again:\n"
    "  mongosh ADDRESS --eval 'db.adminCommand({{setParameter: 1, minSnapshotHistoryWindowInSeconds: 3600}})'"
)


class Unreadable(Refused):
    """The moment could not be read to its end; the text says what to do."""


@contextmanager
def moment(system: System) -> Iterator[ClientSession]:
    """Everything that is read in this session is of one moment: now. Raise ``Unreadable``."""
    client = system.database_client
    with client.start_session(snapshot=True) as session:
        try:
            system.database(OPERATION)["tickets"].find_one({}, session=session)  # the first read chooses the moment
            yield session
        except OperationFailure as error:
            if error.code == TOO_OLD:
                raise Unreadable(KEEP_LONGER.format(seconds=_window(client))) from error
            if error.code == CATALOG_CHANGED:
                raise Unreadable("a collection or an index was made meanwhile: start again") from error
            raise


def databases(system: System) -> tuple[str, ...]:
    """What the names of a system's databases end with."""
    return (*system.publishers, OPERATION)


def collections(database: Database[Document]) -> list[str]:
    """All but views and what is the server's own."""
    plain = {"type": "collection", "name": {"$not": {"$regex": "^system[.]"}}}
    return sorted(database.list_collection_names(filter=plain))


def cluster_time(session: ClientSession) -> Timestamp:
    """The moment; the driver tells it nowhere else."""
    time = session._snapshot_time
    assert time is not None
    return time


def _window(client: MongoClient[dict[str, Any]]) -> int:
    name = "minSnapshotHistoryWindowInSeconds"
    return int(client.admin.command({"getParameter": 1, name: 1})[name])
