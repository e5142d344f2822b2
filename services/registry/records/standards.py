"""How a site stands to a standard: data with a version, which is never changed; and what it is known for."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from services.contracts.errors import invalid
from services.contracts.records import Checklist, Flagship
from services.registry.records.kind import Beside, Figures, Kind

SITE_STANDARDS = Path(__file__).with_name("site_standards.json")


@cache
def standards() -> dict[str, Any]:
    known: dict[str, Any] = json.loads(SITE_STANDARDS.read_text())["standards"]
    return known


def _of_its_standard(checklist: Checklist, _beside: Beside) -> Checklist:
    if checklist.standard not in standards():
        raise invalid("standard", f"没有这个版本的标准；现有 {'、'.join(standards())}")
    known = {item["code"] for item in standards()[checklist.standard]["items"]}
    seen = set[str]()
    for n, item in enumerate(checklist.items):
        if item.code not in known:
            raise invalid(f"items.{n}.code", f"这个标准没有这一项；只有 {'、'.join(sorted(known))}")
        if item.code in seen:
            raise invalid(f"items.{n}.code", "这一项填了两次，请合并")
        if item.met and not item.evidence:
            raise invalid(f"items.{n}.evidence", "达标的项目要附上佐证材料的网址")
        seen.add(item.code)
    return checklist


def _graded(checklist: Checklist, _figures: Figures) -> dict[str, Any]:
    standard = standards()[checklist.standard]
    met = {item.code for item in checklist.items if item.met}
    grade = next(grade["grade"] for grade in standard["grades"] if len(met) >= grade["items"])
    return {"grade": grade, "met": len(met), "gaps": [item for item in standard["items"] if item["code"] not in met]}


KINDS = (
    Kind(
        Checklist, settle=_of_its_standard, computed=_graded,
        unique=lambda checklist, site: f"{site} {checklist.standard} {checklist.year}",
    ),
    Kind(Flagship, unique=lambda _, site: site),
)  # fmt: skip
