"""F31, F32, F49: a database whose answers are lost, that is away, or that everybody wants at once."""

from tests.faults.fleet import LINKED
from tests.faults.run import Run, scenario
from tests.faults.scenarios.broker import CLEAR_ANSWER, in_the_dark
from tests.support.failpoints import failing

DATABASE_RECOVERY = 30.0  # seconds
DATABASE_AWAY = 25.0  # seconds
FEW_ATTEMPTS, STANDARD_ATTEMPTS = "[0.5, 1, 2]", "[1, 10, 60]"
"""Seconds before each next one: few are over long before the database is back."""
FEW_FAIL = 0.02
"""Share of requests of which one operation and its repetition are both cut off."""
ANSWERS_FIRST = 0.05  # seconds
"""What is written meanwhile is there, and nobody knows."""
UNKNOWN_CODES = {
    "connection": {"closeConnection": True},
    "shutdown": {"errorCode": 91},
    "write-concern": {"writeConcernError": {"code": 64, "errmsg": "waiting for replication timed out"}},
}
"""Ways in which a commit's outcome stays unknown (MongoDB's codes: 91 ShutdownInProgress, 64 WriteConcernFailed)."""


@scenario("F31", "the outcome of commits is unknown", per_commit=True, without="idempotency-key")
def unknown_commits(run: Run) -> None:
    commands = ["commitTransaction", "update", "insert"]
    with run.load():
        for data in UNKNOWN_CODES.values():
            for app in ("sidan-dispatch", "sidan-activities", "sidan-points"):
                with run.trouble(faults=8), failing(run.fleet.mongo, commands, {"times": 8}, appName=app, **data):
                    run.fleet.pause(1)


@scenario("F31-share", "one question or write of twenty is cut off", without="driver-retries,transient-retries")
def cut_off(run: Run) -> None:
    """Hardly a request notices."""
    data = {"closeConnection": True}
    commands = ["commitTransaction", "update", "insert", "find"]
    with run.load() as load, run.trouble(), failing(run.fleet.mongo, commands, {"activationProbability": 0.05}, **data):
        run.fleet.pause(8)
        failed, attempts = load.tally.failed_attempts, load.tally.attempts
    run.expect(failed <= FEW_FAIL * attempts, f"hardly a request fails; {failed} of {attempts} did")


@scenario("F30-one", "database killed and started", without="outage-mode", recovery=DATABASE_RECOVERY)
def database_killed(run: Run) -> None:
    """For longer than a message has attempts, with some in hand: none is charged for it."""
    run.fleet.restart_with("activities", FAULTS_WRAP="slow:0.2,hasty:0.4", SIDAN_RETRY_DELAYS=FEW_ATTEMPTS)
    run.fleet.until(lambda: run.fleet.serving("activities"), 30, "activities")
    with run.load(workers=4, plans=("straight",)), run.trouble():
        run.fleet.until(lambda: run.fleet.metric("activities", "sidan_in_hand") > 0, 30, "something in hand")
        run.fleet.database_server.kill()
        run.fleet.pause(DATABASE_AWAY)
        run.fleet.database_server.start()
        run.fleet.until(run.fleet.database_server.ready, 60, "the database")
        run.fleet.restart_with("activities", FAULTS_WRAP="", SIDAN_RETRY_DELAYS=STANDARD_ATTEMPTS)


@scenario(
    "F30-dark",
    "the database's links are black holes",
    layout=LINKED,
    without="call-deadline",
    recovery=DATABASE_RECOVERY,
)
def database_in_the_dark(run: Run) -> None:
    """Nobody waits for long, and what was written and could not be told is there once."""
    services = ("dispatch", "activities", "points")
    with run.load(), run.trouble(faults=len(services)), in_the_dark(run, services, "database", ANSWERS_FIRST):
        slowest = run.answer_seconds()
        run.fleet.pause(10)
    run.expect(slowest < CLEAR_ANSWER, f"an answer within {CLEAR_ANSWER:g} s, it took {slowest:.1f}")


@scenario("F32", "everybody works on the same few volunteers", without="compare-and-set")
def hot_accounts(run: Run) -> None:
    """Timesheets and accounts of two people, written by many orders at once."""
    everybody = {team.id: list(team.members) for village in run.workload.villages for team in village.teams}
    for village in run.workload.villages:
        for team in village.teams:
            team.members[1:] = []
    with run.load(workers=16, plans=("straight",)), run.trouble():
        run.fleet.pause(8)
    for village in run.workload.villages:
        for team in village.teams:
            team.members[:] = everybody[team.id]
