"""Captured rows and feedback as Parquet, typed by the schema of their version. Needs pyarrow."""

import contextlib
import io
import time
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import orjson

from models.capture_format import (
    ID,
    METADATA,
    MODEL,
    PREDICTION,
    PROBABILITY,
    SOURCE,
    TIME,
    TRUTH,
    VERSION,
)
from models.date_parsing import parse_date
from models.feature import Feature, Scalar
from models.output_columns import DType, type_of_labels
from models.schema import FeatureSchema
from models.text import class_key
from service.capture.capture_database import FeedbackBatch, RowBatch

MICROSECONDS = 1e6


def rows_as_parquet(version: str, schema: FeatureSchema, batches: Sequence[RowBatch]) -> bytes:
    """The content of a Parquet file of rows with their predictions. Redacted columns are missing."""
    import pyarrow as pa

    names = {name for batch in batches for name in batch.names}
    parts = [rows_as_table(version, schema, batch, names) for batch in batches]
    return to_parquet(pa.concat_tables(parts), schema, version)


def rows_as_table(version: str, schema: FeatureSchema, batch: RowBatch, names: Collection[str]) -> Any:
    """A batch as a table.

    names: the columns of the file. A batch that was stored with other redacted columns does not have all of them.
    """
    import pyarrow as pa

    columns, count, outputs = common_columns(schema.name, batch), len(batch.ids), batch.outputs
    columns[VERSION] = constant_column(version, count)
    columns[SOURCE] = constant_column(batch.source, count)
    values = dict(zip(batch.names, zip(*batch.rows, strict=True), strict=True))
    for feature in schema.features:
        if feature.name in names:
            columns[feature.name] = feature_column(feature, values.get(feature.name, [None] * count))
            yield_to_event_loop()
    if schema.classes is None:
        columns[PREDICTION] = pa.array([output[0] for output in outputs], pa.float64())
    else:
        labels = [schema.classes[max(range(len(output)), key=output.__getitem__)] for output in outputs]
        columns[PREDICTION] = label_column(schema, labels)
        for position, label in enumerate(schema.classes):
            name = f"{PROBABILITY}{class_key(label)}"
            columns[name] = pa.array([output[position] for output in outputs], pa.float32())
    yield_to_event_loop()
    return pa.table(columns)


def yield_to_event_loop() -> None:
    """Let the event loop run, which would otherwise wait for Python's switch interval of 5 ms."""
    time.sleep(0)


def feedback_as_parquet(schema: FeatureSchema, batches: Sequence[FeedbackBatch]) -> bytes:
    """The content of a Parquet file with the true target values of rows."""
    import pyarrow as pa

    parts = []
    for batch in batches:
        columns, truths = common_columns(schema.name, batch), batch.truths
        columns[TRUTH] = pa.array(truths, pa.float64()) if schema.classes is None else label_column(schema, truths)
        parts.append(pa.table(columns))
        yield_to_event_loop()
    return to_parquet(pa.concat_tables(parts), schema, None)


def common_columns(model: str, batch: RowBatch | FeedbackBatch) -> dict[str, Any]:
    """The columns that all files have."""
    import pyarrow as pa

    times = (np.array(batch.times) * MICROSECONDS).astype(np.int64)
    moments = pa.array(times).cast(pa.timestamp("us", tz="UTC"))
    return {ID: pa.array(batch.ids, pa.string()), TIME: moments, MODEL: constant_column(model, len(batch.ids))}


def constant_column(text: str, count: int) -> Any:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array([text]))


def feature_column(feature: Feature, values: Sequence[Any]) -> Any:
    """A column: numbers as float64, dates as timestamps without a time zone, categories by the type of their levels."""
    import pyarrow as pa

    if feature.kind == "boolean":
        return pa.array(values, pa.bool_())
    if feature.kind == "category":
        if feature.level_type == "boolean":
            return pa.array(values, pa.bool_())
        if feature.level_type == "number":
            return pa.array([None if value is None else float(value) for value in values], pa.float64())
        return pa.array(values, pa.string()).dictionary_encode()
    if feature.kind == "text":
        return pa.array(values, pa.string())
    if feature.kind == "number":
        return number_column(values)
    known = [None if value is None else seconds_of(feature, value) for value in values]
    moments = [None if seconds is None else round(seconds * MICROSECONDS) for seconds in known]
    return pa.array(moments, pa.timestamp("us"))


def number_column(values: Sequence[Any]) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values, pa.float64())
    except (pa.ArrowException, OverflowError, TypeError):  # an integer that float64 cannot represent
        return pa.array([None if value is None else float(value) for value in values], pa.float64())


def seconds_of(feature: Feature, value: Any) -> float | None:
    """Seconds since 1970. Timestamps from Arrow or Parquet are stored as ISO 8601 in any column."""
    known = feature.to_number(value)
    if known is None and isinstance(value, str):
        with contextlib.suppress(ValueError, OverflowError):
            return parse_date(value, None)
    return known


def label_column(schema: FeatureSchema, labels: Sequence[Scalar]) -> Any:
    import pyarrow as pa

    types: dict[DType, Any] = {"text": pa.string(), "bool": pa.bool_(), "int64": pa.int64()}
    return pa.array(labels, types.get(type_of_labels(schema.classes or []), pa.float64()))


def to_parquet(table: Any, schema: FeatureSchema, version: str | None) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = {
        "model": schema.name,
        "version": version,
        "task": schema.task,
        "target": schema.target,
        "categories": [feature.name for feature in schema.categorical if feature.level_type == "number"],
    }
    table = table.unify_dictionaries().replace_schema_metadata({METADATA: orjson.dumps(metadata)})
    dictionaries = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
    file = io.BytesIO()
    # ids need no dictionary: each occurs once
    pq.write_table(table, file, compression="zstd", use_dictionary=dictionaries)
    return file.getvalue()
