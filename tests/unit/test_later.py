"""Lists that are read out of their documents when somebody looks into them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any

import pytest
from pydantic import ValidationError

from services.chassis.later import Later
from services.chassis.repository import from_document, to_document


@dataclass
class Line:
    text: str
    number: int = 0


@dataclass
class Book:
    id: str
    lines: Annotated[list[Line], Later] = field(default_factory=list)
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
