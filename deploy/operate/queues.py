"""``sidan queues``: what waits where, and what an operator does about it."""

import time
from collections.abc import Iterator
from typing import Any

from deploy.operate.audit import Operation, operator
from deploy.operate.commands import DONE, FOUND, Refused, answer, command, group, progress, table
from deploy.operate.copies import count, refuse_while_moved
from deploy.operate.management import Management, management
from deploy.operate.migrating import Migration
from deploy.operate.replaying import Replay
from deploy.operate.system import Document, System
from services.chassis import pauses
from services.chassis.outbox import WAITS
from services.chassis.pauses import PAUSED
from services.chassis.topology import DEAD_SUFFIX, Subscription, retry_queue

POLL = 0.2  # seconds
PAUSE_WAIT = 10.0
"""Seconds; replicas follow within 2, one in the middle of a long handler finishes it first."""
LAG = 6.0
"""Seconds by which the broker's figures of messages in hand may be late."""
HANDLING = 30.0
"""Seconds that a message may be in hand without anything that shows it, where there are no such figures."""
DRAIN = """Wait until queues, retry levels and outboxes are empty, for example before an upgrade (stop the gateway
first, or new work keeps coming). Exit 0 when they are, 1 with what is left after the timeout.
What is in hand shows with the management API; without it the emptiness must last 30 s."""
MIGRATE = """Give a queue the arguments that the code declares, when it was declared with others. The handler is paused
meanwhile. No message is lost, later events wait behind earlier ones. Killed half-way: run it again."""
REPLAY = """Publish events from the log (sidan.events.log, 90 days) to one handler's queue again, for example after
somebody deleted it. What was handled is absorbed; events older than the inbox remembers (60 days) are left out."""


def add_to(parts: Any) -> None:
    queues = group(parts, "queues", "what waits where; pause, drain, migrate, replay")
    command(queues, "list", queues_list, "every handler's queue; `in hand` needs the management API")
    paused = command(queues, "pause", queues_pause, "stop the handler of a queue in all replicas; survives restarts")
    _for_one(paused, True)
    _for_one(command(queues, "resume", queues_resume, "let the handler go on"), False)
    drain = command(queues, "drain", queues_drain, DRAIN)
    drain.add_argument("queue", nargs="*", help="all when none is given")
    drain.add_argument("--timeout", type=float, default=300.0, help="seconds, 300 by default")
    drain.add_argument("--quiet", type=float, help="seconds for which all must be empty")
    _for_one(command(queues, "migrate", queues_migrate, MIGRATE), False)
    replay = command(queues, "replay", queues_replay, REPLAY)
    replay.add_argument("--queue", required=True)
    replay.add_argument("--from", dest="start", required=True, help="offset in the log, ISO time, or `first`")
    replay.add_argument("--until", help="offset or ISO time; now by default")
    _for_the_record(replay, False)


def _for_one(parser: Any, required: bool) -> None:
    parser.add_argument("queue")
    _for_the_record(parser, required)


def _for_the_record(parser: Any, required: bool) -> None:
    parser.add_argument("--reason", required=required, help="why, for the record")
    parser.add_argument("--by", help="who, when it is not the user who is logged in")


def queues_list(system: System, options: Any) -> int:
    paused, in_hand = _paused(system), _in_hand(management(system))
    with system.broker() as connection:
        rows = [_row(connection, s.queue, paused, in_hand) for s in system.subscriptions]
        levels = [{"queue": name, "ready": _ready(connection, name)} for name in map(retry_queue, system.delays)]
    head = ("queue", "ready", "in hand", "consumers", "dead", "paused")
    lines = table(head, ([*(_dash(row[name]) for name in head[:-1]), _because(row["paused"])] for row in rows))
    waiting = table(("retry level", "waiting"), ([level["queue"], _dash(level["ready"])] for level in levels))
    answer(options, {"queues": rows, "retry_levels": levels}, [*lines, "", *waiting])
    return DONE


def _row(connection: Any, queue: str, paused: dict[str, Document], in_hand: dict[str, int] | None) -> Document:
    ready, consumers = count(connection, queue) or (None, None)
    return {
        "queue": queue,
        "ready": ready,
        "in hand": in_hand and in_hand.get(queue),
        "consumers": consumers,
        "dead": _ready(connection, queue + DEAD_SUFFIX),
        "paused": paused.get(queue),
    }


def _ready(connection: Any, queue: str) -> int | None:
    found = count(connection, queue)
    return found[0] if found else None


def _dash(value: Any) -> Any:
    return "-" if value is None else value


def _because(row: Document | None) -> str:
    return f"by {row['by']} since {row['at']:%Y-%m-%d %H:%M} UTC: {row['reason']}" if row else "no"


