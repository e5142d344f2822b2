"""Points: effective hours become points in the volunteer's account."""

from typing import Any

from services.chassis.clock import now
from services.chassis.process import UnitOfWork
from services.chassis.rpc import query
from services.chassis.subscriber import subscribe
from services.contracts.activities import HoursEffective, HoursReversed
from services.contracts.actor import Actor
from services.contracts.errors import Conflict
from services.contracts.registry import VolunteerRegistered
from services.points import domain
from services.points.domain import RATES, Account, Transfer, award_id, reversal_id
from services.points.repository import Accounts, Transfers, own_entry


class PointsService:
    name = "points"

    uow = UnitOfWork(accounts=Accounts, transfers=Transfers)

    # Transfers have ids that follow from their source, so these need no inbox, however old a duplicate is.

    @subscribe(
        HoursEffective,
        idempotent=True,
        loads=lambda event: {"accounts": [event.volunteer_id], "transfers": [award_id(event.record_id)]},
    )
    def award_points(self, event: HoursEffective) -> None:
        account = self._account(event.volunteer_id)
        if self.uow.transfers.find(award_id(event.record_id)):
            return  # awarded already by an older copy of the event
        transfer, deposited = account.award(event.record_id, event.hours, event.category, event.site, RATES, now())
        self.uow.transfers.add(transfer)
        self.uow.accounts.save(account, deposited)

    @subscribe(HoursReversed, idempotent=True)
    def take_points_back(self, event: HoursReversed) -> None:
        if not event.was_effective:
            return
        award = self.uow.transfers.find(award_id(event.record_id))
        if award is None:
            raise Conflict("the award is not posted yet; it comes with hours.effective")
        if self.uow.transfers.find(reversal_id(award.id)):
            return
        account = self.uow.accounts.get(event.volunteer_id)
        transfer, reversed_ = account.take_back(award, event.site, now())
        self.uow.transfers.add(transfer)
        self.uow.accounts.save(account, reversed_)

    @subscribe(VolunteerRegistered, idempotent=True, loads=lambda event: {"accounts": [event.volunteer_id]})
    def open_account(self, event: VolunteerRegistered) -> None:
        account = self._account(event.volunteer_id)
        account.path = event.path
        self.uow.accounts.save(account)

    @query
    def account(self, actor: Actor, account_id: str) -> dict[str, Any]:
        account = domain.check_reading(actor, self.uow.accounts.find(account_id))
        return {"id": account.id, "balance": account.balance, "entries": account.sequence, "owed": account.owed}

    @query
    def entries(self, actor: Actor, account_id: str, limit: int = 50, cursor: str | None = None) -> dict[str, Any]:
        domain.check_reading(actor, self.uow.accounts.find(account_id))
        page = self.uow.transfers.of(account_id, limit, cursor)
        return {"items": [entry_view(transfer, account_id) for transfer in page.items], "next": page.next}

    def _account(self, id: str) -> Account:
        account: Account = self.uow.accounts.find_or_new(id, lambda: Account(id))
        return account


def entry_view(transfer: Transfer, account_id: str) -> dict[str, Any]:
    own = own_entry(transfer, account_id)
    return {
        "id": transfer.id,
        "time": transfer.time,
        "amount": own.amount,
        "balance": own.balance,
        "reason": transfer.reason,
        "source": {"type": transfer.source_type, "id": transfer.source_id},
        "rate_version": transfer.rate_version,
    }
