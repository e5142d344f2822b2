"""What all commands share: how they are declared, what they print, how they fail, how they end.

Exit codes: 0 done, 1 something was found or is left to do, 2 wrong usage, 3 broker or database away.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import amqp
from kombu.exceptions import OperationalError
from pymongo.errors import PyMongoError

from deploy.operate.system import NoSystem, System
from services.chassis.keys import WrongKey
from services.chassis.telemetry import masked
from services.contracts.privacy import mask

DONE, FOUND, USAGE, AWAY = 0, 1, 2, 3
PROGRESS = 500
"""Messages between two words of progress."""

Run = Callable[[System, Any], int]


class Refused(Exception):
    """A command that cannot be done as it was asked; the text says what to do instead."""

    code = FOUND


class Misused(Refused):
    """Options that make no sense together."""

    code = USAGE


def group(parts: Any, name: str, text: str) -> Any:
    """``sidan <name> …``: where its commands are added to."""
    parser = parts.add_parser(name, help=text, description=text)
    return parser.add_subparsers(required=True, metavar="COMMAND")


def command(parts: Any, name: str, run: Run, text: str) -> argparse.ArgumentParser:
    """A command; ``run`` gets the system and the options, and returns the exit code."""
    parser: argparse.ArgumentParser = parts.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=run)
    return parser


def answer(options: Any, content: Any, lines: Iterable[str]) -> None:
    """On standard output: the content for programs, the lines for people."""
    shown = [json.dumps(masked(content), ensure_ascii=False, default=str)] if options.json else map(mask, lines)
    text = "".join(f"{line}\n" for line in shown)
    try:
        print(text, end="", flush=True)
    except BrokenPipeError:  # `| head` has read enough: that is no error of the broker
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def progress(text: str) -> None:
    """On standard error, so that programs read their answer alone."""
    print(mask(text), file=sys.stderr, flush=True)


def table(head: tuple[str, ...], rows: Iterable[Sequence[Any]]) -> list[str]:
    """Columns as wide as their widest cell."""
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def run(options: Any, system: System) -> int:
    """The command's exit code; whatever goes wrong is one sentence on standard error."""
    try:
        return int(options.run(system, options))
    except Refused as error:
        return _fail(str(error), error.code)
    except WrongKey as error:
        return _fail(f"{error}.", FOUND)
    except NoSystem as error:
        return _fail(str(error), AWAY)
    except amqp.exceptions.AccessRefused as error:
        return _fail(f"The broker refuses: {error.reply_text}. Grant its user what is missing.", AWAY)
    except (amqp.exceptions.AMQPError, OperationalError, OSError) as error:
        why = f"{_short(error)}. Start it, or correct AMQP_URI; then run the command again"
        return _fail(f"The broker does not answer: {why}.", AWAY)
    except PyMongoError as error:
        why = f"{_short(error)}. Start it, or correct MONGO_URI; then run the command again"
        return _fail(f"The database does not answer: {why}.", AWAY)
    except KeyboardInterrupt:
        return _fail("Stopped half-way; run the command again to go on.", FOUND)
    finally:
        system.close()


def _fail(text: str, code: int) -> int:
    print(mask(text), file=sys.stderr)
    return code


def _short(error: Exception) -> str:
    """The first line without the driver's dump of its topology."""
    first = str(error).splitlines()[0] if str(error) else ""
    return first.split(", Timeout:")[0].split(" (configured timeouts")[0].rstrip(".") or type(error).__name__