def _paused(system: System) -> dict[str, Document]:
    return {row["_id"]: row for service in system.services for row in system.database(service)[PAUSED].find()}


def _in_hand(api: Management | None) -> dict[str, int] | None:
    """As the broker's statistics have it, up to ``LAG`` late."""
    if api is None:
        return None
    return {queue["name"]: queue.get("messages_unacknowledged", 0) for queue in api.of_vhost("queues")}


def known(system: System, queue: str) -> Subscription:
    """Raise ``Refused``."""
    found = system.subscription(queue)
    if found is None:
        raise Refused(f"No handler has a queue {queue}: `sidan queues list` shows them.")
    return found


def queues_pause(system: System, options: Any) -> int:
    subscription = known(system, options.queue)
    database = system.database(subscription.service)
    if not pauses.pause(database, options.queue, operator(options), options.reason):
        raise Refused(f"{options.queue} is paused already: `sidan queues list` says by whom and why.")
    Operation(database, "paused", options.queue, options).end()
    with system.broker() as connection:
        consumers = _await_no_consumer(connection, options.queue)
    if consumers:
        raise Refused(
            f"{options.queue} is paused on record, but {consumers} processes still take messages: look whether they"
            " reach the database, finish a long handler, or run an older version."
        )
    answer(options, {"paused": options.queue}, [f"paused: {options.queue}"])
    return DONE


def _await_no_consumer(connection: Any, queue: str) -> int:
    """How many are left after ``PAUSE_WAIT``."""
    until = time.monotonic() + PAUSE_WAIT
    while (found := count(connection, queue)) and found[1] and time.monotonic() < until:
        time.sleep(POLL)
    return found[1] if found else 0


def queues_resume(system: System, options: Any) -> int:
    database = system.database(known(system, options.queue).service)
    with system.broker() as connection:
        refuse_while_moved(connection, options.queue)
    if not pauses.resume(database, options.queue):
        raise Refused(f"{options.queue} is not paused.")
    Operation(database, "resumed", options.queue, options).end()
    answer(options, {"resumed": options.queue}, [f"goes on: {options.queue}"])
    return DONE


def queues_drain(system: System, options: Any) -> int:
    queues = [known(system, queue).queue for queue in options.queue] or [s.queue for s in system.subscriptions]
    api = management(system)
    quiet = options.quiet if options.quiet is not None else LAG if api else HANDLING
    until, empty_since, said = time.monotonic() + options.timeout, None, ""
    with system.broker() as connection:
        while True:
            left = dict(_left(system, connection, api, queues))
            now = time.monotonic()
            empty_since = None if left else empty_since or now
            if empty_since and now - empty_since >= quiet:
                answer(options, {"left": {}}, ["all is empty"])
                return DONE
            _refuse_paused(system, left)
            if now > until:
                answer(options, {"left": left}, table(("left in", "messages"), left.items()))
                return FOUND
            if (text := _told(left)) != said:
                progress(said := text)
            time.sleep(POLL)


def _told(left: dict[str, int]) -> str:
    return f"{sum(left.values())} left in {len(left)} places" if left else "all is empty, waiting whether it stays so"


def _refuse_paused(system: System, left: dict[str, int]) -> None:
    if stuck := left.keys() & _paused(system).keys():
        raise Refused(f"{', '.join(sorted(stuck))} is paused and not empty: resume it first.")


def _left(system: System, connection: Any, api: Management | None, queues: list[str]) -> Iterator[tuple[str, int]]:
    for queue in [*queues, *map(retry_queue, system.delays)]:
        if ready := _ready(connection, queue):
            yield queue, ready
    for queue, unsettled in (_in_hand(api) or {}).items():
        if unsettled and queue in queues:
            yield f"in hand of {queue}", unsettled
    for name, collection in system.publishing():
        if unsent := collection.count_documents(WAITS):
            yield f"outbox of {name}", unsent


def queues_migrate(system: System, options: Any) -> int:
    with system.broker() as connection:
        moved = Migration(system, connection, known(system, options.queue), options).run()
    text = f"{options.queue} is as the code declares it"
    answer(options, {"queue": options.queue, "moved": moved}, [f"{text}; {moved} messages kept" if moved else text])
    return DONE


def queues_replay(system: System, options: Any) -> int:
    with system.broker() as connection:
        replay = Replay(system, connection, known(system, options.queue), options)
        replay.run()
    content = {"queue": options.queue, "published": replay.published, "too_old": replay.too_old, "last": replay.last}
    old = f"; {replay.too_old} are older than the inbox remembers and were left out" if replay.too_old else ""
    answer(options, content, [f"{replay.published} events published to {options.queue}{old}"])
    return DONE
