"""``sidan reconcile``: whether orders, hours, points and totals say the same, record by record.

A look reads all databases as of one moment, as streams, with one more query for each batch. What is only on its way
differs too, so a difference counts when two looks some time apart find the very same. Nothing is repaired here:
a difference becomes a ticket, which people settle.
"""

import heapq
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from pymongo.client_session import ClientSession

from deploy.operate import tickets
from deploy.operate.backup import Told
from deploy.operate.commands import DONE, FOUND, Misused, answer, command, progress
from deploy.operate.copies import in_batches
from deploy.operate.snapshot import moment
from deploy.operate.system import Document, System
from services.activities.domain import State as Hours
from services.activities.domain import record_id
from services.contracts.registry import Category
from services.dispatch.domain import State
from services.points.domain import RATES, award_id, reversal_id
from services.points.verify import verify
from services.registry.domain import in_hundredths

GRACE = 30.0
"""Seconds between two looks: far more than an event takes, retries of a second or ten included."""
BATCH = 500


@dataclass(frozen=True)
class Difference:
    kind: str
    subject: str
    wanted: str
    found: str

    @property
    def id(self) -> str:
        """The same difference is the same ticket."""
        return f"{self.kind}:{self.subject}"


Found = Iterator[Difference]


def add_to(parts: Any) -> None:
    reconcile = command(parts, "reconcile", run, "compare orders, hours, points and totals; exit 1 on a difference")
    reconcile.add_argument("--tickets", action="store_true", help="open a ticket for each, settle those that are gone")
    reconcile.add_argument("--grace", type=float, default=GRACE, help="seconds between two looks, default %(default)g")


