"""``sidan doctor``: what is wrong with the system, and what to do about it."""

import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, timedelta
from typing import Any

import amqp
from kombu.exceptions import OperationalError
from pymongo.errors import PyMongoError

from deploy.local.environment import data_dir
from deploy.operate.broker import in_the_broker
from deploy.operate.commands import DONE, FOUND, answer, command
from deploy.operate.database import in_the_database
from deploy.operate.finding import ERROR, Finding, error, warning
from deploy.operate.keys import in_the_rings
from deploy.operate.machine import demo_accounts, on_this_machine
from deploy.operate.management import management
from deploy.operate.system import System, endpoints
from services.chassis.outbox import WAITS
from services.chassis.pauses import PAUSED
from services.chassis.repository import OUTBOX_SINCE

TEXT = """Look at everything and list what is wrong, worst first, each with what to do. Exit 1 when anything is.
It changes nothing. What is down is the first finding, and the rest is looked at all the same. With the management
API (the local runtime's, or SIDAN_MANAGEMENT_URL) it sees more of the broker."""
UNSENT = timedelta(seconds=30)
LATE, BEHIND = timedelta(seconds=15), timedelta(minutes=10)
TIMERS = (
    ("deadlines", "orders", "due_at", LATE,
     f"orders are due for more than {LATE.seconds} s and were not moved", "`lease` and `timer`"),
    # All series of a place become due at midnight, and are worked off.
    ("series", "series", "next_at", BEHIND,
     f"series should have placed an order more than {BEHIND.seconds // 60} min ago", "`timer` and `series not placed`"),
    ("figures", "orders", "uncounted_since", BEHIND,
     f"orders ended more than {BEHIND.seconds // 60} min ago and are in no quality figures", "`lease` and `timer`"),
)  # fmt: skip
"""What the timers of dispatch move: where, the field that tells since when, and how late they may be."""
CLOCK = 1.0  # seconds
ANSWER = 2.0  # seconds
AWAY = (amqp.exceptions.AMQPError, OperationalError, OSError, PyMongoError)


def add_to(parts: Any) -> None:
    command(parts, "doctor", doctor, TEXT)


def doctor(system: System, options: Any) -> int:
    found = sorted(findings(system), key=lambda finding: finding.severity != ERROR)
    lines = [line for f in found for line in (f"{f.severity:8} {f.about}: {f.what}", f"         → {f.remedy}")]
    answer(options, [finding.summary() for finding in found], lines or ["all is well"])
    return FOUND if found else DONE


def findings(system: System) -> Iterator[Finding]:
    """What is away comes first."""
    away = list(_away(system))
    yield from away
    if not any(finding.about == "database" for finding in away):
        yield from _looked("database", lambda: in_the_database(system))
        yield from _looked("database", lambda: _state(system))
        yield from _looked("keys", lambda: in_the_rings(system))
    if not any(finding.about == "broker" for finding in away):
        yield from _looked("broker", lambda: _of_broker(system))
    yield from _looked("machine", lambda: on_this_machine(system))
    yield from _processes()


def _away(system: System) -> Iterator[Finding]:
    try:
        with system.broker():
            pass
    except AWAY as away:
        yield error("broker", f"it does not answer: {_text(away)}", "start it, or correct AMQP_URI")
    try:
        system.database_client.admin.command("ping")
    except PyMongoError as away:
        yield error("database", f"it does not answer: {_text(away)}", "start it, or correct MONGO_URI")


def _looked(about: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What is found until the look itself fails."""
    try:
        yield from look()
    except AWAY as failed:
        yield error(about, f"it could not be looked at to the end: {_text(failed)}", "see to that, then look again")


def _text(failed: BaseException) -> str:
    return (str(failed).splitlines() or [""])[0].split(", Timeout:")[0].split(" (configured")[0] or repr(failed)


def _of_broker(system: System) -> Iterator[Finding]:
    with system.broker() as connection:
        yield from in_the_broker(system, connection, management(system))


def _state(system: System) -> Iterator[Finding]:
    """What the data tell of the work."""
    now = system.database_client.admin.command("hello")["localTime"].replace(tzinfo=UTC)
    for name, collection in system.publishing():
        oldest = collection.find_one(WAITS, {OUTBOX_SINCE: 1}, sort=[(OUTBOX_SINCE, 1)])
        if oldest and now - oldest[OUTBOX_SINCE] > UNSENT:
            what = f"an event of {name} has waited for {(now - oldest[OUTBOX_SINCE]).total_seconds():.0f} s to be sent"
            yield error("outbox", what, f"start service {name.partition('.')[0]}, and look at its log and the broker")
    for service in system.services:
        for row in system.database(service)[PAUSED].find():
            what = f"{row['_id']} by {row['by']} since {row['at']:%Y-%m-%d %H:%M} UTC: {row['reason']}"
            yield warning("paused", what, f"`sidan queues resume {row['_id']}` when the reason is gone")
    if "dispatch" in system.services:
        dispatch = system.database("dispatch")
        for about, kept_in, moment, patience, what, remedy in TIMERS:
            if late := dispatch[kept_in].count_documents({moment: {"$type": "date", "$lte": now - patience}}):
                yield error(about, f"{late} {what}", f"start service dispatch, and look at its log for {remedy}")
    yield from demo_accounts(system)


def _processes() -> Iterator[Finding]:
    """Of the local runtime: whether each answers, and how far its clock is from the database's."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for name, url in endpoints().get("metrics", {}).items():
        try:
            page = opener.open(url, timeout=ANSWER).read().decode()
        except OSError as away:
            log = data_dir() / "log" / f"{name}.log"
            yield error("processes", f"{name} does not answer: {away}", f"look at its log, {log}")
            continue
        off = next(
            (float(li.split()[1]) for li in page.splitlines() if li.startswith("sidan_clock_offset_seconds ")), 0
        )
        if abs(off) > CLOCK:
            what = f"{name} is {off:+.1f} s from the database's clock"
            yield warning("clock", what, "synchronise the clocks of both machines")
