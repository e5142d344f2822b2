"""``sidan dead``: messages that no attempt could handle."""

import json
from collections.abc import Callable
from typing import Any

from deploy.operate.commands import DONE, FOUND, Misused, Refused, answer, command, group
from deploy.operate.system import System
from services.chassis.dead import DeadLetter, DeadLetters
from services.contracts.privacy import mask

EVENT_ATTRIBUTES = ("type", "subject", "id", "time")


def add_to(parts: Any) -> None:
    dead = group(parts, "dead", "messages that no attempt could handle")
    command(dead, "list", dead_list, "count them by queue, with the reason of each")
    command(dead, "show", dead_show, "all of one message, personal data masked").add_argument("id")
    for name, run, text in (
        ("retry", dead_retry, "put messages back to the queue they came from"),
        ("drop", dead_drop, "give messages up for good"),
    ):
        parser = command(dead, name, run, text)
        parser.add_argument("id", nargs="*", help="message ids")
        parser.add_argument("--queue", help="all of one queue")
        parser.add_argument("--all", action="store_true", help="all there are")


def dead_list(system: System, options: Any) -> int:
    letters = _with_letters(system, lambda dead: dead.all())
    lines = []
    for queue in sorted({letter.queue for letter in letters}):
        of_queue = [letter for letter in letters if letter.queue == queue]
        lines.append(f"{queue}  {len(of_queue)}")
        lines += [
            f"  {letter.message_id or '-'}  {letter.attribute('subject')}  {letter.reason}" for letter in of_queue
        ]
    answer(options, [_summary(letter) for letter in letters], lines or ["no dead letters"])
    return DONE


def dead_show(system: System, options: Any) -> int:
    found = [letter for letter in _with_letters(system, lambda dead: dead.all()) if letter.message_id == options.id]
    if not found:
        raise Refused(f"No dead letter with id {options.id}.")
    for letter in found:
        body = letter.body.decode(errors="replace")
        answer(
            options, _summary(letter), [json.dumps(_summary(letter), indent=2), body, letter.headers.get("trace", "")]
        )
    return DONE


def dead_retry(system: System, options: Any) -> int:
    return _settle(system, options, "put back", DeadLetters.retry)


def dead_drop(system: System, options: Any) -> int:
    return _settle(system, options, "dropped", DeadLetters.drop)


def _settle(
    system: System,
    options: Any,
    said: str,
    act: Callable[[DeadLetters, Callable[[DeadLetter], bool]], list[DeadLetter]],
) -> int:
    if not (options.id or options.queue or options.all):
        raise Misused("Say which: message ids, --queue QUEUE or --all.")

    def wanted(letter: DeadLetter) -> bool:
        return bool(options.all or letter.queue == options.queue or letter.message_id in options.id)

    ids = [letter.message_id for letter in _with_letters(system, lambda dead: act(dead, wanted))]
    answer(options, ids, [f"{said}: {len(ids)}"])
    return DONE if ids else FOUND


def _with_letters(system: System, use: Callable[[DeadLetters], list[DeadLetter]]) -> list[DeadLetter]:
    with system.broker() as connection:
        return use(DeadLetters(connection, [s.queue for s in system.subscriptions]))


def _summary(letter: DeadLetter) -> dict[str, Any]:
    event = {name: letter.attribute(name) for name in EVENT_ATTRIBUTES}
    return {
        "id": letter.message_id,
        "queue": letter.queue,
        "reason": mask(letter.reason),
        "failed_at": letter.headers.get("failed-at"),
        "attempts": letter.headers.get("attempt", 0),
        "event": event,
    }
