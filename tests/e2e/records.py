"""One plain record of every kind, for tests."""

from typing import Any
from uuid import uuid4

from services.contracts.records import BODIES, PlacedBody
from tests.support.system import System

DAY = {"from": "2026-10-05T09:00:00+08:00", "to": "2026-10-05T10:00:00+08:00"}
SAMPLES: dict[str, dict[str, Any]] = {
    "organisations": {"type": "merchant", "contact": "王某某", "phone": "0314-2020202"},
    "twinnings": {"types": ["civility", "environment"], "since": "2026-01-01"},
    "help-records": {"type": "civility", "day": "2026-02-01", "what": "送春联", "people": 30, "value": 200.5},
    "venues": {"type": "meeting_hall", "capacity": 40, "opens": "08:00", "closes": "20:00"},
    "bookings": {**DAY, "purpose": "书画班", "contact": "王某某"},
    "practice-places": {"type": "park", "address": "滨河路"},
    "budget-lines": {"year": 2026, "amount": 5000},
    "spendings": {"day": "2026-03-01", "amount": 120.5, "what": "横幅"},
    "checklists": {"standard": "liuyou-2024", "year": 2026},
    "flagships": {"description": "非遗剪纸进院落"},
    "meetings": {"type": "deliberation", "day": "2026-03-01", "subject": "议事", "decisions": [{"text": "修路灯"}]},
    "plans": {"year": 2026, "subject": "年度计划", "tasks": [{"text": "每月一次大讲堂", "progress": 25}]},
    "site-links": {"position": "镇党委书记"},
    "village-rules": {"type": "banquets", "text": "红事不超过十桌", "adopted": "2026-01-01"},
    "councils": {"type": "weddings_and_funerals", "members": [{"name": "李某某", "role": "会长"}]},
    "proposals": {"subject": "建长者食堂", "text": "村里老人多", "category": "社区服务"},
    "projects": {"category": "文化艺术", "description": "送戏下乡"},
    "households": {
        "members": [{"name": "赵某某", "groups": ["elderly", "hardship"]}, {"name": "钱某某", "proxy": True}]
    },
}
NAMES = {"site-links": "person", "households": "number"}
"""The field that tells one from another, where it is not ``name``."""


class Keeper:
    """Somebody who keeps records at a place; remembers one of every kind."""

    def __init__(self, system: System, username: str, site: str) -> None:
        self.person, self.site = system.person(username), site
        self._known: dict[str, str] = {}

    def one(self, kind: str) -> str:
        if kind not in self._known:
            self._known[kind] = self.add(kind)["id"]
        return self._known[kind]

    def add(self, kind: str, **changes: Any) -> dict[str, Any]:
        made: dict[str, Any] = self.person.do(f"/v1/{kind}", sample_of(kind, self, **changes))
        return made


def sample_of(kind: str, keeper: Keeper, **changes: Any) -> dict[str, Any]:
    """At the place of the keeper, or a part of a record of the keeper's; with a name of its own."""
    body, name = BODIES[kind], NAMES.get(kind, "name")
    wanted = {needed: known for needed, known in body.refers.items() if body.model_fields[needed].is_required()}
    return {
        **SAMPLES[kind],
        **({"site": keeper.site} if issubclass(body, PlacedBody) else {}),
        **({name: f"试{uuid4().hex[:8]}"} if name in body.model_fields else {}),
        **{needed: changes.get(needed) or keeper.one(known) for needed, known in wanted.items()},
        **changes,
    }
