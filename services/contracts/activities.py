"""What activities publish: service hours."""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, StringConstraints

from services.chassis.messages import Command, Event
from services.contracts.registry import Category


class Source(BaseModel):
    """Where hours or points come from: ``{"type": "order", "id": …}``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str
    id: str


class HoursEvent(Event):
    owner: ClassVar[str] = "activities"
    subject: ClassVar[str] = "record_id"

    record_id: str
    volunteer_id: str
    hours: float
    """To two decimals."""


class HoursRecorded(HoursEvent):
    """``state`` is ``open`` or ``refused``."""

    fact: ClassVar[str] = "hours.recorded"

    source: Source
    start: datetime
    end: datetime
    state: str


class HoursEffective(HoursEvent):
    fact: ClassVar[str] = "hours.effective"

    source: Source
    category: Category


class HoursReversed(HoursEvent):
    """``hours`` is what had been effective and no longer is."""

    fact: ClassVar[str] = "hours.reversed"

    source: Source
    was_effective: bool


class ReverseHours(Command):
    """Correct a record: it is reversed, never edited. The right time is entered anew."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]
