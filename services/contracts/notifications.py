"""What people are told of, and how they want it: commands on notifications."""

from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from services.chassis.messages import Command
from services.contracts.registry import ClockTime, Identifier, Phone


class Topic(StrEnum):
    """What a person can want short messages of, or not."""

    ORDER = "order"
    """What one who has ordered, or is to come, has to know in time."""
    PROGRESS = "progress"
    MESSAGE = "message"
    OFFER = "offer"
    DESK = "desk"
    """What waits for staff."""
    URGENT = "urgent"


class SmsChoice(BaseModel):
    """By topic; what is left out stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    order: bool | None = None
    progress: bool | None = None
    message: bool | None = None
    offer: bool | None = None
    desk: bool | None = None
    urgent: bool | None = None


class QuietHours(BaseModel):
    """In China, also over midnight; the same time twice means none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: ClockTime = Field(alias="from")
    end: ClockTime = Field(alias="to")


class SetPreferences(Command):
    """``on_behalf_of``: the account of a resident, for staff of the place or above it."""

    sms: SmsChoice = SmsChoice()
    quiet: QuietHours | None = None
    on_behalf_of: Identifier | None = None
    phone: Phone | None = None
    """Where short messages go; an empty text takes it away."""


class ReadNotification(Command):
    pass


class ReadNotifications(Command):
    """All of the caller's up to one, which is the newest that was seen."""

    up_to: Identifier
