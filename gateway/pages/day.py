"""The list of a day at a site, to be printed on one sheet and taken along."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from gateway.pages import page
from services.contracts.zone import CHINA

WEEKDAYS = "一二三四五六日"
STATES = {
    "placed": "待派单", "offered": "待接单", "unmet": "暂无队伍", "accepted": "", "in_service": "服务中",
    "completed": "已完成", "rated": "已完成", "closed": "已完成",
}  # fmt: skip
GROUPS = {
    "elderly": "老年人", "children": "儿童", "disabled": "残障人士", "hardship": "困难家庭", "in_need": "有需要的居民",
}  # fmt: skip


def day_page(day: Mapping[str, Any], site: Mapping[str, Any]) -> str:
    """From the answers of dispatch and of the registry, which knows what things are called."""
    on = date.fromisoformat(day["date"])
    teams = {team["id"]: team["name"] for team in site["teams"]}
    title = f"{site['name']}服务单　{on.year}年{on.month}月{on.day}日　星期{WEEKDAYS[on.weekday()]}"
    rows = [_row(item, teams) for item in day["items"]]
    return page("day.html", title=title, rows=rows, visits=sum(item["to_home"] for item in day["items"]))


def _row(item: Mapping[str, Any], teams: Mapping[str, str]) -> dict[str, str | None]:
    state, team = STATES.get(item["state"], item["state"]), item["team"]
    return {
        "time": f"{_clock(item['from'])}–{_clock(item['to'])}",
        "service": item["service_item_name"],
        "whom": item["resident"] or item["resident_id"] or GROUPS.get(item["target_group"]),
        "where": " ".join(filter(None, (_where(item), item["phone"]))),
        "team": " ".join(filter(None, (teams.get(team, team) if team else "", state))),
        "description": item["description"],
    }


def _where(item: Mapping[str, Any]) -> str:
    return f"上门：{item['address'] or '接单后可见'}" if item["to_home"] else "到站"


def _clock(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(CHINA):%H:%M}"
