"""Reads the sample of an import as a data set whose columns have the types that the model's inputs need."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models.feature import Feature, Scalar, TrainingRange
from models.schema import FeatureSchema
from models.text import counted
from training.build_dataset import MIN_ROWS, build_dataset, load_table
from training.column_options import find_target, list_names
from training.column_types import TRIED_TEXT
from training.config import DataOptions
from training.dataset import Dataset
from training.edited_schema import load_edited_schema
from training.errors import UsageError
from training.importing.input_columns import ColumnMatch
from training.importing.layer_graph import LayerGraph, Value
from training.importing.lookups import Vocabulary, column_vocabulary
from training.raw_table import RawTable


@dataclass(frozen=True)
class Sample:
    """A table, and the user's options for its columns."""

    table: RawTable
    edited: FeatureSchema | None
    options: DataOptions
    target: str

    @classmethod
    def read(cls, options: DataOptions) -> "Sample":
        """Read the table of the sample. Raises UsageError."""
        edited = load_edited_schema(options)
        table = load_table(options, edited)
        return cls(table, edited, options, find_target(table, options, edited))

    @property
    def columns(self) -> list[str]:
        """The columns that the model may use: the columns of the schema, in its order, else of the table."""
        if self.edited is not None:
            return [feature.name for feature in self.edited.features]
        return [name for name in self.table.names if name and name not in (self.target, *self.options.drop)]

    def dataset(self, columns: ColumnMatch, task: Any) -> Dataset:
        """Infer the columns, as numbers if the model takes numbers. Raises UsageError."""
        if self.edited is not None:
            return build_dataset(self.table, replace(self.options, task=task), self.edited)
        names = columns.names
        unused = [name for name in self.table.names if name not in (*names, self.target, *self.options.drop)]
        options = replace(
            self.options,
            task=task,
            drop=(*self.options.drop, *filter(None, unused)),
            categorical=(*self.options.categorical, *columns.coded),
        )
        found = {decision.column: decision for decision in build_dataset(self.table, options, None).decisions}
        raw = [name for name in names if name not in columns.coded]
        forced = [name for name in raw if found[name].type == "ignored" and name not in options.categorical]
        forced = [name for name in forced if name not in options.number]
        if columns.preprocessing == "fit" or not forced:
            return build_dataset(self.table, options, None)
        return build_dataset(self.table, replace(options, number=(*options.number, *forced)), None)


def fitted_dataset(dataset: Dataset, graph: LayerGraph, columns: ColumnMatch) -> tuple[Dataset, list[str]]:
    """The data set with the types of the model's inputs, without rows that have a missing cell, and notices.

    Raises UsageError for a column that the model cannot use.
    """
    by_name = dataset.schema.by_name
    reasons = {ignored.name: ignored.reason for ignored in dataset.schema.ignored}
    reasons |= {feature.name: TRIED_TEXT for feature in dataset.schema.features if feature.kind == "text"}
    for name in columns.names:
        if name not in by_name or by_name[name].kind == "text":
            reason = reasons.get(name, "left out").replace(TRIED_TEXT, "free text")
            raise UsageError(f"the model takes the column {name!r}, but it cannot be used: {reason}")
    vocabularies = _vocabularies(graph, columns)
    limits = _index_limits(graph, columns)
    features = [_fit_feature(feature, columns, vocabularies, limits) for feature in dataset.schema.features]
    schema = FeatureSchema(**dataset.schema.model_dump(exclude={"features"}), features=features)
    complete = _complete_rows(dataset, schema)
    notices = []
    if missing := int((~complete).sum()):
        with_gaps = [f.name for f in schema.features if dataset.schema.by_name[f.name].nullable]
        with_gap = "with a missing cell, or a value that the model's tables do not contain"
        notices.append(
            f"{counted(missing, f'row {with_gap}, is', f'rows {with_gap}, are')} left out "
            f"({list_names(with_gaps or columns.names)}): requests with such values are errors"
        )
    if complete.sum() < MIN_ROWS:
        of_rows = f"of {counted(len(complete), 'row')}"
        found = counted(int(complete.sum()), f"{of_rows} has", f"{of_rows} have")
        raise UsageError(
            f"{found} all values that the model needs; at least {MIN_ROWS} are needed. {' '.join(notices)}"
        )
    return _select_rows(replace(dataset, schema=schema), complete), notices


def _select_rows(dataset: Dataset, kept: Any) -> Dataset:
    key = dataset.split_key
    return replace(
        dataset,
        columns={name: values[kept] for name, values in dataset.columns.items()},
        target=dataset.target[kept],
        row_numbers=dataset.row_numbers[kept],
        split_key=None if key is None else key[kept],
        rows_used=int(kept.sum()),
    )


def _complete_rows(dataset: Dataset, schema: FeatureSchema) -> Any:
    """(rows,): whether a row has a valid value in every column."""
    complete = np.ones(len(dataset.target), dtype=bool)
    for feature in schema.features:
        values = dataset.columns[feature.name]
        if feature.kind != "category":
            low = -np.inf if feature.low is None else feature.low
            high = np.inf if feature.high is None else feature.high
            complete &= (values >= low) & (values <= high)  # false for NaN
            continue
        known = np.array([value is not None and feature.problem(value) is None for value in values], dtype=bool)
        complete &= known
    return complete


