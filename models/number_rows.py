"""Reads many JSON rows of numbers as a matrix, without creating an object for each row.

This requires that all rows have the same columns in the same order, with the same spaces around names. The text between
the numbers is then the same in each row. This text is compared, and the values are copied into one flat JSON list, with
spaces between them. `models.validators` accepts the same rows, and also reads all other rows.
"""

import functools
import json
import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson

from models.feature import Feature
from models.frame import FloatMatrix, column_extremes

Array = npt.NDArray[Any]
Positions = npt.NDArray[np.intp]
Separator = Literal[b",", b"\n"]
MIN_BYTES = 4096  # for shorter texts, the fixed costs dominate
LONG_VALUE = 40  # in characters; rows with values of this length are not read
QUOTE, COLON, COMMA, SPACE, OPEN, CLOSE, LIST = b'":, {}['
PUNCTUATION = {*'":,{}\\\0'}


class RowFormat:
    """The format of the rows of a text.

    order: the positions of the columns in the schema. between: the text from the end of a row to the start of the next
    row. fillers: the text before the value of each column, from the last comma or, for the first column, from the end
    of the previous row.
    """

    def __init__(self, order: Sequence[int], between: bytes, fillers: Sequence[bytes]) -> None:
        self.order = order
        self.between = between
        self.lengths = np.array([*map(len, fillers)])  # (columns,)
        self.longest = size = int(self.lengths.max())
        self._separator = between[1:-1].strip(b" ")
        self._start = fillers[0][len(between) :]
        self._fillers = np.frombuffer(b"".join([filler.rjust(size, b"\0") for filler in fillers]), np.uint8)
        self._mask = np.where(self._fillers, np.uint8(255), np.uint8(0))

    def begins(self, text: bytes, separator: Separator) -> bool:
        """Whether a text with this separator starts like a row of this format."""
        return separator == self._separator and text.startswith(self._start, 1)

    def ends_match(self, found: Array) -> bool:
        """Whether the pieces of each row end with the fillers. found: (rows, columns) pieces as long as the longest
        filler."""
        characters = found.view(np.uint8).reshape(len(found), -1)
        characters &= self._mask
        return characters.tobytes() == self._fillers.tobytes() * len(found)


class NumberRows:
    """Reads rows of numbers according to a schema. All methods return None for texts that are not recognised."""

    def __init__(self, features: Sequence[Feature]) -> None:
        """features: numbers that are never missing, see `can_read_rows`."""
        self._columns: Mapping[bytes, int] = {
            text: column for column, feature in enumerate(features) for text in json_names(feature.name)
        }
        self._count = len(features)
        self._last: RowFormat | None = None  # the format of the last text, since many texts have the same format
        low = [-math.inf if feature.low is None else feature.low for feature in features]
        high = [math.inf if feature.high is None else feature.high for feature in features]
        self._low, self._high = np.array(low), np.array(high)
        self._has_limits = bool(np.isfinite([low, high]).any())

    def read(self, text: bytes, separator: Separator = b",") -> FloatMatrix | None:
        """The values of rows `{...}, {...}`, with columns in the order of the schema. separator: the byte between
        rows."""
        characters = np.frombuffer(text, np.uint8)
        colons = np.flatnonzero(characters == COLON)  # one for each value
        rows, rest = divmod(len(colons), self._count)
        if not rows or rest or text[0] != OPEN or text[-1] != CLOSE:
            return None
        if np.count_nonzero(characters < SPACE) != (rows - 1 if separator == b"\n" else 0):
            return None
        last, ends, values = self._last, colons.reshape(rows, -1), None
        if last is not None and last.begins(text, separator):
            values = values_text(text, ends, last)
        if values is None:
            last = self._format_of(text, colons[: self._count + 1].tolist(), separator)
            if last is None or (values := values_text(text, ends, last)) is None:
                return None
            self._last = last
        assert last is not None
        return self.matrix(values, rows, last.order)

    def columns(self, names: Sequence[bytes]) -> list[int] | None:
        """The positions of columns in the schema; None unless each column of the schema occurs exactly once."""
        columns = [self._columns[name] for name in names if name in self._columns]
        return columns if len(names) == len(columns) == self._count == len(set(columns)) else None

    def matrix(self, values_text: bytes, rows: int, order: Sequence[int]) -> FloatMatrix | None:
        """The matrix of rows from one JSON list of their values; None if a value is invalid. order: the positions of
        the list's columns in the schema."""
        if b"l" in values_text or b"r" in values_text:  # true, false, null
            return None
        try:
            values = orjson.loads(values_text)
            if len(values) != rows * self._count:  # a value is blank, or there are several values in its place
                return None
            matrix = np.frombuffer(struct.pack(f"{len(values)}d", *values)).reshape(rows, -1)
        except (ValueError, struct.error, OverflowError):
            return None
        if order != sorted(order):
            matrix = matrix[:, np.argsort(order)]
        if self._has_limits:  # all numbers that orjson parses are finite
            lowest, highest = column_extremes(matrix)
            if not ((lowest >= self._low) & (highest <= self._high)).all():
                return None
        return matrix

    def _format_of(self, text: bytes, colons: Sequence[int], separator: Separator) -> RowFormat | None:
        """The format of the first row. colons: the positions of the colons in the first row, and of the first colon
        in the next row."""
        between = b"}%b{" % separator
        if len(colons) > self._count:
            close, start = text.rfind(b"}", 0, colons[-1]), text.rfind(b"{", 0, colons[-1])
            between = text[close : start + 1]
            if between[1:-1].strip(b" ") != separator:
                return None
        fillers, names = [between + text[1 : colons[0] + 1]], [text[1 : colons[0]].strip(b" ")]
        for before, colon in pairwise(colons[: self._count]):
            comma = text.rfind(b",", before, colon)
            if comma < 0:
                return None
            fillers.append(text[comma : colon + 1])
            names.append(text[comma + 1 : colon].strip(b" "))
        if any(len(name) < 2 or name[0] != QUOTE or name[-1] != QUOTE for name in names):
            return None
        order = self.columns([name[1:-1] for name in names])
        return None if order is None else RowFormat(order, between, fillers)


