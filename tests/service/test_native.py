"""A large JSON body is read in blocks with the same result as when read as a whole."""

import asyncio
import json
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from models.architecture import Architecture
from models.encoding.encoder import Encoder
from models.engines import NumpyEngine
from models.feature import Feature, Ignored, TrainingRange
from models.frame import Frame
from models.network.network import build
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.text import nearest
from models.validators import RowValidators
from service.data_plane import DataPlane, PredictionContext
from service.errors import RequestError, TooManyRows
from service.protocols import json_blocks, native
from service.routes.native import predict_json
from service.settings import Settings

SCHEMA = FeatureSchema(
    name="t",
    task="regression",
    target="y",
    features=[
        Feature(name="n", kind="number", nullable=False, minimum=-100, seen=TrainingRange(min=0, max=9)),
        Feature(name="c", kind="category", nullable=True, seen=TrainingRange(levels=["a", "},{", '"'])),
        Feature(name="d", kind="date", nullable=True, seen=TrainingRange(min="2000-01-01", max="2020-12-31")),
    ],
    ignored=[Ignored(name="id", reason="different in every row")],
)
NUMBERS = FeatureSchema(
    name="t",
    task="regression",
    target="y",
    features=[Feature(name=name, kind="number", nullable=False) for name in "nm"],
)


@contextmanager
def block_size(size: int) -> Iterator[None]:
    with mock.patch.object(json_blocks, "BLOCK_BYTES", size), mock.patch.object(native, "LARGE_BODY_BYTES", size):
        yield


def validation_result(schema: FeatureSchema, body: bytes, on_invalid: str, most: int) -> Any:
    """The validated rows of a body, or the error."""
    try:
        accepted = native.validate_request(schema, body, on_invalid, most)
    except RequestError as error:
        return type(error), error.document()
    frame, valid = accepted.frame, accepted.valid
    return (
        [matrix.tobytes() for matrix in frame],
        [matrix.shape for matrix in frame],
        accepted.count,
        None if valid is None else [*valid],
        [*accepted.errors],
        accepted.omitted,
        {row: [*warnings] for row, warnings in accepted.warnings.items()},
    )


def assert_same_result(schema: FeatureSchema, body: bytes, on_invalid: str, size: int, most: int) -> None:
    with block_size(size):
        in_pieces = validation_result(schema, body, on_invalid, most)
    assert in_pieces == validation_result(schema, body, on_invalid, most)


CELLS = st.one_of(
    st.integers(-200, 200),
    st.floats(allow_nan=False),
    st.none(),
    st.booleans(),
    st.sampled_from(["a", "},{", "]}", '"', "\\", "2013-04-01", "é", "x"]),
)
DEEP = st.recursive(CELLS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner))
GOOD = {
    "n": st.one_of(st.integers(-20, 20), st.floats(0, 9)),
    "c": st.sampled_from(["a", "},{", '"', "new", None]),
    "d": st.sampled_from(["2013-04-01", "1999-01-01", None]),
}
ROW = st.one_of(
    st.fixed_dictionaries({"n": GOOD["n"]}, optional={"c": GOOD["c"], "d": GOOD["d"]}),
    st.fixed_dictionaries({"n": GOOD["n"]}, optional={"c": GOOD["c"], "id": DEEP}),
    st.dictionaries(st.sampled_from(["n", "c", "d", "id", "m", "zz"]), CELLS, max_size=4),
)
ROWS = st.lists(st.one_of(ROW, ROW, ROW, CELLS), max_size=12) | st.lists(st.lists(CELLS | ROW, max_size=2), max_size=9)
STYLES = st.sampled_from([{"separators": (",", ":")}, {}, {"indent": 1}, {"ensure_ascii": False}])
READ_OPTIONS = (st.sampled_from(["fail", "skip", "other"]), st.integers(0, 60), st.sampled_from([3, 100]))


