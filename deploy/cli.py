"""The operator's command line: ``./sidan dead list``, ``./sidan queues pause QUEUE``, ``./sidan doctor`` …

It finds the running system by ``AMQP_URI`` and ``MONGO_URI``, or by the local runtime's data directory.
Every command takes ``--help``, and ``--json`` for programs. It ends with 0 when all is well or done, 1 when
something was found or is left to do, 2 on wrong usage, 3 when the broker or the database is away.
"""

import argparse
import os
import sys

os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")  # its resolver takes half a second to load

from deploy.operate import backup, dead, doctor, keys, ledger, queues, reconcile, restore, tickets
from deploy.operate.commands import run
from deploy.operate.system import System

PARTS = (dead, queues, doctor, ledger, backup, restore, reconcile, tickets, keys)
"""Modules with a function ``add_to(parts)`` that declares their commands."""


def main(arguments: list[str] | None = None, system: System | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="sidan", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(metavar="COMMAND")
    for part in PARTS:
        part.add_to(parts)
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help(sys.stderr)
        return 2
    return run(parser.parse_args(arguments), system or System.real())


if __name__ == "__main__":
    sys.exit(main())
