"""Looking for words however they were written."""

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.search import MOST_WORDS, search_patterns


def finds(query: str, text: str) -> bool:
    patterns = search_patterns(query)
    return bool(patterns) and all(re.search(each, text) for each in patterns)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("salah", "What is Salah?"),
        ("SALAH", "what is salah?"),
        ("pillars five", "The five pillars"),
        ("pillar", "The five pillars"),
        ("الحمد", "بِسْمِ اللَّهِ ٱلْحَمْدُ لِلَّهِ"),
        ("ٱلْحَمْدُ", "الحمد لله"),
        ("اسلام", "الإسلام"),
        ("الاسلام", "الإسلام"),
        ("الصلاه", "الصلاة"),
        ("علي", "على"),
        ("محمد", "محـــمد"),
        ("كتاب", "کتاب"),
        ("میخواهم", "می‌خواهم"),
        ("می‌خواهم", "میخواهم"),
        ("نمازهاي", "نمازهای"),
        ("۲۵۵", "آیه ٢٥٥ و 255"),
        ("2:255", "Al-Baqarah 2:255."),
        ("hadith", "a sound ḥadīth"),
        ("ḥadīth", "a sound hadith"),
        ("quran", "the Qur'ān and the Qurʾan"),
        ("Qur’an", "the Quran"),
        ("намаз", "НАМАЗ"),
        ("patience?", "On patience"),
        ("«صبر»", "الصَّبْر"),
        ("çocuk", "Cocuk"),
        ("a.b", "see a.b"),
    ],
)
def test_it_is_found(query: str, text: str) -> None:
    assert finds(query, text)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("salah", "sala"),
        ("five pillars", "the pillars"),
        ("a.b", "axb"),
        ("صوم", "صلاة"),
        ("(a+)+b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!"),
        ("a[x-z]c", "ayc"),
        ("1%0", "100"),
        ("1_0", "100"),
    ],
)
def test_it_is_not_found(query: str, text: str) -> None:
    assert not finds(query, text)


@pytest.mark.parametrize("query", ["", "   ", "?!", "ًّ", "'", "\u200c"])
def test_there_may_be_nothing_to_look_for(query: str) -> None:
    assert search_patterns(query) == []


def test_no_more_words_than_are_useful() -> None:
    assert len(search_patterns("word " * 50)) == MOST_WORDS


@given(text=st.text(max_size=60))
def test_every_text_finds_itself(text: str) -> None:
    composed = unicodedata.normalize("NFKC", text)

    assert all(re.search(each, composed) for each in search_patterns(text))
