"""F54: a backup of a loaded system, put back on other servers, with a broker that knows nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.local.servers import MongoDB, RabbitMQ
from tests.faults.fleet import SINGLE, Fleet
from tests.faults.invariants import Evidence, check
from tests.faults.log import EventLog
from tests.faults.oracle import DONE, Oracle
from tests.faults.run import Run, scenario
from tests.faults.workload import Client, Workload
from tests.support.servers import started

BACKLOG = 3.0  # seconds


@scenario("F54", "a backup under load, restored to fresh servers with a fresh broker", without="events-in-backup")
def restored_elsewhere(run: Run) -> None:
    """While it is made a service is away, so that events lie in its queues; later facts are lost, none is doubled."""
    folder = run.fleet.folder.parent / "restored"
    with run.load(), run.trouble():
        run.fleet.down.add("points")
        run.fleet.processes["points"].kill()
        run.fleet.pause(BACKLOG)
        incomplete = ["--without-broker"] if run.without == "events-in-backup" else []
        made = run.fleet.sidan("backup", str(folder / "backup"), *incomplete)
        run.expect(made.returncode == 0, f"a backup is made: {made.stderr[-300:]}")
        run.fleet.down.discard("points")
    with fresh(run, folder) as other:
        put_back = other.sidan("restore", str(folder / "backup"))
        run.expect(put_back.returncode == 0, f"it is restored: {put_back.stderr[-300:]}")
        if put_back.returncode:
            return
        log = EventLog(other)
        other.start()
        live_on(run, other, log, folder)
        reconciled = other.sidan("reconcile", "--grace", "5")
        run.expect(reconciled.returncode == 0, f"nothing differs: {reconciled.stdout[:500]}{reconciled.stderr[-300:]}")
    run.note(restored=put_back.stdout.split(": ")[-1].strip().partition("\n")[0])


@contextmanager
def fresh(run: Run, folder: Path) -> Iterator[Fleet]:
    """Servers of another machine, with the same data key; nothing runs yet."""
    key = run.fleet.processes["points"].env["SIDAN_DATA_KEY"]
    with started(RabbitMQ, folder / "rabbitmq") as broker, started(MongoDB, folder / "mongodb") as database:
        other = Fleet(SINGLE, broker, database, folder / "log", SIDAN_DATA_KEY=key)
        try:
            yield other
        finally:
            other.end()


def live_on(run: Run, other: Fleet, log: EventLog, folder: Path) -> None:
    """New lives, and those that the backup caught in service; all that holds on any system holds on this one."""
    oracle = Oracle(folder / "oracle.sqlite")
    load = Workload(other, other.gateways, other.villages(), oracle, run.result.seed)
    load.slots = run.workload.slots
    load.begin("F54-restored")
    caught = end_what_was_begun(other)
    with Client(other.gateways) as http:
        for _ in range(6):
            load.live(http, ("straight",))
    other.until(lambda: not other.unsent() and not other.waiting(), 60, "rest")
    intents = oracle.intents("F54-restored")
    run.expect(sum(i.step == "close" and i.state == DONE for i in intents) == 6, "lives go on")
    evidence = Evidence(other, "F54-restored", intents, log.read(), [], other.all_dead())
    run.result.findings += [f"restored: {finding}" for finding in check(evidence)]
    run.note(caught=caught)
    oracle.close()


def end_what_was_begun(other: Fleet) -> int:
    """Orders that the backup has as completed are rated and closed."""
    orders = list(other.database("dispatch")["orders"].find({"state": {"$in": ["completed", "rated"]}}))
    staff = {village.site: village.staff for village in other.villages()}
    for order in orders:
        if order["state"] == "completed":
            other.person(order["resident_id"]).insist(f"/v1/orders/{order['_id']}/rate", {"score": 4})
        other.person(staff[order["site"]]).insist(f"/v1/orders/{order['_id']}/close")
    return len(orders)
