"""The fast paths of `models`, its caches, and its branches for few rows."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from loadtest.bench.fast_case import Case, case_with_replacement
from loadtest.bench.fast_models import NUMBERS, Row, binary, classification, regression, rows_of
from models import column_validation, outputs, probabilities
from models.architecture import Architecture
from models.columns import Column
from models.encoding import encoder, target_scaling
from models.fast.arrow_block import common_block
from models.fast.json_entries import ColumnEntries, fastest_entries
from models.fast.number_blocks import common_csv, common_ndjson
from models.fast.single_row import single_row_predictor
from models.formats import arrow_decoder, arrow_messages
from models.formats.arrow_decoder import ArrowDecoder
from models.formats.blocks import Block, TableDecoder, decode_whole
from models.formats.csv_decoder import CsvDecoder
from models.formats.json_encoder import JsonWriter
from models.formats.ndjson_decoder import NdjsonDecoder
from models.formats.record_batches import RecordBatchWriter, to_message
from models.frame import Frame
from models.network import input_block
from models.network.network import build
from models.outputs import Outputs
from models.rows import ValidatedRows, from_valid_rows, read_number_rows, validate_each_value, validate_rows
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.text import counted
from models.validators import RowValidators

MAX_ROWS, MAX_BYTES = 10_000, 2**24
ENSEMBLE = Architecture(8, hidden=(128, 128, 128), scales=(1.0,) * 8, members=4, adapters=True)


def cases() -> Iterator[Case]:
    yield from single_rows()
    yield from json_entries()
    yield from single_value()
    yield from compiled_validators()
    yield from number_rows()
    yield from columns()
    yield from arrow_requests()
    yield from arrow_predictions()
    yield from few_rows()
    yield from few_rows_of_ensemble()


def counted_rows(count: int) -> str:
    return counted(count, "row", spec=",")


def single_rows() -> Iterator[Case]:
    """Cases that predict a valid row and check whether it gets warnings."""
    for model in (regression(), classification(), regression(1)):
        categories = len(model.schema.categorical)
        (row,) = rows_of(1, categories)
        predict = single_row_predictor(model)
        assert predict is not None
        name = f"predict 1 row, {model.schema.task}{', a category' if categories else ''}"
        yield Case("`SingleRowPredictor`", name, partial(predict, row), partial(predict_with_general_code, model, row))


def predict_with_general_code(model: TabularModel, row: Row) -> Outputs:
    return model.predict(from_valid_rows(model.schema, [row]).frame)


def json_entries() -> Iterator[Case]:
    for model, name in ((regression(), "`ValueEntries`"), (classification(), "`ClassEntries`")):
        fast, general = fastest_entries(model.output_spec), ColumnEntries(model.output_spec)
        for count in (1, 1_000):
            predicted = model.predict_rows(rows_of(count))
            input_name = f"write {counted_rows(count)} as JSON"
            yield Case(name, input_name, partial(fast.joined, predicted), partial(general.joined, predicted))


def single_value() -> Iterator[Case]:
    """The case of a response with one value, written directly and from outputs."""
    model = regression()
    writer = JsonWriter(model)
    value = model.predict_rows(rows_of(1)).primary.item()
    calls = partial(writer.write_value, value), partial(write_outputs, writer, value)
    yield Case("`JsonWriter.write_value`", "write 1 value as JSON", *calls)


def write_outputs(writer: JsonWriter, value: float) -> bytes:
    return writer.write_plain(Outputs(np.array([[value]])))


def compiled_validators() -> Iterator[Case]:
    schema = regression().schema
    fast, general = (RowValidators(schema.features, ()) for _ in range(2))
    general.__dict__["_body_validators"] = general._body_validators._replace(numbers=None)
    for count in (1, 100):
        body, input_name = json.dumps({"rows": rows_of(count)}).encode(), f"parse and validate {counted_rows(count)}"
        yield Case(
            "`Validators.numbers`", input_name, partial(fast.parse_body, body), partial(general.parse_body, body)
        )
    mixed, rows = regression(1).schema, rows_of(100, 1)
    input_name = "validate 100 parsed rows, a category"
    yield Case(
        "`RowValidators`", input_name, partial(validate_rows, mixed, rows), partial(validate_each_value, mixed, rows)
    )


def number_rows() -> Iterator[Case]:
    schema = regression().schema
    text = json.dumps(rows_of(1_000)).encode()[1:-1]
    general = partial(parse_and_validate, schema, b'{"rows":[%b]}' % text)
    yield Case("`NumberRows`", "parse and validate 1,000 rows", partial(read_number_rows, schema, text), general)
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows_of(1_000))
    names = [feature.name for feature in schema.features]
    table = "\n".join(
        [",".join(names), *(",".join(str(row[name]) for name in names) for row in rows_of(1_000))]
    ).encode()
    for name, common, decoder, body in (
        ("NDJSON", common_ndjson, NdjsonDecoder, lines),
        ("CSV", common_csv, CsvDecoder, table),
    ):
        yield Case(
            f"`{common.__name__}`",
            f"decode and validate 1,000 rows of {name}",
            partial(validated, common, schema, body),
            partial(decoded, decoder, schema, body),
        )


def validated(common: Callable[..., Block | None], schema: FeatureSchema, body: bytes) -> ValidatedRows:
    block = common(schema, body, MAX_ROWS)
    assert block is not None
    return block.validate(schema)


def decoded(decoder: Callable[..., TableDecoder], schema: FeatureSchema, body: bytes) -> ValidatedRows:
    block = decode_whole(decoder(schema, MAX_ROWS, MAX_BYTES), body)
    assert block is not None
    return block.validate(schema)


def parse_and_validate(schema: FeatureSchema, body: bytes) -> ValidatedRows:
    rows = schema.validators.parse_body(body)
    assert rows is not None
    return from_valid_rows(schema, rows)


def columns() -> Iterator[Case]:
    schema = regression().schema
    disabled = {"common_columns": (column_validation, lambda *_: None)}
    for count in (1, 1_000):
        call = partial(column_validation.validate_columns, schema, columns_of(rows_of(count)), count)
        yield case_with_replacement("`common_columns`", f"validate {counted_rows(count)} of columns", call, **disabled)
    mixed = columns_of(rows_of(1, 1))
    call = partial(column_validation.validate_columns, regression(1).schema, mixed, 1)
    yield case_with_replacement(
        "`SINGLE_ROW`", "validate 1 row of columns, a category", call, SINGLE_ROW=(column_validation, 0)
    )


def columns_of(rows: Sequence[Row]) -> dict[str, Column]:
    found = {name: Column(np.array([row[name] for row in rows])) for name in NUMBERS}
    for name in rows[0].keys() - found.keys():
        found[name] = Column(np.array([row[name] for row in rows], dtype=object))
    return found


def arrow_requests() -> Iterator[Case]:
    schema = regression().schema
    for count in (1, 1_000):
        body = stream_of(rows_of(count))
        input_name = f"decode and validate {counted_rows(count)} of Arrow"
        yield Case(
            "`common_block`", input_name, partial(block_of, schema, body), partial(decoded, ArrowDecoder, schema, body)
        )
    yield case_with_replacement(
        "`cached_header`, `cached_schema`",
        "decode and validate 100 rows of Arrow with text",
        partial(decoded, ArrowDecoder, regression(1).schema, stream_of(rows_of(100, 1))),
        cached_header=(arrow_decoder, arrow_messages.MessageHeader),
        cached_schema=(arrow_decoder, arrow_messages.read_schema),
    )


def stream_of(rows: Sequence[Row]) -> bytes:
    table = pa.Table.from_pylist([*rows])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def block_of(schema: FeatureSchema, body: bytes) -> ValidatedRows:
    block = common_block(schema, body, MAX_ROWS)
    assert block is not None
    return block.validate(schema)


def arrow_predictions() -> Iterator[Case]:
    model = regression()
    writer = RecordBatchWriter(model)
    for count in (1, 1_000):
        rows = from_valid_rows(model.schema, rows_of(count))
        predicted = model.predict(rows.frame)
        fast, general = partial(writer.message, rows, predicted, 0), partial(write_batch, writer, rows, predicted)
        yield Case("`RecordBatchWriter._fast_message`", f"write {counted_rows(count)} as Arrow", fast, general)


def write_batch(writer: RecordBatchWriter, rows: ValidatedRows, predicted: Outputs) -> bytes:
    return to_message(writer.batch(rows, predicted, 0))


def few_rows() -> Iterator[Case]:
    """Cases of special code for few rows, where NumPy's fixed cost dominates."""
    branches: list[tuple[str, TabularModel, Any, str]] = [
        ("`TargetScaling.unscale`", regression(), target_scaling, "FEW_VALUES"),
        ("`probabilities`", binary(), probabilities, "FEW_ROWS"),
        ("`Encoder.encode`", regression(categories=8), encoder, "FEW_ROWS"),
        ("`Outputs.all_finite`", regression(), outputs, "FEW_NUMBERS"),
    ]
    for name, model, owner, limit in branches:
        frame = model.schema.frames.from_rows(rows_of(4, len(model.schema.categorical)))
        case = case_with_replacement(
            name, "predict 4 rows", partial(predict_finite, model, frame), **{limit: (owner, 0)}
        )
        yield case._replace(digits=5)


def few_rows_of_ensemble() -> Iterator[Case]:
    """The case of products with sparse matrices in the default network."""
    rng = np.random.default_rng(0)
    network = build(ENSEMBLE, rng).for_inference()
    x = rng.normal(size=(4, ENSEMBLE.numbers)).astype(np.float32)
    call = partial(network.forward, x)
    case = case_with_replacement("`PeriodicFeatures`", "forward pass of 4 rows", call, FEW_ROWS=(input_block, 0))
    yield case._replace(digits=4)


def predict_finite(model: TabularModel, frame: Frame) -> Outputs:
    predicted = model.predict(frame)
    assert predicted.all_finite()
    return predicted
