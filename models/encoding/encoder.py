"""The encoder: turns validated rows into the input matrix of a network.

It is fitted on the training set alone and stored as `encoder.json`. It encodes rows by a few array operations.
"""

from functools import cached_property
from itertools import zip_longest
from typing import Literal, Self, cast

import numpy as np

from models.encoding.column_encodings import (
    MAX_KNOTS,
    MAX_TOTAL_KNOTS,
    BooleanEncoding,
    CategoryEncoding,
    ColumnEncoding,
    DateEncoding,
    Indices,
    LevelColumns,
    LevelEncoding,
    Matrix,
    NumberEncoding,
    NumericEncoding,
    QuantileEncoding,
    Vector,
)
from models.encoding.level_means import LevelMeans
from models.encoding.target_scaling import TargetScaling
from models.encoding.vectorised_encodings import CategoryLookup, QuantileNumbers, ScaledNumbers
from models.frame import FEW_ROWS, Frame, FrameColumns, any_true
from models.schema import FeatureSchema, SchemaError
from models.stored_document import StoredDocument

BINS = 32
MAX_BIN_COLUMNS = 1024


class Encoder(StoredDocument):
    """The fitted encoding of a whole row. Immutable; `encoder.json` is its JSON.

    The matrix contains these columns, in this order: quantile-encoded numbers and days, their missing-value indicators;
    scaled numbers, their missing-value indicators, their bins; flags and dates; one-hot categories and level means; the
    group numbers of embedded categories. An indicator is 1 if the value is missing.
    """

    format: Literal[1] = 1
    numbers: list[NumericEncoding]  # in the order of Frame.numbers
    categories: list[LevelEncoding]  # in the order of Frame.codes
    target: TargetScaling = TargetScaling()

    @classmethod
    def fit(
        cls,
        schema: FeatureSchema,
        frame: FrameColumns,
        target: Vector | None = None,
        bins: int = BINS,
        numbers: Literal["scaled", "quantile"] = "scaled",
        clip: bool | None = None,
        days: bool = False,
    ) -> Self:
        """Fit the encoding to the training rows.

        target: (rows,) for a regression, else None. bins: the maximum for each scaled number; fewer are used if there
        are few rows or many columns, so that the first layer does not become too large. numbers: the encoding of
        numbers; quantile-encoded numbers are clipped to the range of the training rows. clip: whether the predictions
        of a regression are clipped to the range of the target; by default with quantile-encoded numbers. days: whether
        dates are also quantile-encoded.
        """
        rows, columns = frame.rows, len(schema.numeric)
        knots = min(MAX_KNOTS, MAX_TOTAL_KNOTS // max(columns, 1) + 2)
        affordable = min(bins, rows // 20, MAX_BIN_COLUMNS // max(columns, 1))
        parts: list[ColumnEncoding] = []
        for feature, values in zip(schema.numeric, frame.number_columns(), strict=True):
            if feature.kind == "boolean":
                parts.append(BooleanEncoding(name=feature.name))
            elif feature.kind == "date":
                parts.append(DateEncoding.fit(feature.name, values, knots if days else 0))
            elif numbers == "quantile":
                parts.append(QuantileEncoding.fit(feature.name, values, knots))
            else:
                parts.append(NumberEncoding.fit(feature.name, values, affordable if affordable > 1 else 0))
        levels: list[LevelEncoding] = [
            CategoryEncoding.fit(feature, codes)
            for feature, codes in zip(schema.categorical, frame.code_columns(), strict=True)
        ]
        scale = (
            TargetScaling()
            if target is None
            else TargetScaling.fit(target, clip=numbers == "quantile" if clip is None else clip)
        )
        return cls(numbers=cast(list[NumericEncoding], parts), categories=levels, target=scale)

    def check(self, schema: FeatureSchema) -> None:
        """Raises SchemaError if the encoder was fitted to another schema, in which codes mean other levels."""
        kinds = {"number": "number", "boolean": "flag", "date": "date", "text": "number"}
        unscored = next(
            (feature.name for feature in schema.numeric if feature.kind == "text" and not feature.score), None
        )
        if unscored is not None:
            raise SchemaError(f"feature {unscored!r}: the text has no fitted score")
        raw = {part.name for part in self.numbers if part.kind == "raw"}
        ours = [(part.name, "number" if part.kind == "quantile" else part.kind) for part in self.numbers]
        theirs = [
            (feature.name, "raw" if feature.name in raw and feature.kind != "date" else kinds[feature.kind])
            for feature in schema.numeric
        ]
        levels = [(part.name, part.count) for part in self.categories]
        known = [(feature.name, feature.levels) for feature in schema.categorical]
        for fitted, expected in zip_longest([*ours, *levels], [*theirs, *known]):
            if fitted != expected:
                name = (expected or fitted or ("",))[0]
                raise SchemaError(f"feature {name!r} has changed since the encoder was fitted")

    @cached_property
    def tables(self) -> list[tuple[int, int]]:
        """The shape (groups + 1, units) of the network's table for each embedded category, in the order of the last
        columns."""
        embedded = [part for part in self.categories if isinstance(part, CategoryEncoding) and part.embedded]
        return [(part.size + 1, part.dimension) for part in embedded]

    @property
    def quantile_count(self) -> int:
        """The number of quantile-encoded numbers. They are the first columns, which can have periodic features."""
        return len(self._quantiles.parts)

    @property
    def width(self) -> int:
        """The number of columns of the matrix."""
        return self._width

    @cached_property
    def _width(self) -> int:
        return self._number_width + sum(part.width for _, part in self.ordered_categories)

    @cached_property
    def _scaled(self) -> ScaledNumbers:
        return ScaledNumbers.from_parts(self.numbers)

    @cached_property
    def _quantiles(self) -> QuantileNumbers:
        return QuantileNumbers.from_parts(self.numbers)

    @cached_property
    def _number_width(self) -> int:
        arrays = self._scaled
        of_scaled = len(arrays.columns) + len(arrays.missing_indicators) + len(arrays.of_bin)
        of_quantiles = len(self._quantiles.parts) + len(self._quantiles.missing_indicators)
        return of_quantiles + of_scaled + sum(len(part.encode(np.zeros(1))) for _, part in self._flags_and_dates)

    @cached_property
    def sources(self) -> Indices:
        """(width,): for each column of the matrix the index of its column in the frame. Codes are counted after
        numbers."""
        quantiles, scaled = self._quantiles, self._scaled
        flags = [(column, len(part.encode(np.zeros(1)))) for column, part in self._flags_and_dates]
        levels = [(len(self.numbers) + column, part.width) for column, part in self.ordered_categories]
        return np.concatenate(
            [
                quantiles.columns,
                quantiles.columns[quantiles.missing_indicators],
                scaled.columns,
                scaled.columns[scaled.missing_indicators],
                scaled.columns[scaled.of_bin],
                *(np.full(width, column) for column, width in [*flags, *levels]),
            ]
        ).astype(np.intp)

    @cached_property
    def ordered_categories(self) -> list[tuple[int, LevelColumns]]:
        """The categories and their level means with their column numbers in the codes, in the order of the matrix:
        embedded categories are last."""
        columns: list[tuple[int, LevelColumns]] = []
        for column, part in enumerate(self.categories):
            columns.append((column, part))
            if isinstance(part, CategoryEncoding) and part.means is not None:
                columns.append((column, part.means))
        return sorted(columns, key=lambda entry: entry[1].embedded)

    @cached_property
    def mean_columns(self) -> Indices:
        """The columns of the matrix with level means, in the order of the categories."""
        places, end = list[int](), self._number_width
        for _, part in self.ordered_categories:
            places += range(end, end + part.width) if isinstance(part, LevelMeans) else []
            end += part.width
        return np.array(places, dtype=np.intp)

    @cached_property
    def _lookup(self) -> CategoryLookup:
        return CategoryLookup.from_parts(self.ordered_categories)

    @cached_property
    def _flags_and_dates(self) -> list[tuple[int, BooleanEncoding | DateEncoding]]:
        """Flags and dates with their column numbers in `Frame.numbers`."""
        return [
            (column, part)
            for column, part in enumerate(self.numbers)
            if isinstance(part, BooleanEncoding | DateEncoding)
        ]

    def encode(self, frame: Frame) -> Matrix:
        """Validated rows -> (rows, width) float32, always finite."""
        numbers, codes = frame
        x = np.empty((len(numbers), self._width), dtype=np.float32)
        end = self._quantiles.encode(numbers, x) if self._quantiles.parts else 0
        if self._scaled.columns.size:
            end += self._encode_scaled(numbers, x[:, end:])
        for column, part in self._flags_and_dates:
            for encoded in part.encode(numbers[:, column]):
                x[:, end] = encoded
                end += 1
        if not self.categories:
            return x
        if len(x) <= FEW_ROWS:
            x[:, end:] = self._lookup(codes)
            return x
        for column, levels in self.ordered_categories:
            x[:, end : end + levels.width] = levels.table[codes[:, column]]
            end += levels.width
        return x

    def _encode_scaled(self, numbers: Vector, x: Matrix) -> int:
        """Write scaled numbers, missing-value indicators and bins into the first columns of x.

        Returns the number of these columns.
        """
        arrays = self._scaled
        count = len(arrays.columns)
        end = count + len(arrays.missing_indicators)
        values = numbers if count == numbers.shape[1] else numbers.take(arrays.columns, axis=1)
        missing = np.isnan(values)
        if end > count:
            x[:, count:end] = missing.take(arrays.missing_indicators, axis=1)
        if any_true(missing):  # requests may have them in columns that were complete in training
            values = np.where(missing, arrays.fill, values)
        z = np.maximum(values, arrays.lowest)
        np.minimum(z, arrays.highest, out=z)
        z -= arrays.mean
        z *= arrays.inverse_deviation
        if arrays.of_bin.size:
            square = z * arrays.third
            square *= square
            square += 1.0
            z /= np.sqrt(square, out=square)
            bins = np.maximum(values.take(arrays.of_bin, axis=1), arrays.low)
            np.minimum(bins, arrays.high, out=bins)
            bins -= arrays.low
            bins *= arrays.inverse_width
            x[:, end : end + len(arrays.of_bin)] = bins
        x[:, :count] = z
        return end + len(arrays.of_bin)
