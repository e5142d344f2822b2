"""What a client is told of fields that are wrong: plain Chinese for every error that the contracts can give."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from services.contracts.errors import Invalid

WHOLE = "请求内容"
UNKNOWN = "填写不正确，请核对"
WHOLE_NUMBER, YES_OR_NO = "应填整数", "应填 true（是）或 false（否）"
LIST, GROUP = "应填列表，用方括号 [ ] 括起来", "应填一组内容，用花括号 {{ }} 括起来"
TIME, DAY = "应填带时区的时间，如 2026-10-01T09:00:00+08:00", "应填日期，如 2026-10-01"
MONTH = "应填月份，如 2026-10"
WORDS = {
    "missing": "请填写这一项",
    "extra_forbidden": "没有这一项，请核对名称或去掉",
    "string_type": "应填文字",
    "string_unicode": "含有无法识别的字符",
    "string_too_short": "至少填 {min_length} 个字",
    "string_too_long": "最多填 {max_length} 个字",
    "string_pattern_mismatch": "{form}",
    "enum": "只能填以下之一：{choices}",
    "bool_type": YES_OR_NO,
    "bool_parsing": YES_OR_NO,
    "int_type": WHOLE_NUMBER,
    "int_parsing": WHOLE_NUMBER,
    "int_parsing_size": WHOLE_NUMBER,
    "int_from_float": WHOLE_NUMBER,
    "finite_number": WHOLE_NUMBER,
    "float_type": "应填数字",
    "float_parsing": "应填数字",
    "greater_than_equal": "不能小于 {ge}",
    "less_than_equal": "不能大于 {le}",
    "datetime_type": TIME,
    "datetime_parsing": TIME,
    "datetime_from_date_parsing": TIME,
    "timezone_aware": TIME,
    "date_type": DAY,
    "date_from_datetime_parsing": DAY,
    "date_from_datetime_inexact": DAY,
    "list_type": LIST,
    "frozen_set_type": LIST,
    "too_short": "至少填 {min_length} 项",
    "too_long": "最多填 {max_length} 项",
    "dict_type": GROUP,
    "model_type": GROUP,
    "model_attributes_type": GROUP,
}
"""By pydantic's name of the error, with what it says of the limit."""
WORDS_OF_TIME = {"greater_than_equal": "不能早于 {ge:.10}", "less_than": "应早于 {lt:.10}"}
"""Of limits that pydantic gives as text, of which the day is told."""
FORMS: dict[str, str] = {}


def form(pattern: str, words: str) -> str:
    """The pattern; ``words`` are told when a value does not match, since few can read the pattern itself."""
    FORMS[pattern] = words
    return pattern


def invalid_fields(errors: Iterable[Mapping[str, Any]], skip: int = 0) -> Invalid:
    """From pydantic's errors; ``skip`` parts of each path are no part of what the client has sent."""
    fields = [{"path": ".".join(map(str, e["loc"][skip:])), "message": _message(e)} for e in errors]
    return Invalid("填写有误：" + "、".join(field["path"] or WHOLE for field in fields), fields=fields)


def _message(error: Mapping[str, Any]) -> str:
    kind, about = error["type"], dict(error.get("ctx", {}))
    about["form"] = FORMS.get(about.get("pattern", ""), UNKNOWN)
    about["choices"] = "、".join(re.findall("'([^']*)'", about.get("expected", "")))
    of_time = isinstance(about.get("ge", about.get("lt")), str)
    return (WORDS_OF_TIME if of_time else WORDS).get(kind, UNKNOWN).format(**about)
