"""Fill dispatch with pending orders, as documents of its own repository."""

import sys
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice
from typing import Any

from ulid import ULID

from bench import city
from bench.child import Parent
from bench.ours.matching import REPOSITORIES
from services.chassis.clock import now
from services.chassis.keys import open_keys
from services.chassis.repository import Tracked
from services.chassis.settings import settings
from services.chassis.unit_of_work import Work, connect
from services.contracts.registry import TargetGroup
from services.dispatch.deadlines import table
from services.dispatch.domain import Order, Wish, chain_of
from services.dispatch.finder import Finder

BULK = 1000
PENDING = timedelta(days=30)


def patterns(work: Any) -> list[dict[str, Any]]:
    """One order of each village, placed by the rules."""
    found = []
    for village in city.villages():
        place, item = work.places.get(village.site), work.items.get("home-haircut")
        chain = chain_of(place, work.places.find_many(place.path))
        wish = Wish(village.resident, village.resident, TargetGroup.ELDERLY, "请上门理发", None, "测试员")
        finder, deadlines = Finder(work, now()), table("standard", now())
        order, events = Order.place("pattern", item, place, chain, wish, finder, deadlines, now())
        order.version = len(events)
        order.due_at = order.tier_due_at = now() + PENDING
        found.append(Tracked(order, None).changes())
    return found


def copies(documents: list[dict[str, Any]], count: int) -> Iterator[dict[str, Any]]:
    for number in range(count):
        yield documents[number % len(documents)] | {"_id": str(ULID())}


def main() -> None:
    parent = Parent()
    database = connect(settings().mongo_uri, "dispatch")[settings().database("dispatch")]
    open_keys(database)
    work = Work(database, REPOSITORIES)
    rows = copies(patterns(work), parent.arguments["count"])
    while batch := list(islice(rows, BULK)):
        database["orders"].insert_many(batch, ordered=False)
    parent.tell("ready")


if __name__ == "__main__":
    sys.exit(main())