def _vocabularies(graph: LayerGraph, columns: ColumnMatch) -> dict[str, Vocabulary]:
    numbers = {model_input.name: number for number, model_input in enumerate(graph.inputs)}
    return {
        column: column_vocabulary(graph, numbers[input_name])
        for input_name, taken in columns.columns.items()
        for column in taken
        if column in columns.coded
    }


def _index_limits(graph: LayerGraph, columns: ColumnMatch) -> dict[str, int]:
    """The largest level number of the columns that a table of the model looks up directly.

    Raises UsageError for a table that looks up the output of another layer, which could be too large for the table.
    """
    limits: dict[str, int] = {}
    for call in graph.calls:
        name = type(call.layer).__name__
        if name not in ("Embedding", "CategoryEncoding"):
            continue
        size = int(call.layer.input_dim if name == "Embedding" else call.layer.num_tokens)
        source, lookup = _source(graph, call.values[0])
        if lookup is not None:
            _check_lookup_size(lookup, size, call.title)
        elif source is None:
            rows = counted(size, "row")
            raise UsageError(f"{call.title} looks up numbers that other layers compute, which may be beyond its {rows}")
        else:
            for column in columns.columns[graph.inputs[source].name]:
                limits[column] = min(size - 1, limits.get(column, size - 1))
    return limits


UNCHANGING = ("Flatten", "Reshape", "Identity", "Dropout", "Masking")
BINNING = "Discretization"


def _source(graph: LayerGraph, value: Value) -> tuple[int | None, Any]:
    """The number of the input that has this value, or the lookup or binning that computed it; else (None, None)."""
    while value.call >= 0:
        call = graph.calls[value.call]
        name = type(call.layer).__name__
        if name in ("StringLookup", "IntegerLookup", BINNING):
            return None, call.layer
        if name not in UNCHANGING:
            return None, None
        value = call.values[0]
    return -1 - value.call, None


def _check_lookup_size(lookup: Any, size: int, title: str) -> None:
    binning = type(lookup).__name__ == BINNING
    count = len(lookup.bin_boundaries) + 1 if binning else int(lookup.vocabulary_size())
    if lookup.output_mode == "int" and count > size:
        rows = counted(size, "row")
        raise UsageError(f"{title} has {rows}, and layer {lookup.name!r} returns numbers up to {count - 1}")


def _fit_feature(
    feature: Feature, columns: ColumnMatch, vocabularies: dict[str, Vocabulary], limits: dict[str, int]
) -> Feature:
    """The feature with the type and limits of the model's input. Raises UsageError."""
    name = feature.name
    if name in vocabularies:
        return _fit_category(feature, vocabularies[name])
    if columns.preprocessing == "fit":
        if feature.kind == "date" or feature.seen.hashed:
            levels = counted(feature.seen.count, "level") if feature.seen.count else "many levels"
            what = "dates" if feature.kind == "date" else levels
            raise UsageError(f"column {name!r} contains {what}, which --preprocessing fit cannot encode: leave it out")
        return _changed(feature, nullable=False)
    if feature.kind == "category":
        raise UsageError(
            f"column {name!r} contains names, e.g. {feature.example!r}, but the model takes numbers there: encode them "
            "in the model (StringLookup), or see --preprocessing fit"
        )
    if feature.kind == "date":
        raise UsageError(f"column {name!r} contains dates, but the model takes numbers there")
    changes: dict[str, Any] = {"nullable": False}
    if name in limits:
        if feature.kind == "boolean":
            return _changed(feature, nullable=False)
        changes["minimum"] = max(0, feature.minimum) if isinstance(feature.minimum, int | float) else 0
        changes["maximum"] = (
            min(limits[name], feature.maximum) if isinstance(feature.maximum, int | float) else limits[name]
        )
    return _changed(feature, **changes)


def _fit_category(feature: Feature, vocabulary: Vocabulary) -> Feature:
    """Return the category with the levels of the model."""
    if feature.kind != "category":
        raise UsageError(f"column {feature.name!r} is a {feature.kind} in the schema, but the model takes names there")
    levels: Sequence[Scalar] = vocabulary.levels
    if feature.level_type == "number" and isinstance(levels[0], str):
        levels = [_number_of_level(level, feature) for level in levels]
    if feature.level_type == "boolean" or (feature.level_type == "text") != isinstance(levels[0], str):
        raise UsageError(
            f"column {feature.name!r} contains {feature.level_type} values, but the model's vocabulary "
            f"has {levels[0]!r}, …"
        )
    seen = TrainingRange(levels=list(levels), count=len(levels), type=feature.level_type)
    unseen = "error" if vocabulary.closed else feature.unseen
    return _changed(feature, nullable=False, seen=seen, unseen=unseen, example=levels[0])


def _number_of_level(level: Scalar, feature: Feature) -> Scalar:
    """The number in the table for a level of a text vocabulary."""
    try:
        number = int(str(level))
    except ValueError:
        number = None
    if number is None or str(number) != level:
        raise UsageError(f"column {feature.name!r} contains numbers, but the model's vocabulary has the text {level!r}")
    return number


def _changed(feature: Feature, **changes: Any) -> Feature:
    return Feature(**(feature.model_dump() | changes))


def check_columns_used(table: RawTable, columns: ColumnMatch, target: str) -> list[str]:
    """A notice of the columns that the model does not use."""
    unused = [name for name in table.names if name not in (*columns.names, target)]
    return [f"the model does not use {list_names(unused)}"] if unused else []
