"""One batch of numbers is read as views of its bytes, with the same result as from pyarrow."""

import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.fast.arrow_block import common_block, read_layout
from models.feature import Feature, TrainingRange
from models.formats import arrow_messages, blocks
from models.formats.arrow_decoder import ArrowDecoder
from models.formats.blocks import Block
from models.formats.errors import FormatError
from models.formats.record_batches import to_message
from models.schema import FeatureSchema

NAMES = ["a", "b", "c"]
MAX_ROWS, MAX_BYTES = 50, 100_000
KINDS = [pa.float64(), pa.float32(), pa.float16(), pa.int64(), pa.uint8(), pa.int16()]
OTHERS = [
    pa.bool_(),
    pa.string(),
    pa.timestamp("s"),
    pa.decimal128(9, 2),
    pa.null(),
    pa.dictionary(pa.int8(), pa.int32()),
]
SCHEMA = FeatureSchema(
    name="numbers",
    task="regression",
    target="y",
    features=[
        Feature(name=name, kind="number", nullable=name == "c", seen=TrainingRange(min=0, max=9)) for name in NAMES
    ],
)


def body_of(columns: Mapping[str, Any], *, chunk: int | None = None) -> bytes:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return bytes(sink.getvalue().to_pybytes())


def columns_of(rows: int = 3, kind: Any = None) -> dict[str, Any]:
    return {name: pa.array([place + row % 5 for row in range(rows)], kind) for place, name in enumerate(NAMES)}


def result(decode: Callable[[], Block | None]) -> Any:
    """The result of reading a body: the rows of its frame, or the error."""
    try:
        block = decode()
    except FormatError as error:
        return type(error), str(error)
    if block is None:
        return "more than a block"
    found = block.validate(SCHEMA)
    rows = found.frame.numbers.tolist()
    return found.count, str(rows), found.valid, [*found.errors], found.omitted, found.warnings


def read_as_views(body: bytes) -> tuple[bool, Any]:
    """Whether a body is read as views, and its result; asserts that the views give the result of pyarrow."""
    expected = result(lambda: blocks.decode_whole(ArrowDecoder(SCHEMA, MAX_ROWS, MAX_BYTES), body))
    views = common_block(SCHEMA, body, MAX_ROWS)
    if views is not None:
        assert result(lambda: views) == expected
    return views is not None, expected


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_numbers_without_nulls_are_read_as_views_of_the_body(kind: Any) -> None:
    body = body_of(columns_of(kind=kind))
    as_views, (count, rows, *_) = read_as_views(body)
    assert (as_views, count, rows) == (True, 3, str([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]))
    block: Any = common_block(SCHEMA, body, MAX_ROWS)
    assert all(np.shares_memory(np.frombuffer(body, np.uint8), block.columns[name].values) for name in NAMES)


@pytest.mark.parametrize("kind", OTHERS, ids=str)
def test_other_arrow_bodies_are_left_to_pyarrow(kind: Any) -> None:
    other = pa.array([1, 0, 1]).cast(pa.string()).cast(kind) if kind == pa.string() else pa.nulls(3, kind)
    assert not read_as_views(body_of({**columns_of(), "c": other}))[0]
    assert not read_as_views(body_of({**columns_of(), "more": other}))[0]


def test_bodies_that_are_not_one_batch_of_numbers_are_not_recognised() -> None:
    for nulls in (pa.array([1.0, None, 2.0]), pa.nulls(3, pa.float64())):
        assert not read_as_views(body_of({**columns_of(), "c": nulls}))[0]
    assert not read_as_views(body_of(columns_of(4), chunk=2))[0]
    assert read_as_views(body_of(columns_of(MAX_ROWS)))[0]
    assert read_as_views(body_of(columns_of(MAX_ROWS + 1))) == (False, "more than a block")
    assert not read_as_views(body_of(columns_of(0)))[0]
    assert not read_as_views(body_of(columns_of())[: -len(arrow_messages.END)])[0]
    without_columns = pa.record_batch([pa.nulls(3)], ["x"]).select([])
    head = to_message(without_columns.schema)
    assert not read_as_views(head + to_message(without_columns) + arrow_messages.END)[0]


def test_reordered_additional_and_absent_columns_give_the_result_of_pyarrow() -> None:
    a, b, c = columns_of().values()
    for columns in ({"c": c, "a": a, "b": b}, {"x": a, **columns_of()}, {"a": a, "c": c}, {"a": a, "b": b}, {"x": a}):
        assert read_as_views(body_of(columns))[0]


@given(st.lists(st.tuples(*[st.floats(width=32)] * 3), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_arbitrary_numbers_give_the_result_of_pyarrow(rows: list[tuple[float, ...]]) -> None:
    """The numbers include missing and infinite ones, and numbers outside the range seen."""
    columns = dict(zip(NAMES, np.array(rows, np.float32).T, strict=True))
    assert read_as_views(body_of(columns))[0]


def heads(body: bytes) -> int:
    """The position at which the numbers begin."""
    opening = 8 + struct.unpack_from("<i", body, 4)[0]
    return int(opening + 8 + struct.unpack_from("<i", body, opening + 4)[0])


HOSTILE = [0, 1, 4, 8, 63, 64, 2**16, 2**31 - 1, 2**32, 2**62, 2**63 - 1, -1, -8, -(2**63)]


def test_malicious_headers_give_the_result_of_pyarrow() -> None:
    """With changed offsets, lengths and counts, nothing outside the body is read and the result is that of pyarrow."""
    body, as_views = body_of(columns_of()), 0
    for place in range(0, heads(body) - 8, 8):
        for word in HOSTILE:
            changed = bytearray(body)
            struct.pack_into("<q", changed, place, word)
            as_views += read_as_views(bytes(changed))[0]
    assert as_views > 0  # some changes have no effect, and others move the numbers


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_changed_bytes_give_the_result_of_pyarrow(data: st.DataObject) -> None:
    body = bytearray(body_of(columns_of()))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place] = data.draw(st.integers(0, 255) | st.sampled_from([body[place] ^ 1, body[place] ^ 128]))
    for cut in (len(body), data.draw(st.integers(0, len(body)))):
        read_as_views(bytes(body[:cut]))


def test_cached_layout_applies_to_other_numbers() -> None:
    read_layout.cache_clear()
    for value in (1.0, 7.0, float("nan"), -1e300):
        as_views, found = read_as_views(body_of({name: pa.array([value, 1.0]) for name in NAMES}))
        assert as_views
        assert str(value) in str(found) or found[2] == [1]
    assert (read_layout.cache_info().misses, read_layout.cache_info().hits) == (1, 3)
