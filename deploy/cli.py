"""The command line tool: ``./sidan dead list``, ``./sidan ledger verify`` …

It finds the running system by ``AMQP_URI`` and ``MONGO_URI``, or by the local runtime's data directory.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from kombu import Connection
from pymongo import MongoClient

from deploy.topology import subscriptions
from services.chassis.dead import DeadLetter, DeadLetters
from services.contracts.privacy import mask
from services.points.verify import verify

EVENT_ATTRIBUTES = ("type", "subject", "id", "time")


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    return int(options.run(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sidan", description=__doc__)
    parts = parser.add_subparsers(required=True, metavar="COMMAND")
    dead = parts.add_parser("dead", help="messages that no attempt could handle").add_subparsers(required=True)
    _command(dead, "list", dead_list, "count them by queue, with the reason of each")
    _command(dead, "show", dead_show, "all of one message, personal data masked").add_argument("id")
    for name, run, text in (
        ("retry", dead_retry, "put messages back to the queue they came from"),
        ("drop", dead_drop, "give messages up for good"),
    ):
        command = _command(dead, name, run, text)
        command.add_argument("id", nargs="*", help="message ids")
        command.add_argument("--queue", help="all of one queue")
        command.add_argument("--all", action="store_true", help="all there are")
    ledger = parts.add_parser("ledger", help="the bank of virtue").add_subparsers(required=True)
    _command(ledger, "verify", ledger_verify, "recompute every balance from its entries; exit 1 on a finding")
    return parser


def _command(parts: Any, name: str, run: Callable[[Any], int], text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = parts.add_parser(name, help=text, description=text)
    command.add_argument("--json", action="store_true", help="for programs")
    command.set_defaults(run=run)
    return command


def dead_list(options: Any) -> int:
    letters = _with_letters(lambda dead: dead.all())
    if options.json:
        print(json.dumps([_summary(letter) for letter in letters], ensure_ascii=False))
        return 0
    if not letters:
        print("no dead letters")
    for queue in sorted({letter.queue for letter in letters}):
        of_queue = [letter for letter in letters if letter.queue == queue]
        print(f"{queue}  {len(of_queue)}")
        for letter in of_queue:
            print(f"  {letter.message_id or '-'}  {letter.attribute('subject')}  {mask(letter.reason)}")
    return 0


def dead_show(options: Any) -> int:
    found = [letter for letter in _with_letters(lambda dead: dead.all()) if letter.message_id == options.id]
    if not found:
        print(f"no dead letter with id {options.id}", file=sys.stderr)
        return 1
    for letter in found:
        trace = letter.headers.get("trace", "")
        print(json.dumps(_summary(letter), ensure_ascii=False, indent=2))
        print(mask(letter.body.decode(errors="replace")))
        print(trace)
    return 0


def dead_retry(options: Any) -> int:
    return _settle(options, "put back", DeadLetters.retry)


def dead_drop(options: Any) -> int:
    return _settle(options, "dropped", DeadLetters.drop)


def _settle(
    options: Any, said: str, act: Callable[[DeadLetters, Callable[[DeadLetter], bool]], list[DeadLetter]]
) -> int:
    if not (options.id or options.queue or options.all):
        print("say which: message ids, --queue QUEUE or --all", file=sys.stderr)
        return 2

    def wanted(letter: DeadLetter) -> bool:
        return bool(options.all or letter.queue == options.queue or letter.message_id in options.id)

    done = _with_letters(lambda dead: act(dead, wanted))
    ids = [letter.message_id for letter in done]
    print(json.dumps(ids) if options.json else f"{said}: {len(ids)}")
    return 0 if ids else 1


def _with_letters(use: Callable[[DeadLetters], list[DeadLetter]]) -> list[DeadLetter]:
    with Connection(_address("amqp", "AMQP_URI"), connect_timeout=5) as connection:
        return use(DeadLetters(connection.connection, [s.queue for s in subscriptions()]))


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


def ledger_verify(options: Any) -> int:
    prefix = os.environ.get("SIDAN_DATABASE_PREFIX", "sidan_")
    client: MongoClient[dict[str, Any]] = MongoClient(_address("mongo", "MONGO_URI"), tz_aware=True)
    with client:
        database = client[f"{prefix}points"]
        findings = list(verify(database))
        counts = {name: database[name].count_documents({}) for name in ("accounts", "transfers")}
    if options.json:
        print(orjson.dumps({**counts, "findings": findings}).decode())
    else:
        print(f"{counts['accounts']} accounts, {counts['transfers']} transfers, {len(findings)} findings")
        print("\n".join(findings), end="\n" if findings else "")
    return 1 if findings else 0


def _address(name: str, variable: str) -> str:
    if variable in os.environ:
        return os.environ[variable]
    path = Path(os.environ.get("SIDAN_DATA_DIR", "var")) / "run" / "endpoints.json"
    if not path.exists():
        sys.exit(f"no running system: set {variable}, or start one with `make run`")
    return str(json.loads(path.read_text())[name])


if __name__ == "__main__":
    sys.exit(main())
