"""What dispatch knows of the registry's facts. ``applied`` is the sequence of the fact it comes from."""

from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta

from services.contracts.registry import (
    Absence,
    AgeBand,
    Category,
    OfferMode,
    OpeningHours,
    Qualification,
    Risk,
    TargetGroup,
    Tier,
)

REMEMBERED = timedelta(days=365)


@dataclass
class Team:
    """What dispatch knows of a team. ``applied`` is the sequence of the fact it comes from."""

    id: str
    site: str
    tier: Tier
    categories: list[Category]
    leader_id: str
    member_ids: list[str]
    active: bool
    applied: int
    no_shows: list[datetime] = field(default_factory=list)
    """When it was reported not to have come: of the last year, known here only."""
    version: int = 0

    def as_led_by(self, volunteer: str | None, leader: "Volunteer | None", day: date) -> "Team":
        """What it is to one of its members on a day: theirs to lead, if the leader is away and has named them."""
        if leader is None or volunteer is None or volunteer not in leader.stand_ins(day):
            return self
        return replace(self, leader_id=volunteer)

    def miss(self, now: datetime) -> None:
        self.no_shows = [*(time for time in self.no_shows if time > now - REMEMBERED), now]


@dataclass
class Place:
    """What dispatch knows of a site; ``path`` runs from itself to the city."""

    id: str
    tier: Tier
    path: list[str]
    auto_offer: bool
    has_post: bool
    applied: int
    hours: OpeningHours | None = None
    """None: those of the calendar."""
    mode: OfferMode = OfferMode.FAN_OUT
    sisters: list[str] = field(default_factory=list)
    """Sites whose teams it may borrow."""
    version: int = 0


@dataclass
class Item:
    """What may be ordered."""

    id: str
    name: str
    category: Category
    tier: Tier
    site: str
    target_groups: list[TargetGroup]
    needs_address: bool
    applied: int
    skills: list[str] = field(default_factory=list)
    qualifications: list[str] = field(default_factory=list)
    risk: Risk = Risk.LOW
    active: bool = True
    """False: it was withdrawn, and only what was ordered before goes on."""
    version: int = 0


@dataclass
class Resident:
    id: str
    site: str
    applied: int
    version: int = 0


@dataclass
class Household:
    """Account ids. ``proxies`` may order for the other ``members`` who live at ``site``."""

    id: str
    site: str
    members: list[str]
    proxies: list[str]
    applied: int
    version: int = 0


@dataclass
class Volunteer:
    """What decides whether a volunteer can be sent on a day (Chinese date)."""

    id: str
    age_band: AgeBand
    skills: list[str]
    qualifications: list[Qualification]
    insured_until: date | None
    availability: list[str]
    absences: list[Absence]
    suspended: bool
    applied: int
    version: int = 0

    def qualified_on(self, day: date) -> set[str]:
        return {held.kind for held in self.qualifications if day <= held.until}

    def is_insured(self, day: date) -> bool:
        return self.insured_until is not None and day <= self.insured_until

    def is_absent(self, day: date) -> bool:
        return bool(self._absences_on(day))

    def stand_ins(self, day: date) -> set[str]:
        return {absence.stand_in for absence in self._absences_on(day) if absence.stand_in}

    def is_available(self, slot: str) -> bool:
        """Who names no time is taken to have any."""
        return not self.availability or slot in self.availability

    def _absences_on(self, day: date) -> list[Absence]:
        return [absence for absence in self.absences if absence.start <= day <= absence.end]
