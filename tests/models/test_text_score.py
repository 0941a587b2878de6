"""The score of a text: fixed hashes, equal scores for equal characters, and the validation of values."""

import base64
import itertools
import math
import zlib
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from models.column_validation import validate_columns
from models.columns import Column
from models.encoding.encoder import Encoder
from models.feature import Feature
from models.frame_translation import FrameTranslation
from models.rows import validate_rows
from models.schema import FeatureSchema, SchemaError
from models.text_score import MAX_CHARACTERS, READ_CHARACTERS, TextScore, text_buckets

BITS = 8
MASK = (1 << 64) - 1
FACTOR, STEP = 0x9E3779B97F4A7C15, 0xD1B54A32D192ED03


def score(bits: int = BITS) -> TextScore:
    rng = np.random.default_rng(0)
    return TextScore.from_arrays(0.25, rng.normal(size=1 << bits), rng.uniform(1, 4, 1 << bits))


def hand_calculated_buckets(words: list[str], bits: int) -> list[int]:
    """The buckets of words, computed with Python's integers."""
    hashes = [zlib.crc32(word.encode()) for word in words]
    salted = [value + STEP for value in hashes]
    salted += [one * FACTOR + other + 2 * STEP for one, other in itertools.pairwise(hashes)]
    characters = [*map(ord, f" {' '.join(words)} ")]
    for size in range(2, 6):
        for start in range(len(characters) - size + 1):
            value = 0
            for code in characters[start : start + size]:
                value = value * FACTOR + code
            salted.append(value + (size + 1) * STEP)
    mixed = ((value & MASK) ^ ((value & MASK) >> 32) for value in salted)
    return [(value * FACTOR & MASK) >> (64 - bits) for value in mixed]


def test_buckets_of_words_equal_those_of_exact_arithmetic() -> None:
    assert text_buckets("A red, red Rosé!", BITS).tolist() == hand_calculated_buckets(
        ["a", "red", ",", "red", "rosé", "!"], BITS
    )


def test_buckets_of_words_equal_those_of_earlier_versions() -> None:
    """The weights of stored versions belong to these buckets."""
    assert text_buckets("Tee für 2", 14).tolist()[:8] == FIXED


FIXED = [5726, 1447, 5253, 8818, 13136, 5166, 9329, 7802]


@pytest.mark.parametrize("same", ["CAFÉ  menu", "cafe\u0301 menu", " ｃａｆé\tmenu\n"])
def test_score_ignores_case_width_blanks_and_composition(same: str) -> None:
    assert score().score(same) == score().score("café menu")


def test_score_of_a_text_without_words_is_the_bias() -> None:
    assert [score().score(text) for text in ("", " \n", "\u200b")][:2] == [0.25, 0.25]


@pytest.mark.parametrize("text", ["\ud800 half", "a" * 200_000, "\u0301" * 5000, "\ufdfa" * 20_000, "🙂", "\0"])
def test_every_text_has_a_finite_score(text: str) -> None:
    assert math.isfinite(score().score(text))


def test_only_the_first_characters_of_a_long_text_are_scored() -> None:
    start = "word " * (READ_CHARACTERS // 5)
    assert score().score(start + "other") == score().score(start)


def numbers(values: Any) -> str:
    return base64.b64encode(np.array(values, dtype="<f2").tobytes()).decode()


@pytest.mark.parametrize("weights", ["?", numbers([1.0] * 15), numbers([math.inf] * 16), "A"])
def test_invalid_weights_of_a_score_are_refused(weights: str) -> None:
    with pytest.raises(ValidationError):
        TextScore(bits=4, bias=0.0, weights=weights, idf=numbers([1.0] * 16))


def schema(*, nullable: bool = True) -> FeatureSchema:
    title = Feature(name="title", kind="text", nullable=nullable, score=score())
    size = Feature(name="size", kind="number", nullable=True)
    return FeatureSchema(format=2, name="x", task="regression", target="y", features=[size, title])


ROWS: list[dict[str, Any]] = [
    {"size": 1, "title": "a red rose"},
    {"size": 2, "title": None},
    {"size": 3, "title": ""},
    {"size": 4, "title": 5},
    {"size": 5, "title": "x" * (MAX_CHARACTERS + 1)},
    {"size": 6},
    {"size": 7, "title": ["a"]},
]


def test_rows_and_columns_have_the_same_frame_and_errors() -> None:
    for nullable in (True, False):
        known = schema(nullable=nullable)
        rows = validate_rows(known, ROWS)
        texts = np.array([row.get("title") for row in ROWS], dtype=object)
        columns = {"size": Column(np.arange(1.0, len(ROWS) + 1)), "title": Column(texts)}
        whole = validate_columns(known, columns, len(ROWS))
        np.testing.assert_array_equal(whole.frame.numbers, rows.frame.numbers)
        assert rows.frame.numbers[0].tolist() == [1.0, score().score("a red rose")]
        codes = {error.row: error.code for error in rows.errors}
        assert {row: code for row, code in codes.items() if row != 5} == {
            error.row: error.code for error in whole.errors if error.row != 5
        }
        assert (codes[3], codes[4], codes[6]) == ("wrong_type", "too_long", "wrong_type")
        assert (1 in codes) is not nullable


def test_schema_with_a_text_score_is_read_back_unchanged() -> None:
    assert FeatureSchema.from_json(schema().to_json()) == schema()


def test_version_without_the_score_of_a_text_is_refused() -> None:
    known = schema()
    frame = validate_rows(known, ROWS[:3]).frame
    encoder = Encoder.fit(known, frame, np.arange(3.0))
    encoder.check(known)
    features = [feature.model_copy(update={"score": None}) for feature in known.features]
    with pytest.raises(SchemaError, match="'title': the text has no fitted score"):
        encoder.check(schema().model_copy(update={"features": features}))


def test_frame_is_translated_only_between_equal_text_scores() -> None:
    frame = validate_rows(schema(), ROWS[:3]).frame
    same = FrameTranslation(schema(), schema()).translate(frame)
    np.testing.assert_array_equal(same.numbers, frame.numbers)
    title = schema().features[1].model_copy(update={"score": score(9)})
    with pytest.raises(ValueError, match="score differs"):
        FrameTranslation(schema(), schema().model_copy(update={"features": [schema().features[0], title]}))


def test_equal_text_scores_stay_equal_after_use() -> None:
    """Two versions that are trained with the same seed have equal scores."""
    known = [schema(), schema()]
    for one in known:
        one.by_name["title"].score_text("a red rose")
    FrameTranslation(*known)
    assert known[0] == known[1]
    assert hash(score()) == hash(score())
    assert score() != TextScore.from_arrays(0.5, np.ones(1 << BITS), np.ones(1 << BITS))
    assert score() != "score"
