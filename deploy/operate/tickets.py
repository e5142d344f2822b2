"""``sidan tickets``: differences that people have to settle.

In the tools' own database: services own theirs, and no service reads these. A ticket is opened again when its
difference comes back, or is another than the one that a person settled; its history is never thrown away.
"""

from datetime import UTC, datetime
from typing import Any

from pymongo import InsertOne, UpdateOne
from pymongo.collection import Collection

from deploy.operate.commands import DONE, FOUND, Refused, answer, command, group
from deploy.operate.snapshot import OPERATION
from deploy.operate.system import Document, System

OPEN, SETTLED = "open", "settled"
GONE = "the difference is gone"
Write = InsertOne[Document] | UpdateOne


def add_to(parts: Any) -> None:
    tickets = group(parts, "tickets", "differences that `reconcile --tickets` has found")
    listing = command(tickets, "list", list_tickets, "those that are open; exit 1 when there are some")
    listing.add_argument("--all", action="store_true", help="the settled too")
    settling = command(tickets, "settle", settle, "say why a difference is right, or what was done about it")
    settling.add_argument("id")
    settling.add_argument("--reason", required=True)


def list_tickets(system: System, options: Any) -> int:
    found = list(_tickets(system).find({} if options.all else {"state": OPEN}).sort("opened_at"))
    lines = [f"{t['_id']}  {t['state']} since {_since(t)}  {t['wanted']}, but {t['found']}{_reason(t)}" for t in found]
    answer(options, found, lines or ["no tickets"])
    return FOUND if any(ticket["state"] == OPEN for ticket in found) else DONE


def settle(system: System, options: Any) -> int:
    """For good, as long as the difference stays the same."""
    reason = options.reason.strip()
    if not reason:
        raise Refused("A ticket is settled with a reason.")
    change = _moved(SETTLED, reason, by="person")
    if not _tickets(system).update_one({"_id": options.id, "state": OPEN}, change).matched_count:
        raise Refused(f"No open ticket {options.id}: see `sidan tickets list --all`.")
    answer(options, {"id": options.id, "state": SETTLED}, [f"settled: {options.id}"])
    return DONE


def record(system: System, differences: dict[str, Document]) -> dict[str, int]:
    """Open what is new, settle what is gone; how many are open, opened and settled."""
    tickets, now = _tickets(system), datetime.now(UTC)
    query = {"$or": [{"_id": {"$in": list(differences)}}, {"state": OPEN}]}
    known = {ticket["_id"]: ticket for ticket in tickets.find(query)}
    opened: list[Write] = []
    for id, difference in differences.items():
        if id not in known:
            fresh = {
                "_id": id,
                **difference,
                "state": OPEN,
                "opened_at": now,
                "history": [_line(OPEN, "found", "tool")],
            }
            opened.append(InsertOne(fresh))
        elif known[id]["state"] == SETTLED and not _accepted(known[id], difference):
            opened.append(UpdateOne({"_id": id}, _moved(OPEN, "found again", by="tool", **difference)))
    gone = [id for id, ticket in known.items() if ticket["state"] == OPEN and id not in differences]
    settled: list[Write] = [UpdateOne({"_id": id, "state": OPEN}, _moved(SETTLED, GONE, by="tool")) for id in gone]
    seen: list[Write] = [UpdateOne({"_id": id, "state": OPEN}, {"$set": d}) for id, d in differences.items()]
    if writes := [*opened, *settled, *seen]:
        tickets.bulk_write(writes)
    return {"open": tickets.count_documents({"state": OPEN}), "opened": len(opened), "settled": len(settled)}


def _accepted(ticket: Document, difference: Document) -> bool:
    """Whether a person has settled this very difference."""
    return ticket["history"][-1]["by"] == "person" and all(ticket[k] == v for k, v in difference.items())


def _moved(state: str, reason: str, by: str, **changes: Any) -> Document:
    return {"$set": {"state": state, **changes}, "$push": {"history": _line(state, reason, by)}}


def _line(state: str, reason: str, by: str) -> Document:
    return {"at": datetime.now(UTC), "state": state, "reason": reason, "by": by}


def _since(ticket: Document) -> str:
    return f"{ticket['history'][-1]['at']:%Y-%m-%d %H:%M}"


def _reason(ticket: Document) -> str:
    return f"  ({ticket['history'][-1]['reason']})" if ticket["state"] == SETTLED else ""


def _tickets(system: System) -> Collection[Document]:
    return system.database(OPERATION)["tickets"]
