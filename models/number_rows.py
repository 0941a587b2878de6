"""Reads many JSON rows of numbers as a matrix, without an object for each row.

All rows have the same columns in the same order, written as `json.dumps` and most encoders write them. The text of
the values is then one flat JSON list. Everything else is left to `models.validators`, which accepts the same rows.
"""

import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from models.feature import Feature
from models.frame import FloatMatrix

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.intp]
Separator = Literal[b",", b"\n"]
MIN_BYTES = 4096  # for shorter texts the fixed costs dominate
WORD = 8  # bytes
QUOTE, COLON, COMMA, SPACE, OPEN, CLOSE, NEWLINE = b'":, {}\n'
PUNCTUATION = {*'":,{}\\\0'}
END_OF_ROW = bytes.maketrans(b"}", b",")


class Names(NamedTuple):
    """The positions of the quotes around the names of all rows."""

    quotes: Positions  # (rows * columns * 2)
    starts: Positions  # (rows, columns)
    ends: Positions  # (rows, columns)


class NumberRows:
    """The reader of a schema. All methods return None for texts that it does not recognise."""

    def __init__(self, features: Sequence[Feature]) -> None:
        """features: numbers that are never missing. See `reads`."""
        self._columns: Mapping[bytes, int] = {
            text: column for column, feature in enumerate(features) for text in written(feature.name)
        }
        self._count = len(features)
        low = [-math.inf if feature.low is None else feature.low for feature in features]
        high = [math.inf if feature.high is None else feature.high for feature in features]
        self._low, self._high = np.array(low), np.array(high)

    def read(self, text: bytes, separator: Separator = b",") -> FloatMatrix | None:
        """The values of `{...}, {...}`, columns in the order of the schema. separator: between rows."""
        # Padded, so that a word may begin in the last name. NUL marks names: it never occurs in JSON.
        characters = np.frombuffer(text + bytes(WORD), np.uint8)
        if b"\0" in text or (names := self._names(characters, len(text))) is None:
            return None
        order = self.columns([text[a + 1 : b] for a, b in zip(names.starts[0], names.ends[0], strict=True)])
        if order is None or not same_names(characters, names) or not regular(characters, len(text), names, separator):
            return None
        return self.matrix(values_text(characters[: len(text)], names, separator), order)

    def columns(self, names: Sequence[bytes]) -> list[int] | None:
        """The positions of columns in the schema; None if they are not all of its columns, each once."""
        columns = [self._columns[name] for name in names if name in self._columns]
        return columns if len(names) == len(columns) == self._count == len(set(columns)) else None

    def matrix(self, values_text: bytes, order: Sequence[int]) -> FloatMatrix | None:
        """The valid values of whole rows, written as one JSON list. order: of the columns in it."""
        if b"l" in values_text or b"r" in values_text:  # true, false, null
            return None
        try:
            values = orjson.loads(values_text)
            if not values:  # only blanks in place of the value
                return None
            matrix = np.frombuffer(struct.pack(f"{len(values)}d", *values)).reshape(-1, self._count)
        except (ValueError, struct.error, OverflowError):
            return None
        if order != sorted(order):
            matrix = matrix[:, np.argsort(order)]
        lowest, highest = matrix.min(axis=0), matrix.max(axis=0)
        if not ((lowest >= self._low) & (highest <= self._high) & np.isfinite(lowest) & np.isfinite(highest)).all():
            return None
        return matrix

    def _names(self, characters: Bytes, size: int) -> Names | None:
        quotes = np.flatnonzero(characters[:size] == QUOTE)
        if not len(quotes) or len(quotes) % (2 * self._count):
            return None
        positions = quotes.reshape(-1, self._count, 2)
        return Names(quotes, positions[:, :, 0], positions[:, :, 1])


def reads(features: Iterable[Feature]) -> bool:
    """Whether rows of these features can be read: numbers that are never missing, whose names have no punctuation of
    JSON."""
    return all(
        feature.kind == "number" and not feature.nullable and not PUNCTUATION & set(feature.name)
        for feature in features
    )


def written(name: str) -> set[bytes]:
    """The JSON texts of a name without its quotes: as UTF-8, and with non-ASCII characters escaped."""
    return {orjson.dumps(name)[1:-1], json.dumps(name)[1:-1].encode()}


def same_names(characters: Bytes, names: Names) -> bool:
    """Whether each row has the names of the first. Compares words of 8 bytes."""
    lengths = names.ends - names.starts + 1  # with both quotes
    if (lengths != lengths[0]).any():
        return False
    words: npt.NDArray[np.uint64] = np.ndarray((len(characters) - WORD + 1,), "<u8", characters.data, 0, (1,))
    for begin in range(0, int(lengths[0].max()), WORD):
        longer = np.flatnonzero(lengths[0] > begin)
        bits = 8 * np.minimum(lengths[0, longer] - begin, WORD).astype(np.uint64)
        starts = names.starts if len(longer) == len(lengths[0]) else names.starts[:, longer]
        found = words[starts + begin] << (np.uint64(64) - bits)  # without the characters after the name
        if (found != found[0]).any():
            return False
    return True


def regular(characters: Bytes, size: int, names: Names, separator: Separator) -> bool:
    """Whether all braces, colons, commas, and newlines as separators, are those between names, values and rows."""
    rows, columns = names.starts.shape
    cells, text = rows * columns, characters[:size]
    expected = [(COLON, cells), (OPEN, rows), (CLOSE, rows)]
    expected += [(COMMA, cells - 1)] if separator == b"," else [(COMMA, cells - rows), (NEWLINE, rows - 1)]
    if any(np.count_nonzero(text == character) != count for character, count in expected):
        return False
    first = names.starts[:, 0]
    return (
        names.starts[0, 0] == 1
        and text[-1] == CLOSE
        and bool((characters[names.ends + 1] == COLON).all() and (characters[first - 1] == OPEN).all())
        and (columns == 1 or follows(characters, names.starts[:, 1:] - 1, COMMA))
        and (rows == 1 or rows_follow(characters, first[1:] - 2, separator))
    )


def follows(characters: Bytes, positions: Positions, character: int) -> bool:
    """Whether the character is at each position, or before a space at the position."""
    found = characters[positions]
    if (found == character).all():
        return True
    return bool((found == SPACE).all() and (characters[positions - 1] == character).all())


def rows_follow(characters: Bytes, positions: Positions, separator: Separator) -> bool:
    """Whether there is a separator at every position, and the end of a row before each separator."""
    if separator == b"\n":
        return bool((characters[positions] == NEWLINE).all() and (characters[positions - 1] == CLOSE).all())
    if (characters[positions] == SPACE).all():
        positions = positions - 1
    return bool((characters[positions] == COMMA).all() and (characters[positions - 1] == CLOSE).all())


def values_text(text: Bytes, names: Names, separator: Separator) -> bytes:
    """The values of all rows as one JSON list."""
    ends = names.quotes.copy()
    ends[1::2] += 1
    lengths = np.diff(ends, prepend=0, append=len(text))
    outside = np.zeros(len(lengths), np.uint8)
    outside[::2] = 1
    kept = (text * np.repeat(outside, lengths)).tobytes()
    if separator == b"\n":
        return b"[%b]" % kept[:-1].translate(END_OF_ROW, b"\0{:")
    return b"[%b]" % kept.translate(None, b"\0{:}")