def can_read_rows(features: Iterable[Feature]) -> bool:
    """Whether `NumberRows` can read rows of these features: numbers that are never missing, without JSON punctuation in
    names."""
    return all(
        feature.kind == "number" and not feature.nullable and not PUNCTUATION & set(feature.name)
        for feature in features
    )


def json_names(name: str) -> set[bytes]:
    """The JSON texts of a name without quotes: as UTF-8, and with escaped non-ASCII characters."""
    return {orjson.dumps(name)[1:-1], json.dumps(name)[1:-1].encode()}


def values_text(text: bytes, colons: Positions, row_format: RowFormat) -> bytes | None:
    """The values of all rows as one JSON list; None if the rows have another format, or a value is long.

    colons: (rows, columns) the positions of the ends of the fillers. No filler contains another colon, so that fillers
    never overlap. The values are not checked here: the list is parsed later, and must have a number for each filler.
    """
    before, longest = row_format.between[:-1], row_format.longest  # as if another row preceded the first one
    padded = b"".join((bytes(longest), before, text, bytes(LONG_VALUE)))
    ends = colons + (longest + len(before))
    if not row_format.ends_match(pieces(padded, longest, ends + (1 - longest))):
        return None
    next_starts = (ends + (1 - row_format.lengths)).ravel()[1:]
    ends = ends.ravel()
    sizes = np.append(next_starts, len(padded) - LONG_VALUE - 1) - ends - 1  # the lengths of the values
    size = int(sizes.max()) + 1
    if size > LONG_VALUE:
        return None
    values = pieces(padded, size, ends).view(np.uint8)  # each with the colon before it
    values &= value_masks(size)[sizes].view(np.uint8)
    np.maximum(values, np.full_like(values, SPACE), out=values)
    values[::size] = COMMA
    values[0] = LIST
    return values.tobytes() + b"]"


def pieces(text: bytes, size: int, starts: Positions) -> Array:
    """The pieces of this size that start at these positions. NumPy copies a piece as fast as a single number."""
    return np.ndarray((len(text) - size + 1,), f"V{size}", text, 0, (1,))[starts]


@functools.lru_cache(LONG_VALUE)
def value_masks(size: int) -> Array:
    """Masks of `size` characters for values of 0 to `size` - 1 characters. Each mask removes the character before the
    value."""
    masks = np.tri(size, dtype=np.uint8) * np.uint8(255)
    masks[:, 0] = 0
    return masks.view(f"V{size}").ravel()
