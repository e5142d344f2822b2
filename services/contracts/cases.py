"""What dispatch accepts and publishes about cases: what staff have to look into, after a service or in a village."""

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from services.chassis.messages import Command
from services.contracts.dispatch import ConcerningEvent, Text
from services.contracts.registry import Reason, SiteCode


class Complaint(StrEnum):
    """What a resident complains about. Asking money for a service is forbidden (domain, section 4)."""

    FEE = "fee"
    CONDUCT = "conduct"
    QUALITY = "quality"
    OTHER = "other"


LOW_RATING, LOW_VISIT = "low_rating", "low_visit"
"""Cases that nobody has opened by a command: of low scores by the resident, and by the team."""


class Report(StrEnum):
    """What is told to a station without an order: a breach of village rules, or a quarrel to mediate (S18, S19)."""

    BREACH = "breach"
    MEDIATION = "mediation"


class CaseEvent(ConcerningEvent):
    subject: ClassVar[str] = "case_id"

    case_id: str
    order_id: str
    """Empty for what was reported, as ``team_id``."""
    kind: str
    """``LOW_RATING``, ``LOW_VISIT``, what the complaint is about, or what was reported."""
    team_id: str
    to_site: str
    """Whose staff look into it."""


class CaseOpened(CaseEvent):
    fact: ClassVar[str] = "case.opened"

    sites: list[str] = Field(default=[])
    """Of an urgent one: those above, which are to know of it."""


class CaseTaken(CaseEvent):
    fact: ClassVar[str] = "case.taken"


class CaseReferred(CaseEvent):
    """To the next tier up."""

    fact: ClassVar[str] = "case.referred"
    from_site: str


class CaseSettled(CaseEvent):
    fact: ClassVar[str] = "case.settled"


class Complain(Command):
    about: Complaint
    text: Text


class ReportCase(Command):
    """``site``: where it is, by default the caller's."""

    kind: Report
    text: Text
    site: SiteCode | None = None
    urgent: bool = False


class TakeCase(Command):
    """Somebody of the place sees to it."""


class ReferCase(Command):
    """What the place cannot settle goes to the next tier up."""

    reason: Reason


class SettleCase(Command):
    """``outcome``: what was found, and what was done about it."""

    outcome: Text
