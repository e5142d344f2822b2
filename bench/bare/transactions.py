"""The limit of the pipeline: the database writes that one handled event implies, and nothing else.

``first`` inserts a document that carries its event; ``second`` inserts a document and an inbox row in one
transaction. Eventlet's greenthreads or threads, as many as our service has writers.
"""

import json
import sys

if json.loads(sys.argv[1])["green"]:
    import eventlet

    eventlet.monkey_patch()

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pymongo

from bench.child import Parent


def row(id: str) -> dict[str, Any]:
    """A pending event, as large as ours."""
    return {
        "id": id.rjust(26, "0"),
        "type": "cn.sidan.item.added.v1",
        "source": "/sidan/source",
        "subject": id,
        "time": datetime.now(UTC),
        "sequence": 1,
        "site": "130802103202",
        "data": json.dumps(
            {"site": "130802103202", "item_id": id, "amount": 8, "note": "a visit with scissors"}
        ).encode(),
        "correlation_id": "",
        "causation_id": "",
        "traceparent": "",
    }


def writes_of(arguments: dict[str, Any]) -> Callable[[str], None]:
    client = pymongo.MongoClient(arguments["mongo"], w="majority", journal=True, maxPoolSize=50)
    items = client[arguments["database"]]["items"]
    inbox = client[arguments["database"]]["inbox"]
    # As in a service: the collections and their indexes are there before the first write.
    items.create_index([("outbox_since", 1)], sparse=True)
    inbox.create_index([("at", 1)], expireAfterSeconds=5_000_000)

    def first(id: str) -> None:
        new = {"_id": id, "amount": 8, "note": "a visit with scissors", "version": 1}
        items.insert_one({**new, "outbox": [row(id)], "outbox_since": datetime.now(UTC)})

    def second(id: str) -> None:
        new = {"_id": id, "amount": 8, "note": "a visit with scissors", "version": 1}

        def both(session: Any) -> None:
            inbox.insert_one({"_id": f"copier.copy:/sidan/source#{id}", "at": datetime.now(UTC)}, session=session)
            items.insert_one(new, session=session)

        with client.start_session() as session:
            session.with_transaction(both)

    return first if arguments["role"] == "first" else second


def main() -> None:
    parent = Parent()
    count, writers = parent.arguments["count"], parent.arguments["writers"]
    write = writes_of(parent.arguments)

    def writer(number: int) -> None:
        for position in range(number, count, writers):
            write(f"{position:08d}")

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(writers)]
    parent.await_go()
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    parent.tell({"started": started, "ended": time.monotonic()})
    time.sleep(3600)


if __name__ == "__main__":
    sys.exit(main())
