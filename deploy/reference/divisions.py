"""The division table of the city, read by the rules of ``city.toml``, as sites to open."""

import csv
import re
import tomllib
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from services.contracts.registry import OpenSite, Tier

HERE = Path(__file__).parent
TOP_DOWN = (Tier.CITY, Tier.CENTER, Tier.INSTITUTE, Tier.STATION)
COMMITTEES = (
    (re.compile(r"村?(村民委员会|村委会)$"), "村"),
    (re.compile(r"(社区)?(居民委员会|居委会)$"), "社区"),
    (re.compile("社区村$"), "社区"),
)
"""The table names committees; people name the village: 庄头营村村民委员会 is 庄头营村."""


class UnknownCenter(Exception):
    """There is no such county in the city."""


def city() -> dict[str, Any]:
    return tomllib.loads((HERE / "city.toml").read_text(encoding="utf-8"))


def sites(centers: Collection[str] = ()) -> list[OpenSite]:
    """Parents first. A code identifies, a name never does.

    With ``centers`` only the city itself, these and what is under them; raise ``UnknownCenter``.
    """
    rules = city()
    opened = [_site(row, rules) for row in _rows(rules["divisions"]) if row["code"] not in rules["without_site"]]
    top_down = sorted(opened, key=lambda site: (TOP_DOWN.index(site.tier), site.code))
    return _under(centers, top_down) if centers else top_down


def _under(centers: Collection[str], top_down: list[OpenSite]) -> list[OpenSite]:
    known = [site.code for site in top_down if site.tier is Tier.CENTER]
    if unknown := set(centers).difference(known):
        raise UnknownCenter(f"no center {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    wanted = set(centers)
    for site in top_down:
        if site.parent in wanted:
            wanted.add(site.code)
    return [site for site in top_down if site.tier is Tier.CITY or site.code in wanted]


def _site(row: dict[str, str], rules: dict[str, Any]) -> OpenSite:
    tier = Tier(rules["tiers"][row["level"]])
    parent = rules["without_site"].get(row["parent_code"], row["parent_code"])
    return OpenSite(
        code=row["code"],
        name=spoken(row["name"]),
        tier=tier,
        parent=None if tier is Tier.CITY else parent,
        kind=row["kind"],
        has_post=row["code"] not in rules["without_post"]["codes"],
    )


def spoken(name: str) -> str:
    for committee, place in COMMITTEES:
        name = committee.sub(place, name)
    return name


def _rows(table: str) -> Iterable[dict[str, str]]:
    with (HERE / table).open(encoding="utf-8", newline="") as lines:
        yield from csv.DictReader(lines)
