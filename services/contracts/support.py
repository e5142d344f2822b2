"""What dispatch accepts and publishes about support: goods, and help with the system, that a center gives (S33)."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from services.chassis.messages import Command
from services.contracts.dispatch import ConcerningEvent, RateOrder, Text
from services.contracts.registry import Reason


class SupportKind(StrEnum):
    MATERIAL = "material"
    TECHNICAL = "technical"


class SupportEvent(ConcerningEvent):
    subject: ClassVar[str] = "support_id"

    support_id: str
    kind: SupportKind
    center: str
    """Whose staff give it."""


class SupportRequested(SupportEvent):
    fact: ClassVar[str] = "support.requested"


class SupportTaken(SupportEvent):
    fact: ClassVar[str] = "support.taken"


class SupportAnswered(SupportEvent):
    fact: ClassVar[str] = "support.answered"


class SupportDeclined(SupportEvent):
    fact: ClassVar[str] = "support.declined"


class SupportWithdrawn(SupportEvent):
    fact: ClassVar[str] = "support.withdrawn"


class SupportRated(SupportEvent):
    fact: ClassVar[str] = "support.rated"

    score: int


class Goods(Command):
    """So many pieces of something."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
    count: Annotated[int, Field(ge=1, le=100_000, strict=True)]


List = Annotated[list[Goods], Field(max_length=50)]


class RequestSupport(Command):
    """``goods`` are what is asked for, where it is material."""

    kind: SupportKind
    text: Text
    goods: List = Field(default_factory=list)


class TakeSupport(Command):
    """Somebody of the center sees to it."""


class AnswerSupport(Command):
    """``text``: what was done; ``goods`` are what was sent."""

    text: Text
    goods: List = Field(default_factory=list)


class DeclineSupport(Command):
    reason: Reason


class WithdrawSupport(Command):
    """It is not needed any more."""


class RateSupport(RateOrder):
    """By who has asked, of what was answered."""
