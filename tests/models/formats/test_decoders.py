"""In every format, the same rows give the same result, and bytes that cannot be decoded raise a FormatError."""

import csv
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.formats import blocks
from models.formats.arrow_decoder import ArrowDecoder
from models.formats.blocks import TableDecoder
from models.formats.csv_decoder import CsvDecoder
from models.formats.errors import EmptyTable, FormatError, TooLarge, UnsupportedType
from models.formats.ndjson_decoder import NdjsonDecoder
from models.formats.parquet_decoder import ParquetDecoder
from models.rows import ValidatedRows, concatenate, validate_each_value
from models.schema import FeatureSchema
from tests.models.income import SCHEMA, assert_same

Row = dict[str, Any]
DECODERS: dict[str, Callable[[FeatureSchema, int, int], TableDecoder]] = {
    "ndjson": NdjsonDecoder,
    "csv": CsvDecoder,
    "arrow": ArrowDecoder,
    "parquet": ParquetDecoder,
}
MAX_BYTES = 10**6
ROW = st.fixed_dictionaries(
    {
        "age": st.integers(-3, 130),
        "capital gain": st.none() | st.floats(-10, 200, width=32),
        "member": st.booleans(),
        "job": st.none() | st.sampled_from(["clerk", "pilot"]),
        "zip": st.none() | st.sampled_from([1.0, 2.5, 7.0]),
        "since": st.none() | st.sampled_from(["2020-01-01", "1980-05-05"]),
        "user": st.sampled_from(["a", "b"]),
    }
)


def arrow_table(rows: Sequence[Row]) -> pa.Table:
    return pa.table({name: [row[name] for row in rows] for name in rows[0]})


def encoded(form: str, rows: Sequence[Row]) -> bytes:
    if form == "ndjson":
        return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    if form == "csv":
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(rows[0])
        for row in rows:
            cells = [row[name] for name in rows[0]]
            writer.writerow(["" if cell is None else json.dumps(cell).strip('"') for cell in cells])
        return text.getvalue().encode()
    sink = io.BytesIO()
    table = arrow_table(rows)
    if form == "parquet":
        pq.write_table(table, sink)
    else:
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    return sink.getvalue()


def validated(decoder: TableDecoder, body: bytes, chunk: int) -> ValidatedRows:
    """All rows of a body that arrives in chunks, block by block."""
    found: list[ValidatedRows] = []

    def take(block: blocks.Block) -> None:
        found.append(block.validate(SCHEMA, first_row=sum(one.count for one in found)))

    for start in range(0, len(body), chunk):
        for block in decoder.feed(body[start : start + chunk]):
            take(block)
    for block in decoder.rest():
        take(block)
    decoder.close()
    return concatenate(found)


@pytest.mark.parametrize("form", DECODERS)
@given(rows=st.lists(ROW, min_size=1, max_size=12), block_rows=st.integers(1, 13), chunk=st.sampled_from([1, 7, 1000]))
@settings(max_examples=40, deadline=None)
def test_rows_give_the_same_result_in_every_format(form: str, rows: list[Row], block_rows: int, chunk: int) -> None:
    decoder = DECODERS[form](SCHEMA, block_rows, MAX_BYTES)
    assert_same(validated(decoder, encoded(form, rows), chunk), validate_each_value(SCHEMA, rows))


ONE: Row = {"age": 40, "member": True}


@pytest.mark.parametrize(
    ("form", "body", "error", "message"),
    [
        ("csv", b"", EmptyTable, "no rows"),
        ("csv", b"age,member\n", EmptyTable, "no rows"),
        ("ndjson", b" \n\n", EmptyTable, "no rows"),
        ("csv", b"age,age\n1,2\n", FormatError, "its header contains 'age' twice"),
        ("csv", b"age\n\xff\n", FormatError, "it is not UTF-8 text"),
        ("csv", b'age\n"1\n', FormatError, "it is not CSV"),
        ("arrow", b"", FormatError, "it is not an Arrow stream"),
        ("arrow", b"12345678", FormatError, "it is not an Arrow stream"),
        ("arrow", encoded("arrow", [ONE])[:-9], FormatError, "cut off"),
        ("arrow", encoded("arrow", [{"age": [1]}]), UnsupportedType, "column 'age': its type list<item: int64>"),
        ("parquet", b"PAR1", FormatError, "Parquet"),
        ("parquet", encoded("parquet", [ONE] * (MAX_BYTES // 8 + 1)), TooLarge, "larger than 1000000 bytes"),
    ],
)
def test_undecodable_body_raises_a_format_error(form: str, body: bytes, error: type[FormatError], message: str) -> None:
    with pytest.raises(FormatError, match=message) as refused:
        blocks.decode_whole(DECODERS[form](SCHEMA, 100, MAX_BYTES), body)
    assert type(refused.value) is error


def test_line_that_is_not_json_is_reported_for_its_row() -> None:
    block = blocks.decode_whole(NdjsonDecoder(SCHEMA, 9, MAX_BYTES), b'\xef\xbb\xbf{"age":40,"member":true}\n{"age":\n')
    assert block is not None
    found = block.validate(SCHEMA)
    assert [(error.row, error.code) for error in found.errors] == [(1, "bad_json")]
    assert found.errors[0].message.startswith("row 1: the line is not JSON: ")
    assert found.valid == [0]


def test_body_with_too_many_rows_is_not_one_block() -> None:
    for form, decoder in DECODERS.items():
        body = encoded(form, [ONE] * 5)
        assert blocks.decode_whole(decoder(SCHEMA, 4, MAX_BYTES), body) is None
        assert blocks.decode_whole(decoder(SCHEMA, 5, MAX_BYTES), body) is not None


def test_blocks_of_long_lines_have_a_limited_size() -> None:
    line = json.dumps({**ONE, "id": "x" * 1000}).encode() + b"\n"
    decoder = NdjsonDecoder(SCHEMA, 10_000, max_bytes=10 * len(line))
    assert [block.count for block in decoder.feed(line * 100)] == [100]
    assert [block.count for _ in range(12) for block in decoder.feed(line)] == [11]
