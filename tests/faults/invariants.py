"""What must hold after every scenario, once traffic has come to rest: I1 to I10.

Everything is compared order by order and record by record, never by counts: one lost and one doubled look
right in a sum.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from services.activities.domain import record_id
from services.chassis.repository import from_document
from services.contracts.cases import LOW_RATING, LOW_VISIT
from services.dispatch.cases import LOW_SCORE
from services.dispatch.deadlines import DEMO, REST
from services.dispatch.domain import FINAL, State
from services.dispatch.quality import Life, Tally, month_of
from services.points.verify import verify
from services.registry.domain import in_hundredths
from tests.faults.fleet import Fleet
from tests.faults.log import Published
from tests.faults.oracle import DONE, OPEN, Intent, by_order

LATE = timedelta(seconds=15)
"""Promise 3: an order is escalated within this of its deadline, in system-up time."""
TIER = {tier: limits[REST] for tier, limits in DEMO.regular.items()}
EARLY = timedelta(milliseconds=50)
"""Documents keep milliseconds."""
FACTS = {
    "place": "placed", "accept": "accepted", "decline": "declined", "withdraw": "withdrawn", "escalate": "escalated",
    "cancel": "cancelled", "start": "started", "complete": "completed", "rate": "rated", "close": "closed",
    "offer": "offered", "reject": "rejected", "message": "messaged", "appoint": "appointed", "no-show": "missed",
    "photos": "photographed", "join": "joined", "leave": "left",
    "rate-visit": "visit_rated",
}  # fmt: skip
SUPPORT = {"ask": "requested", "supply": "answered", "praise": "rated"}
REPORTS = {"report": "opened", "attend": "taken", "mediate": "settled"}
FOLLOWS: dict[str, set[str]] = {
    "": {"placed"},
    "placed": {"offered", "escalated", "cancelled", "rejected", "unmet"},
    "offered": {"accepted", "declined", "escalated", "cancelled", "rejected", "unmet"},
    "declined": {"accepted", "declined", "offered", "escalated", "cancelled", "rejected", "unmet"},
    "accepted": {"started", "withdrawn", "cancelled", "missed"},
    "missed": {"withdrawn"},
    "withdrawn": {"offered", "escalated", "unmet", "cancelled", "rejected"},
    "escalated": {"offered", "escalated", "cancelled", "rejected", "unmet"},
    "started": {"completed", "withdrawn"},
    "completed": {"rated"},
    "rated": {"closed"},
    "unmet": {"offered", "accepted", "declined", "cancelled", "rejected"},
    "closed": set(), "cancelled": set(), "rejected": set(),
}  # fmt: skip
"""Which fact of an order may come after which (domain, section 4)."""
ASIDE = ("alerted", "messaged", "appointed", "photographed", "joined", "left", "visit_rated")
"""Facts that leave an order in its state."""
PERSONAL = re.compile(r"(?<!\d)1990000\d{4}(?!\d)|(?<!\d)130802\d{8}997[\dX]|请上门理发|测试员")
"""Phone, id number, wish and name of the people of the lives."""


@dataclass
class Evidence:
    """What a scenario leaves behind."""

    fleet: Fleet
    scenario: str
    intents: list[Intent]
    events: list[Published]
    trouble: list[tuple[datetime, datetime]] = field(default_factory=list)
    """When something was down, in the time of the services."""
    dead: Counter[str] = field(default_factory=Counter)
    """Message ids that are meant to be dead letters, with how often."""
    lost: int = 0
    doubled: int = 0


def check(evidence: Evidence) -> list[str]:
    """A line for each finding; none means that everything holds."""
    checks = (
        every_command_is_answered, orders_are_what_was_asked, what_was_said_is_kept, photos_are_kept, cases_follow,
        reports_follow, support_follows, lives_are_paths, events_are_the_history, deadlines_are_kept,
        hours_follow_orders, points_follow_hours, totals_follow, figures_follow, the_ledger_holds,
        publications_are_in_order, nothing_is_on_its_way, nothing_private_is_told,
    )  # fmt: skip
    return [f"{check.__name__}: {finding}" for check in checks for finding in check(evidence)]


# -- I1, I2: nothing lost, no ghosts ------------------------------------------------------------------


def every_command_is_answered(evidence: Evidence) -> Iterator[str]:
    for intent in evidence.intents:
        if intent.state == OPEN:
            evidence.lost += 1
            yield f"{intent.key} of {intent.who} had no definite answer after {intent.attempts} attempts"


def orders_are_what_was_asked(evidence: Evidence) -> Iterator[str]:
    """Each accepted command has its fact in the order's history once, and no other fact came from a person."""
    orders = _orders(evidence)
    asked = by_order([intent for intent in evidence.intents if intent.state == DONE])
    for id in orders.keys() - asked.keys():
        evidence.doubled += 1
        yield f"order {id} was never answered to anybody"
    for id, intents in asked.items():
        if id not in orders:
            evidence.lost += 1
            yield f"order {id} is gone"
            continue
        wanted = Counter((FACTS[i.step], i.who) for i in intents if i.step in FACTS)
        found = Counter((e["event"], e["actor"]) for e in orders[id]["timeline"] if e["actor"] != "system")
        if missing := wanted - found:
            evidence.lost += missing.total()
            yield f"order {id} lacks {dict(missing)}"
        if surplus := found - wanted:
            evidence.doubled += surplus.total()
            yield f"order {id} has {dict(surplus)} that nobody asked for"


