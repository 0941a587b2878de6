"""Posts a training table in each format, to compare the frames of the server with the frame of the training run."""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from models.formats.arrow_decoder import ArrowDecoder
from models.formats.blocks import TableDecoder, decode_whole
from models.formats.ndjson_decoder import NdjsonDecoder
from models.formats.parquet_decoder import ParquetDecoder
from models.frame import Frame
from models.rows import ValidatedRows
from models.schema import FeatureSchema
from service.protocols import native, oip_rows
from service.protocols.oip_tensors import InferRequest, InputTensor
from training.dataset import Dataset

MAX_BYTES = 1 << 26
Texts = Mapping[str, list[str]]
Values = Mapping[str, list[Any]]


def decoded(decoder: Callable[..., TableDecoder], schema: FeatureSchema, body: bytes) -> ValidatedRows:
    block = decode_whole(decoder(schema, 1_000_000, MAX_BYTES), body)
    assert block is not None
    return block.validate(schema)


def client_values(schema: FeatureSchema, cells: Texts) -> Values:
    """The columns as a client reads them without the schema: plain numbers, true and false are converted, all other
    columns stay text, and an empty cell is a missing value.
    """
    return {name: _client_column(schema, name, column) for name, column in cells.items()}


def _client_column(schema: FeatureSchema, name: str, column: list[str]) -> list[Any]:
    column = [cell.strip() for cell in column]
    feature = schema.by_name.get(name)
    numbers = feature is not None and feature.kind in ("number", "boolean") and not feature.cells.reads_text
    if feature is not None and (numbers or feature.level_type != "text"):
        try:
            return [None if cell in schema.missing else json.loads(cell.lower()) for cell in column]
        except ValueError:
            pass
    return [cell or None for cell in column]


def posted(schema: FeatureSchema, cells: Texts) -> dict[str, ValidatedRows]:
    """The validated rows of each format except CSV."""
    values = client_values(schema, cells)
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    lines = "\n".join(json.dumps(row) for row in rows).encode()
    table = pa.table({name: arrow_column(column) for name, column in values.items()})
    return {
        "JSON": native.validate_body(schema, json.dumps({"rows": rows}).encode(), "skip", 1_000_000),
        "NDJSON": decoded(NdjsonDecoder, schema, lines),
        "Parquet": decoded(ParquetDecoder, schema, parquet_of(table)),
        "Arrow": decoded(ArrowDecoder, schema, arrow_of(table)),
        "tensors": oip_rows.validate_inputs(schema, tensors_of(schema, values), 1_000_000),
    }


def arrow_column(column: list[Any]) -> Any:
    if {*map(type, column)} > {int, float}:
        column = [float(value) if isinstance(value, int) else value for value in column]
    return pa.array(column)


def parquet_of(table: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def arrow_of(table: Any) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def tensors_of(schema: FeatureSchema, values: Values) -> InferRequest:
    """A tensor for each feature; a missing number is NaN, and a missing text is empty."""
    tensors = []
    for name in schema.by_name:
        column = values[name]
        shape = [len(column)]
        if {type(value) for value in column if value is not None} <= {int, float}:
            numbers = [float("nan") if value is None else float(value) for value in column]
            tensors.append(InputTensor(name, "FP64", shape, numbers))
        else:
            texts = ["" if value is None else str(value) for value in column]
            tensors.append(InputTensor(name, "BYTES", shape, texts, {"missing": ""}))
    return InferRequest(tensors)


def training_frame(dataset: Dataset) -> Frame:
    return dataset.schema.frames.from_columns(dataset.columns)


def assert_frame(found: ValidatedRows, dataset: Dataset, form: str) -> None:
    """Assert that the rows with a target equal those of the training run."""
    expected = training_frame(dataset)
    assert not found.errors, f"{form}: {found.errors[0].message}"
    rows = dataset.row_numbers
    np.testing.assert_array_equal(found.frame.numbers[rows], expected.numbers, err_msg=form)
    np.testing.assert_array_equal(found.frame.codes[rows], expected.codes, err_msg=form)
