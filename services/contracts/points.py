"""What points publish: postings in the bank of virtue."""

from typing import ClassVar

from services.chassis.messages import Event
from services.contracts.activities import Source


class PointsEvent(Event):
    owner: ClassVar[str] = "points"
    subject: ClassVar[str] = "account_id"

    account_id: str
    entry_id: str
    amount: int
    balance: int
    """Of the account after the posting, in points."""


class PointsDeposited(PointsEvent):
    fact: ClassVar[str] = "points.deposited"

    source: Source


class PointsReversed(PointsEvent):
    fact: ClassVar[str] = "points.reversed"

    source: Source
