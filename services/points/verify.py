"""``sidan ledger verify``: recompute the ledger from its entries alone."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from pymongo.database import Database

from services.chassis.repository import from_document
from services.points.domain import Account, Transfer, verify_chain


def verify(database: Database[dict[str, Any]]) -> Iterator[str]:
    """Every finding as a line; none means that the ledger holds.

    Sum of all entries 0, each transfer 0, balances equal to their entries and never negative, sequences
    without gaps, hashes unbroken.
    """
    total, by_account = 0, defaultdict[str, list[Transfer]](list)
    for document in database["transfers"].find():
        transfer = from_document(Transfer, document)
        total += sum(entry.amount for entry in transfer.entries)
        for entry in transfer.entries:
            if entry.sequence is not None:
                by_account[entry.account].append(transfer)
    if total:
        yield f"all entries sum to {total}, not 0"
    for document in database["accounts"].find():
        account = from_document(Account, document)
        yield from verify_chain(account, _in_order(account.id, by_account.pop(account.id, [])))
    for account_id in by_account:
        yield f"account {account_id}: has entries, but does not exist"


def _in_order(account_id: str, transfers: list[Transfer]) -> list[Transfer]:
    def position(transfer: Transfer) -> int:
        return next(e.sequence or 0 for e in transfer.entries if e.account == account_id)

    return sorted(transfers, key=position)
