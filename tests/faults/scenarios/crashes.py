"""F1 to F4: processes that die at a line."""

from tests.faults.run import Run, scenario

KILL_RECOVERY = 10.0  # seconds after the kill of a service


@scenario(
    "F1-dispatch",
    "killed after the commit, before the relay publishes",
    per_commit=True,
    without="outbox",
    recovery=KILL_RECOVERY,
)
def after_commit(run: Run) -> None:
    with run.load():
        for hit in (5, 20):
            run.crash("dispatch", "after_commit", hit)


@scenario(
    "F1-idempotency",
    "killed after the commit: the repeated command gets the first answer",
    per_commit=True,
    without="idempotency-key",
    recovery=KILL_RECOVERY,
)
def repeated_command(run: Run) -> None:
    with run.load(plans=("cancelled",)):
        run.crash("dispatch", "after_commit", 10)


@scenario("F1-activities", "killed after the commit of hours", without="outbox", recovery=KILL_RECOVERY)
def after_commit_of_hours(run: Run) -> None:
    with run.load():
        run.crash("activities", "after_commit", 5)


@scenario(
    "F2",
    "relay killed after the confirm, before the mark",
    per_commit=True,
    without="business-ids",
    recovery=KILL_RECOVERY,
)
def after_confirm(run: Run) -> None:
    with run.load():
        for process in ("dispatch", "activities"):
            run.crash(process, "after_confirm", 8)


@scenario(
    "F3-registry",
    "subscriber killed after the commit, before the acknowledgement",
    per_commit=True,
    without="inbox",
    recovery=KILL_RECOVERY,
)
def before_ack_of_totals(run: Run) -> None:
    with run.load():
        for hit in (1, 2, 3):  # hours and points come in turn
            run.crash("registry", "before_ack", hit)


@scenario(
    "F3-points",
    "points killed after the commit, before the acknowledgement",
    without="business-ids",
    recovery=KILL_RECOVERY,
)
def before_ack_of_points(run: Run) -> None:
    with run.load():
        run.crash("points", "before_ack", 4)


@scenario(
    "F3-unhandled", "subscriber killed with messages in hand", without="late-acknowledgement", recovery=KILL_RECOVERY
)
def with_messages_in_hand(run: Run) -> None:
    run.fleet.restart_with("activities", FAULTS_WRAP="slow:0.1")
    with run.load():
        run.crash("activities", "before_commit", 4)


@scenario("F4", "killed in the middle of a transaction", per_commit=True, without="transaction", recovery=KILL_RECOVERY)
def in_transaction(run: Run) -> None:
    with run.load():
        for hit in (3, 8):
            run.crash("points", "in_transaction", hit)
