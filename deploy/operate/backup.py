"""``sidan backup FOLDER``: all databases as they were at one moment, and what was on its way at that moment."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import bson
from bson.raw_bson import RawBSONDocument
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.database import Database
from ulid import ULID

from deploy.operate import messages
from deploy.operate.archive import RAW, Archive
from deploy.operate.commands import DONE, Refused, answer, command, progress
from deploy.operate.snapshot import OPERATION, Unreadable, cluster_time, collections, databases, moment
from deploy.operate.system import Document, System
from services.chassis.parking import PARKING

EVENTS, DEAD = "events", "dead"
RESTORING = "restoring"
"""Collection of the tools' database that is there while a restore is under way."""
REACH = 24.0
"""Hours of events before the moment that are kept at least."""
MARGIN = timedelta(minutes=10)
"""Beyond what is known to wait longest: what handlers have in hand is a little older."""
BATCH = 1000
TOLD_EVERY = 5.0  # seconds


def add_to(parts: Any) -> None:
    backup = command(parts, "backup", run, "copy all databases, and what is on its way, while the system runs")
    backup.add_argument("folder", type=Path, help="a new folder, or an empty one")
    backup.add_argument("--hours", type=float, default=REACH, help="events kept at least, default %(default)g hours")
    backup.add_argument("--without-broker", action="store_true", help="databases only, while the broker is away")


def run(system: System, options: Any) -> int:
    with nullcontext() if options.without_broker else system.broker() as broker:
        manifest = back_up(system, broker, options.folder, timedelta(hours=options.hours))
    files = manifest["files"]
    size = sum(file["bytes"] for file in files.values())
    lines = [
        f"{options.folder}: {len(files)} files, {size:,} bytes, as of {manifest['moment']:%Y-%m-%d %H:%M:%S} UTC",
        "Personal data in it can never be read without SIDAN_DATA_KEY, which is not in it: keep that elsewhere.",
    ]
    if broker is None:
        lines.append("Without the broker: what was on its way is not in it.")
    answer(options, {"folder": str(options.folder), "moment": manifest["moment"], "files": files}, lines)
    return DONE


def back_up(system: System, broker: Any, folder: Path, reach: timedelta) -> Document:
    """The manifest; ``broker`` is py-amqp's connection or None. Raise ``Refused`` and the clients' errors."""
    if RESTORING in system.database(OPERATION).list_collection_names():
        raise Refused("A restore into these databases did not end: finish it first.")
    archive = Archive(folder)
    archive.begin()
    letters = _copy_dead(system, archive, broker)  # before, so that none is newer than the moment
    with moment(system) as session:
        copied = _copy_databases(system, archive, session)
        parked = _parked(system, session)
        at = cluster_time(session)
    told: Document = {
        "moment": at.as_datetime(),
        "cluster_time": at,
        "prefix": system.database("").name,
        "mongodb": system.database_client.server_info()["version"],
        "collections": copied,
    }
    if broker is not None:
        waiting = [time for id in parked - letters for time in _told_at(id)]
        told["rabbitmq"] = broker.server_properties["version"]
        told["events_since"] = _oldest(system, broker, [at.as_datetime() - reach, *waiting]) - MARGIN
        _copy_events(archive, broker, told["events_since"])
    return archive.finish(**told)


def _copy_databases(system: System, archive: Archive, session: ClientSession) -> list[Document]:
    """Collections with their indexes; none may be made meanwhile, for the moment would not know it."""
    copied = []
    for service, name in (before := _collections(system)):
        database = system.database(service)
        copied.append({"service": service, "name": name, "indexes": list(database[name].list_indexes())})
        _copy_collection(archive, database, service, name, session)
    if _collections(system) != before:
        raise Unreadable("A collection was made or dropped meanwhile: start again, with a new folder.")
    return copied


def _copy_collection(
    archive: Archive, database: Database[Document], service: str, name: str, session: ClientSession
) -> None:
    told = Told(f"{service}.{name}", database[name].estimated_document_count())
    raw = cast(Collection[RawBSONDocument], database.get_collection(name, codec_options=cast(Any, RAW)))
    with archive.sheet(f"{service}/{name}") as sheet:
        for document in raw.find({}, session=session, batch_size=BATCH):
            sheet.add(document.raw)
            told.so_far(sheet.documents)
    told.done(sheet.documents)


def _copy_dead(system: System, archive: Archive, broker: Any) -> set[str]:
    """Ids of the dead letters."""
    if broker is None:
        return set()
    ids, told = set(), Told("dead letters")
    with archive.sheet(DEAD) as sheet:
        for letter in messages.dead(broker, _queues(system)):
            sheet.add(bson.encode(letter))
            ids.add(letter["id"])
    told.done(sheet.documents)
    return ids


def _copy_events(archive: Archive, broker: Any, since: datetime) -> None:
    """What was published before the moment may have been on its way; the rest is told apart when it is restored."""
    told = Told("events")
    with archive.sheet(EVENTS) as sheet:
        for event in messages.logged(broker, since):
            sheet.add(bson.encode(event))
            told.so_far(sheet.documents)
    told.done(sheet.documents)


def _parked(system: System, session: ClientSession) -> set[str]:
    """Ids of events that had failed, or waited behind such."""
    rows = (row for name in databases(system) for row in system.database(name)[PARKING].find({}, session=session))
    return {event["id"] for row in rows for event in row.get("events", ())}


def _told_at(event_id: str) -> Iterator[datetime]:
    """When an event was committed, which its id knows; nothing for a stranger's."""
    try:
        yield ULID.from_str(event_id).datetime
    except ValueError:
        return


def _oldest(system: System, broker: Any, times: list[datetime]) -> datetime:
    waiting = messages.oldest_waiting(broker, _queues(system))
    return min([*times, *([waiting] if waiting else [])]).astimezone(UTC)


def _queues(system: System) -> list[str]:
    return [subscription.queue for subscription in system.subscriptions]


def _collections(system: System) -> list[tuple[str, str]]:
    return [(service, name) for service in databases(system) for name in collections(system.database(service))]


class Told:
    """Progress of one part, told every few seconds and at its end."""

    def __init__(self, part: str, of: int | None = None) -> None:
        self.part, self.of = part, f" of about {of:,}" if of else ""
        self._next = time.monotonic() + TOLD_EVERY

    def so_far(self, count: int) -> None:
        if time.monotonic() > self._next:
            self._next = time.monotonic() + TOLD_EVERY
            progress(f"  {self.part}: {count:,}{self.of}")

    def done(self, count: int) -> None:
        progress(f"  {self.part}: {count:,}")
