"""Normal forms are those of Unicode; long runs of combining marks are cut."""

import time
import unicodedata

import pytest

from models.cell_format import PLAIN
from models.equivalent_characters import MAX_KEPT, with_ascii_forms
from models.feature import Feature
from models.normal_form import MAX_MARKS, normal_form
from models.text_score import text_buckets

LOW, HIGH = "\u0334", "\u0301"  # a mark that is sorted before HIGH
LETTER = "\uff9e"  # a letter that is a mark in NFKC


@pytest.mark.parametrize("text", ["plain", "cafe\u0301", "e\u0323\u0302\u0301", "ｶﾞ", "1 €", "Việt", "🙂" * 9, "\ud800"])
def test_normal_form_equals_that_of_unicode(text: str) -> None:
    assert normal_form("NFC", text) == unicodedata.normalize("NFC", text)
    assert normal_form("NFKC", text) == unicodedata.normalize("NFKC", text)


@pytest.mark.parametrize("other", [HIGH, LETTER])
def test_a_long_run_of_marks_takes_milliseconds(other: str) -> None:
    long, many = f"a{other * 5_000}{LOW * 4_999}", f"a{HIGH * 200_000}{LOW * 200_000}"
    level = Feature(name="x", kind="category", nullable=False, cells=PLAIN.model_copy(update={"unicode": "NFC"}))
    started = time.perf_counter()
    for _ in range(10):
        text_buckets(long, 14)
    assert PLAIN.parse_boolean(many) is None
    assert level.normal_level(many) == f"a{unicodedata.normalize('NFC', HIGH * MAX_MARKS)}".replace("a\u0301", "á")
    assert time.perf_counter() - started < 2.0  # without the cut it takes minutes


def test_cache_of_characters_is_bounded() -> None:
    """A cache of all characters of Unicode would need more than 100 MB."""
    every = "".join(map(chr, range(0x3400, 0x3400 + 2 * MAX_KEPT)))
    assert with_ascii_forms(every) == every
    assert with_ascii_forms("\uff11\u0662") == "12"
