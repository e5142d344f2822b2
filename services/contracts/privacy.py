"""What is personal, and how it looks where it must not be read."""

import re
from typing import Annotated


class Personal:
    """Marks a field of an aggregate that is kept encrypted."""


Secret = Annotated[str, Personal]

PHONE = re.compile(r"(?<!\d)((?:(?:00)?86)?[1１][3-9３-９]\d)[ -]?\d{4}[ -]?(\d{4})(?!\d)")
"""Also after the country's code, in groups and in full-width digits."""
ID_NUMBER = re.compile(r"(?<!\d)(\d{6})\d{9}(\d{2}[\dXx])(?!\d)")


def mask(text: str) -> str:
    """Hide id numbers (characters 7–15) and mobile numbers inside any text."""
    return PHONE.sub(r"\1****\2", ID_NUMBER.sub(r"\1*********\2", text))


def mask_name(name: str) -> str:
    return name[:1] + "*" * max(1, len(name) - 1)
