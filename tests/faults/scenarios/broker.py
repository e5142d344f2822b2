"""F7, F11 to F14, F16 to F19: a broker that is away, full, slow to answer, or changed by somebody."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice

import amqp

from services.chassis.subscriber import BATCH
from tests.faults.fleet import LINKED
from tests.faults.run import Run, scenario
from tests.faults.scenarios.messages import send

BROKER_RECOVERY = 30.0  # seconds
AWAY = 10.0  # seconds
ALARM = 15.0  # seconds
CLEAR_ANSWER = 5.0  # seconds
BACKLOG = 1000
SLOW_QUEUE = "evt-dispatch-order.completed--activities.record_hours"
IN_HAND = f'sidan_in_hand{{queue="{SLOW_QUEUE}"}}'


@contextmanager
def undone(run: Run, command: tuple[str, ...]) -> Iterator[None]:
    """Put the broker right afterwards, whatever happens."""
    try:
        yield
    finally:
        run.fleet.broker.ctl(*command)


@scenario("F7-stop", "broker stopped and started", without="outbox", recovery=BROKER_RECOVERY)
def broker_stopped(run: Run) -> None:
    with run.load(), run.trouble(), undone(run, ("start_app",)):
        run.fleet.broker.ctl("stop_app")
        run.fleet.pause(AWAY)


@scenario("F7-kill", "broker killed and started", without="outbox", recovery=BROKER_RECOVERY)
def broker_killed(run: Run) -> None:
    with run.load():
        run.fleet.pause(2)
        with run.trouble():
            run.fleet.broker.kill()
            run.fleet.pause(2)
            run.fleet.broker.start()
            run.fleet.until(run.fleet.broker.ready, 60, "the broker")


@scenario("F11-publisher", "the relay's link is a black hole, and then gone", layout=LINKED, without="confirms")
def publisher_in_the_dark(run: Run) -> None:
    links(run, "publisher", ("dispatch", "activities", "points"))


@scenario(
    "F11-consumer", "the consumers' link is a black hole, and then gone", layout=LINKED, without="late-acknowledgement"
)
def consumer_in_the_dark(run: Run) -> None:
    """Of those who only subscribe: orders go on, and their events go into the dark."""
    links(run, "consumer", ("activities", "points"))


@contextmanager
def in_the_dark(run: Run, services: Sequence[str], link: str, answers_first: float = 0) -> Iterator[None]:
    """Nothing arrives and nothing is refused; in the end the connections are reset with what was on its way.

    ``answers_first``: seconds during which requests still arrive, and only their answers do not.
    """
    proxies = [run.fleet.proxies[service, link] for service in services]
    for proxy in proxies:
        proxy.to_client = "blackhole"
    run.fleet.pause(answers_first)
    for proxy in proxies:
        proxy.mode = "blackhole"
    try:
        yield
    finally:
        for proxy in proxies:
            proxy.mode = "reset"
        run.fleet.pause(0.5)
        for proxy in proxies:
            proxy.mode = "pass"


def links(run: Run, link: str, services: Sequence[str]) -> None:
    """What is on its way on a link that goes dark is lost; the process lives on and measures its own loop."""
    lags: list[float] = []
    with run.load(), run.trouble(faults=len(services)), in_the_dark(run, services, link):
        for _ in range(8):
            run.fleet.pause(1)
            lags += [run.fleet.metric(service, "sidan_loop_lag_seconds") for service in services]
    run.note(**{"worst loop lag s": round(max(lags), 3)})


@scenario("F12-memory", "memory alarm", without="outbox", recovery=BROKER_RECOVERY)
def memory_alarm(run: Run) -> None:
    alarm(run, ("set_vm_memory_high_watermark", "absolute", "1MB"), ("set_vm_memory_high_watermark", "0.4"))


@scenario("F12-disk", "disk alarm", without="outbox", recovery=BROKER_RECOVERY)
def disk_alarm(run: Run) -> None:
    alarm(run, ("set_disk_free_limit", "900GB"), ("set_disk_free_limit", "50MB"))


def alarm(run: Run, raised: tuple[str, ...], lowered: tuple[str, ...]) -> None:
    """Commands go through the broker too, so they are refused clearly and in time; nothing is lost."""
    with run.load(), run.trouble(), undone(run, lowered):
        run.fleet.broker.ctl(*raised)
        run.fleet.pause(ALARM)
        slowest = max(run.answer_seconds() for _ in range(3))
    run.expect(slowest < CLEAR_ANSWER, f"an answer within {CLEAR_ANSWER:g} s, it took {slowest:.1f}")


@scenario("F13", "every connection closed by an operator, again and again", without="outbox")
def connections_closed(run: Run) -> None:
    with run.load(), run.trouble(faults=4):
        for _ in range(4):
            run.fleet.broker.ctl("close_all_connections", "tired of them")
            run.fleet.pause(1.5)


@scenario("F16", "a slow subscriber with a backlog", without="bounded-prefetch")
def slow_subscriber(run: Run) -> None:
    """Accepting goes on, since each subscriber has a queue of its own, and most of the backlog stays in it."""
    run.fleet.restart_with("activities", FAULTS_WRAP="slow:0.2")
    run.fleet.until(lambda: run.fleet.serving("activities"), 30, "activities")
    with run.load(workers=8, plans=("straight", "declined")) as load, run.trouble():
        run.fleet.pause(4)
        with run.fleet.channel() as channel:
            for event in islice(cycle([e for e in run.published() if e.fact == "order.completed"]), BACKLOG):
                send(channel, "", SLOW_QUEUE, event.body, event.headers)
        in_hand = 0.0
        for _ in range(20):
            run.fleet.pause(0.2)
            in_hand = max(in_hand, run.fleet.metric("activities", IN_HAND))
    run.expect(0 < in_hand <= 2 * BATCH, f"two batches at most in hand, {in_hand:g} are")
    run.note(**{"backlog": run.fleet.depth(SLOW_QUEUE), "in hand": in_hand, "lives meanwhile": load.tally.lives})
    run.fleet.restart_with("activities", FAULTS_WRAP="")


@scenario("F17", "a queue and an exchange are deleted by an operator", without="declaring-again")
def deleted(run: Run) -> None:
    """Both are declared again at once; what lay in the queue is given to its handler once more from the event log."""
    begun = datetime.now(UTC) - timedelta(seconds=5)
    with run.load(), run.trouble(faults=2):
        run.fleet.pause(2)
        with run.fleet.channel() as channel:
            channel.queue_delete(SLOW_QUEUE)
            channel.exchange_delete("activities.events")
        run.fleet.until(lambda: exists(run, SLOW_QUEUE), 20, "the queue")
    replay = ("queues", "replay", "--queue", SLOW_QUEUE, "--from", begun.isoformat(), "--reason", "deleted by mistake")
    replayed = run.fleet.sidan(*replay)
    run.expect(replayed.returncode == 0, f"events are given again: {replayed.stderr[-300:]}")


def exists(run: Run, queue: str) -> bool:
    try:
        return run.fleet.depth(queue) >= 0
    except amqp.exceptions.NotFound:
        return False


@scenario("F19", "permissions of the services' user are taken away, and given again", without="outbox")
def permissions_revoked(run: Run) -> None:
    user = run.fleet.broker.user
    with run.load(), run.trouble(), undone(run, ("set_permissions", user, ".*", ".*", ".*")):
        run.fleet.broker.ctl("set_permissions", user, "^$", "^$", "^$")
        run.fleet.broker.ctl("close_all_connections", "permissions changed")
        run.fleet.pause(6)
