"""``sidan keys``: the keys of personal data, in the ring of each service, and the envelope key that wraps them.

All of it is done while the system runs, and may be run again after an interruption: what is done stays done.
"""

import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, cast

import bson
from bson.raw_bson import RawBSONDocument
from cryptography.exceptions import InvalidTag
from pymongo import ReplaceOne
from pymongo.collection import Collection
from pymongo.database import Database

from deploy.operate.archive import RAW
from deploy.operate.audit import Operation
from deploy.operate.backup import BATCH, Told
from deploy.operate.commands import DONE, FOUND, Misused, Refused, answer, command, group, progress, table
from deploy.operate.copies import in_batches
from deploy.operate.envelope import NEW_DATA_KEY, envelope_key, fits, required_key
from deploy.operate.finding import Finding, error, warning
from deploy.operate.snapshot import collections
from deploy.operate.system import Document, System
from services.chassis.keys import KEYS, RING, Envelope, data_keys, new_id, opened, stored, unwrapped
from services.chassis.personal import MARK, Ring

GRACE = 60.0
"""Seconds until nobody encrypts with the old key any more: a process asks for the current one every 5 s, and a unit
of work that has encrypted commits within 30."""
TEXTS = re.compile(rf"{MARK}([0-9a-f]+):".encode())


def add_to(parts: Any) -> None:
    keys = group(parts, "keys", "the keys of personal data, and the envelope key SIDAN_DATA_KEY that wraps them")
    command(keys, "list", list_keys, "the data keys of each service, and how many documents need each; reads them all")
    text = "a new data key for each service; all documents are encrypted anew, and the old keys are removed"
    rotating = _on_record(command(keys, "rotate", rotate, text))
    rotating.add_argument(
        "--grace", type=float, default=GRACE, help="seconds until old keys are removed at the earliest, %(default)g"
    )
    text = f"wrap all keys by {NEW_DATA_KEY} too; services may then be restarted with that as their SIDAN_DATA_KEY"
    rewrapping = _on_record(command(keys, "rewrap", rewrap, text))
    finish = "forget what the former envelope key has wrapped, once everything runs with the new SIDAN_DATA_KEY"
    rewrapping.add_argument("--finish", action="store_true", help=finish)


def _on_record(parser: Any) -> Any:
    parser.add_argument("--reason", required=True, help="why, for the record")
    parser.add_argument("--by", help="who, when it is not the user who is logged in")
    return parser


def rings(system: System) -> dict[str, Document]:
    """By service; those that never ran have none."""
    found = {service: stored(system.database(service)) for service in system.services}
    return {service: ring for service, ring in found.items() if ring is not None}


# -- list -----------------------------------------------------------------------------------------------


def list_keys(system: System, options: Any) -> int:
    found = [row for service, ring in rings(system).items() for row in _rows(service, ring, system.database(service))]
    head = ("service", "key", "made at", "current", "documents", "wrapped by")
    cells = ((*list(row.values())[:2], f"{row['at']:%Y-%m-%d %H:%M}", *list(row.values())[3:]) for row in found)
    answer(
        options, found, table(head, cells) if found else ["no service has keys yet: they are made at its first start"]
    )
    return DONE


def _rows(service: str, ring: Document, database: Database[Document]) -> Iterator[Document]:
    needed: Counter[str] = Counter()
    for _, document in _encrypted(service, database):
        needed.update({id.decode() for id in TEXTS.findall(document.raw)})
    for id in data_keys(ring):
        yield {
            "service": service,
            "key": id,
            "at": ring["keys"][id]["at"],
            "current": "yes" if id == ring["current"] else "no",
            "documents": needed[id],
            "wrapped_by": " ".join(ring["keys"][id]["wraps"]),
        }


def _encrypted(
    service: str, database: Database[Document], marks: re.Pattern[bytes] = TEXTS
) -> Iterator[tuple[str, RawBSONDocument]]:
    """Documents with such texts, wherever in them, with the name of their collection: every byte is looked at."""
    for name in collections(database):
        raw = cast(Collection[RawBSONDocument], database.get_collection(name, codec_options=cast(Any, RAW)))
        told = Told(f"{service}.{name}", database[name].estimated_document_count())
        for number, document in enumerate(raw.find({}, batch_size=BATCH)):
            told.so_far(number)
            if marks.search(document.raw):
                yield name, document


