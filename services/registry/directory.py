"""The directory: whom and what somebody finds by name, pinyin, initials or skill, within a place.

A name is cut into characters, pairs and triples of characters, beginnings in pinyin and initials. Only keyed hashes of
these are kept, so nobody reads a name out of the database, and a search is a look-up of equal terms by an index.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate, product

from services.chassis.personal import blind_term
from services.contracts.errors import invalid
from services.registry.domain import Site

os.environ.setdefault("PYPINYIN_NO_PHRASES", "1")  # 47 MB that names do not need: all readings are looked at

from pypinyin import Style, pinyin

FEWEST_INITIALS = 2
"""One letter would be the initial of too many."""
MOST_READINGS = 8
"""Of one name: characters with several readings multiply."""
MOST_WORDS = 5
LONGEST_GRAM = 3
"""Characters: that of most names."""
EVERYBODY = "*"
LATIN = re.compile(r"[a-z']+")


class Kind(StrEnum):
    VOLUNTEER = "volunteer"
    TEAM = "team"


@dataclass
class Listing:
    """``place`` is the path of the site from the city down, so that what lies below a place begins with its own."""

    id: str
    place: str = ""
    terms: list[int] = field(default_factory=list)
    """In ascending order; none: not to be found any more."""
    version: int = 0

    def bring_to(self, place: str, terms: list[int]) -> bool:
        """Whether that is a change."""
        changed = (self.place, self.terms) != (place, terms)
        self.place, self.terms = place, terms
        return changed


def listing_id(kind: Kind, id: str) -> str:
    return f"{kind}:{id}"


def place_of(site: Site) -> str:
    return "".join(f"{code}/" for code in reversed(site.path))


def terms_of(kind: Kind, name: str, words: Iterable[str]) -> list[int]:
    """Terms under which something is found: its name, and words that it is known by, such as skills."""
    found = {EVERYBODY, *_of_name(_plain(name))}
    for word in map(_plain, words):
        found |= {_whole(word), *_grams(word, 2), *_grams(word, 3)}
    return _blind(kind, found)


def search_terms(kind: Kind, text: str | None, word: str | None = None) -> list[int]:
    """Terms that all must be there: of each part of ``text``, and of a whole ``word``; of everybody without either.

    Raise ``Invalid`` for a text of too many parts.
    """
    parts = _plain(text or "").split()
    if len(parts) > MOST_WORDS:
        raise invalid("q", f"最多用 {MOST_WORDS} 个词查找，请少写几个")
    found = {term for part in parts for term in _of_part(part)}
    if word:
        found.add(_whole(_plain(word)))
    return _blind(kind, found or {EVERYBODY})


def _blind(kind: Kind, terms: Iterable[str]) -> list[int]:
    return sorted(blind_term(f"{kind}:{term}") for term in terms)


def _plain(text: str) -> str:
    """Full-width characters as half-width ones, small letters."""
    return unicodedata.normalize("NFKC", text).lower().strip()


def _of_part(part: str) -> Iterator[str]:
    if LATIN.fullmatch(part):
        yield part.replace("'", "")
    else:  # the longer, the fewer have it, and the less is read
        yield from _grams(part, min(len(part), LONGEST_GRAM))


def _of_name(name: str) -> Iterator[str]:
    for length in range(1, LONGEST_GRAM + 1):
        yield from _grams(name, length)
    for syllables in _readings(name):
        yield from accumulate(syllables)
        yield from accumulate(syllables[1:])  # without the surname
        initials = accumulate(syllable[0] for syllable in syllables)
        yield from (letters for letters in initials if len(letters) >= FEWEST_INITIALS)


def _grams(text: str, length: int) -> Iterator[str]:
    return (text[i : i + length] for i in range(len(text) - length + 1))


def _whole(word: str) -> str:
    return f"={word}"


def _readings(name: str) -> Iterator[Sequence[str]]:
    """In pinyin: 单 of a surname is not the 单 of a word, so each reading counts, up to a limit."""
    syllables = [[s for s in readings if LATIN.fullmatch(s)] for readings in pinyin(name, Style.NORMAL, heteronym=True)]
    for reading, _ in zip(product(*filter(None, syllables)), range(MOST_READINGS), strict=False):
        yield reading
