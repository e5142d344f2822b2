"""Photos: taken apart into pixels and put together anew, so that nothing but what they show comes in."""

import asyncio
import ctypes
import io
import re
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL.Image import Resampling
from PIL.ImageFile import ImageFile

from services.contracts.dispatch import MAX_PICTURE
from services.contracts.errors import Invalid, ServiceError, TooLarge, Unavailable, UnsupportedType, invalid

KINDS = {"image/jpeg": JpegImagePlugin, "image/png": PngImagePlugin, "image/webp": WebPImagePlugin}
"""Imported here, since Pillow would look for them among all that it knows."""
FORMATS = ["JPEG", "PNG", "WEBP"]
JPEG = ("JPEG", "MPO")
MOST_PIXELS = {"JPEG": 110_000_000, "progressive": 13_000_000, "PNG": 9_000_000, "WEBP": 5_000_000}
"""What cameras write can be read at a fraction of its size; all else comes into memory as a whole, WebP several times:
about 100 MB at most."""
MARKER = re.compile(rb"\xff+([\x02-\xcf\xd8-\xfe])")
"""Where a segment of a JPEG begins; what stands between them are pixels."""
SCAN, END = b"\xda", b"\xd9"
MOST_SCANS = 30
"""Passes over all pixels; programs write about ten."""
LONGEST = 1600
WAYS = ((LONGEST, 80), (LONGEST, 50), (1024, 50))
"""Pixels of the longer side, and quality: the first that gives few enough bytes."""
MOST_WAITING = 8

warnings.filterwarnings("ignore", module="PIL")  # of what is odd in a file, which is not for the log
_worker = ThreadPoolExecutor(1, "pictures")  # one at a time, so that the memory is that of one
_waiting = 0
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Picture:
    """A JPEG of ours."""

    content: bytes
    width: int
    height: int


async def clean(content: bytes, kind: str) -> Picture:
    """Without blocking the loop; raise ``ServiceError`` for what is no picture, or too much."""
    global _waiting
    if kind.partition(";")[0].strip().lower() not in KINDS:
        raise UnsupportedType("照片要用 JPEG、PNG 或 WebP 格式，并注明 Content-Type")
    if _waiting >= MOST_WAITING:
        raise Unavailable("正在处理的照片较多，请稍后再试")
    _waiting += 1
    try:
        return await asyncio.get_running_loop().run_in_executor(_worker, _in_turn, content)
    finally:
        _waiting -= 1


def _in_turn(content: bytes) -> Picture:
    try:
        return made_anew(content)
    finally:
        _libc.malloc_trim(0)  # glibc would keep what a large picture took, 60 MB


def made_anew(content: bytes) -> Picture:
    """Raise ``Invalid`` for what is no picture, ``TooLarge`` for one with too many pixels."""
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as opened:
            if opened.format in JPEG and _scans(content) > MOST_SCANS:
                raise _unreadable()
            return _written(_shown(opened))
    except ServiceError:
        raise
    except Exception:  # a file can be broken in more ways than there are errors for
        raise _unreadable() from None


def _unreadable() -> Invalid:
    return invalid("photo", "看不出是一张照片，请换一张 JPEG、PNG 或 WebP 格式的")


def _shown(opened: ImageFile) -> Image.Image:
    """Its pixels as one sees them, upright, on white, no larger than need be."""
    kind = "JPEG" if opened.format in JPEG else str(opened.format)
    most = MOST_PIXELS["progressive" if "progressive" in opened.info else kind]
    if opened.width * opened.height > most:
        raise TooLarge(f"照片超过 {most // 10_000} 万像素，请缩小后再传")
    size = _within(LONGEST, opened.size)
    opened.draft("RGB", size)
    mode = "RGBA" if opened.has_transparency_data else "RGB"
    picture = opened if opened.mode == mode else opened.convert(mode)
    picture = picture.resize(size, Resampling.LANCZOS, reducing_gap=2.0)
    try:
        ImageOps.exif_transpose(picture, in_place=True)
    except Exception:  # what is noted on a good picture may be broken
        pass
    shown = Image.new("RGB", picture.size, "white")
    shown.paste(picture, mask=picture if mode == "RGBA" else None)
    return shown


def _written(picture: Image.Image) -> Picture:
    for side, quality in WAYS:
        out = io.BytesIO()
        picture = picture.resize(_within(side, picture.size), Resampling.LANCZOS)
        picture.save(out, "JPEG", quality=quality)
        if out.tell() <= MAX_PICTURE:
            break
    return Picture(out.getvalue(), *picture.size)


def _scans(jpeg: bytes) -> int:
    """Segments are passed over by their length, for what they hold may look like one."""
    scans, at = 0, 2
    while scans <= MOST_SCANS and (found := MARKER.search(jpeg, at)) and found[1] != END:
        scans += found[1] == SCAN
        at = found.end() + int.from_bytes(jpeg[found.end() : found.end() + 2])
    return scans


def _within(side: int, size: tuple[int, int]) -> tuple[int, int]:
    longer = max(size)
    return size if longer <= side else (max(1, size[0] * side // longer), max(1, size[1] * side // longer))
