"""What is personal, and how it looks where it must not be read."""

import base64
import re
from typing import Annotated


class Personal:
    """Marks a field of an aggregate that is kept encrypted."""


Secret = Annotated[str, Personal]

PHONE = re.compile(r"(?<!\d)((?:(?:00)?86)?[1１][3-9３-９]\d)[ -]?\d{4}[ -]?(\d{4})(?!\d)")
"""Also after the country's code, in groups and in full-width digits."""
ID_NUMBER = re.compile(r"(?<!\d)(\d{6})\d{9}(\d{2}[\dXx])(?!\d)")

VIEWINGS_KEPT = 3 * 366 * 24 * 3600
"""Seconds: the law wants to see for three years how personal data were handled (PIPL, article 56)."""
KEY_BYTES = 32
FEWEST_DIFFERENT = 16
"""Among 32 random bytes there are practically never fewer different ones."""


def random_key(text: str) -> bytes:
    """From URL-safe base64; raise ``ValueError`` for what is too short or was typed instead of drawn."""
    key = base64.urlsafe_b64decode(text)
    if len(key) < KEY_BYTES:
        raise ValueError(f"must be the URL-safe base64 of {KEY_BYTES} bytes")
    if len(set(key)) < FEWEST_DIFFERENT:
        raise ValueError("is no random key: make one with `openssl rand -base64 32 | tr +/ -_`")
    return key


def mask(text: str) -> str:
    """Hide id numbers (characters 7–15) and mobile numbers inside any text."""
    return PHONE.sub(r"\1****\2", ID_NUMBER.sub(r"\1*********\2", text))


def mask_name(name: str) -> str:
    return name[:1] + "*" * max(1, len(name) - 1)
