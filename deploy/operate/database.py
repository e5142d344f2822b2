"""What the doctor looks at in MongoDB: replica set, parameters, clock, disk, indexes."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pymongo.errors import OperationFailure

from deploy.operate.finding import Finding, error, warning
from deploy.operate.system import Document, System
from services.chassis.process import declared_indexes

OLDEST = (6, 0)
LIFETIME = 5
"""Seconds that a transaction of a killed process may block what it has touched."""
CLOCK = 1.0
"""Seconds between the database's clock and this machine's."""
LAG = 10.0  # seconds
FULL = 0.9
HEALTHY = ("PRIMARY", "SECONDARY", "ARBITER")
OPTIONS = ("unique", "sparse", "expireAfterSeconds", "partialFilterExpression")


def in_the_database(system: System) -> Iterator[Finding]:
    """Raise ``PyMongoError`` when it is away."""
    admin = system.database_client.admin
    hello = admin.command("hello")
    yield from _clock(hello["localTime"].replace(tzinfo=UTC), datetime.now(UTC))
    yield from _version(admin)
    yield from _replica_set(admin, hello)
    yield from _parameters(admin)
    yield from _space(system)
    for service in system.services:
        yield from _indexes(system, service)


def _clock(server: datetime, own: datetime) -> Iterator[Finding]:
    off = (server - own).total_seconds()
    if abs(off) > CLOCK:
        what = f"the database's clock is {off:+.1f} s from this machine's"
        yield warning("clock", what, "synchronise both (chrony, systemd-timesyncd): deadlines go by the database's")


def _version(admin: Any) -> Iterator[Finding]:
    told = admin.command("buildInfo")["version"]
    numbers = tuple(int(part) for part in told.split(".")[:2])
    if numbers < OLDEST:
        yield error("database", f"MongoDB {told} is too old", "upgrade it to 6.0 or later, one major version at a time")
    try:
        known = admin.command("getParameter", featureCompatibilityVersion=1)["featureCompatibilityVersion"]["version"]
    except OperationFailure:
        return
    if known != ".".join(map(str, numbers)):
        what = f"MongoDB {told} still works as {known}"
        yield warning(
            "database", what, f'after the upgrade: setFeatureCompatibilityVersion "{numbers[0]}.{numbers[1]}"'
        )


def _replica_set(admin: Any, hello: Document) -> Iterator[Finding]:
    if "setName" not in hello:
        yield error("database", "it is no replica set, so there are no transactions", "start mongod with --replSet")
        return
    try:
        status = admin.command("replSetGetStatus")
    except OperationFailure as refused:
        what = f"the state of the replica set cannot be read: {refused.details and refused.details.get('errmsg')}"
        yield warning("database", what, "grant the user clusterMonitor")
        return
    yield from _members(status["members"])


def _members(members: list[Document]) -> Iterator[Finding]:
    newest = max((m["optimeDate"] for m in members if m["stateStr"] == "PRIMARY"), default=None)
    for member in members:
        if member["stateStr"] not in HEALTHY:
            what = f"{member['name']} is {member['stateStr']}"
            yield error("database", what, "start it, look at its log; a majority must be up for every write")
        elif newest and member["stateStr"] == "SECONDARY" and (newest - member["optimeDate"]).total_seconds() > LAG:
            behind = (newest - member["optimeDate"]).total_seconds()
            yield warning("database", f"{member['name']} is {behind:.0f} s behind", "look at its disk and its network")


def _parameters(admin: Any) -> Iterator[Finding]:
    try:
        lifetime = admin.command("getParameter", transactionLifetimeLimitSeconds=1)["transactionLifetimeLimitSeconds"]
    except OperationFailure:
        return
    if lifetime > LIFETIME:
        what = f"transactionLifetimeLimitSeconds is {lifetime}: what a killed process left open blocks others so long"
        yield warning("database", what, f"set it to {LIFETIME} (setParameter, and in mongod's configuration)")


def _space(system: System) -> Iterator[Finding]:
    stats = system.database(next(iter(system.services))).command("dbStats")
    if stats.get("fsTotalSize") and stats["fsUsedSize"] > FULL * stats["fsTotalSize"]:
        share = stats["fsUsedSize"] / stats["fsTotalSize"]
        yield error("disk", f"the database's disk is {share:.0%} full", "free some, or give it more")


def _indexes(system: System, service: str) -> Iterator[Finding]:
    wanted: dict[str, dict[str, Document]] = {}
    for collection, index in declared_indexes(system.services[service].uow.repositories.values()):  # type: ignore[attr-defined]
        wanted.setdefault(collection, {})[index.document["name"]] = _essence(index.document)
    database = system.database(service)
    for collection, indexes in wanted.items():
        found = {row["name"]: _essence(row) for row in database[collection].list_indexes() if row["name"] != "_id_"}
        yield from _compared(f"{service}.{collection}", indexes, found)


def _essence(index: Document | Any) -> Document:
    options = {name: index[name] for name in OPTIONS if index.get(name)}
    return {"key": list(dict(index["key"]).items()), **options}


def _compared(place: str, wanted: dict[str, Document], found: dict[str, Document]) -> Iterator[Finding]:
    start = "start the service, which makes it"
    for name, index in wanted.items():
        if name not in found:
            yield error("indexes", f"{place} lacks {name}", start)
        elif found[name] != index:
            what = f"{place} has {name} as {found[name]}, the code says {index}"
            yield error("indexes", what, f"drop it (dropIndex) and {start} anew")
    for name in found.keys() - wanted.keys():
        yield warning("indexes", f"{place} has {name}, which no code declares", "drop it if nobody else needs it")
