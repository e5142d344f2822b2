"""Accounts and transfers, with the indexes of their queries."""

from pymongo import DESCENDING, IndexModel

from services.chassis.repository import Page, Repository, decode_position, encode_cursor
from services.points.domain import Account, Entry, Transfer


class Accounts(Repository[Account]):
    collection = "accounts"
    aggregate = Account
    publishes = True


class Transfers(Repository[Transfer]):
    collection = "transfers"
    aggregate = Transfer
    indexes = (IndexModel([("entries.account", 1), ("entries.sequence", DESCENDING)]),)

    def of(self, account_id: str, limit: int, cursor: str | None) -> Page[Transfer]:
        """Newest first; the cursor is the sequence in the account."""
        match: dict[str, object] = {"account": account_id}
        if cursor:
            match["sequence"] = {"$lt": decode_position(cursor)}
        limit = max(1, min(limit, 200))
        query = {"entries.account": account_id, "entries": {"$elemMatch": match}}
        found = self.select(query, [("entries.sequence", DESCENDING)], limit + 1)
        more = len(found) > limit
        return Page(
            found[:limit], encode_cursor(str(own_entry(found[limit - 1], account_id).sequence)) if more else None
        )


def own_entry(transfer: Transfer, account_id: str) -> Entry:
    return next(entry for entry in transfer.entries if entry.account == account_id)