# -- rotate ---------------------------------------------------------------------------------------------


def rotate(system: System, options: Any) -> int:
    """Raise ``Refused``."""
    own = required_key()
    rotations = [Rotation(service, system.database(service), own, options) for service in rings(system)]
    if not rotations:
        raise Refused("No service has keys yet: they are made at its first start.")
    for rotation in rotations:
        rotation.check()
    for rotation in rotations:
        rotation.begin()
    began = time.monotonic()
    for rotation in rotations:
        rotation.renew()
    if (rest := began + options.grace - time.monotonic()) > 0:
        progress(f"  waiting {rest:.0f} s for what is still written with an old key")
        time.sleep(rest)
    for rotation in rotations:
        rotation.end()
    lines = [line for rotation in rotations for line in rotation.told()]
    answer(options, {rotation.service: rotation.done for rotation in rotations}, lines)
    return FOUND if any(rotation.unreadable for rotation in rotations) else DONE


class Rotation:
    """Of one service: a new data key, or one of a rotation that did not end, and everything encrypted with it."""

    def __init__(self, service: str, database: Database[Document], own: Envelope, options: Any) -> None:
        self.service, self._database, self._own, self._options = service, database, own, options
        self.done = 0
        self.unreadable: set[str] = set()

    def check(self) -> None:
        """Before anything is changed. Raise ``Refused`` and ``WrongKey``."""
        ring = self._ring()
        unwrapped(ring, self._own)
        if any(len(key["wraps"]) > 1 for key in ring["keys"].values()):
            raise Refused("The envelope key is being changed: end that first, with `sidan keys rewrap --finish`.")

    def begin(self) -> None:
        self._operation = Operation(self._database, "rotated", KEYS, self._options)
        while len(data_keys(ring := self._ring())) == 1:
            id = new_id()
            _change(self._database, ring, {"$set": {"current": id, f"keys.{id}": self._own.new_key(id)}})
        self._opened = opened(ring, self._own)
        self._old = set(data_keys(ring)) - {ring["current"]}

    def renew(self) -> int:
        """One look at every document; how many had texts of old keys that can be read."""
        found = 0
        marks = re.compile(b"|".join(f"{MARK}{id}:".encode() for id in self._old))
        for batch in in_batches(_encrypted(self.service, self._database, marks), BATCH):
            writes: dict[str, list[ReplaceOne[Document]]] = {}
            for name, document in batch:
                if (changed := self._renewed(name, document)) is not None:
                    found += 1
                    writes.setdefault(name, []).append(_as_it_was_read(document, changed))
            for name, replaced in writes.items():
                self.done += self._database[name].bulk_write(replaced, ordered=False).modified_count
        return found

    def end(self) -> None:
        """Nobody writes with an old key any more: see to the last texts, and remove the keys that none needs."""
        while self.renew():
            pass  # what somebody else has written meanwhile is read again
        if not self.unreadable:
            gone = {f"keys.{id}": "" for id in self._old}
            self._database[KEYS].update_one({"_id": RING, "current": self._opened.current}, {"$unset": gone})
        self._operation.end(count=self.done, unreadable=len(self.unreadable))

    def told(self) -> Iterator[str]:
        yield f"{self.service}: {self.done:,} documents encrypted anew, key {self._opened.current}"
        if self.unreadable:
            few = ", ".join(sorted(self.unreadable)[:5])
            yield f"  the old key is kept: {len(self.unreadable)} documents cannot be read by it, as {few}"

    def _ring(self) -> Document:
        ring = stored(self._database)
        assert ring is not None
        return ring

    def _renewed(self, name: str, document: RawBSONDocument) -> Document | None:
        """None where nothing is to be done, or can be."""
        plain = bson.decode(document.raw)
        try:
            changed: Document = _renewed(plain, self._opened, tuple(f"{MARK}{id}:" for id in self._old))
        except (InvalidTag, ValueError):
            self.unreadable.add(f"{name} {plain['_id']}")
            return None
        return changed if changed != plain else None


