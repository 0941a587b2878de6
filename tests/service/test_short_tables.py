"""The short ways of tables of numbers and the long ones: the same verdicts and the same answers."""

import asyncio
import struct
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import column_validation
from models.encoding.encoder import Encoder
from models.engines import NumpyEngine
from models.feature import Feature, Seen
from models.formats import arrow_layout, arrow_messages, blocks
from models.formats.arrow_decoder import ArrowDecoder
from models.formats.arrow_layout import layout_of, plain_block
from models.formats.errors import FormatError
from models.formats.record_batches import RecordBatchWriter, message_of
from models.frame import Frame
from models.network.layers import Dense
from models.network.network import Network
from models.rows import ValidatedRows
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from service.errors import RequestError
from service.http.asgi import Application
from service.protocols import oip_rows
from service.protocols.oip_tensors import Inference, Tensor
from service.settings import Settings

NAMES = ["a", "b", "c"]
ARROW = "application/vnd.apache.arrow.stream"
MOST_ROWS, MOST_BYTES = 50, 100_000
KINDS = [pa.float64(), pa.float32(), pa.float16(), pa.int64(), pa.uint8(), pa.int16()]
OTHERS = [
    pa.bool_(),
    pa.string(),
    pa.timestamp("s"),
    pa.decimal128(9, 2),
    pa.null(),
    pa.dictionary(pa.int8(), pa.int32()),
]


@pytest.fixture(scope="module")
def numbers() -> TabularModel:
    features = [Feature(name=name, kind="number", nullable=name == "c", seen=Seen(min=0, max=9)) for name in NAMES]
    schema = FeatureSchema(name="numbers", task="regression", target="y", features=features)
    x = np.random.default_rng(0).uniform(0, 9, (50, 3))
    encoder = Encoder.fit(schema, Frame(x, np.empty((50, 0), np.int64)), x.sum(axis=1), bins=0)
    layer = Dense(np.full((encoder.width, 1), 0.5), np.zeros(1))
    return TabularModel("1", schema, encoder, NumpyEngine(Network([layer]), "a test"))


@pytest.fixture
def lane(make_lane: Callable[..., Application], numbers: TabularModel) -> Iterator[Application]:
    lane = make_lane([numbers], Settings(max_rows=MOST_ROWS))
    yield lane
    lane.plane.close()


def body_of(columns: Mapping[str, Any], *, chunk: int | None = None) -> bytes:
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return bytes(sink.getvalue().to_pybytes())


def usual(rows: int = 3, kind: Any = None) -> dict[str, Any]:
    return {name: pa.array([place + row % 5 for row in range(rows)], kind) for place, name in enumerate(NAMES)}


def verdict(schema: FeatureSchema, read: Callable[[], Any]) -> Any:
    """What is said of a body, in full: its frame's bytes, or the error and all that it tells."""
    try:
        block = read()
        if block is None:
            return "more than a block"
        found = block.validate(schema)
    except FormatError as error:
        return type(error), str(error)
    except RequestError as error:
        return error.status, error.document()
    rows = found.frame.numbers.tolist()
    return found.count, str(rows), found.valid, [*found.errors], found.omitted, found.warnings


def both(schema: FeatureSchema, body: bytes) -> tuple[bool, Any]:
    """Whether the body was read as views, and the verdict, which is pyarrow's too."""
    expected = verdict(schema, lambda: blocks.decode_whole(ArrowDecoder(schema, MOST_ROWS, MOST_BYTES), body))
    quick = plain_block(schema, body, MOST_ROWS)
    if quick is not None:
        assert verdict(schema, lambda: quick) == expected
    return quick is not None, expected


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_numbers_without_nulls_are_views_of_the_body(numbers: TabularModel, kind: Any) -> None:
    body = body_of(usual(kind=kind))
    quick, (count, rows, *_) = both(numbers.schema, body)
    assert (quick, count, rows) == (True, 3, str([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]))
    block: Any = plain_block(numbers.schema, body, MOST_ROWS)
    assert all(np.shares_memory(np.frombuffer(body, np.uint8), block.columns[name].values) for name in NAMES)


@pytest.mark.parametrize("kind", OTHERS, ids=str)
def test_of_all_else_pyarrow_speaks(numbers: TabularModel, kind: Any) -> None:
    strange = pa.array([1, 0, 1]).cast(pa.string()).cast(kind) if kind == pa.string() else pa.nulls(3, kind)
    assert not both(numbers.schema, body_of({**usual(), "c": strange}))[0]
    assert not both(numbers.schema, body_of({**usual(), "more": strange}))[0]


def test_shapes_that_are_not_one_batch_of_numbers(numbers: TabularModel) -> None:
    schema = numbers.schema
    for nulls in (pa.array([1.0, None, 2.0]), pa.nulls(3, pa.float64())):
        assert not both(schema, body_of({**usual(), "c": nulls}))[0]
    assert not both(schema, body_of(usual(4), chunk=2))[0]
    assert both(schema, body_of(usual(MOST_ROWS)))[0]
    assert both(schema, body_of(usual(MOST_ROWS + 1))) == (False, "more than a block")
    assert not both(schema, body_of(usual(0)))[0]
    assert not both(schema, body_of(usual())[: -len(arrow_messages.END)])[0]
    without_columns = pa.record_batch([pa.nulls(3)], ["x"]).select([])
    head = message_of(without_columns.schema)
    assert not both(schema, head + message_of(without_columns) + arrow_messages.END)[0]


