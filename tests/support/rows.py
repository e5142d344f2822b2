"""Tables of volunteers, as a station brings them in."""

from collections.abc import Mapping, Sequence
from csv import DictWriter
from datetime import date, timedelta
from io import StringIO
from itertools import count
from typing import Any

from services.registry.identity import check_character
from tests.support.processes import eventually
from tests.support.system import Person

VOLUNTEER_ROW = {"姓名": "冯春来", "身份证号": "110105194912310020", "手机号": "13912345678", "同意书版本": "1"}
"""Of a file that is brought in; its id number is none, so that nobody has it."""
_days = count()


def a_number() -> str:
    """Of somebody whom nobody knows yet."""
    number = f"130824{date(1950, 1, 1) + timedelta(next(_days)):%Y%m%d}777"
    return number + check_character(number)


def a_row(**changed: str) -> dict[str, str]:
    return {**VOLUNTEER_ROW, "身份证号": a_number(), **changed}


def a_csv(rows: Sequence[Mapping[str, str]], encoding: str = "utf-8-sig") -> bytes:
    """With the columns that any of the rows has."""
    text = StringIO(newline="")
    writer = DictWriter(text, list(dict.fromkeys(heading for row in rows for heading in row)), restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode(encoding)


def begin_import(
    person: Person, rows: Sequence[Mapping[str, str]], kind: str = "volunteers", key: str | None = None
) -> dict[str, Any]:
    """What there is to see of it before it is carried out."""
    path = f"/v1/imports?kind={kind}&file=名单.csv"
    response = person.request("POST", path, key, content=a_csv(rows))
    assert response.status_code == 201, response.text
    begun: dict[str, Any] = response.json()
    assert response.headers["location"] == f"/v1/imports/{begun['id']}"
    return begun


def settled(person: Person, begun: dict[str, Any], state: str) -> dict[str, Any]:
    def reached() -> dict[str, Any] | None:
        now: dict[str, Any] = person.read_when_up(f"/v1/imports/{begun['id']}")
        return now if now["state"] == state else None

    found: dict[str, Any] = eventually(reached, 60, f"the import is {state}")
    return found
