"""Who did what by command, when and why: a row in the database of the service concerned, and a line in the log."""

import getpass
import os
import socket
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson
from pymongo.database import Database
from ulid import ULID

from deploy.operate.system import Document, System, endpoints
from services.chassis.clock import now
from services.chassis.telemetry import masked

OPERATIONS = "operations"
MOST_IDS = 100_000
"""Of the messages in one row, which may have 16 MB."""


def operator(options: Any) -> str:
    """``--by``, or who is logged in."""
    return str(options.by or os.environ.get("SUDO_USER") or getpass.getuser())


class Operation:
    """One action on one queue. It is on record before it begins, so that one that dies half-way shows."""

    def __init__(self, database: Database[Document], action: str, queue: str, options: Any, **more: Any) -> None:
        self._rows = database[OPERATIONS]
        self.row: Document = masked(
            {
                "_id": str(ULID()),
                "at": now(),
                "action": action,
                "queue": queue,
                "by": operator(options),
                "user": getpass.getuser(),
                "host": socket.gethostname(),
                "reason": options.reason or "",
                **more,
                "count": 0,
                "ids": [],
                "ended": None,
            }
        )
        self._rows.insert_one(self.row)

    def add(self, ids: Sequence[str]) -> None:
        """Done for these messages."""
        self.row["count"] += len(ids)
        pushed = {"ids": {"$each": list(ids), "$slice": MOST_IDS}}
        self._rows.update_one({"_id": self.row["_id"]}, {"$inc": {"count": len(ids)}, "$push": pushed})

    def end(self, **more: Any) -> None:
        self.row |= {**more, "ended": now()}
        self._rows.update_one({"_id": self.row["_id"]}, {"$set": {**more, "ended": self.row["ended"]}})
        _log({name: value for name, value in self.row.items() if name != "ids"})


def operations(system: System, limit: int) -> list[Document]:
    """Of all services, newest first."""
    rows = [row for service in system.services for row in _of(system.database(service), limit)]
    return sorted(rows, key=lambda row: str(row["_id"]), reverse=True)[:limit]


def _of(database: Database[Document], limit: int) -> Iterable[Document]:
    return database[OPERATIONS].find({}, {"ids": 0}).sort("_id", -1).limit(limit)


def _log(row: Document) -> None:
    """In the local runtime's log folder, else on standard error."""
    line = {"level": "info", "service": "operator", "event": row["action"], "timestamp": now(), **row}
    text = orjson.dumps(masked(line), default=str, option=orjson.OPT_APPEND_NEWLINE)
    folder = Path(os.environ.get("SIDAN_DATA_DIR", "var")) / "log"
    if endpoints() and folder.is_dir():
        with (folder / "operator.log").open("ab") as log:
            log.write(text)
    else:
        sys.stderr.write(text.decode())