def run(system: System, options: Any) -> int:
    if options.grace < 0:
        raise Misused("--grace is in seconds, 0 or more.")
    differences = lasting(system, options.grace)
    lines = [f"{d.id}  {d.wanted}, but {d.found}" for d in differences] or ["no differences"]
    content: Document = {"differences": [{"id": d.id, **asdict(d)} for d in differences]}
    if options.tickets:
        counts = tickets.record(system, {d.id: asdict(d) for d in differences})
        content["tickets"] = counts
        lines.append("tickets: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    answer(options, content, lines)
    return FOUND if differences else DONE


def lasting(system: System, grace: float) -> list[Difference]:
    """What two looks, ``grace`` seconds apart, find alike. Raise ``Unreadable``."""
    first = set(look(system))
    if not first:
        return []
    progress(f"  {len(first)} differences, or events on their way: looking again in {grace:g} s")
    time.sleep(grace)
    return sorted(first & set(look(system)), key=lambda difference: difference.id)


def look(system: System) -> Found:
    """Every difference of one moment."""
    with moment(system) as session:
        for compare in (segments, records, postings, totals, ledger):
            told, count = Told(compare.__name__), 0
            for difference in compare(system, session):
                count += 1
                yield difference
            told.done(count)


def segments(system: System, session: ClientSession) -> Found:
    """Each segment of a completed order has one record, in effect as soon as the order is closed."""
    orders = system.database("dispatch")["orders"]
    found = orders.find(
        {"segments.0": {"$exists": True}}, {"state": 1, "segments": 1}, session=session, batch_size=BATCH
    )
    for batch in in_batches(found, BATCH):
        wanted = {record_id(order["_id"], n): (order, s) for order in batch for n, s in enumerate(order["segments"])}
        known = _records(system, session, wanted)
        for id, (order, segment) in wanted.items():
            yield from _compare_segment(id, order["state"], segment, known[id])


def _compare_segment(id: str, state: str, segment: Document, known: list[Document]) -> Found:
    if len(known) != 1:
        kind = "hours-doubled" if known else "hours-missing"
        yield Difference(kind, id, "one hours record for the segment", f"{len(known)} are there")
        return
    (record,) = known
    told = [segment["volunteer_id"], segment["start"], segment["end"]]
    kept = [record["volunteer_id"], record["start"], record["end"]]
    if told != kept:
        yield Difference("hours-differ", id, f"the segment says {_said(told)}", f"the record {_said(kept)}")
    if state == State.CLOSED and record["state"] == Hours.OPEN:
        yield Difference("hours-not-effective", id, "the order is closed", "its hours are not in effect")
    if state != State.CLOSED and record["state"] == Hours.EFFECTIVE:
        yield Difference("hours-too-early", id, f"the order is {state}", "its hours are in effect")


def records(system: System, session: ClientSession) -> Found:
    """Each record has its segment; each that took effect its award, each that was taken back its reversal."""
    sheets = system.database("activities")["timesheets"].find(
        {}, {"volunteer_id": 1, "records": 1}, session=session, batch_size=BATCH
    )
    for batch in in_batches(sheets, BATCH):
        kept = [{**record, "volunteer_id": sheet["volunteer_id"]} for sheet in batch for record in sheet["records"]]
        known = _segment_ids(system, session, {r["source_id"] for r in kept if r["source_type"] == "order"})
        awards = [award_id(record["id"]) for record in kept]
        posted = _transfers(system, session, [*awards, *map(reversal_id, awards)])
        for record in kept:
            if record["source_type"] == "order" and record["id"] not in known:
                yield Difference("hours-orphan", record["id"], "hours belong to a segment of an order", "none is there")
            yield from _compare_postings(record, posted)


def _compare_postings(record: Document, posted: dict[str, Document]) -> Found:
    id, state = record["id"], record["state"]
    award, reversal = posted.get(award_id(id)), posted.get(reversal_id(award_id(id)))
    effective = f"the hours are {state}"
    if state == Hours.EFFECTIVE and award is None:
        yield Difference("award-missing", id, effective, "no points are posted")
    if state in (Hours.OPEN, Hours.REFUSED) and award is not None:
        yield Difference("award-unfounded", id, effective, "points are posted")
    if state == Hours.REVERSED and award is not None and reversal is None:
        yield Difference("reversal-missing", id, effective, "its points are not taken back")
    if state != Hours.REVERSED and reversal is not None:
        yield Difference("reversal-unfounded", id, effective, "its points are taken back")
    if award is not None and award["rate_version"] == RATES.version:
        told = [record["volunteer_id"], RATES.points_for(record["hours"], Category(record["category"]))]
        kept = [award["entries"][1]["account"], award["entries"][1]["amount"]]
        if told != kept:
            yield Difference("award-differs", id, f"the hours give {_said(told)}", f"posted is {_said(kept)}")


def postings(system: System, session: ClientSession) -> Found:
    """Each award, and each reversal of one, has its hours, and only once."""
    wanted = {"source_id": 1, "reverses": 1}
    found = system.database("points")["transfers"].find(
        {"source_type": "hours"}, wanted, session=session, batch_size=BATCH
    )
    for batch in in_batches(found, BATCH):
        known = _records(system, session, {transfer["source_id"] for transfer in batch})
        for transfer in batch:
            id, source = transfer["_id"], transfer["source_id"]
            if not known[source]:
                yield Difference("posting-orphan", id, f"it is for hours {source}", "these are not there")
            elif id not in (award_id(source), reversal_id(award_id(source))):
                yield Difference("posting-doubled", id, f"hours {source} have one award", "this is another")


def totals(system: System, session: ClientSession) -> Found:
    """Registry's totals are the sums of what activities and points hold. Three streams, by volunteer."""
    effective = {"volunteer_id": 1, "records.state": 1, "records.hours": 1}
    sheets = (
        system.database("activities")["timesheets"]
        .find({}, effective, session=session, batch_size=BATCH)
        .sort("volunteer_id")
    )
    accounts = (
        system.database("points")["accounts"].find({}, {"balance": 1}, session=session, batch_size=BATCH).sort("_id")
    )
    told = system.database("registry")["totals"].find(session=session, batch_size=BATCH).sort("_id")
    streams = (
        ((sheet["volunteer_id"], "hours", _effective(sheet)) for sheet in sheets),
        ((account["_id"], "points", account["balance"]) for account in accounts),
        ((total["_id"], "told", total) for total in told),
    )
    for volunteer, parts in groupby(heapq.merge(*streams, key=lambda part: part[0]), lambda part: part[0]):
        sums: dict[str, Any] = {"hours": 0, "points": 0, "told": {"hundredths": 0, "points": 0}}
        for _, what, value in parts:
            sums[what] = value if what == "told" else sums[what] + value
        hours, points = sums["told"]["hundredths"], sums["told"]["points"]
        if hours != sums["hours"]:
            yield Difference(
                "total-hours", volunteer, f"records give {sums['hours'] / 100} h", f"total {hours / 100} h"
            )
        if points != sums["points"]:
            yield Difference("total-points", volunteer, f"the account has {sums['points']}", f"total {points}")


def ledger(system: System, session: ClientSession) -> Found:
    """What the ledger's own check finds: sums, balances, sequences, hashes."""
    texts: dict[str, list[str]] = defaultdict(list)
    for finding in verify(system.database("points"), session):
        subject, _, text = finding.rpartition(": ")
        texts[subject or "all"].append(text)
    for subject, found in texts.items():
        yield Difference("ledger", subject, "the ledger adds up", "; ".join(found))


def _effective(sheet: Document) -> int:
    return sum(in_hundredths(record["hours"]) for record in sheet["records"] if record["state"] == Hours.EFFECTIVE)


def _records(system: System, session: ClientSession, ids: Iterable[str]) -> dict[str, list[Document]]:
    wanted, found = set(ids), defaultdict[str, list[Document]](list)
    query = {"records.id": {"$in": list(wanted)}}
    for sheet in system.database("activities")["timesheets"].find(query, session=session):
        for record in sheet["records"]:
            if record["id"] in wanted:
                found[record["id"]].append({**record, "volunteer_id": sheet["volunteer_id"]})
    return found


def _segment_ids(system: System, session: ClientSession, orders: set[str]) -> set[str]:
    """The ids that the hours of these orders' segments have."""
    query = {"_id": {"$in": list(orders)}}
    found = system.database("dispatch")["orders"].find(query, {"segments.start": 1}, session=session)
    return {record_id(order["_id"], number) for order in found for number in range(len(order.get("segments", ())))}


def _transfers(system: System, session: ClientSession, ids: list[str]) -> dict[str, Document]:
    found = system.database("points")["transfers"].find({"_id": {"$in": ids}}, session=session)
    return {transfer["_id"]: transfer for transfer in found}


def _said(values: list[Any]) -> str:
    return " ".join(map(str, values))
