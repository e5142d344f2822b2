"""``sidan dead``: messages that no attempt could handle, in groups of those that failed alike."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from deploy.operate.audit import operations
from deploy.operate.commands import DONE, PROGRESS, Misused, Refused, answer, command, group, progress, table
from deploy.operate.settling import Action, Drop, Retry, Settling
from deploy.operate.system import System
from services.chassis.dead import DeadLetter, DeadLetters
from services.contracts.privacy import mask

EVENT_ATTRIBUTES = ("type", "subject", "id", "time", "sequence")
LIMIT = 200
SELECTION = """Say which: message ids, --group (of `sidan dead list`), --queue, or --all; of several all must hold.
Later events of the same aggregate that only wait behind an earlier one are put back too, in order."""


@dataclass
class Group:
    """Dead letters that failed alike."""

    group: str
    queue: str
    type: str
    error: str
    count: int = 0
    failed: list[str] = field(default_factory=list)
    """When the first and the last of them failed."""

    def add(self, letter: DeadLetter) -> None:
        self.count += 1
        times = sorted([*self.failed, letter.failed_at])
        self.failed = [times[0], times[-1]]

    def summary(self) -> dict[str, Any]:
        told = {"group": self.group, "queue": self.queue, "type": self.type, "error": self.error, "count": self.count}
        return told | {"oldest": self.failed[0], "newest": self.failed[-1]}


def add_to(parts: Any) -> None:
    dead = group(parts, "dead", "messages that no attempt could handle")
    listed = command(dead, "list", dead_list, "groups that failed alike; with --queue or --group their messages")
    listed.add_argument("--queue", help="the messages of this handler's queue")
    listed.add_argument("--group", help="the messages of this group")
    listed.add_argument("--limit", type=int, default=LIMIT, help=f"of messages shown, {LIMIT} by default")
    command(dead, "show", dead_show, "all of one message, personal data masked").add_argument("id")
    _settling(dead, "retry", dead_retry, "put messages back to the queue they came from. " + SELECTION, False)
    _settling(dead, "drop", dead_drop, "give messages up for good. " + SELECTION, True)
    audit = command(dead, "audit", dead_audit, "who put back, dropped, paused, moved or replayed what, newest first")
    audit.add_argument("--limit", type=int, default=LIMIT, help=f"{LIMIT} by default")


def _settling(parts: Any, name: str, run: Any, text: str, required: bool) -> None:
    parser = command(parts, name, run, text)
    parser.add_argument("id", nargs="*", help="message ids")
    parser.add_argument("--group", help="all of one group")
    parser.add_argument("--queue", help="all of one queue")
    parser.add_argument("--all", action="store_true", help="all there are")
    parser.add_argument("--reason", required=required, help="why, for the record")
    parser.add_argument("--by", help="who, when it is not the user who is logged in")


def dead_list(system: System, options: Any) -> int:
    with _letters(system, options.queue) as letters:
        if options.queue or options.group:
            return _list_messages(options, (letter for letter in letters if options.group in (None, letter.group)))
        groups: dict[str, Group] = {}
        for letter in letters:
            new = Group(letter.group, letter.queue, letter.attribute("type"), letter.error)
            groups.setdefault(letter.group, new).add(letter)
    found = [g.summary() for g in sorted(groups.values(), key=lambda g: (g.queue, -g.count))]
    head = ("group", "count", "oldest", "newest", "queue", "type", "error")
    lines = table(head, ([g[name] for name in head] for g in found)) if found else ["no dead letters"]
    answer(options, found, lines)
    return DONE


def _list_messages(options: Any, letters: Iterator[DeadLetter]) -> int:
    found = [_summary(letter) for letter in islice(letters, options.limit)]
    rest = sum(1 for _ in letters)
    rows = ((m["id"], m["event"]["subject"], m["event"]["sequence"], m["failed_at"], m["reason"]) for m in found)
    lines = table(("id", "subject", "sequence", "failed at", "reason"), rows) if found else ["no dead letters here"]
    answer(options, found, [*lines, *([f"… and {rest} more: --limit {len(found) + rest}"] if rest else [])])
    return DONE


def dead_show(system: System, options: Any) -> int:
    with _letters(system) as letters:
        found = [letter for letter in letters if letter.id == options.id]
    if not found:
        raise Refused(f"There is no dead letter with id {options.id}: `sidan dead list --queue QUEUE` shows them.")
    shown = [_summary(letter) | _content(letter) for letter in found]
    lines = [text for each in shown for text in (json.dumps(each | {"trace": ""}, indent=2), each["trace"])]
    answer(options, shown, lines)
    return DONE


def dead_retry(system: System, options: Any) -> int:
    return _settle(system, options, Retry)


def dead_drop(system: System, options: Any) -> int:
    return _settle(system, options, Drop)


def _settle(system: System, options: Any, action: type[Action]) -> int:
    if not (options.id or options.group or options.queue or options.all):
        raise Misused("Say which: message ids, --group GROUP, --queue QUEUE or --all.")
    subscriptions = [s for s in system.subscriptions if options.queue in (None, s.queue)]
    with system.broker() as connection:
        done = [Settling(system, connection, s, options, action).run() for s in subscriptions]
    count, along = sum(d.chosen for d in done), sum(d.along for d in done)
    if not count:
        raise Refused("Nothing there is what was asked for: `sidan dead list` shows what there is.")
    lines = [f"{action.SAID}: {count}"] + ([f"put back, since they waited behind these: {along}"] if along else [])
    answer(options, {action.NAME: count, "followed": along}, lines)
    return DONE


def dead_audit(system: System, options: Any) -> int:
    rows = operations(system, options.limit)
    head = ("at", "by", "action", "queue", "count", "ended", "reason")
    lines = table(head, ([_cell(row[name]) for name in head] for row in rows)) if rows else ["nothing on record"]
    answer(options, rows, lines)
    return DONE


def _cell(value: Any) -> Any:
    return "no" if value is None else value.isoformat(timespec="seconds") if hasattr(value, "isoformat") else value


@contextmanager
def _letters(system: System, queue: str | None = None) -> Iterator[Iterator[DeadLetter]]:
    """One by one, of all queues or one."""
    queues = [s.queue for s in system.subscriptions if queue in (None, s.queue)]
    if not queues:
        raise Refused(f"No handler has a queue {queue}: `sidan queues list` shows them.")
    with system.broker() as connection:
        yield _counted(DeadLetters(connection, queues).each())


def _counted(letters: Iterator[DeadLetter]) -> Iterator[DeadLetter]:
    for number, letter in enumerate(letters, start=1):
        if number % PROGRESS == 0:
            progress(f"{number} dead letters read")
        yield letter


def _summary(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "group": letter.group,
        "queue": letter.queue,
        "reason": mask(letter.reason),
        "failed_at": letter.failed_at,
        "attempts": letter.headers.get("attempt", 0),
        "event": {name: letter.attribute(name) for name in EVENT_ATTRIBUTES},
    }


def _content(letter: DeadLetter) -> dict[str, str]:
    return {"body": mask(letter.body.decode(errors="replace")), "trace": str(letter.headers.get("trace", ""))}
