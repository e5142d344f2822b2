"""The list of a day at a site, to be printed on one sheet and taken along."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from gateway.pages import Html, html, joined

CHINA = ZoneInfo("Asia/Shanghai")
WEEKDAYS = "一二三四五六日"
STATES = {
    "placed": "待派单", "offered": "待接单", "unmet": "暂无队伍", "accepted": "", "in_service": "服务中",
    "completed": "已完成", "rated": "已完成", "closed": "已完成",
}  # fmt: skip
GROUPS = {
    "elderly": "老年人", "children": "儿童", "disabled": "残障人士", "hardship": "困难家庭", "in_need": "有需要的居民",
}  # fmt: skip

PAGE = """<!DOCTYPE html>
<html lang="zh-CN">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
@page { size: A4 portrait; margin: 12mm; }
body { font: 11pt "Noto Sans CJK SC", "Microsoft YaHei", SimSun, sans-serif; margin: 0; color: #000; }
h1 { font-size: 16pt; margin: 0 0 2mm; }
p { margin: 0 0 3mm; }
table { border-collapse: collapse; width: 100%; }
thead { display: table-header-group; }
tr { break-inside: avoid; }
th, td { border: 0.3mm solid #000; padding: 1.2mm 1.5mm; text-align: left; vertical-align: top; }
td { overflow-wrap: anywhere; }
th { background: #eee; }
.time { white-space: nowrap; }
.sign { width: 18mm; }
@media screen { body { max-width: 186mm; margin: 5mm auto; padding: 0 3mm; } }
</style>
</head>
<body>
<h1>{title}</h1>
<p>共 {count} 项：上门（送到家）{visits} 项，到站（自取）{pick_ups} 项。本单含个人信息，请勿外传，用后交回站里。</p>
{content}
</body>
</html>
"""
TABLE = """<table>
<thead><tr><th>时间</th><th>服务</th><th>对象</th><th>方式和地址</th><th>队伍</th><th>说明</th>
<th class="sign">签收</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>"""
ROW = (
    '<tr><td class="time">{time}</td><td>{service}</td><td>{whom}</td><td>{where}</td><td>{team}</td>'
    "<td>{description}</td><td></td></tr>"
)
NOTHING = Html("<p>这一天没有安排服务。</p>")


def day_page(day: Mapping[str, Any], site: Mapping[str, Any]) -> Html:
    """From the answers of dispatch and of the registry, which knows what things are called."""
    items, on = day["items"], date.fromisoformat(day["date"])
    teams = {team["id"]: team["name"] for team in site["teams"]}
    visits = sum(item["to_home"] for item in items)
    rows = joined(_row(item, teams) for item in items)
    return html(
        PAGE, title=f"{site['name']}服务单　{on.year}年{on.month}月{on.day}日　星期{WEEKDAYS[on.weekday()]}",
        count=len(items), visits=visits, pick_ups=len(items) - visits,
        content=html(TABLE, rows=rows) if items else NOTHING,
    )  # fmt: skip


def _row(item: Mapping[str, Any], teams: Mapping[str, str]) -> Html:
    state, team = STATES.get(item["state"], item["state"]), item["team"]
    return html(
        ROW, time=f"{_clock(item['from'])}–{_clock(item['to'])}", service=item["service_item_name"],
        whom=item["resident"] or item["resident_id"] or GROUPS.get(item["target_group"]),
        where=f"上门：{item['address'] or '接单后可见'}" if item["to_home"] else "到站",
        team=" ".join(filter(None, (teams.get(team, team) if team else "", state))), description=item["description"],
    )  # fmt: skip


def _clock(moment: str) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(CHINA):%H:%M}"
