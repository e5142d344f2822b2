"""A county full of teams and volunteers, and orders that are placed and offered in it as dispatch does it."""

import sys
import time
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from bench import city
from bench.child import Parent
from deploy.reference import demo, divisions
from services.chassis.clock import now
from services.chassis.keys import open_keys
from services.chassis.memory import keep_what_is_loaded
from services.chassis.process import declared_indexes
from services.chassis.repository import to_document
from services.chassis.settings import settings
from services.chassis.unit_of_work import Work, connect
from services.contracts.actor import Actor, Role
from services.contracts.dispatch import PlaceOrder
from services.contracts.registry import Absence, AgeBand, Category, OpenSite, TargetGroup, Tier
from services.dispatch.known import Item, Place, Team, Volunteer
from services.dispatch.service import DispatchService

BULK = 5_000
ITEM = "home-haircut"
SKILLS = ("理发", "缝纫", "急救", "维修", "法律")
REPOSITORIES = DispatchService.uow.repositories


def main() -> None:
    parent = Parent()
    database = connect(settings().mongo_uri, "dispatch")[settings().database("dispatch")]
    open_keys(database)
    work = Work(database, REPOSITORIES)
    for collection, index in declared_indexes(REPOSITORIES.values()):
        database[collection].create_indexes([index])
    bring(database, "places", (place(site) for site in divisions.sites()))
    bring(database, "items", map(item, demo.items()))
    stations = [site for site in divisions.sites() if site.tier is Tier.STATION and site.has_post]
    own = [site for site in stations if site.code.startswith(city.COUNTY)]
    others = [site for site in stations if not site.code.startswith(city.COUNTY)]
    parent.tell("ready")
    for order in map(str.strip, sys.stdin):
        if order in ("teams", "elsewhere"):
            where = own if order == "teams" else others
            populate(database, where, parent.arguments[order], parent.arguments["members"])
            keep_what_is_loaded()
            parent.tell("filled")
        else:
            parent.tell(place_orders(work, own, parent.arguments["count"]))


def place_orders(work: Work, sites: list[OpenSite], count: int) -> dict[str, Any]:
    """Seconds of each, load to commit, and how many teams were asked."""
    service = DispatchService()
    service.uow = work
    took, asked = [], 0
    for number in range(count):
        site = sites[number % len(sites)].code
        actor = Actor(id=f"resident-{site}", roles=frozenset({Role.RESIDENT}), site=site)
        command = PlaceOrder(service_item=ITEM, description="请上门理发", target_group=TargetGroup.ELDERLY)
        begun = time.perf_counter()
        order = service.place_order(actor, command)
        took.append(time.perf_counter() - begun)
        asked += len(order["offers"])
    return {"seconds": took, "asked": asked / count}


def populate(database: Any, sites: list[OpenSite], teams: int, members: int) -> None:
    """Teams by turns at the sites. Of their people one of ten is away, one of fifty suspended."""
    known = {site.code: site for site in sites}
    codes = sorted(known)
    formed = [(codes[number % len(codes)], f"team-{codes[number % len(codes)]}-{number}") for number in range(teams)]
    bring(database, "teams", (team(site, id, members) for site, id in formed))
    bring(database, "volunteers", (volunteer(id, n) for _, id in formed for n in range(members)))


def bring(database: Any, collection: str, aggregates: Iterable[Any]) -> None:
    rows = []
    for aggregate in aggregates:
        rows.append(to_document(aggregate))
        if len(rows) == BULK:
            database[collection].insert_many(rows, ordered=False)
            rows = []
    if rows:
        database[collection].insert_many(rows, ordered=False)


def place(site: OpenSite) -> Place:
    path, code = [], site.code
    while code:
        path.append(code)
        code = PARENTS[code] or ""
    return Place(site.code, site.tier, path, auto_offer=True, has_post=site.has_post, applied=1)


def item(given: Any) -> Item:
    return Item(
        given.id,
        given.name,
        given.category,
        given.tier,
        given.site,
        given.target_groups,
        given.needs_address,
        applied=1,
    )


def team(site: str, id: str, members: int) -> Team:
    ids = [f"{id}-{number}" for number in range(members)]
    return Team(id, site, Tier.STATION, [Category.COMMUNITY], ids[0], ids, active=True, applied=1)


def volunteer(team: str, number: int) -> Volunteer:
    today = now().date()
    away = [{"start": today - timedelta(days=1), "end": today + timedelta(days=5)}] if number % 10 == 9 else []
    return Volunteer(
        f"{team}-{number}", AgeBand.ADULT, [SKILLS[number % len(SKILLS)]], [], date(2030, 1, 1), [],
        [Absence.model_validate(one) for one in away], suspended=number % 50 == 49, applied=1,
    )  # fmt: skip


PARENTS = {site.code: site.parent for site in divisions.sites()}

if __name__ == "__main__":
    sys.exit(main())
