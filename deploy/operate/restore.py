"""``sidan restore FOLDER``: the databases of a backup, and what was on its way, into an empty system that stands still.

What happened after the backup's moment is lost, and nothing of it may reach a handler: a fact of an order that the
restored databases know otherwise would be taken for the truth. So the broker begins empty too, and is given only
events that the restored aggregates have told. Run again after an interruption it begins anew.
"""

from collections import defaultdict
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from deploy.operate import archive, messages
from deploy.operate.archive import MANIFEST
from deploy.operate.backup import BATCH, DEAD, EVENTS, RESTORING, Told
from deploy.operate.commands import DONE, Refused, answer, command, progress
from deploy.operate.copies import Copies, count, in_batches
from deploy.operate.envelope import envelope_key, fits
from deploy.operate.snapshot import OPERATION, databases
from deploy.operate.stopped import standing
from deploy.operate.system import Document, System
from services.chassis import topology
from services.chassis.frames import Outgoing
from services.chassis.keys import KEYS
from services.chassis.messages import PREFIX, Envelope
from services.chassis.parking import PARKING
from services.chassis.topology import DEAD_SUFFIX, EVENT_LOG, UNROUTED, retry_queue

KEPT_IN = {
    "site": "sites", "team": "teams", "item": "items", "resident": "residents", "volunteer": "volunteers",
    "record": "records", "household": "records",
    "order": "orders", "case": "cases", "support": "support_requests", "hours": "timesheets", "points": "accounts",
}  # fmt: skip
"""The collection of the aggregate that tells a fact, by the fact's first word."""
EMPTY = (0, 0)
FOUND_BY = {"hours": "records.id"}
"""The field that holds an event's subject, where it is not the aggregate's id."""


def add_to(parts: Any) -> None:
    restore = command(parts, "restore", run, "put a backup into an empty system whose services are stopped")
    restore.add_argument("folder", type=Path)
    restore.add_argument("--replace", action="store_true", help="throw away what the databases and the broker hold now")


def run(system: System, options: Any) -> int:
    manifest = archive.read_manifest(options.folder)
    _check(options.folder, manifest)
    with standing(system) as system, system.broker() as broker:
        counts = restore(system, broker, options.folder, manifest, options.replace)
    lines = [
        f"Restored as of {manifest['moment']:%Y-%m-%d %H:%M:%S} UTC: {counts['documents']:,} documents,"
        f" {counts['events']:,} events to handle again, {counts['dead']} dead letters.",
        "Start the services, then see that `sidan reconcile` finds nothing.",
    ]
    if EVENTS not in manifest["files"]:
        lines.insert(1, "The backup was made without the broker: what was on its way then is lost, see `reconcile`.")
    answer(options, {"moment": manifest["moment"], **counts}, lines)
    return DONE


def _check(folder: Path, manifest: Document) -> None:
    """Everything that can be known before anything is touched. Raise ``Refused``."""
    for name, told in manifest["files"].items():
        archive.check_file(folder, name, told)
    progress(f"  {len(manifest['files'])} files are as they were written")
    for kept in manifest["collections"]:
        if kept["name"] == KEYS:
            _check_key(folder, kept["service"])


def _check_key(folder: Path, service: str) -> None:
    for ring in archive.documents_of(folder, f"{service}/{KEYS}"):
        if not fits(ring):
            set_is = "another" if envelope_key() else "none"
            raise Refused(
                f"The backup needs the SIDAN_DATA_KEY that wraps its keys, and {set_is} is set:"
                " its personal data could not be read. Set it, or copy secrets.env to the data directory."
            )


def restore(system: System, broker: Any, folder: Path, manifest: Document, replace: bool) -> dict[str, int]:
    """How many documents, events and dead letters. Raise ``Refused`` and the clients' errors."""
    _refuse_running(system, broker)
    marks = system.database(OPERATION)[RESTORING]
    own = {"_id": sha256((folder / MANIFEST).read_bytes()).hexdigest()}
    if not replace and marks.find_one(own) is None:
        _refuse_full(system, broker)
    marks.replace_one(own, own, upsert=True)
    _empty_databases(system)
    _empty_broker(system, broker)
    restored = sum(_put_back(system, folder, kept) for kept in manifest["collections"])
    events, dead = _give_again(system, broker, folder) if EVENTS in manifest["files"] else (0, 0)
    marks.drop()
    return {"documents": restored, "events": events, "dead": dead}


def _refuse_running(system: System, broker: Any) -> None:
    leads = {"$expr": {"$gt": ["$until", "$$NOW"]}}
    running = [name for name in system.publishers if system.database(name)["leases"].find_one(leads)]
    running += [queue for queue in _queues(system) if (count(broker, queue) or EMPTY)[1]]
    if running:
        raise Refused(f"The system runs ({running[0]}): stop the gateway and all services first.")