def _renewed(value: Any, ring: Ring, marks: tuple[str, ...]) -> Any:
    match value:
        case str():
            return ring.encrypt(ring.decrypt(value)) if value.startswith(marks) else value
        case dict():
            return {name: _renewed(inner, ring, marks) for name, inner in value.items()}
        case list():
            return [_renewed(inner, ring, marks) for inner in value]
    return value


def _as_it_was_read(document: RawBSONDocument, changed: Document) -> ReplaceOne[Document]:
    """Only if nobody has changed anything in it. Its version stays, so that no unit of work is overtaken by it."""
    same = {"$expr": {"$eq": ["$$ROOT", {"$literal": document}]}}
    return ReplaceOne({"_id": changed["_id"], **same}, changed)


def _change(database: Database[Document], ring: Document, change: Document) -> bool:
    """Whether the ring was still the one that was read."""
    return database[KEYS].update_one({"_id": RING, "keys": ring["keys"]}, change).matched_count == 1


# -- rewrap ---------------------------------------------------------------------------------------------


def rewrap(system: System, options: Any) -> int:
    """Raise ``Refused``."""
    found = rings(system)
    if not found:
        raise Refused("No service has keys yet: they are made at its first start.")
    own = required_key()
    for ring in found.values():
        unwrapped(ring, own)
    lines = _forget(system, own, options) if options.finish else _wrap_too(system, own, options)
    answer(options, {"services": list(found), "finished": options.finish}, lines)
    return DONE


def _wrap_too(system: System, own: Envelope, options: Any) -> list[str]:
    new = required_key(NEW_DATA_KEY)
    if new.name == own.name:
        raise Misused(f"{NEW_DATA_KEY} is the SIDAN_DATA_KEY already: make another one.")
    for service, ring in rings(system).items():
        database = system.database(service)
        operation = Operation(database, "rewrapped", KEYS, options, envelope=new.name)
        while not _change(database, ring, {"$set": _wraps(ring, own, new) | {"envelope": new.name}}):
            ring = rings(system)[service]
        operation.end(count=len(ring["keys"]))
    return [
        f"All keys are wrapped by both. Set SIDAN_DATA_KEY to what {NEW_DATA_KEY} is, restart all services one by one,",
        "then run `sidan keys rewrap --finish`. Keep the former key as long as backups that were made with it.",
    ]


def _wraps(ring: Document, own: Envelope, new: Envelope) -> Document:
    keys = unwrapped(ring, own)
    return {f"keys.{id}.wraps.{new.name}": new.wrap(id, key) for id, key in keys.items()}


def _forget(system: System, own: Envelope, options: Any) -> list[str]:
    if any(ring["envelope"] != own.name for ring in rings(system).values()):
        raise Refused("SIDAN_DATA_KEY is still the former key: set the new one here and for all services first.")
    for service, ring in rings(system).items():
        database = system.database(service)
        operation = Operation(database, "rewrap finished", KEYS, options, envelope=own.name)
        while gone := _foreign(ring, own):
            _change(database, ring, {"$unset": dict.fromkeys(gone, "")})
            ring = rings(system)[service]
        operation.end(count=len(ring["keys"]))
    return ["The former envelope key opens nothing any more but backups that were made with it."]


def _foreign(ring: Document, own: Envelope) -> list[str]:
    return [f"keys.{id}.wraps.{name}" for id, key in ring["keys"].items() for name in key["wraps"] if name != own.name]


# -- doctor ---------------------------------------------------------------------------------------------


def in_the_rings(system: System) -> Iterator[Finding]:
    """What is wrong with the keys, and what has not been brought to its end."""
    try:
        known = envelope_key() is not None
    except Misused as wrong:
        known = False
        yield error("keys", str(wrong), "set the key that wraps the keys of the services")
    for service, ring in rings(system).items():
        if known and not fits(ring):
            what = f"SIDAN_DATA_KEY, as it is set here, does not wrap the keys of {service}"
            yield error("keys", what, "set the key that does, for the services too: they cannot start with this one")
        if len(data_keys(ring)) > 1:
            yield warning("keys", f"a rotation of the keys of {service} did not end", "run `sidan keys rotate` again")
        if any(len(key["wraps"]) > 1 for key in ring["keys"].values()):
            remedy = "restart all services with the new SIDAN_DATA_KEY, then `sidan keys rewrap --finish`"
            yield warning("keys", f"the keys of {service} are wrapped by two envelope keys", remedy)
