"""What dispatch knows of the registry's facts. ``applied`` is the sequence of the fact it comes from."""

from dataclasses import dataclass

from services.contracts.registry import Category, OpeningHours, TargetGroup, Tier


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
    version: int = 0


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
    version: int = 0


@dataclass
class Resident:
    id: str
    site: str
    applied: int
    version: int = 0
