"""``sidan ledger verify``."""

from typing import Any

from deploy.operate.commands import DONE, FOUND, answer, command, group
from deploy.operate.snapshot import moment
from deploy.operate.system import System
from services.points.verify import verify


def add_to(parts: Any) -> None:
    ledger = group(parts, "ledger", "the bank of virtue")
    command(ledger, "verify", ledger_verify, "recompute every balance from its entries; exit 1 on a finding")


def ledger_verify(system: System, options: Any) -> int:
    database = system.database("points")
    with moment(system) as session:
        findings = list(verify(database, session))
    counts = {name: database[name].count_documents({}) for name in ("accounts", "transfers")}
    told = f"{counts['accounts']} accounts, {counts['transfers']} transfers, {len(findings)} findings"
    answer(options, {**counts, "findings": findings}, [told, *findings])
    return FOUND if findings else DONE