def test_columns_in_another_order_and_more_of_them_and_less(numbers: TabularModel) -> None:
    a, b, c = usual().values()
    for columns in ({"c": c, "a": a, "b": b}, {"x": a, **usual()}, {"a": a, "c": c}, {"a": a, "b": b}, {"x": a}):
        assert both(numbers.schema, body_of(columns))[0]


@given(st.lists(st.tuples(*[st.floats(width=32)] * 3), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_numbers_get_the_same_verdict(numbers: TabularModel, rows: list[tuple[float, ...]]) -> None:
    """Also those that are missing, infinite or outside the range seen."""
    columns = dict(zip(NAMES, np.array(rows, np.float32).T, strict=True))
    assert both(numbers.schema, body_of(columns))[0]


def heads(body: bytes) -> int:
    """Where the numbers begin."""
    opening = 8 + struct.unpack_from("<i", body, 4)[0]
    return int(opening + 8 + struct.unpack_from("<i", body, opening + 4)[0])


HOSTILE = [0, 1, 4, 8, 63, 64, 2**16, 2**31 - 1, 2**32, 2**62, 2**63 - 1, -1, -8, -(2**63)]


def test_every_word_of_the_heads_may_be_hostile(numbers: TabularModel) -> None:
    """Offsets, lengths and counts of rows and nulls among them: never read outside, never another verdict."""
    body, quick = body_of(usual()), 0
    for place in range(0, heads(body) - 8, 8):
        for word in HOSTILE:
            changed = bytearray(body)
            struct.pack_into("<q", changed, place, word)
            quick += both(numbers.schema, bytes(changed))[0]
    assert quick > 0  # some changes say nothing new, and some that the numbers stand elsewhere


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_changed_bytes_get_the_same_verdict(numbers: TabularModel, data: st.DataObject) -> None:
    body = bytearray(body_of(usual()))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(body) - 1))
        body[place] = data.draw(st.integers(0, 255) | st.sampled_from([body[place] ^ 1, body[place] ^ 128]))
    for cut in (len(body), data.draw(st.integers(0, len(body)))):
        both(numbers.schema, bytes(body[:cut]))


def test_what_is_kept_of_layouts_holds_for_other_numbers_too(numbers: TabularModel) -> None:
    layout_of.cache_clear()
    for value in (1.0, 7.0, float("nan"), -1e300):
        quick, found = both(numbers.schema, body_of({name: pa.array([value, 1.0]) for name in NAMES}))
        assert quick
        assert str(value) in str(found) or found[2] == [1]
    assert (layout_of.cache_info().misses, layout_of.cache_info().hits) == (1, 3)


# Answers


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 1000])
def test_values_are_written_as_pyarrow_writes_them(numbers: TabularModel, rows: int) -> None:
    table = RecordBatchWriter(numbers)
    values = np.random.default_rng(rows).normal(size=(rows, 1))
    accepted = ValidatedRows(Frame(np.zeros((rows, 3)), np.zeros((rows, 0), np.int64)), rows)
    for answers in (values, -values):
        assert table.message(accepted, answers, 0) == message_of(table.batch(accepted, answers, 0))


def test_answers_are_the_same_both_ways(
    lane: Application, asgi: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(body: bytes) -> Any:
        reply = asyncio.run(asgi(lane, "POST", "/predict/numbers", body, "on_invalid=skip", {"content-type": ARROW}))
        assert reply.status == 200
        return pa.ipc.open_stream(reply.content).read_all()

    bodies = [body_of(usual(5)), body_of({**usual(3), "a": pa.array([1.0, 50.0, float("nan")])})]
    found = [ask(body) for body in bodies]
    monkeypatch.setattr(arrow_layout, "plain_block", lambda *_: None)
    monkeypatch.setattr(RecordBatchWriter, "message", lambda self, *given: message_of(self.batch(*given)))
    assert found == [ask(body) for body in bodies]
    assert [bool(text) for text in found[1]["error"].to_pylist()] == [False, False, True]


# Tensors


USUAL, ANY = (st.lists(st.tuples(*[cell] * 3), max_size=4) for cell in (st.integers(0, 9), st.floats(width=32)))


@given(USUAL | ANY, st.data())
@settings(max_examples=100, deadline=None)
def test_tensors_a_column_get_the_verdict_of_columns(
    numbers: TabularModel, rows: list[tuple[float, ...]], data: st.DataObject
) -> None:
    """Short way or not, in any order, with a shape too many, a column too few, or one twice."""
    names = data.draw(st.permutations(NAMES) | st.sampled_from([["a", "b"], ["a", "a", "b"], [*NAMES, "x"]]))
    given = dict(zip(NAMES, np.array(rows, np.float32).reshape(-1, 3).T, strict=True))
    tensors = []
    for name in names:
        shape = data.draw(st.sampled_from([[len(rows)], [len(rows), 1]] * 4 + [[1, len(rows)]]))
        tensors.append(Tensor(name, "FP32", shape, given.get(name, np.zeros(len(rows), np.float32))))
    found = verdict(numbers.schema, lambda: Tensors(tensors))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oip_rows, "common_columns", lambda *_: None)
        patch.setattr(column_validation, "common_numbers", lambda *_: None)
        assert found == verdict(numbers.schema, lambda: Tensors(tensors))


class Tensors:
    """Tensors in the place of a block."""

    def __init__(self, tensors: list[Tensor]) -> None:
        self._asked = Inference(tensors, [], "", {"on_invalid": "skip"})

    def validate(self, schema: FeatureSchema) -> ValidatedRows:
        return oip_rows.accept(schema, self._asked, MOST_ROWS)
