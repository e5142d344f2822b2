"""What dispatch accepts and publishes about cases: what staff have to look into after a service."""

from enum import StrEnum
from typing import ClassVar

from services.chassis.messages import Command, Event
from services.contracts.dispatch import Text


class Complaint(StrEnum):
    """What a resident complains about. Asking money for a service is forbidden (domain, section 4)."""

    FEE = "fee"
    CONDUCT = "conduct"
    QUALITY = "quality"
    OTHER = "other"


class CaseEvent(Event):
    owner: ClassVar[str] = "dispatch"
    subject: ClassVar[str] = "case_id"

    case_id: str
    order_id: str
    kind: str
    """``low_rating``, or what the complaint is about."""
    team_id: str
    to_site: str
    """Whose staff look into it."""


class CaseOpened(CaseEvent):
    fact: ClassVar[str] = "case.opened"


class CaseSettled(CaseEvent):
    fact: ClassVar[str] = "case.settled"


class Complain(Command):
    about: Complaint
    text: Text


class SettleCase(Command):
    """``outcome``: what was found, and what was done about it."""

    outcome: Text
