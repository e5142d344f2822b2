"""One publisher and three subscribers on the chassis."""

import time
from dataclasses import dataclass
from typing import ClassVar

from services.chassis.messages import Event
from services.chassis.process import UnitOfWork
from services.chassis.repository import Repository
from services.chassis.subscriber import subscribe
from services.chassis.topology import Subscription

SITE = "130802103202"


class ItemAdded(Event):
    owner: ClassVar[str] = "source"
    fact: ClassVar[str] = "item.added"
    subject: ClassVar[str] = "item_id"

    item_id: str
    amount: int
    note: str


@dataclass
class Item:
    id: str
    amount: int
    note: str
    version: int = 0


class Items(Repository[Item]):
    collection = "items"
    aggregate = Item
    publishes = True


class Source:
    name = "source"

    uow = UnitOfWork(items=Items)


class Counter:
    """Handles by doing nothing, and needs no inbox row for that."""

    name = "counter"

    uow = UnitOfWork()
    received: ClassVar[list[tuple[str, float]]] = []

    @subscribe(ItemAdded, idempotent=True)
    def count(self, event: ItemAdded) -> None:
        self.received.append((event.item_id, time.monotonic()))


class Copier:
    """Handles by one business write, exactly once."""

    name = "copier"

    uow = UnitOfWork(items=Items)

    @subscribe(ItemAdded)
    def copy(self, event: ItemAdded) -> None:
        self.uow.items.add(Item(event.item_id, event.amount, event.note))


SERVICES = {service.name: service for service in (Source, Counter, Copier)}
SUBSCRIPTIONS = {
    "counter": Subscription("counter", "count", ItemAdded),
    "copier": Subscription("copier", "copy", ItemAdded),
}


def item(id: str) -> Item:
    return Item(id, len(id), "a visit with scissors")


def added(item: Item) -> ItemAdded:
    return ItemAdded(site=SITE, item_id=item.id, amount=item.amount, note=item.note)
