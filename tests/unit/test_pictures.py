"""Of a photo what it shows comes in, and nothing else; what is no photo, or too much of one, does not."""

import asyncio
import io
import struct
import zlib
from concurrent.futures import Future
from typing import Any

import pytest
from PIL import Image

from gateway import limits, pictures
from gateway.limits import MAX_BODY, MAX_PHOTO, BodyLimit
from gateway.pictures import Picture, clean, made_anew
from services.contracts.dispatch import MAX_PICTURE, AddPhoto
from services.contracts.errors import Invalid, TooLarge, Unavailable, UnsupportedType
from tests.support.pictures import CANARY, ORIENTATION, a_photo, noise, opened

SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
PAGE = b"<html><script>alert(1)</script></html>"


def colours(picture: Image.Image) -> str:
    """Of the four corners, clockwise from the upper left."""
    right, bottom = picture.width - 2, picture.height - 2
    corners = [picture.getpixel(at) for at in ((1, 1), (right, 1), (right, bottom), (1, bottom))]
    return "".join("r" if red > blue else "b" for red, _, blue in corners)  # type: ignore[misc]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_what_is_noted_beside_the_picture_is_gone(kind: str) -> None:
    sent = a_photo(kind=kind)
    assert CANARY.encode() in sent and opened(sent).getexif()[ORIENTATION] == 1
    kept = made_anew(sent)
    picture = opened(kept.content)
    assert (picture.format, picture.size, colours(picture)) == ("JPEG", (64, 48), "rbbr")
    assert CANARY.encode() not in kept.content and b"Exif" not in kept.content and b"ICC" not in kept.content
    assert not picture.getexif() and set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize(
    ("orientation", "size", "corners"),
    [
        (1, (64, 48), "rbbr"),
        (2, (64, 48), "brrb"),
        (3, (64, 48), "brrb"),
        (6, (48, 64), "rrbb"),
        (8, (48, 64), "bbrr"),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_is_upright(kind: str, orientation: int, size: tuple[int, int], corners: str) -> None:
    kept = made_anew(a_photo(kind=kind, orientation=orientation))
    assert ((kept.width, kept.height), colours(opened(kept.content))) == (size, corners)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_notes_do_not_spoil_a_good_picture() -> None:
    sent = a_photo(orientation=6)
    start = sent.index(b"Exif\0\0") + 6
    kept = made_anew(sent[:start] + b"MM\0*\xff\xff\xff\xff" + sent[start + 8 :])
    assert (kept.width, kept.height) == (64, 48)


@pytest.mark.parametrize(
    ("size", "kept"),
    [((1600, 1200), (1600, 1200)), ((4000, 3000), (1600, 1200)), ((3000, 4001), (1199, 1600)), ((4000, 1), (1600, 1))],
)
def test_a_large_picture_is_made_smaller_and_a_small_one_is_left(size: tuple[int, int], kept: tuple[int, int]) -> None:
    made = made_anew(a_photo(*size))
    assert (made.width, made.height) == kept == opened(made.content).size


def test_whatever_it_shows_it_fits_a_request() -> None:
    made = made_anew(noise(1600))
    assert len(made.content) <= MAX_PICTURE
    assert len(AddPhoto(data="x" * ((MAX_PICTURE + 2) // 3 * 4), width=1, height=1).model_dump_json()) < MAX_BODY


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "I;16", "CMYK", "RGB"])
def test_every_kind_of_colour_is_taken_and_what_shows_through_is_white(mode: str) -> None:
    out = io.BytesIO()
    clear = mode in ("LA", "RGBA")
    picture = Image.new("RGBA", (20, 20), (0, 0, 0, 0)) if clear else Image.new("L", (20, 20), 200).convert("RGB")
    picture = Image.new("I;16", (20, 20), 200) if mode == "I;16" else picture.convert(mode)
    picture.save(out, "JPEG" if mode == "CMYK" else "PNG")
    shown = opened(made_anew(out.getvalue()).content)
    assert shown.mode == "RGB"
    if clear:
        assert min(shown.getpixel((10, 10))) > 250  # type: ignore[type-var, arg-type]


# -- what is none ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff", b"x" * 1000, SVG, PAGE, b"%PDF-1.7", b"MZ" + bytes(100), b"\xff\xd8\xff\xe0" + PAGE,
        b"\x89PNG\r\n\x1a\n" + PAGE, b"RIFF\0\0\0\0WEBP" + PAGE, a_photo()[:400], a_photo(kind="PNG")[:-60],
        a_photo(kind="WEBP")[:100],
    ],
)  # fmt: skip
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(Invalid):
        made_anew(content)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
def test_other_formats_are_refused_whatever_they_are_said_to_be(kind: str) -> None:
    out = io.BytesIO()
    Image.new("RGB", (20, 20)).save(out, kind)
    with pytest.raises(Invalid):
        made_anew(out.getvalue())


def test_what_is_hidden_in_or_behind_a_picture_is_gone() -> None:
    kept = made_anew(a_photo(comment=PAGE) + PAGE + b"PK\x03\x04")
    assert b"<" + b"script" not in kept.content and b"PK\x03\x04" not in kept.content
    assert kept.content.startswith(b"\xff\xd8") and kept.content.endswith(b"\xff\xd9")


def png_of(width: int, height: int) -> bytes:
    """The head of one, which says how large it is."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def test_a_bomb_is_refused_by_what_it_says_of_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("nothing of it is decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", never)
    for size in ((3001, 3000), (20_000, 4_000)):
        with pytest.raises(TooLarge, match="900 万像素"):
            made_anew(png_of(*size))
    with pytest.raises(Invalid):
        made_anew(png_of(2**31 - 1, 2**31 - 1))


@pytest.mark.parametrize(("size", "options"), [((2500, 2001), {"kind": "WEBP"}), ((4000, 3251), {"progressive": True})])
def test_what_takes_more_memory_may_have_fewer_pixels(size: tuple[int, int], options: dict[str, Any]) -> None:
    with pytest.raises(TooLarge):
        made_anew(a_photo(*size, **options))


def test_a_jpeg_of_endless_passes_is_refused() -> None:
    sent = a_photo(progressive=True, comment=b"\xff\xda" * 100)
    start, end = sent.rindex(b"\xff\xda"), sent.rindex(b"\xff\xd9")
    assert made_anew(sent + b"\xff\xda" * 100).width == 64, "they are no passes in a comment, or behind the end"
    assert made_anew(sent[:end] + sent[start:end] * 10 + sent[end:]).width == 64
    for hidden in (b"", b"\xff\xfe\x00\x04\xff\xd9"):
        with pytest.raises(Invalid):
            made_anew(sent[:end] + (hidden + sent[start:end]) * 30 + sent[end:])


# -- in the gateway -------------------------------------------------------------------------------------


def test_the_kind_is_told_and_looked_at() -> None:
    for kind in ("", "application/json", "image/svg+xml", "image/gif", "text/html", "multipart/form-data; boundary=x"):
        with pytest.raises(UnsupportedType):
            asyncio.run(clean(a_photo(), kind))
    assert asyncio.run(clean(a_photo(kind="PNG"), "IMAGE/JPEG; charset=binary")).width == 64, "what it is decides"


def test_one_is_decoded_at_a_time_and_few_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    under_way, most = 0, 0
    gate: Future[None] = Future()

    def slow(_: bytes) -> Picture:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        gate.result()
        under_way -= 1
        return Picture(b"", 1, 1)

    monkeypatch.setattr(pictures, "made_anew", slow)

    async def crowd() -> list[Any]:
        asyncio.get_running_loop().call_later(0.1, gate.set_result, None)
        return await asyncio.gather(*(clean(b"", "image/png") for _ in range(20)), return_exceptions=True)

    answers = asyncio.run(crowd())
    refused = [answer for answer in answers if isinstance(answer, Unavailable)]
    assert (most, len(refused)) == (1, 20 - pictures.MOST_WAITING)
    assert asyncio.run(clean(b"", "image/png")).width == 1, "there is place again"


# -- large bodies ---------------------------------------------------------------------------------------


async def status_of(app: Any, size: int, path: str = "/v1/orders/o1/photos") -> int:
    """In pieces that do not say how many there will be."""
    pieces = [b"x" * 100_000] * (size // 100_000) + [b"x" * (size % 100_000)]
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "http", "method": "POST", "path": path, "headers": []}, receive, send)
    status: int = sent[0]["status"]
    return status


class Slow:
    """Answers when it may."""

    def __init__(self) -> None:
        self.may = asyncio.Event()
        self.sizes: list[int] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.sizes.append(len((await receive())["body"]))
        await self.may.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQP_URI", "amqp://sidan:secret@localhost")
    monkeypatch.setenv("SIDAN_TOKEN_SECRET", "abcdefghijklmnopqrstuvwxyz" * 2)


@pytest.mark.usefixtures("environment")
def test_photos_may_be_large_and_nothing_else() -> None:
    async def statuses() -> list[int]:
        slow = Slow()
        slow.may.set()
        app = BodyLimit(slow)
        elsewhere = ("/v1/orders/o1/photos/p1", "/v1/orders/o1/note", "/v1/orders/photos", "/v1/x/orders/o1/photos")
        return [
            await status_of(app, MAX_PHOTO), await status_of(app, MAX_PHOTO + 1),
            await status_of(app, MAX_BODY, "/v1/orders"),
            *[await status_of(app, MAX_BODY + 1, path) for path in elsewhere],
        ]  # fmt: skip

    assert asyncio.run(statuses()) == [204, 413, 204, 413, 413, 413, 413]


@pytest.mark.usefixtures("environment")
def test_few_large_ones_are_held_at_once_and_small_ones_do_not_wait_for_them() -> None:
    async def crowd() -> tuple[list[int], int, list[int]]:
        slow = Slow()
        app = BodyLimit(slow)
        asyncio.get_running_loop().call_later(0.1, slow.may.set)
        large = [status_of(app, 2 * MAX_BODY) for _ in range(limits.LARGE_AT_ONCE + 2)]
        *told, small = await asyncio.gather(*large, status_of(app, MAX_BODY))
        return told, small, [await status_of(app, 2 * MAX_BODY)]

    told, small, again = asyncio.run(crowd())
    assert sorted(told) == [204] * limits.LARGE_AT_ONCE + [503] * 2
    assert (small, again) == (204, [204])