@examples(max_examples=600, deadline=None)
@given(ROWS, STYLES, *READ_OPTIONS)
def test_random_rows_are_read_in_blocks_with_the_same_result(
    rows: list[Any], style: Any, on_invalid: str, size: int, most: int
) -> None:
    assert_same_result(SCHEMA, json.dumps({"rows": rows}, **style).encode(), on_invalid, size, most)


@examples(max_examples=200, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from("nmx"), CELLS), min_size=1, max_size=9), STYLES, *READ_OPTIONS)
def test_random_number_rows_are_read_in_blocks_with_the_same_result(
    rows: list[Any], style: Any, on_invalid: str, size: int, most: int
) -> None:
    assert_same_result(NUMBERS, json.dumps({"rows": rows}, **style).encode(), on_invalid, size, most)


TOKENS = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "\\",
    " ",
    "\n",
    '"rows"',
    '"rows":[',
    '{"n":1}',
    '{"n":2},',
    "},{",
    '"n":3',
    "1",
]
TOKENS += ["]}", '{"n":1,"id":[{"a":1},{"b":2}]}', '"id":"},{"', "NaN", "\x00", "\xff", '{"n":', "1e999", "9" * 4400]


@examples(max_examples=1500, deadline=None)
@given(st.lists(st.sampled_from(TOKENS), max_size=14).map("".join), st.booleans(), *READ_OPTIONS)
@example('{"n":1}],"rows":[{"n":2}', True, "fail", 0, 100)
@example('{"n":1}],[{"n":2}', True, "fail", 0, 100)
@example('{"n":1},,{"n":2}', True, "fail", 0, 100)
@example('{"n":1},', True, "fail", 0, 100)
@example('{"n":1,"id":"},{"},{"n":2}', True, "fail", 0, 100)
@example('{"n":1},{"n":2,"id":[{},{}]},{"n":3}', True, "fail", 0, 100)
@example('{"n":1},{"n":2}],"x":[{"n":3}', True, "skip", 0, 100)
def test_random_text_is_read_in_blocks_with_the_same_result(
    text: str, framed: bool, on_invalid: str, size: int, most: int
) -> None:
    """Invalid JSON has the same error messages, too."""
    body = ('{"rows":[' + text + "]}" if framed else text).encode("latin-1")
    assert_same_result(SCHEMA, body, on_invalid, size, most)