def _refuse_full(system: System, broker: Any) -> None:
    for service in databases(system):
        database = system.database(service)
        if full := [name for name in database.list_collection_names() if database[name].find_one({}, {"_id": 1})]:
            raise Refused(f"{database.name}.{full[0]} is not empty. With --replace all of it is thrown away.")
    if waiting := [queue for queue in (*_queues(system), EVENT_LOG) if (count(broker, queue) or EMPTY)[0]]:
        raise Refused(
            f"The broker's {waiting[0]} is not empty, and its messages may be newer than the backup."
            " Take a fresh broker, or throw away what this one holds with --replace."
        )


def _empty_databases(system: System) -> None:
    for service in databases(system):
        database = system.database(service)
        for name in database.list_collection_names():
            if (service, name) != (OPERATION, RESTORING):
                database.drop_collection(name)


def _empty_broker(system: System, broker: Any) -> None:
    channel = broker.channel()
    for queue in (*_queues(system), EVENT_LOG, UNROUTED):
        channel.queue_delete(queue)
    channel.close()
    topology.declare(broker, system.publishers, system.subscriptions, system.delays)


def _put_back(system: System, folder: Path, kept: Document) -> int:
    """A collection, then its indexes."""
    service, name = kept["service"], kept["name"]
    database = system.database(service)
    told, done = Told(f"{service}.{name}"), 0
    for batch in in_batches(archive.documents(folder, f"{service}/{name}"), BATCH):
        database[name].insert_many(batch, ordered=False)
        done += len(batch)
        told.so_far(done)
    if indexes := [index for index in kept["indexes"] if index["name"] != "_id_"]:
        database.command("createIndexes", name, indexes=indexes)
    told.done(done)
    return done


def _give_again(system: System, broker: Any, folder: Path) -> tuple[int, int]:
    """To each queue what its handler may not have handled, and to the event log; handlers absorb what they know."""
    letters = {(letter["queue"], letter["id"]): letter for letter in archive.documents_of(folder, DEAD)}
    dead = _parked_as_dead(system) & letters.keys()
    told, events, copies = Told("events"), 0, Copies(broker)
    for batch in in_batches(archive.documents_of(folder, EVENTS), BATCH):
        given: list[Outgoing] = []
        for event in _told_by(system, batch):
            events += 1
            given.append(messages.outgoing(event, EVENT_LOG))
            for queue in _queues_of(system, event):
                if (queue, event["message_id"]) not in dead:
                    letters.pop((queue, event["message_id"]), None)
                    given.append(messages.outgoing(event, queue))
        copies.publish(given)
        told.so_far(events)
    copies.publish([messages.outgoing(letter, letter["queue"] + DEAD_SUFFIX) for letter in letters.values()])
    told.done(events)
    return events, len(letters)


def _told_by(system: System, events: list[Document]) -> Iterator[Document]:
    """Those that the restored aggregates have told: the others are of a future that is lost, or of strangers."""
    reached = _reached(system, [envelope for event in events if (envelope := _envelope(event))])
    for event in events:
        envelope = _envelope(event)
        if envelope and envelope.sequence <= reached.get((_word(envelope), envelope.subject), 0):
            yield event


def _reached(system: System, envelopes: list[Envelope]) -> dict[tuple[str, str], int]:
    """The version of each event's aggregate, by the fact's first word and the subject."""
    subjects: dict[tuple[str, str], set[str]] = defaultdict(set)
    for envelope in envelopes:
        if _word(envelope) in KEPT_IN:
            subjects[envelope.source.removeprefix("/sidan/"), _word(envelope)].add(envelope.subject)
    found: dict[tuple[str, str], int] = {}
    for (service, word), wanted in subjects.items():
        field = FOUND_BY.get(word, "_id")
        rows = system.database(service)[KEPT_IN[word]].aggregate(
            [
                {"$match": {field: {"$in": list(wanted)}}},
                {"$project": {"subject": f"${field}", "version": 1}},
                {"$unwind": "$subject"},
            ]
        )
        found |= {(word, row["subject"]): row["version"] for row in rows}
    return found


def _envelope(event: Document) -> Envelope | None:
    try:
        return Envelope.parse(event["headers"], event["body"])
    except ValueError:
        return None


def _word(envelope: Envelope) -> str:
    return envelope.type.removeprefix("cn.sidan.").partition(".")[0]


def _queues_of(system: System, event: Document) -> list[str]:
    kind = event["headers"].get(f"{PREFIX}type")
    return [s.queue for s in system.subscriptions if s.event.type() == kind]


def _parked_as_dead(system: System) -> set[tuple[str, str]]:
    rows = (row for name in databases(system) for row in system.database(name)[PARKING].find())
    return {
        (row["_id"].partition(":")[0], event["id"]) for row in rows for event in row.get("events", ()) if event["dead"]
    }


def _queues(system: System) -> list[str]:
    handlers = [subscription.queue for subscription in system.subscriptions]
    return [*handlers, *(queue + DEAD_SUFFIX for queue in handlers), *map(retry_queue, system.delays)]
