"""What a browser shows: whole pages without scripts, of templates into which everything is put escaped."""

import re
from collections.abc import Iterable
from html import escape

PLACE = re.compile(r"\{(\w+)\}")


class Html(str):
    """Text that is HTML already; all other text is not."""


def html(template: str, **values: object) -> Html:
    """``{name}`` of the template is the value, escaped unless it is ``Html``; None is nothing."""
    return Html(PLACE.sub(lambda place: _escaped(values[place[1]]), template))


def joined(parts: Iterable[Html]) -> Html:
    return Html("\n".join(parts))


def _escaped(value: object) -> str:
    if isinstance(value, Html):
        return value
    return "" if value is None else escape(str(value))
