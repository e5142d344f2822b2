"""What dispatch accepts of recurring orders. What comes of them are orders, and their events say all."""

from datetime import date
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from services.chassis.messages import Command
from services.contracts.dispatch import Contact, Text, Time
from services.contracts.registry import Identifier, Reason, SiteCode, TargetGroup


class HolidayPolicy(StrEnum):
    """What becomes of an occurrence on a weekend or an official holiday; shifted work days are none."""

    AS_PLANNED = "as_planned"
    SKIP = "skip"
    NEXT_WORKING_DAY = "next_working_day"


class StartSeries(Command):
    """An order that comes again. ``start`` is the earliest occurrence and gives all of them their time of day."""

    service_item: Identifier
    site: SiteCode | None = None
    description: Text
    target_group: TargetGroup
    address: Annotated[str, StringConstraints(max_length=300)] | None = None
    on_behalf_of: Identifier | None = None
    contact: Contact | None = None
    rule: Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
    """RFC 5545, without a time of day, as ``FREQ=MONTHLY;BYMONTHDAY=5``; days are those of China."""
    start: Time
    minutes: Annotated[int, Field(ge=5, le=720, strict=True)] = 60
    holidays: HolidayPolicy = HolidayPolicy.AS_PLANNED
    lead_days: Annotated[int, Field(ge=0, le=31, strict=True)] = 2
    """How many days ahead each occurrence becomes an order; 0: as its day begins."""


class MoveOccurrence(Command):
    occurrence: date
    """The day that the rule gives it, wherever it was moved before."""
    to: Time


class SkipOccurrence(Command):
    occurrence: date
    reason: Reason


class EndSeries(Command):
    day: date = Field(alias="from")
    """Nothing takes place on this day or later."""
    reason: Reason
