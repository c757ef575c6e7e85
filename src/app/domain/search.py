"""What somebody looks for, as patterns that find it however it was written.

Capitals, vowel signs, accents, the several shapes of an Arabic letter, Persian letters and digits: none of them is a
reason not to be found. The patterns mean the same to Python and to PostgreSQL: classes of characters, without flags
and whatever the locale.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache

MOST_WORDS = 8
"""Further words are not looked for."""

# Marks above and below letters, tatweel, joiners, and what stands for hamza and ayn in transliterations.
_SIGNS = (
    "\u0300-\u036f\u0610-\u061a\u064b-\u065f\u0670\u06d6-\u06ed\u0640\u200c-\u200f"
    "'`\u2018\u2019\u02bb\u02bc\u02be\u02bf"
)
_IGNORED = f"[{_SIGNS}]*"
_SIGN = re.compile(f"[{_SIGNS}]")
_SHAPES = (
    "اأإآٱ",
    "ىيیئ",
    "كک",
    "هةۀ",
    "وؤ",
    *(chr(0x30 + digit) + chr(0x660 + digit) + chr(0x6F0 + digit) for digit in range(10)),
)
"""Characters that are the same letter or digit to whoever looks for it."""
_LATIN = (range(0xC0, 0x250), range(0x1E00, 0x1F00))


def search_patterns(text: str) -> list[str]:
    """A pattern for each word; what matches all of them is found. None where nothing is left to look for."""
    words = (_SIGN.sub("", word) for word in unicodedata.normalize("NFKC", text).split())
    stripped = (_without_outer_punctuation(word) for word in words)
    return [_IGNORED.join(map(_class_of, word)) for word in stripped if word][:MOST_WORDS]


def _without_outer_punctuation(word: str) -> str:
    letters = [at for at, character in enumerate(word) if character.isalnum()]
    return word[letters[0] : letters[-1] + 1] if letters else ""


def _class_of(character: str) -> str:
    if not character.isalnum():
        return re.escape(character) if character.isascii() else character
    found = sorted(_ways_to_write(character))
    return found[0] if len(found) == 1 else f"[{''.join(found)}]"


def _ways_to_write(character: str) -> set[str]:
    base = unicodedata.normalize("NFD", character)[0]
    shapes = next((shapes for shapes in _SHAPES if base in shapes or character in shapes), "")
    cases = {character, *_in_both_cases(base)}
    return {*shapes, *cases, *(each for one in cases for each in _accented().get(one, ""))}


def _in_both_cases(character: str) -> Iterator[str]:
    yield from (each for each in (character, character.lower(), character.upper()) if len(each) == 1)


@cache
def _accented() -> dict[str, str]:
    """By plain Latin letter, the letters with accents and dots that a keyboard without them stands for."""
    found: dict[str, str] = {}
    for code in (code for block in _LATIN for code in block):
        base = unicodedata.normalize("NFD", chr(code))[0]
        if base != chr(code) and base.isascii():
            found[base] = found.get(base, "") + chr(code)
    return found
