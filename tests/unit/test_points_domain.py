"""The ledger: awards, reversals, and a chain in which every later change shows."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.contracts import points as facts
from services.contracts.activities import Source
from services.contracts.errors import Conflict, NotFound
from services.contracts.registry import Category
from services.points.domain import (
    GENESIS,
    RATES,
    Account,
    Entry,
    RateTable,
    Transfer,
    award_id,
    check_reading,
    digest,
    reversal_id,
    verify_chain,
)
from tests.builders import ADMIN, COUNTY, MINUTE, MORNING, PATH, VILLAGE, a_volunteer, an_account, awards, staff_of


@pytest.mark.parametrize(
    ("hours", "points"),
    [(0, 0), (0.04, 0), (0.05, 1), (0.25, 3), (0.35, 4), (1, 10), (1.24, 12), (1.25, 13), (2.05, 21), (8, 80)],
)
def test_ten_points_an_hour_rounded_half_up(hours: float, points: int) -> None:
    assert RATES.points_for(hours, Category.COMMUNITY) == points


def test_a_category_may_have_a_rate_of_its_own() -> None:
    rates = RateTable("2", Decimal(10), {Category.RESCUE: Decimal("12.5")})
    assert rates.points_for(1, Category.RESCUE) == 13
    assert rates.points_for(1, Category.COMMUNITY) == 10


def test_an_award_moves_points_from_the_issuing_account_to_the_volunteer() -> None:
    account = an_account()
    transfer, deposited = account.award("h1", 1.5, Category.COMMUNITY, VILLAGE, RATES, MORNING)
    assert deposited == facts.PointsDeposited(
        account_id="v1", entry_id="award:hours:h1", amount=15, balance=15, site=VILLAGE,
        source=Source(type="hours", id="h1"),
    )  # fmt: skip
    assert [(entry.account, entry.amount) for entry in transfer.entries] == [(f"issued:{COUNTY}", -15), ("v1", 15)]
    assert (transfer.id, transfer.rate_version, transfer.time) == ("award:hours:h1", "2026-1", MORNING)
    assert (account.balance, account.sequence, account.head) == (15, 1, transfer.entries[1].hash)


def test_the_id_of_an_award_and_of_its_reversal_follow_from_the_record_so_each_can_be_posted_once() -> None:
    (first,), (second,) = awards(an_account(), 1.0), awards(an_account(id="v2"), 2.0)
    assert first.id == second.id == award_id("h1")
    assert reversal_id(first.id) == "reverse:award:hours:h1"
    assert award_id("h1") != award_id("h2")


def test_a_reversal_is_the_exact_negation() -> None:
    account = an_account()
    awarded, kept = awards(account, 1.5, 2.0)
    transfer, told = account.take_back(awarded, VILLAGE, MORNING + 5 * MINUTE)
    assert (told.amount, told.balance, told.source) == (-15, 20, Source(type="hours", id="h1"))
    assert [(e.account, e.amount) for e in transfer.entries] == [(f"issued:{COUNTY}", 15), ("v1", -15)]
    assert (transfer.reverses, transfer.id) == (awarded.id, reversal_id(awarded.id))
    assert (account.balance, account.owed) == (20, 0)
    assert verify_chain(account, [awarded, kept, transfer]) == []


def test_points_that_were_spent_meanwhile_are_owed_and_the_balance_is_never_negative() -> None:
    account = an_account()
    awarded, spent = awards(account, 1.5)[0], 10
    account.balance -= spent
    transfer, told = account.take_back(awarded, VILLAGE, MORNING)
    assert (told.amount, account.balance, account.owed) == (-5, 0, 10)
    assert sum(entry.amount for entry in transfer.entries) == 0


def test_nothing_is_posted_that_the_balance_does_not_cover() -> None:
    account = an_account(balance=3)
    before, source = deepcopy(account), Source(type="redemption", id="x")
    with pytest.raises(Conflict):
        account._post("spend:x", -4, "shop", "兑换", source, "2026-1", MORNING)
    assert account == before


# -- the chain ------------------------------------------------------------------------------------------


def a_chain_of_transfers() -> tuple[Account, list[Transfer]]:
    account = an_account()
    transfers = awards(account, 1.0, 0.5, 2.0, 0.25)
    transfers.append(account.take_back(transfers[1], VILLAGE, MORNING + 9 * MINUTE)[0])
    return account, transfers


def own(transfer: Transfer) -> Entry:
    return transfer.entries[1]


def test_the_chain_of_an_untouched_account_verifies() -> None:
    account, transfers = a_chain_of_transfers()
    assert verify_chain(account, transfers) == []
    assert own(transfers[0]).previous == GENESIS
    assert verify_chain(an_account(), []) == []


TAMPERINGS: dict[str, Callable[[Transfer], None]] = {
    "amount": lambda t: setattr(own(t), "amount", own(t).amount + 1),
    "both amounts": lambda t: [setattr(e, "amount", 2 * e.amount) for e in t.entries] and None,
    "balance": lambda t: setattr(own(t), "balance", 999),
    "sequence": lambda t: setattr(own(t), "sequence", 99),
    "previous": lambda t: setattr(own(t), "previous", digest(b"x")),
    "hash": lambda t: setattr(own(t), "hash", digest(b"x")),
    "no hash": lambda t: setattr(own(t), "hash", None),
    "time": lambda t: setattr(t, "time", t.time + timedelta(milliseconds=1)),
    "reason": lambda t: setattr(t, "reason", t.reason + "。"),
    "id": lambda t: setattr(t, "id", "award:hours:h99"),
    "source": lambda t: setattr(t, "source_id", "h99"),
    "type of the source": lambda t: setattr(t, "source_type", "gift"),
    "rate": lambda t: setattr(t, "rate_version", "2099"),
    "what it reverses": lambda t: setattr(t, "reverses", "award:hours:h99"),
    "issuing account": lambda t: setattr(t.entries[0], "account", "issued:999999"),
    "one more entry": lambda t: t.entries.append(Entry("thief", 0)),
}


@pytest.mark.parametrize("position", range(5))
@pytest.mark.parametrize("tamper", TAMPERINGS.values(), ids=TAMPERINGS)
def test_a_changed_transfer_is_reported(tamper: Callable[[Transfer], None], position: int) -> None:
    account, transfers = a_chain_of_transfers()
    tamper(transfers[position])
    assert verify_chain(account, transfers)


@pytest.mark.parametrize("position", range(5))
def test_a_change_is_reported_also_when_its_hash_was_made_anew(position: int) -> None:
    account, transfers = a_chain_of_transfers()
    transfers[position].reason = "别的理由"
    own(transfers[position]).hash = digest(transfers[position].canonical(own(transfers[position])))
    assert verify_chain(account, transfers)


@pytest.mark.parametrize("position", range(5))
def test_a_removed_transfer_is_reported(position: int) -> None:
    account, transfers = a_chain_of_transfers()
    del transfers[position]
    assert verify_chain(account, transfers)


def test_an_added_transfer_is_reported() -> None:
    account, transfers = a_chain_of_transfers()
    assert verify_chain(account, [*transfers, replace(transfers[0], id="award:hours:h9")])


@pytest.mark.parametrize("one", range(4))
def test_swapped_transfers_are_reported(one: int) -> None:
    account, transfers = a_chain_of_transfers()
    transfers[one], transfers[one + 1] = transfers[one + 1], transfers[one]
    assert verify_chain(account, transfers)


@pytest.mark.parametrize("name", ["balance", "sequence", "head"])
def test_a_changed_account_is_reported(name: str) -> None:
    account, transfers = a_chain_of_transfers()
    setattr(account, name, digest(b"x") if name == "head" else getattr(account, name) + 1)
    assert verify_chain(account, transfers)


def test_what_is_hashed_does_not_depend_on_the_order_of_fields_and_keeps_chinese() -> None:
    (transfer,) = awards(an_account(), 1.0)
    assert (
        transfer.canonical(own(transfer))
        == (
            '{"balance":10,"entries":[["issued:130802",-10],["v1",10]],"previous":"' + GENESIS + '","rate":"2026-1",'
            '"reason":"志愿服务时长","reverses":null,"sequence":1,"source":["hours","h1"],'
            '"time":"2026-06-03T01:01:00+00:00","transfer":"award:hours:h1"}'
        ).encode()
    )


# -- who may --------------------------------------------------------------------------------------------


def test_the_holder_the_staff_above_and_the_administrator_see_the_account() -> None:
    account = an_account()
    for actor in (a_volunteer("v1"), *map(staff_of, PATH), ADMIN):
        assert check_reading(actor, account) is account


def test_others_do_not_learn_whether_the_account_exists() -> None:
    for actor in (a_volunteer("v2"), staff_of("130803")):
        for account in (an_account(), None):
            with pytest.raises(NotFound):
                check_reading(actor, account)


# -- whatever happens -----------------------------------------------------------------------------------


@given(hours=some.decimals(0, 8, places=2))
def test_rounding_is_never_off_by_more_than_half_a_point(hours: Decimal) -> None:
    assert abs(RATES.points_for(float(hours), Category.COMMUNITY) - hours * 10) <= Decimal("0.5")


class ALedger(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.accounts = {id: an_account(id=id) for id in ("v1", "v2")}
        self.transfers: dict[str, Transfer] = {}
        self.of: dict[str, list[Transfer]] = {"v1": [], "v2": []}
        self.time = MORNING

    @rule(who=some.sampled_from(["v1", "v2"]), record=some.integers(0, 9), hundredths=some.integers(5, 800))
    def award(self, who: str, record: int, hundredths: int) -> None:
        id = f"{who}-{record}"
        if award_id(id) not in self.transfers:
            self.post(
                who, self.accounts[who].award(id, hundredths / 100, Category.COMMUNITY, VILLAGE, RATES, self.now())
            )

    @rule(who=some.sampled_from(["v1", "v2"]), record=some.integers(0, 9))
    def take_back(self, who: str, record: int) -> None:
        award = self.transfers.get(award_id(f"{who}-{record}"))
        if award is not None and reversal_id(award.id) not in self.transfers:
            self.post(who, self.accounts[who].take_back(award, VILLAGE, self.now()))

    def now(self) -> object:
        self.time += MINUTE
        return self.time

    def post(self, who: str, posted: tuple[Transfer, facts.PointsEvent]) -> None:
        transfer, event = posted
        assert (event.entry_id, event.balance) == (transfer.id, self.accounts[who].balance)
        self.transfers[transfer.id] = transfer
        self.of[who].append(transfer)

    @invariant()
    def the_sum_of_all_entries_is_zero(self) -> None:
        assert sum(entry.amount for transfer in self.transfers.values() for entry in transfer.entries) == 0

    @invariant()
    def a_balance_is_the_sum_of_its_entries_and_never_negative(self) -> None:
        for id, account in self.accounts.items():
            entries = [entry for t in self.transfers.values() for entry in t.entries if entry.account == id]
            assert account.balance == sum(entry.amount for entry in entries) >= 0
            assert account.owed == 0

    @invariant()
    def every_chain_verifies(self) -> None:
        for id, account in self.accounts.items():
            assert verify_chain(account, self.of[id]) == []


TestALedger = ALedger.TestCase
TestALedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
