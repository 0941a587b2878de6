"""The command `report`, which compares the columns of two files without a model."""

import argparse
import json
from typing import Any

import numpy as np
import numpy.typing as npt

from models.drift.counter import DriftCounter
from models.drift.drift_report import drift_report
from models.drift.drift_table import drift_table
from models.drift.reference import DriftReference
from models.feature import Feature
from models.frame import Frame
from models.schema import FeatureSchema
from models.text import counted
from training.cell_formats import decide_cell_formats
from training.cells import FactorizedColumn, factorize
from training.column_options import list_names, missing_tokens
from training.config import DataOptions
from training.errors import UsageError
from training.infer_columns import InferredColumn, infer_column
from training.raw_table import RawTable
from training.reading import read_table
from training.steps import step

ALARM = 3  # the exit code
NO_TARGET = "(no target)"  # a schema needs a target; no column has this name


def report_files(parsed: argparse.Namespace) -> int:
    """Print the report of two files. Returns the exit code."""
    old, new = (DataOptions(data=path) for path in (parsed.old, parsed.new))
    schema, before = infer_file(old)
    after = read_with_schema(schema, new)
    with step("the files cannot be compared", f"{parsed.old}, {parsed.new}"):
        report = compare(schema, before, after)
    if parsed.json:
        print(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        rows = counted(len(after.numbers), "row", spec=",")
        print(f"{parsed.new}: {rows}, compared with {len(before.numbers):,} of {parsed.old}")
        print(drift_table(report))
    return ALARM if report["status"] == "alarm" else 0


def compare(schema: FeatureSchema, before: Frame, after: Frame) -> dict[str, Any]:
    """Report the drift from one frame to another."""
    reference = DriftReference.fit(schema, before)
    counter = DriftCounter(schema, reference)
    return drift_report(schema, reference, counter.read(counter.count(after)))


def infer_file(options: DataOptions) -> tuple[FeatureSchema, Frame]:
    """The columns of a file that can be compared, and their values. Raises UsageError."""
    with step("the table cannot be read", options.data):
        table = read_table(options)
    with step("its columns cannot be read", options.data):
        columns = [infer_column(column, options, None) for column in read_columns(table, options, None)]
    used = [(column, column.feature) for column in columns if column.feature is not None]
    if not used:
        raise UsageError(f"{options.data}: no column can be compared")
    features = [with_missing_allowed(feature) for _, feature in used]
    schema = FeatureSchema(
        format=2,
        name="table",
        task="regression",
        target=NO_TARGET,
        missing=missing_tokens(options, None),
        features=features,
    )
    return schema, schema.frames.from_columns({column.decision.column: column.values for column, _ in used})


def with_missing_allowed(feature: Feature) -> Feature:
    """The feature with missing values allowed."""
    return feature.model_copy(update={"nullable": True})


def read_with_schema(schema: FeatureSchema, options: DataOptions) -> Frame:
    """The columns of another file, read with the types and formats of a schema. Raises UsageError."""
    with step("the table cannot be read", options.data):
        table = read_table(options)
    absent = [feature.name for feature in schema.features if feature.name not in table.names]
    if absent:
        raise UsageError(f"{options.data} lacks columns of the first file: {list_names(absent)}")
    with step("its columns cannot be read", options.data):
        found = {column.name: column for column in read_columns(table, options, schema)}
        values = {
            feature.name: feature_values(feature, found[feature.name], options, schema) for feature in schema.features
        }
    return schema.frames.from_columns(values)


def feature_values(
    feature: Feature, column: FactorizedColumn, options: DataOptions, schema: FeatureSchema
) -> npt.NDArray[Any]:
    """(rows,): the values of a column, read with the type and format of a feature."""
    if not column.values:
        rows = len(column.codes)
        return np.full(rows, None, dtype=object) if feature.kind == "category" else np.full(rows, np.nan)
    read: InferredColumn = infer_column(column, options, schema)
    return read.values


def read_columns(table: RawTable, options: DataOptions, schema: FeatureSchema | None) -> list[FactorizedColumn]:
    """The columns of a table with the formats of their cells; with a schema only its columns."""
    missing = missing_tokens(options, schema)
    names = [name for name in table.names if schema is None or name in schema.by_name]
    every = (factorize(table, name, missing) for name in names)
    formats = decide_cell_formats(every, NO_TARGET, table.delimiter, options, schema)
    return [formats[name].apply(factorize(table, name, missing)) for name in names]
