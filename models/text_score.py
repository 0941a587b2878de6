"""Converts free text to one number by a linear model of hashed words and n-grams, which training fits to the target.

A text is normalised (NFKC, lower case) and split into words and punctuation marks. Its features are the words, the
pairs of neighbouring words, and the n-grams of 2 to 5 characters of the words with blanks between them. Each is hashed
to one of 2**bits buckets, with TF-IDF weights and unit length (Weinberger et al. 2009, arXiv 0902.2206). The hashes are
the same on every machine and in every version of Python.
"""

import base64
import binascii
import re
import zlib
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from models.normal_form import normal_form

MAX_CHARACTERS = 100_000  # longer texts are refused
READ_CHARACTERS = 10_000  # only this number of characters is read, so that a long text takes milliseconds at most
READ_WORDS = 4_000
BITS = 14
LONGEST_GRAM = 5  # characters
TOKEN = re.compile(r"\w+|[^\w\s]")
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # odd, so that different numbers have different products
SALTS = np.arange(1, LONGEST_GRAM + 2, dtype=np.uint64) * np.uint64(0xD1B54A32D192ED03)

Hashes = npt.NDArray[np.uint64]
Buckets = npt.NDArray[np.intp]
Vector = npt.NDArray[np.float64]


class TextScore(BaseModel):
    """score = bias + Σ weight / √(Σ idf²), with sums over the words and n-grams of a text. Immutable.

    weights, idf: (2**bits,) numbers in float16, little-endian, as base64.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    bits: int = Field(ge=4, le=18)
    bias: float
    weights: str
    idf: str

    @model_validator(mode="after")
    def _numbers_are_finite(self) -> Self:
        for name in ("weights", "idf"):
            try:
                numbers = _decoded(getattr(self, name))
            except (ValueError, binascii.Error):
                raise ValueError(f"{name}: not base64 of 16-bit numbers") from None
            if numbers.shape != (1 << self.bits,) or not np.isfinite(numbers).all():
                raise ValueError(f"{name}: not {1 << self.bits} finite numbers")
        return self

    def __eq__(self, other: object) -> bool:
        """Compare only the fields, because the cached arrays, which pydantic would also compare, have no truth
        value."""
        if not isinstance(other, TextScore):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in TextScore.model_fields)

    @classmethod
    def from_arrays(cls, bias: float, weights: Vector, idf: Vector) -> Self:
        """Make a score from its arrays. weights, idf: (2**bits,)."""
        bits = len(weights).bit_length() - 1
        return cls(bits=bits, bias=bias, weights=_encoded(weights), idf=_encoded(idf))

    @cached_property
    def _weights(self) -> Vector:
        return _decoded(self.weights)

    @cached_property
    def _squares(self) -> Vector:
        return _decoded(self.idf) ** 2

    def score(self, text: str) -> float:
        """The score of a text; the bias if it has no words."""
        buckets = text_buckets(text, self.bits)
        length = float(self._squares.take(buckets).sum())
        return self.bias + float(self._weights.take(buckets).sum()) / length**0.5 if length > 0.0 else self.bias


def text_buckets(text: str, bits: int) -> Buckets:
    """The buckets of all words, pairs of words and n-grams of a text, one for each occurrence."""
    tokens = TOKEN.findall(normalized(text))[:READ_WORDS]
    if not tokens:
        return np.empty(0, dtype=np.intp)
    words = np.fromiter(map(word_hash, tokens), dtype=np.uint64, count=len(tokens))
    hashes = [words + SALTS[0], words[:-1] * FACTOR + words[1:] + SALTS[1]]
    characters = np.frombuffer(f" {' '.join(tokens)} ".encode("utf-32-le", "surrogatepass"), dtype="<u4")
    codes = characters.astype(np.uint64)
    grams = codes
    for size in range(2, LONGEST_GRAM + 1):
        grams = grams[:-1] * FACTOR + codes[size - 1 :]
        hashes.append(grams + SALTS[size])
    mixed = np.concatenate(hashes)
    mixed ^= mixed >> np.uint64(32)
    mixed *= FACTOR
    mixed >>= np.uint64(64 - bits)
    return mixed.astype(np.intp)


def normalized(text: str) -> str:
    """The characters of a text that are read, in Unicode's normal form KC and in lower case."""
    text = text[:READ_CHARACTERS]
    return normal_form("NFKC", text).lower()[:READ_CHARACTERS]


def word_hash(word: str) -> int:
    return zlib.crc32(word.encode("utf-8", "surrogatepass"))


def _encoded(numbers: Vector) -> str:
    return base64.b64encode(numbers.astype("<f2").tobytes()).decode("ascii")


def _decoded(text: str) -> Vector:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f2").astype(np.float64)
