"""The ledger (道德银行): double entry, one award per source, reversal instead of edit (domain, section 7).

A transfer moves points between two accounts and never changes. The account of a holder keeps its balance
and the hash of its last entry, so that a later change shows; issuing accounts have entries only, since a
balance shared by all writers would make them wait for each other.
"""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal

from services.contracts import points as facts
from services.contracts.activities import Source
from services.contracts.actor import Actor, Role
from services.contracts.errors import Conflict, NotFound
from services.contracts.registry import Category

GENESIS = "0" * 64
HASH_ALGORITHM = "sha256"


@dataclass(frozen=True)
class RateTable:
    """Points an hour by category, with the version that an award was made by."""

    version: str
    default: Decimal
    by_category: dict[Category, Decimal] = field(default_factory=dict)

    def points_for(self, hours: float, category: Category) -> int:
        """Whole points, rounded half up (reference city: 10 an hour)."""
        points = Decimal(str(hours)) * self.by_category.get(category, self.default)
        return int(points.quantize(Decimal(1), ROUND_HALF_UP))


RATES = RateTable("2026-1", Decimal(10))


@dataclass
class Entry:
    """One side of a transfer. ``sequence`` and ``balance`` are of a holder's account only."""

    account: str
    amount: int
    sequence: int | None = None
    balance: int | None = None
    previous: str | None = None
    hash: str | None = None


@dataclass
class Transfer:
    """``id`` comes from the business: the same award or reversal cannot be posted twice."""

    id: str
    time: datetime
    reason: str
    source_type: str
    source_id: str
    rate_version: str
    entries: list[Entry]
    reverses: str | None = None
    version: int = 0

    def canonical(self, entry: Entry) -> bytes:
        """What is hashed: sorted keys, whole numbers."""
        told = {
            "transfer": self.id, "time": self.time.isoformat(), "reason": self.reason, "previous": entry.previous,
            "source": [self.source_type, self.source_id], "rate": self.rate_version, "reverses": self.reverses,
            "entries": [[e.account, e.amount] for e in self.entries],
            "sequence": entry.sequence, "balance": entry.balance,
        }  # fmt: skip
        return json.dumps(told, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass
class Account:
    """A holder's account; its id is the volunteer's. ``owed`` is what a reversal could not take back.

    ``path`` runs from the holder's home to the city: staff there may see it.
    """

    id: str
    path: list[str] = field(default_factory=list)
    balance: int = 0
    sequence: int = 0
    head: str = GENESIS
    owed: int = 0
    version: int = 0

    def award(
        self, record_id: str, hours: float, category: Category, site: str, rates: RateTable, now: datetime
    ) -> tuple[Transfer, facts.PointsDeposited]:
        """Points for effective hours, be they 0; the award's source is the hours record."""
        amount = rates.points_for(hours, category)
        source = Source(type="hours", id=record_id)
        transfer = self._post(
            award_id(record_id), amount, f"issued:{site[:6]}", "志愿服务时长", source, rates.version, now
        )
        return transfer, facts.PointsDeposited(**self._about(transfer, amount, site), source=source)

    def take_back(self, award: Transfer, site: str, now: datetime) -> tuple[Transfer, facts.PointsReversed]:
        """The exact negation of an award. What was spent meanwhile is owed, never a negative balance."""
        issued, own = award.entries
        source = Source(type=award.source_type, id=award.source_id)
        amount = -min(own.amount, self.balance)
        self.owed += own.amount + amount
        transfer = self._post(
            reversal_id(award.id), amount, issued.account, "时长撤销，积分冲回", source, award.rate_version, now,
            reverses=award.id,
        )  # fmt: skip
        return transfer, facts.PointsReversed(**self._about(transfer, amount, site), source=source)

    def _post(
        self, id: str, amount: int, against: str, reason: str, source: Source, rate_version: str, now: datetime,
        reverses: str | None = None,
    ) -> Transfer:  # fmt: skip
        if self.balance + amount < 0:
            raise Conflict("积分余额不足")
        self.balance += amount
        self.sequence += 1
        own = Entry(self.id, amount, self.sequence, self.balance, self.head)
        entries = [Entry(against, -amount), own]
        transfer = Transfer(id, now, reason, source.type, source.id, rate_version, entries, reverses)
        own.hash = self.head = digest(transfer.canonical(own))
        return transfer

    def _about(self, transfer: Transfer, amount: int, site: str) -> dict[str, object]:
        return {
            "account_id": self.id, "entry_id": transfer.id, "amount": amount, "balance": self.balance, "site": site,
        }  # fmt: skip


def digest(content: bytes) -> str:
    return hashlib.new(HASH_ALGORITHM, content).hexdigest()


def award_id(record_id: str) -> str:
    return f"award:hours:{record_id}"


def reversal_id(transfer_id: str) -> str:
    return f"reverse:{transfer_id}"


def verify_chain(account: Account, transfers: list[Transfer]) -> list[str]:
    """What is wrong with an account, given its transfers in order of sequence; empty when all is well."""
    found: list[str] = []
    balance, head = 0, GENESIS
    for expected, transfer in enumerate(transfers, start=1):
        own = next(e for e in transfer.entries if e.account == account.id)
        balance += own.amount
        if own.sequence != expected:
            found.append(f"{transfer.id}: sequence {own.sequence}, expected {expected}")
        if own.previous != head or own.hash != digest(transfer.canonical(own)):
            found.append(f"{transfer.id}: the hash does not fit")
        if own.balance != balance or balance < 0:
            found.append(f"{transfer.id}: balance {own.balance}, entries give {balance}")
        if sum(e.amount for e in transfer.entries):
            found.append(f"{transfer.id}: entries do not sum to zero")
        head = own.hash or ""
    if (account.balance, account.sequence, account.head) != (balance, len(transfers), head):
        found.append(f"account {account.id}: balance {account.balance}, entries give {balance}")
    return found


def check_reading(actor: Actor, account: Account | None) -> Account:
    """An account is seen by its holder, by staff of its place and above, and by the administrator."""
    if account is None or not (
        actor.volunteer == account.id or actor.is_admin or (actor.has(Role.STAFF) and actor.site in account.path)
    ):
        raise NotFound("没有这个积分账户")
    return account
