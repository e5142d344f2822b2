"""What a browser shows: whole pages without scripts; everything that is put into them is escaped."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

templates = Environment(
    loader=PackageLoader("gateway.pages"), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True,
    finalize=lambda value: "" if value is None else value,
)  # fmt: skip


def page(template: str, **values: Any) -> str:
    """Raise ``UndefinedError`` for a place without a value."""
    return templates.get_template(template).render(values)