def what_was_said_is_kept(evidence: Evidence) -> Iterator[str]:
    """As many messages as the history tells of."""
    orders = _orders(evidence)
    kept: Counter[str] = Counter()
    for message in evidence.fleet.database("dispatch")["messages"].find({"order_id": {"$in": list(orders)}}):
        kept[message["order_id"]] += 1
    for id, order in orders.items():
        told = sum(entry["event"] == "messaged" for entry in order["timeline"])
        if kept[id] != told:
            yield f"order {id}: {kept[id]} messages, and {told} in its history"


def photos_are_kept(evidence: Evidence) -> Iterator[str]:
    """Those that were answered, each once, in the order and in the store."""
    orders, kept, answered = _orders(evidence), defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    photos = evidence.fleet.database("dispatch")["photos"]
    for photo in photos.find({"order_id": {"$in": list(orders)}}, {"order_id": 1}):
        kept[photo["order_id"]].append(photo["_id"])
    for intent in evidence.intents:
        if intent.step == "photos" and intent.state == DONE:
            answered[intent.order_id].append(intent.answer["id"])
    for id, order in orders.items():
        named, stored, said = sorted(order["photos"]), sorted(kept[id]), sorted(answered[id])
        if not named == stored == said:
            _count(evidence, len(stored) - len(said))
            yield f"order {id} names the photos {named}, kept are {stored}, answered were {said}"


def cases_follow(evidence: Evidence) -> Iterator[str]:
    """One for each low rating and one for each complaint, told and settled as was asked."""
    orders = _orders(evidence)
    wanted = Counter((id, LOW_RATING) for id, order in orders.items() if (order["score"] or 5) <= LOW_SCORE)
    wanted += Counter((id, LOW_VISIT) for id, order in orders.items() if (order["visit_score"] or 5) <= LOW_SCORE)
    wanted += Counter((i.order_id, "quality") for i in evidence.intents if i.step == "complain" and i.state == DONE)
    cases = list(evidence.fleet.database("dispatch")["cases"].find({"order_id": {"$in": list(orders)}}))
    found = Counter((case["order_id"], case["kind"]) for case in cases)
    if missing := wanted - found:
        evidence.lost += missing.total()
        yield f"no case of {dict(missing)}"
    if surplus := found - wanted:
        evidence.doubled += surplus.total()
        yield f"cases of {dict(surplus)} that nobody asked for"
    told = {(event.subject, event.fact) for event in evidence.events if event.fact.startswith("case.")}
    for case in cases:
        facts = {(case["_id"], "case.opened")} | ({(case["_id"], "case.settled")} if not case["is_open"] else set())
        if unsaid := facts - told:
            evidence.lost += len(unsaid)
            yield f"never published: {sorted(unsaid)}"


def reports_follow(evidence: Evidence) -> Iterator[str]:
    told = [event.subject for event in evidence.events if event.fact.startswith("case.")]
    yield from _steps_follow(evidence, "case", "cases", REPORTS, {"_id": {"$in": told}, "order_id": ""})


