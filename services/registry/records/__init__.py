"""Plain records of a place: organisations, venues, budgets and the like, all kept by one mechanism (docs/adr/0013)."""

from typing import Any

from services.contracts.errors import NotFound
from services.registry.records import money, partners, places, standards, village, work
from services.registry.records.kind import Kind

KINDS: dict[str, Kind[Any]] = {
    kind.name: kind for module in (partners, places, money, standards, work, village) for kind in module.KINDS
}


def kind_of(name: str) -> Kind[Any]:
    if name not in KINDS:
        raise NotFound("没有这类记录")
    return KINDS[name]
