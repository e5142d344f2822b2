"""Pages: everything that is put into them is escaped, and the list of a day reads as people need it."""

from typing import Any

import pytest
from jinja2 import UndefinedError

from gateway.pages import templates
from gateway.pages.day import GROUPS, STATES, day_page
from services.contracts.registry import TargetGroup
from services.dispatch.domain import State

SITE = {"name": "庄头营村", "teams": [{"id": "t1", "name": "知心服务队"}]}


def an_item(**changed: Any) -> dict[str, Any]:
    known = {
        "order": "o1", "from": "2026-10-08T02:40:00+00:00", "to": "2026-10-08T03:10:00Z", "service_item_name": "老年餐",
        "state": "accepted", "resident": "张桂芝", "resident_id": "r1", "target_group": "elderly", "to_home": True,
        "address": "村东 3 号", "description": "少盐", "team": "t1", "phone": "13912345678",
    }  # fmt: skip
    return known | changed


def page(*items: dict[str, Any]) -> str:
    return day_page({"date": "2026-10-08", "items": list(items)}, SITE)


def test_a_place_without_a_value_is_an_error_and_none_is_nothing() -> None:
    with pytest.raises(UndefinedError):
        templates.from_string("{{ missing }}").render()
    assert templates.from_string("<{{ nothing }}>").render(nothing=None) == "<>"


def test_the_list_says_when_what_for_whom_where_and_who_goes() -> None:
    shown = page(an_item(), an_item(to_home=False, address=None, team=None, state="offered"))
    for words in (
        "庄头营村服务单",
        "2026年10月8日",
        "星期四",
        "10:40–11:10",
        "张桂芝",
        "上门：村东 3 号",
        "知心服务队",
        "少盐",
    ):
        assert words in shown
    assert "上门（送到家）1 项，到站（自取）1 项" in shown
    assert "<td>到站 13912345678</td><td>待接单</td>" in shown


def test_whom_the_reader_may_not_know_is_told_by_the_group() -> None:
    shown = page(an_item(resident=None, resident_id=None, address=None, phone=None, team="other"))
    assert "<td>老年人</td><td>上门：接单后可见</td><td>other</td>" in shown


def test_a_day_without_anything_says_so() -> None:
    assert "这一天没有安排服务" in page() and "<table>" not in page()


@pytest.mark.parametrize("field", ["service_item_name", "resident", "address", "description", "team", "state"])
def test_no_text_of_anybody_becomes_part_of_the_page(field: str) -> None:
    shown = page(an_item(**{field: "<script>alert(1)</script>"}))
    assert "<script" not in shown and "&lt;script&gt;" in shown


def test_every_state_and_group_has_words() -> None:
    assert set(STATES) == set(State) - {State.CANCELLED, State.REJECTED}
    assert set(GROUPS) == set(TargetGroup)


def test_the_page_is_for_paper_and_has_no_script() -> None:
    shown = page(an_item())
    assert "@page { size: A4" in shown and 'lang="zh-CN"' in shown
    assert "<script" not in shown and "http" not in shown