def support_follows(evidence: Evidence) -> Iterator[str]:
    yield from _steps_follow(
        evidence, "support", "support_requests", SUPPORT, {"goods.name": {"$regex": f"^{evidence.scenario}-"}}
    )


def _steps_follow(
    evidence: Evidence, word: str, collection: str, steps: dict[str, str], more: dict[str, Any]
) -> Iterator[str]:
    """Each has the facts that were answered to somebody, once and in their order, and each was told.

    ``more``: also those of the scenario that nobody was answered.
    """
    asked = defaultdict[str, list[str]](list)
    for intent in sorted(evidence.intents, key=lambda intent: intent.settled_at):
        if intent.step in steps and intent.state == DONE:
            asked[intent.answer["id"]].append(steps[intent.step])
    found = evidence.fleet.database("dispatch")[collection].find({"$or": [{"_id": {"$in": list(asked)}}, more]})
    kept = {one["_id"]: [step["event"] for step in one["timeline"]] for one in found}
    told = {(event.subject, event.fact) for event in evidence.events}
    for id in asked.keys() | kept.keys():
        if kept.get(id, []) != asked[id]:
            _count(evidence, len(kept.get(id, [])) - len(asked[id]))
            yield f"{word} {id}: {kept.get(id)} is kept, answered was {asked[id]}"
        if unsaid := {f"{word}.{fact}" for fact in kept.get(id, []) if (id, f"{word}.{fact}") not in told}:
            evidence.lost += len(unsaid)
            yield f"{word} {id}: never published: {sorted(unsaid)}"


def events_are_the_history(evidence: Evidence) -> Iterator[str]:
    """On the log each fact of each order at least once, with the place in the history as its sequence."""
    published: dict[str, dict[int, set[tuple[str, str]]]] = defaultdict(lambda: defaultdict(set))
    for event in evidence.events:
        if event.source == "/sidan/dispatch" and event.fact.startswith("order."):
            published[event.subject][event.sequence].add((event.id, event.fact))
    for id, order in _orders(evidence).items():
        told = published.pop(id, {})
        for number, entry in enumerate(order["timeline"], start=1):
            facts = told.pop(number, set())
            if not facts:
                evidence.lost += 1
                yield f"order {id}: {entry['event']} ({number}) was never published"
            elif {fact for _, fact in facts} != {f"order.{entry['event']}"} or len(facts) > 1:
                yield f"order {id}: {number} is {entry['event']}, published was {sorted(facts)}"
        if told:
            yield f"order {id}: events beyond its history: {sorted(told)}"
        counted = order["state"] in FINAL and order["uncounted_since"] is None  # which tells nobody anything
        if order["version"] != len(order["timeline"]) + counted:
            yield f"order {id}: version {order['version']} with {len(order['timeline'])} facts"
    for id in published:
        if evidence.fleet.database("dispatch")["orders"].find_one({"_id": id}, {"_id": 1}) is None:
            yield f"events of order {id}, which does not exist"


# -- I4: the state machine ----------------------------------------------------------------------------


def lives_are_paths(evidence: Evidence) -> Iterator[str]:
    for id, order in _orders(evidence).items():
        facts = [entry["event"] for entry in order["timeline"] if entry["event"] not in ASIDE]
        for before, after in pairwise(["", *facts]):
            if after not in FOLLOWS.get(before, set()) and not (before == "offered" and after == "offered"):
                yield f"order {id}: {after} after {before or 'nothing'}"
        upwards = [entry["tier"] for entry in order["timeline"] if entry["event"] == "escalated"]
        if len(upwards) != len(set(upwards)):
            yield f"order {id}: escalated twice to one tier: {upwards}"
        accepted = sum(offer["state"] == "accepted" for offer in order["offers"])
        if accepted > 1:
            yield f"order {id}: {accepted} teams have it"
        if facts.count("rated") > 1 or facts.count("completed") > 1:
            yield f"order {id}: {Counter(facts)}"


# -- I5: deadlines ------------------------------------------------------------------------------------


