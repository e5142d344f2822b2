"""A directory full of volunteers, and searches in it as the registry does them."""

import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import cache
from typing import Any

from pymongo import MongoClient

from bench.child import Parent
from bench.ours.matching import BULK, PARENTS, SKILLS
from deploy.reference import divisions
from services.chassis.keys import open_keys
from services.chassis.memory import keep_what_is_loaded
from services.chassis.personal import encrypt
from services.chassis.process import declared_indexes
from services.chassis.repository import to_document
from services.chassis.settings import settings
from services.chassis.unit_of_work import Work, connect
from services.contracts.actor import Actor, Role
from services.contracts.registry import Tier
from services.registry.directory import Kind, Listing, listing_id, place_of, terms_of
from services.registry.domain import Site
from services.registry.service import RegistryService
from services.registry.volunteers import RealName, Volunteer

SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何高林罗郑梁谢宋唐许韩冯邓曹彭曾肖田董袁潘于蒋蔡余杜叶程苏魏吕丁任沈单仇解"
GIVEN = "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超兰霞平刚桂英华玉萍红建国文志金秀春海燕淑珍立新振玲梅"
LIMIT = 20
ADMIN = Actor(id="admin", roles=frozenset({Role.ADMIN}), site="")
COUNTY, VILLAGE = "130802", "130802103202"
REPOSITORIES = RegistryService.uow.repositories


def main() -> None:
    parent = Parent()
    name = settings().database("registry")
    parent.tell("ready")
    sys.stdin.readline()
    database = connect(settings().mongo_uri, "registry")[name]
    open_keys(database)
    with MongoClient[dict[str, Any]](settings().mongo_uri) as patient:  # an index over all of them takes minutes
        whole = patient.get_database(name, database.codec_options)
        fill(whole, parent.arguments["people"])
        for collection, index in declared_indexes(REPOSITORIES.values()):
            whole[collection].create_indexes([index])
    keep_what_is_loaded()
    parent.tell("filled")
    for _ in sys.stdin:
        parent.tell({what: searched(database, ask, parent.arguments["count"]) for what, ask in SEARCHES.items()})


def searched(database: Any, ask: Callable[[random.Random], dict[str, str]], count: int) -> dict[str, Any]:
    """Seconds of each search, and how many were found on average."""
    service, chance = RegistryService(), random.Random(count)
    took, found = [], 0
    for _ in range(count):
        asked = ask(chance)
        begun = time.perf_counter()
        service.uow = Work(database, REPOSITORIES)
        page = service.volunteers(ADMIN, limit=LIMIT, **asked)
        took.append(time.perf_counter() - begun)
        found += len(page["items"])
    return {"seconds": took, "found": found / count}


def name(chance: random.Random) -> str:
    return chance.choice(SURNAMES) + chance.choice(GIVEN) + chance.choice(GIVEN)


SEARCHES: dict[str, Callable[[random.Random], dict[str, str]]] = {
    "a name in the city": lambda chance: {"q": name(chance), "site": CITY},
    "a name in a county": lambda chance: {"q": name(chance), "site": COUNTY},
    "a surname in a county": lambda chance: {"q": chance.choice(SURNAMES), "site": COUNTY},
    "a surname in a village": lambda chance: {"q": chance.choice(SURNAMES), "site": VILLAGE},
    "a surname in pinyin": lambda chance: {"q": chance.choice(("wang", "li", "zhang", "shan")), "site": CITY},
    "initials in a county": lambda chance: {"q": chance.choice(("wgy", "lxm", "zjg")), "site": COUNTY},
    "a skill in a county": lambda chance: {"skill": chance.choice(SKILLS), "site": COUNTY},
    "a surname with a skill": lambda chance: {
        "q": chance.choice(SURNAMES), "skill": chance.choice(SKILLS), "site": COUNTY
    },
    "everybody in a village": lambda _: {"site": VILLAGE},
}  # fmt: skip


def fill(database: Any, people: int) -> None:
    """With an even number at each station; documents of a volunteer differ in what searches look at."""
    stations = [site.code for site in divisions.sites() if site.tier is Tier.STATION]
    for site in divisions.sites():
        database["sites"].insert_one(to_document(as_site(site.code)))
    chance, secret = random.Random(people), encrypt("130802196001019974")
    listings, volunteers = [], []
    for number in range(people):
        id, site, called, skill = f"v-{number}", stations[number % len(stations)], name(chance), chance.choice(SKILLS)
        place, terms = where(site), terms_in(called, skill)
        listings.append(to_document(Listing(listing_id(Kind.VOLUNTEER, id), place, terms)))
        volunteers.append(volunteer(id, site, skill) | {"name": encrypted(called), "id_number": secret})
        if len(listings) == BULK or number == people - 1:
            database["directory"].insert_many(listings, ordered=False)
            database["volunteers"].insert_many(volunteers, ordered=False)
            listings, volunteers = [], []


def volunteer(id: str, site: str, skill: str) -> dict[str, Any]:
    return blank() | {"_id": id, "site": site, "skills": [skill], "id_number_index": id, "phone_index": id}


@cache
def blank() -> dict[str, Any]:
    """A document of somebody, as it is stored."""
    somebody = Volunteer(
        "", "", "", "", "", encrypt("19900000000"), "", RealName.PASSED, band_ends_on=date(2030, 1, 1) + timedelta(1)
    )
    return to_document(somebody)


@cache
def encrypted(text: str) -> str:
    return encrypt(text)


@cache
def terms_in(called: str, skill: str) -> list[int]:
    return terms_of(Kind.VOLUNTEER, called, [skill])


@cache
def where(code: str) -> str:
    return place_of(as_site(code))


def as_site(code: str) -> Site:
    return Site(code, code, Tier.STATION, PARENTS[code], list(upwards(code)), "", auto_offer=True, has_post=True)


def upwards(code: str | None) -> Iterator[str]:
    while code:
        yield code
        code = PARENTS[code]


CITY = next(site.code for site in divisions.sites() if site.tier is Tier.CITY)

if __name__ == "__main__":
    sys.exit(main())
