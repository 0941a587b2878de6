"""The result of a call: one prediction for each row, in order."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, overload

from tabserve_client.counts import counted
from tabserve_client.responses import Response, TableResponse
from tabserve_client.row_issues import RowError, RowWarning
from tabserve_client.table_columns import Entry, Label, columns_of

NUMBERS = ("value", "probability_", "low", "high", "baseline", "contribution_")
"""The prefixes of the names of columns with numbers."""


@dataclass(frozen=True)
class Interval:
    level: float
    low: float
    high: float


@dataclass(frozen=True)
class LabelSet:
    level: float
    labels: tuple[Label, ...]


@dataclass(frozen=True)
class Explanation:
    """Contributions of the columns to a prediction. They sum to the prediction minus the baseline.

    output: "value", or the label whose probability is explained. error: the largest standard error of a contribution,
    if the contributions are not exact.
    """

    output: Label
    baseline: float
    contributions: Mapping[str, float]
    exact: bool
    evaluations: int
    error: float | None = None


@dataclass(frozen=True)
class Prediction:
    """The prediction for one row. A row with `errors` has no prediction: `value` and `label` are None.

    id: the id of the row in feedback, if the server captures rows. version: the model version that answered.
    """

    row: int
    id: str
    version: str
    entry: Entry
    errors: tuple[RowError, ...] = ()
    warnings: tuple[RowWarning, ...] = ()

    @property
    def value(self) -> float | None:
        """Of a regression."""
        return None if self.entry is None else self.entry.get("value")

    @property
    def label(self) -> Label | None:
        """Of a classification."""
        return None if self.entry is None else self.entry.get("label")

    @property
    def probabilities(self) -> Mapping[str, float]:
        """The probabilities of a classification, by the label as text."""
        found: Mapping[str, float] = self._part("probabilities", {})
        return found

    @property
    def intervals(self) -> tuple[Interval, ...]:
        return tuple(Interval(one["level"], one["low"], one["high"]) for one in self._parts("interval", "intervals"))

    @property
    def interval(self) -> Interval | None:
        """The first interval; None if there is none."""
        return next(iter(self.intervals), None)

    @property
    def label_sets(self) -> tuple[LabelSet, ...]:
        return tuple(LabelSet(one["level"], tuple(one["labels"])) for one in self._parts("set", "sets"))

    @property
    def label_set(self) -> LabelSet | None:
        """The first label set; None if there is none."""
        return next(iter(self.label_sets), None)

    @property
    def explanation(self) -> Explanation | None:
        found = self._part("explanation", None)
        if found is None:
            return None
        return Explanation(**{name: found.get(name) for name in Explanation.__dataclass_fields__})

    def _part(self, name: str, default: Any) -> Any:
        return default if self.entry is None else self.entry.get(name, default)

    def _parts(self, one: str, several: str) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = self._part(several, None) or []
        single = self._part(one, None)
        return parts if single is None else [single]


class Predictions(Sequence[Prediction]):
    """Predictions in the order of the rows.

    model: the name of the model. errors, warnings: those of all rows, with row and field.
    """

    def __init__(self, model: str, responses: Sequence[Response], index: Any, names: Sequence[str]) -> None:
        """responses: the responses in order, for all rows together. index: the index of the pandas frame that was sent.
        names: the names of the columns, if no row has a prediction."""
        self.model = model
        self._responses = responses
        self._index = index
        self._names = names
        self._starts = [response.sent.first_row for response in responses]
        self._count = sum(response.sent.rows for response in responses)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Prediction: ...
    @overload
    def __getitem__(self, index: slice) -> list[Prediction]: ...
    def __getitem__(self, index: int | slice) -> Prediction | list[Prediction]:
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(len(self)))]
        row = range(len(self))[index]
        response = self._responses[bisect_right(self._starts, row) - 1]
        place = row - response.sent.first_row
        errors, warnings = tuple(self._errors_by_row.get(row, ())), tuple(self._warnings_by_row.get(row, ()))
        identity = f"{response.request_id}:{place}"
        return Prediction(row, identity, response.version, response.entries[place], errors, warnings)

    def __repr__(self) -> str:
        versions = ", ".join(self.versions)
        rows, errors = counted(len(self), "row"), counted(len(self.errors), "error")
        return f"<Predictions of {self.model} (version {versions}): {rows}, {errors}>"

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions that answered, each once. There are several if a version was promoted during the call."""
        return tuple(dict.fromkeys(response.version for response in self._responses))

    @property
    def version(self) -> str:
        """The version that answered. Raises ValueError if there were several."""
        if len(self.versions) != 1:
            raise ValueError(f"the rows were answered by the versions {', '.join(self.versions)}: use `versions`")
        return self.versions[0]

    @cached_property
    def errors(self) -> list[RowError]:
        return list(chain.from_iterable(response.errors for response in self._responses))

    @cached_property
    def warnings(self) -> list[RowWarning]:
        return list(chain.from_iterable(response.warnings for response in self._responses))

    @cached_property
    def _errors_by_row(self) -> dict[int | None, list[RowError]]:
        found: dict[int | None, list[RowError]] = {}
        for error in self.errors:
            found.setdefault(error.row, []).append(error)
        return found

    @cached_property
    def _warnings_by_row(self) -> dict[int, list[RowWarning]]:
        found: dict[int, list[RowWarning]] = {}
        for warning in self.warnings:
            found.setdefault(warning.row, []).append(warning)
        return found

    @property
    def ids(self) -> list[str]:
        """The id of each row, for feedback."""
        return [f"{response.request_id}:{row}" for response in self._responses for row in range(response.sent.rows)]

    @property
    def values(self) -> list[Any]:
        """The value or label of each row; None for an invalid row."""
        if self._tables is not None:
            found: list[Any] = self._tables.column(0).to_pylist()
            return found
        return [None if entry is None else entry.get("value", entry.get("label")) for entry in self.to_list()]

    def to_list(self) -> list[Entry]:
        """The predictions as the server writes them in JSON; None for an invalid row."""
        return list(chain.from_iterable(response.entries for response in self._responses))

    def to_columns(self) -> dict[str, list[Any]]:
        """The columns of a table: the columns of the predictions, then `warnings` and `error`."""
        if self._tables is not None:
            return {name: self._tables.column(name).to_pylist() for name in self._tables.column_names}
        return columns_of(self.to_list(), self.warnings, self.errors, self._names)

    @cached_property
    def _tables(self) -> Any | None:
        """The responses as one Arrow table, if all of them are tables."""
        tables = [response.table for response in self._responses if isinstance(response, TableResponse)]
        if not tables or len(tables) < len(self._responses):
            return None
        import pyarrow as pa

        return pa.concat_tables([table.replace_schema_metadata(None) for table in tables])

    def to_arrow(self) -> Any:
        """A pyarrow.Table; it needs pyarrow."""
        if self._tables is not None:
            return self._tables
        import pyarrow as pa

        columns = self.to_columns()
        return pa.table({name: pa.array(cells, arrow_type(name, cells)) for name, cells in columns.items()})

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with the index of the frame that was sent; it needs pandas."""
        if self._tables is not None:
            frame = self._tables.to_pandas()
        else:
            import pandas as pd

            columns = self.to_columns()
            types = {name: "float64" for name in columns if name.startswith(NUMBERS)}
            frame = pd.DataFrame(columns).astype(types)
        if self._index is not None:
            frame.index = self._index
        return frame

    def to_polars(self) -> Any:
        """A polars.DataFrame; it needs polars."""
        import polars as pl

        if self._tables is not None:
            return pl.from_arrow(self._tables)
        columns = self.to_columns()
        types = {name: pl.Float64 for name in columns if name.startswith(NUMBERS)}
        types |= {"warnings": pl.String, "error": pl.String}
        return pl.DataFrame(columns, schema_overrides=types, infer_schema_length=None)


def arrow_type(name: str, cells: Sequence[Any]) -> Any:
    """The type of a column in the server's Arrow format; None for a column whose values determine the type."""
    import pyarrow as pa

    if name in ("warnings", "error"):
        return pa.string()
    if name.startswith("probability_"):
        return pa.float32()
    return pa.float64() if name.startswith(NUMBERS) or all(cell is None for cell in cells) else None