def deadlines_are_kept(evidence: Evidence) -> Iterator[str]:
    now = evidence.fleet.now()
    for id, order in _orders(evidence).items():
        sat = order["timeline"][0]["time"]
        tier, asked = order["timeline"][0]["tier"], None
        for entry in order["timeline"]:
            if entry["event"] in ("escalated", "unmet") and entry["actor"] == "system":
                due = sat + TIER[tier]
                if entry["time"] < due - EARLY:
                    yield f"order {id}: {entry['event']} {due - entry['time']} early"
                elif entry["time"] - due > LATE + _troubled(evidence, due, entry["time"]):
                    yield f"order {id}: {entry['event']} {entry['time'] - due} late"
            if entry["event"] == "escalated":
                sat, tier = entry["time"], entry["tier"]
            elif entry["event"] == "messaged" and entry["note"]:  # a question: the clock stands still
                asked = asked or entry["time"]
            elif entry["event"] == "messaged" and asked:
                sat, asked = sat + (entry["time"] - asked), None
            elif entry["event"] == "withdrawn":  # what was due meanwhile is due now
                sat = max(sat, entry["time"] - TIER[tier])
        due = order["due_at"]
        waiting = order["state"] in (State.PLACED, State.OFFERED) and due is not None
        if waiting and now - due > LATE + _troubled(evidence, due, now):
            yield f"order {id}: due for {now - due} and not moved"


def _troubled(evidence: Evidence, start: datetime, end: datetime) -> timedelta:
    """How much of a time the system was not up for."""
    parts = (min(end, until) - max(start, since) for since, until in evidence.trouble)
    return sum((part for part in parts if part > timedelta(0)), timedelta(0))


# -- I3, I6: effects, once ----------------------------------------------------------------------------


def hours_follow_orders(evidence: Evidence) -> Iterator[str]:
    """One record for each segment of a completed order, in effect as soon as it is closed."""
    found = _records(evidence)
    reversed_ = {i.order_id for i in evidence.intents if i.step == "reverse" and i.state == DONE}
    for id, order in _orders(evidence).items():
        for position, segment in enumerate(order["segments"]):
            records = found.pop(record_id(id, position), [])
            wanted = "reversed" if id in reversed_ else "effective" if order["state"] == State.CLOSED else "open"
            if not records:
                evidence.lost += 1
                yield f"order {id}: its hours are not recorded"
            elif len(records) > 1:
                evidence.doubled += len(records) - 1
                yield f"order {id}: its hours are recorded {len(records)} times"
            elif records[0]["state"] != wanted:
                evidence.lost += 1
                yield f"order {id}: its hours are {records[0]['state']}, not {wanted}"
            elif records[0]["volunteer"] != segment["volunteer_id"]:
                yield f"order {id}: hours of another volunteer"
    for id in found:
        yield f"hours {id} belong to no segment"


def points_follow_hours(evidence: Evidence) -> Iterator[str]:
    """One award for each record that took effect, one reversal for each that was taken back after that."""
    records = _records(evidence)
    posted: Counter[tuple[str, bool]] = Counter()
    for document in evidence.fleet.database("points")["transfers"].find({"source_id": {"$in": list(records)}}):
        posted[document["source_id"], document["reverses"] is not None] += 1
    effective = {event.subject for event in evidence.events if event.fact == "hours.effective"}
    for id, (record, *_) in records.items():
        for what, wanted in (
            ("award", id in effective),
            ("reversal", id in effective and record["state"] == "reversed"),
        ):
            found = posted[id, what == "reversal"]
            if found < wanted:
                evidence.lost += 1
                yield f"hours {id}: no {what} is posted"
            elif found > wanted:
                evidence.doubled += found - wanted
                yield f"hours {id}: {found} times an {what}, {int(wanted)} expected"


def totals_follow(evidence: Evidence) -> Iterator[str]:
    """Registry's totals are the sums of what activities and points hold."""
    sums: Counter[str] = Counter()
    for sheet in evidence.fleet.database("activities")["timesheets"].find({}, {"volunteer_id": 1, "records": 1}):
        for record in sheet["records"]:
            if record["state"] == "effective":
                sums[sheet["volunteer_id"]] += in_hundredths(record["hours"])
    balances = {a["_id"]: a["balance"] for a in evidence.fleet.database("points")["accounts"].find({}, {"balance": 1})}
    totals = {t["_id"]: t for t in evidence.fleet.database("registry")["totals"].find()}
    for volunteer in sums.keys() | totals.keys():
        total = totals.get(volunteer, {"hundredths": 0, "points": 0})
        if total["hundredths"] != sums[volunteer]:
            _count(evidence, total["hundredths"] - sums[volunteer])
            yield f"{volunteer}: total of {total['hundredths']} hundredths, records give {sums[volunteer]}"
        if total["points"] != balances.get(volunteer, 0):
            _count(evidence, total["points"] - balances.get(volunteer, 0))
            yield f"{volunteer}: total of {total['points']} points, the account has {balances.get(volunteer, 0)}"