@pytest.mark.parametrize("depth", range(190, 206))
def test_the_depth_limit_is_the_same_in_blocks(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    assert_same_result(SCHEMA, ('{"rows":[{"n":1},{"n":2,"id":' + deep + "}]}").encode(), "fail", 0, 100)


def test_the_number_of_listed_errors_is_the_same_in_blocks() -> None:
    rows = [{"n": "x", "zz": 1} for _ in range(130)] + [{"n": 1}]
    body = json.dumps({"rows": rows}).encode()
    assert_same_result(SCHEMA, body, "fail", 100, 1000)
    assert_same_result(SCHEMA, body, "skip", 100, 1000)


def wide_model(columns: int) -> TabularModel:
    rng = np.random.default_rng(0)
    names = [f"c{number}" for number in range(columns)]
    features = [Feature(name=name, kind="number", nullable=False, seen=TrainingRange(min=-9, max=9)) for name in names]
    schema = FeatureSchema(name="wide", task="regression", target="y", features=features)
    frame = Frame(rng.normal(size=(300, columns)), np.empty((300, 0), np.int64))
    encoder = Encoder.fit(schema, frame, frame.numbers[:, 0], bins=0)
    network = build(Architecture(encoder.width, hidden=(8,)), rng)
    return TabularModel("1", schema, encoder, NumpyEngine(network, "test"))


def test_a_large_body_is_parsed_in_small_blocks_outside_the_event_loop() -> None:
    """The parser holds the GIL, so that the event loop waits for the parsing of one block at most."""
    model = wide_model(200)
    plane = DataPlane([model], Settings())
    plane.start()
    numbers = np.random.default_rng(0).normal(size=(100, 200)).tolist()
    rows = [dict(zip(model.schema.by_name, row, strict=True)) for row in numbers]
    body = json.dumps({"rows": rows * 5}).encode()  # 2.8 MB
    blocks: list[tuple[int, int]] = []
    parse_block = json_blocks.parse_block

    def record_block(schema: FeatureSchema, text: bytes) -> Any:
        blocks.append((len(text), threading.get_ident()))
        return parse_block(schema, text)

    async def predict() -> bytes:
        context = PredictionContext(time.monotonic() + 300)
        return await predict_json(plane, plane.snapshot.find("wide"), body, "fail", context)

    clock = mock.Mock(wraps=time)
    whole = mock.Mock(side_effect=AssertionError("the body is parsed as a whole"))
    with (
        mock.patch.object(json_blocks, "parse_block", record_block),
        mock.patch.object(RowValidators, "parse_body", whole),
        mock.patch.object(json_blocks, "time", clock),
    ):
        assert asyncio.run(predict()).count(b"value") == 500
    plane.close()
    row_bytes = len(body) / 500
    assert max(size for size, _ in blocks) <= json_blocks.BLOCK_BYTES + 2 * row_bytes
    assert threading.get_ident() not in {thread for _, thread in blocks}
    assert clock.sleep.call_count == len(blocks)  # after each block other threads can acquire the GIL


def test_all_blocks_of_numbers_are_read_as_matrices() -> None:
    schema = wide_model(50).schema
    rows = [dict.fromkeys(schema.by_name, number / 3) for number in range(500)]
    body = json.dumps({"rows": rows}).encode()
    with mock.patch.object(RowValidators, "_parse", side_effect=AssertionError("the rows are parsed as objects")):
        blocks = json_blocks.validate(schema, body, 1000)
    assert blocks is not None
    assert blocks.frame.numbers.tolist() == [[*row.values()] for row in rows]


def peak_memory(work: Callable[[], object]) -> int:
    """The peak memory of Python objects during a call."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_lists_instead_of_rows_are_counted_in_bounded_memory() -> None:
    body = b'{"rows":[' + b" [1] ,\n" * 300_000 + b"[1]]}"
    assert_same_result(SCHEMA, b'{"rows":[' + b"[1]," * 30 + b'[{"n":1}],{"n":1},[2]]}', "skip", 8, 100)

    def read_body() -> None:
        with pytest.raises(TooManyRows, match=r"300,?001"):
            native.validate_request(SCHEMA, body, "fail", 1000)

    assert peak_memory(read_body) < peak_memory(lambda: orjson.loads(body)) / 5


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "unknown columns": lambda n: b'{"rows":[{"n":1,' + b",".join(b'"k%d":1' % i for i in range(n)) + b"}]}",
    "unknown keys": lambda n: b'{"rows":[{"n":1}],' + b",".join(b'"k%d":1' % i for i in range(n)) + b"}",
    "rows that are not objects": lambda n: b'{"rows":[' + b"1," * n + b"1]}",
}


@pytest.mark.parametrize("schema", [SCHEMA, NUMBERS], ids=["mixed", "numbers"])
@pytest.mark.parametrize("kind", [*HOSTILE])
def test_many_errors_are_reported_in_bounded_memory(kind: str, schema: FeatureSchema) -> None:
    """Pydantic would create an error of 400 bytes for each row. The bound excludes the memory for parsing."""
    body = HOSTILE[kind](100_000)

    def read_body() -> None:
        with pytest.raises(RequestError) as refused:
            native.validate_request(schema, body, "fail", 10**6)
        assert json.loads(refused.value.document())["errors_omitted"] > 99_000

    with mock.patch("models.text.nearest", wraps=nearest) as nearest_calls:
        used = peak_memory(read_body)
    assert used < 4 * peak_memory(lambda: json.loads(body))
    assert nearest_calls.call_count <= 100
