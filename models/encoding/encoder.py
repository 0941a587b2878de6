"""From checked rows to the matrix a network reads: numbers scaled, dates unrolled, categories looked up, gaps filled.

Everything is fitted on the training part alone, kept as `encoder.json`, and applied as a few array operations.
"""

from functools import cached_property
from itertools import zip_longest
from typing import Literal, Self, cast

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from models.encoding.parts import (
    MAX_KNOTS,
    MAX_KNOTS_IN_ALL,
    Date,
    Flag,
    Levels,
    Matrix,
    Number,
    NumberPart,
    Part,
    Quantile,
    Vector,
)
from models.encoding.target import Target
from models.encoding.vectorised import Arrays, Lookup, Ranks
from models.frame import FEW_ROWS, Frame, any_of
from models.schema import FeatureSchema, SchemaError

BINS = 32
MAX_BIN_COLUMNS = 1024


class Encoder(BaseModel):
    """The fitted encoding of a whole row. Immutable; `encoder.json` is its JSON.

    Columns of the matrix: numbers told by rank, their gaps; scaled numbers, their gaps, their bins; flags and dates;
    the columns of few levels; last the group numbers of many.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    format: Literal[1] = 1
    numbers: list[NumberPart]  # in the order of Frame.numbers
    categories: list[Levels]  # in the order of Frame.codes
    target: Target = Target()

    @classmethod
    def fit(
        cls,
        schema: FeatureSchema,
        frame: Frame,
        target: Vector | None = None,
        bins: int = BINS,
        numbers: Literal["scaled", "quantile"] = "scaled",
    ) -> Self:
        """Learn the encoding from the training rows.

        target: (rows,) for a regression, else None. bins: edges per scaled number at most; fewer where there are few
        rows or so many columns that the first layer would grow out of hand. numbers: how they are told; told by rank,
        they are kept within what was seen, and so are the answers of a regression.
        """
        rows, columns = frame.numbers.shape
        knots = min(MAX_KNOTS, MAX_KNOTS_IN_ALL // max(columns, 1) + 2)
        affordable = min(bins, rows // 20, MAX_BIN_COLUMNS // max(columns, 1))
        parts: list[Part] = []
        for feature, values in zip(schema.numeric, frame.numbers.T, strict=True):
            if feature.kind == "boolean":
                parts.append(Flag(name=feature.name))
            elif feature.kind == "date":
                parts.append(Date.fit(feature.name, values))
            elif numbers == "quantile":
                parts.append(Quantile.fit(feature.name, values, knots))
            else:
                parts.append(Number.fit(feature.name, values, affordable if affordable > 1 else 0))
        levels = [Levels.fit(feature, codes) for feature, codes in zip(schema.categorical, frame.codes.T, strict=True)]
        scale = Target() if target is None else Target.fit(target, within=numbers == "quantile")
        return cls(numbers=cast(list[NumberPart], parts), categories=levels, target=scale)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read `encoder.json`. Raises SchemaError."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            raise SchemaError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error

    def to_json(self) -> str:
        return self.model_dump_json() + "\n"

    def check(self, schema: FeatureSchema) -> None:
        """Raises SchemaError where the encoder was not fitted to this schema: codes would mean other levels."""
        ours = [(part.name, "number" if part.kind == "quantile" else part.kind) for part in self.numbers]
        kinds = {"number": "number", "boolean": "flag", "date": "date"}
        theirs = [(feature.name, kinds[feature.kind]) for feature in schema.numeric]
        levels = [(part.name, len(part.groups)) for part in self.categories]
        known = [(feature.name, feature.levels) for feature in schema.categorical]
        for fitted, given in zip_longest([*ours, *levels], [*theirs, *known]):
            if fitted != given:
                name = (given or fitted or ("",))[0]
                raise SchemaError(f"feature {name!r} is not as it was when the encoder was fitted")

    @cached_property
    def tables(self) -> list[tuple[int, int]]:
        """For each embedded category its table in the network, (groups + 1, units). They are the last columns."""
        return [(part.size + 1, part.dimension) for part in self.categories if part.embedded]

    @property
    def periodic(self) -> int:
        """How many of the first columns are numbers told by rank, which a network may tell in waves."""
        return len(self._ranks.parts)

    @property
    def width(self) -> int:
        """How many columns `encode` gives."""
        return self._width

    @cached_property
    def _width(self) -> int:
        return self._number_width + sum(part.width for part in self.categories)

    @cached_property
    def _arrays(self) -> Arrays:
        return Arrays.of(self.numbers)

    @cached_property
    def _ranks(self) -> Ranks:
        return Ranks.of(self.numbers)

    @cached_property
    def _number_width(self) -> int:
        arrays = self._arrays
        of_numbers = len(arrays.columns) + len(arrays.gaps) + len(arrays.of_bin)
        of_ranks = len(self._ranks.parts) + len(self._ranks.gaps)
        return of_ranks + of_numbers + sum(len(part.encode(np.zeros(1))) for _, part in self._others)

    @cached_property
    def ordered(self) -> list[tuple[int, Levels]]:
        """The categories with their column of the codes, as they stand in the matrix: embedded ones last."""
        return sorted(enumerate(self.categories), key=lambda entry: entry[1].embedded)

    @cached_property
    def _lookup(self) -> Lookup:
        return Lookup.of_parts(self.ordered)

    @cached_property
    def _others(self) -> list[tuple[int, Flag | Date]]:
        """What is no number and no category, with its column of the numbers."""
        return [(column, part) for column, part in enumerate(self.numbers) if isinstance(part, Flag | Date)]

    def encode(self, frame: Frame) -> Matrix:
        """(rows, ...) checked rows -> (rows, width) float32, always finite."""
        numbers, codes = frame
        x = np.empty((len(numbers), self._width), dtype=np.float32)
        end = self._ranks.encode(numbers, x) if self._ranks.parts else 0
        if self._arrays.columns.size:
            end += self._encode_numbers(numbers, x[:, end:])
        for column, part in self._others:
            for encoded in part.encode(numbers[:, column]):
                x[:, end] = encoded
                end += 1
        if not self.categories:
            return x
        if len(x) <= FEW_ROWS:
            x[:, end:] = self._lookup(codes)
            return x
        for column, levels in self.ordered:
            x[:, end : end + levels.width] = levels.table[codes[:, column]]
            end += levels.width
        return x

    def _encode_numbers(self, numbers: Vector, x: Matrix) -> int:
        """Write scaled numbers, gaps and bins to the first columns of x; how many that are."""
        arrays = self._arrays
        count = len(arrays.columns)
        end = count + len(arrays.gaps)
        values = numbers if count == numbers.shape[1] else numbers.take(arrays.columns, axis=1)
        gaps = np.isnan(values)
        if end > count:
            x[:, count:end] = gaps.take(arrays.gaps, axis=1)
        if any_of(gaps):  # perhaps where training had none
            values = np.where(gaps, arrays.fill, values)
        z = np.maximum(values, arrays.lowest)
        np.minimum(z, arrays.highest, out=z)
        z -= arrays.mean
        z *= arrays.inverse_deviation
        if arrays.of_bin.size:
            bent = z * arrays.third
            bent *= bent
            bent += 1.0
            z /= np.sqrt(bent, out=bent)
            bins = np.maximum(values.take(arrays.of_bin, axis=1), arrays.low)
            np.minimum(bins, arrays.high, out=bins)
            bins -= arrays.low
            bins *= arrays.inverse_width
            x[:, end : end + len(arrays.of_bin)] = bins
        x[:, :count] = z
        return end + len(arrays.of_bin)
