"""What was asked of the system and what became of it: the record that the system is held against.

Every intent is written down before it is sent, so that a crash of the suite itself leaves no unknown request.
"""

import json
import sqlite3
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = """
create table if not exists intents (
    key text primary key, scenario text not null, life text not null, who text not null, step text not null,
    path text not null, body text not null, at real not null,
    attempts integer not null default 0, state text not null default 'open', status integer, answer text,
    order_id text, settled_at real
)
"""
DONE, REFUSED, OPEN = "done", "refused", "open"


@dataclass(frozen=True)
class Intent:
    """A command that somebody gives. ``state`` is ``open`` until there is a definite answer."""

    key: str
    scenario: str
    life: str
    who: str
    step: str
    order_id: str
    attempts: int
    state: str
    status: int
    answer: dict[str, Any]
    settled_at: float


class Oracle:
    """One file a run; safe to use from several threads."""

    def __init__(self, file: Path) -> None:
        self._lock = threading.Lock()
        self._database = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        self._database.executescript("pragma journal_mode = wal; pragma synchronous = normal;" + SCHEMA)

    def intend(self, key: str, scenario: str, life: str, who: str, step: str, path: str, body: Any) -> None:
        row = (key, scenario, life, who, step, path, json.dumps(body), time.time())
        self._execute(
            "insert into intents (key, scenario, life, who, step, path, body, at) values (?,?,?,?,?,?,?,?)", row
        )

    def attempted(self, key: str) -> None:
        self._execute("update intents set attempts = attempts + 1 where key = ?", (key,))

    def settle(self, key: str, state: str, status: int, order_id: str, answer: Any) -> None:
        self._execute(
            "update intents set state = ?, status = ?, order_id = ?, answer = ?, settled_at = ? where key = ?",
            (state, status, order_id, json.dumps(answer), time.time(), key),
        )

    def intents(self, scenario: str) -> list[Intent]:
        """Oldest first."""
        rows = self._execute(
            "select key, scenario, life, who, step, coalesce(order_id, ''), attempts, state, coalesce(status, 0),"
            " coalesce(answer, '{}'), coalesce(settled_at, 0) from intents where scenario = ? order by at",
            (scenario,),
        )
        return [Intent(*row[:9], json.loads(row[9]) or {}, row[10]) for row in rows]

    def close(self) -> None:
        self._database.close()

    def _execute(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()


def by_order(intents: list[Intent]) -> dict[str, list[Intent]]:
    found: dict[str, list[Intent]] = defaultdict(list)
    for intent in intents:
        if intent.order_id:
            found[intent.order_id].append(intent)
    return found