def figures_follow(evidence: Evidence) -> Iterator[str]:
    """Figures of service items are what the orders that are counted say."""
    database, expected = evidence.fleet.database("dispatch"), defaultdict[str, Tally](Tally)
    for order in database["orders"].find({"state": {"$in": list(FINAL)}, "uncounted_since": None}):
        for site in order["path"]:
            id = f"{site}/{month_of(order['placed_at'])}/{order['item_id']}"
            expected[id].count(from_document(Life, order))
    kept = {figures["_id"]: figures["tally"] for figures in database["figures"].find()}
    for id in expected.keys() | kept.keys():
        counted, right = kept.get(id, asdict(Tally())), asdict(expected[id])
        if counted != right:
            _count(evidence, counted["facts"].get("placed", 0) - right["facts"].get("placed", 0))
            yield f"{id}: {counted}, the orders give {right}"


def _count(evidence: Evidence, difference: int) -> None:
    if difference > 0:
        evidence.doubled += 1
    else:
        evidence.lost += 1


def the_ledger_holds(evidence: Evidence) -> Iterator[str]:
    yield from verify(evidence.fleet.database("points"))


# -- I7, I8, I9, I10 ----------------------------------------------------------------------------------


def publications_are_in_order(evidence: Evidence) -> Iterator[str]:
    """The first publications of an aggregate's events."""
    first: dict[tuple[str, str], list[int]] = defaultdict(list)
    for event in evidence.events:
        known = first[event.source, event.subject]
        if event.sequence not in known:
            known.append(event.sequence)
    for (source, subject), sequences in first.items():
        if sequences != sorted(sequences):
            yield f"{source} {subject}: first published as {sequences}"


def nothing_is_on_its_way(evidence: Evidence) -> Iterator[str]:
    fleet = evidence.fleet
    if unsent := fleet.unsent():
        yield f"{unsent} documents with unsent events"
    if waiting := fleet.waiting():
        yield f"{waiting} messages wait"
    dead = fleet.all_dead()
    if surplus := dead - evidence.dead:
        yield f"dead letters that should live: {dict(surplus)}"
    if missing := evidence.dead - dead:
        yield f"not among the dead letters: {dict(missing)}"


def nothing_private_is_told(evidence: Evidence) -> Iterator[str]:
    for event in evidence.events:
        if found := PERSONAL.search(event.text):
            yield f"event {event.type} tells {found[0]}"
            return
    for log in evidence.fleet.folder.glob("*.log"):
        if found := PERSONAL.search(log.read_text(errors="replace")):
            yield f"{log.name} tells {found[0]}"


# -- parts --------------------------------------------------------------------------------------------


def _orders(evidence: Evidence) -> dict[str, Any]:
    """Of the scenario: known to the oracle, or placed by its people and known to nobody."""
    known = {intent.order_id for intent in evidence.intents if intent.order_id}
    since = min((i.order_id for i in evidence.intents if i.order_id), default="")
    people = [village.resident for village in evidence.fleet.villages()]
    placed = {"placed_by": {"$in": people}, "_id": {"$gte": since}}
    query = {"$or": [{"_id": {"$in": list(known)}}, placed]} if since else {"_id": {"$in": []}}
    return {order["_id"]: order for order in evidence.fleet.database("dispatch")["orders"].find(query)}


def _records(evidence: Evidence) -> dict[str, list[dict[str, Any]]]:
    """Hours of the scenario's orders, by record id."""
    orders = _orders(evidence)
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    sheets = evidence.fleet.database("activities")["timesheets"].find({"records.source_id": {"$in": list(orders)}})
    for sheet in sheets:
        for record in sheet["records"]:
            if record["source_id"] in orders:
                found[record["id"]].append({**record, "volunteer": sheet["volunteer_id"]})
    return found
