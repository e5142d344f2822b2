"""Lists that are read out of their documents when somebody looks into them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from pydantic import ValidationError

from services.chassis.later import Later
from services.chassis.personal import MARK
from services.chassis.repository import from_document, to_document
from services.contracts.privacy import Secret
from tests.support.rings import use_ring


@dataclass
class Line:
    text: str
    number: int = 0


@dataclass
class Book:
    id: str
    lines: Annotated[list[Line], Later] = field(default_factory=list)
    version: int = 0


@dataclass
class Letter:
    text: Secret
    stamps: int = 1


@dataclass
class Box:
    id: str
    letters: Annotated[list[Letter], Later] = field(default_factory=list)
    version: int = 0


def document(*texts: str) -> dict[str, Any]:
    return {"_id": "b", "lines": [{"text": text, "number": 7} for text in texts], "version": 1}


def test_what_nobody_looks_into_is_neither_read_nor_made_anew() -> None:
    kept = document("one") | {"lines": [{"no": "line"}]}
    book: Book = from_document(Book, kept)
    assert len(book.lines) == 1
    assert to_document(book)["lines"] is kept["lines"]
    with pytest.raises(ValidationError):
        book.lines[0]


def test_what_is_appended_is_written_behind_what_was_there() -> None:
    kept = document("one")
    book: Book = from_document(Book, kept)
    book.lines.append(Line("two"))
    assert len(book.lines) == 2
    assert to_document(book)["lines"] == [{"text": "one", "number": 7}, {"text": "two", "number": 0}]
    assert kept == document("one")
    assert [line.text for line in book.lines] == ["one", "two"]


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines.__setitem__(0, Line("x")),
        lambda lines: lines.insert(0, Line("x")),
        lambda lines: lines.pop(0),
        lambda lines: lines.reverse(),
        lambda lines: setattr(lines[1], "number", 9),
    ],
)
def test_any_other_change_is_that_of_a_list(change: Callable[[Any], None]) -> None:
    book: Book = from_document(Book, document("one", "two"))
    plain = [Line("one", 7), Line("two", 7)]
    change(book.lines)
    change(plain)
    assert book.lines == plain and list(book.lines[::-1]) == plain[::-1]
    assert to_document(book) == to_document(Book("b", plain, 1))


def test_a_new_aggregate_has_a_list_of_its_own() -> None:
    book = Book("b")
    book.lines.append(Line("one"))
    assert to_document(book) == {"_id": "b", "lines": [{"text": "one", "number": 0}], "version": 0}
    assert from_document(Book, to_document(book)) == book


def test_personal_texts_of_items_are_encrypted_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    use_ring(monkeypatch)
    box = Box("b", [Letter("dear Wang"), Letter("", 2)])
    kept = to_document(box)
    first, empty = kept["letters"]
    assert first["text"].startswith(MARK) and first["stamps"] == 1
    assert empty == {"text": "", "stamps": 2}, "an empty text tells nothing"
    again: Box = from_document(Box, kept)
    again.letters.append(Letter("dear Li"))
    written = to_document(again)["letters"]
    assert written[:2] == [first, empty], "what was there is not encrypted anew"
    assert written[2]["text"].startswith(MARK)
    assert [letter.text for letter in from_document(Box, {**kept, "letters": written}).letters] == [
        "dear Wang", "", "dear Li",
    ]  # fmt: skip


def test_only_what_has_changed_is_encrypted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    use_ring(monkeypatch)
    kept = to_document(Box("b", [Letter("dear Wang"), Letter("dear Li")]))
    box: Box = from_document(Box, kept)
    assert [letter.text for letter in box.letters] == ["dear Wang", "dear Li"]
    assert to_document(box)["letters"] == kept["letters"], "who only looks changes nothing"
    box.letters[1].stamps = 5
    box.letters.append(Letter("dear Zhao"))
    first, second, third = to_document(box)["letters"]
    assert first == kept["letters"][0] and second["stamps"] == 5
    assert second["text"] != kept["letters"][1]["text"] and third["text"].startswith(MARK)


def test_items_from_before_their_texts_were_encrypted_are_still_read() -> None:
    box: Box = from_document(Box, {"_id": "b", "letters": [{"text": "dear Wang", "stamps": 1}], "version": 0})
    assert [letter.text for letter in box.letters] == ["dear Wang"]
