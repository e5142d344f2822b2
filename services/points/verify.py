"""``sidan ledger verify``: recompute the ledger from its entries alone."""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from pymongo.client_session import ClientSession
from pymongo.database import Database

from services.chassis.repository import from_document
from services.points.domain import Account, Transfer, verify_chain

Document = dict[str, Any]
BATCH = 1000
HOLDERS = {"$filter": {"input": "$entries", "cond": {"$gt": ["$$this.sequence", None]}}}
"""The entries of holders' accounts: issuing accounts have no sequence."""


def verify(database: Database[Document], session: ClientSession | None = None) -> Iterator[str]:
    """Every finding as a line; none means that the ledger holds.

    Sum of all entries 0, each transfer 0, balances equal to their entries and never negative, sequences
    without gaps, hashes unbroken. On a running system ``session`` should read one moment. One account's
    transfers are held at a time.
    """
    yield from _sum(database, session)
    entries = _by_account(database, session)
    rest = next(entries, None)
    for document in database["accounts"].find(session=session, batch_size=BATCH).sort("_id"):
        account = from_document(Account, document)
        while rest and rest[0] < account.id:
            yield _ownerless(rest[0])
            rest = next(entries, None)
        own = rest and rest[0] == account.id
        yield from verify_chain(account, rest[1] if rest and own else [])
        rest = next(entries, None) if own else rest
    while rest:
        yield _ownerless(rest[0])
        rest = next(entries, None)


def _sum(database: Database[Document], session: ClientSession | None) -> Iterator[str]:
    total: Document = {"$group": {"_id": None, "all": {"$sum": {"$sum": "$entries.amount"}}}}
    for row in database["transfers"].aggregate([total], session=session):
        if row["all"]:
            yield f"all entries sum to {row['all']}, not 0"


def _by_account(database: Database[Document], session: ClientSession | None) -> Iterator[tuple[str, list[Transfer]]]:
    """Each account's transfers in order of sequence, by account."""
    steps: list[Document] = [
        {"$set": {"own": HOLDERS}},
        {"$unwind": "$own"},
        {"$sort": {"own.account": 1, "own.sequence": 1}},
    ]
    found = database["transfers"].aggregate(steps, session=session, allowDiskUse=True, batchSize=BATCH)
    for account, documents in groupby(found, lambda document: document["own"]["account"]):
        yield account, [from_document(Transfer, {k: v for k, v in d.items() if k != "own"}) for d in documents]


def _ownerless(account: str) -> str:
    return f"account {account}: has entries, but does not exist"
