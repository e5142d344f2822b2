"""Pictures as people send them, with what a camera notes beside what it sees."""

import io
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

CANARY = "GPS 40.9731 117.9385 Chengde"
"""Stands in every note of ``a_photo``."""
ORIENTATION, GPS, DESCRIPTION = 0x0112, 0x8825, 0x010E
LATITUDE = {1: "N", 2: (40.0, 58.0, 23.0), 3: "E", 4: (117.0, 56.0, 18.0), 29: "2026:10:01"}


def a_photo(
    width: int = 64, height: int = 48, kind: str = "JPEG", *, orientation: int = 1, mode: str = "RGB", **options: Any
) -> bytes:
    """Red on the left, blue on the right, with place, comment and text wherever the format has room for them."""
    picture = Image.new("RGB", (width, height), "red")
    picture.paste("blue", (width // 2, 0, width, height))
    notes = Image.Exif()
    notes[ORIENTATION], notes[DESCRIPTION] = orientation, CANARY
    notes.get_ifd(GPS).update(LATITUDE)
    text = PngInfo()
    text.add_text("Comment", CANARY)
    more: dict[str, Any] = {"JPEG": {"comment": CANARY.encode()}, "PNG": {"pnginfo": text}, "WEBP": {}}[kind]
    out = io.BytesIO()
    profile = CANARY.encode().ljust(200)
    picture.convert(mode).save(out, kind, exif=notes, icc_profile=profile, **more | options)
    return out.getvalue()


def noise(side: int) -> bytes:
    """What no compression makes small, as PNG."""
    out = io.BytesIO()
    Image.effect_noise((side, side), 200).convert("RGB").save(out, "PNG", compress_level=1)
    return out.getvalue()


def opened(content: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(content))
    picture.load()
    return picture
