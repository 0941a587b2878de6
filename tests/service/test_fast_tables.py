"""Fast paths for tables of numbers give the same results and responses as the general path."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import column_validation
from models.encoding.encoder import Encoder
from models.engines import NumpyEngine
from models.fast import arrow_block
from models.formats.record_batches import RecordBatchWriter, to_message
from models.frame import Frame
from models.network.layers import Dense
from models.network.network import Network
from models.outputs import Outputs
from models.rows import ValidatedRows
from models.tabular_model import TabularModel
from service.errors import RequestError
from service.http.asgi import Application
from service.protocols import oip_rows
from service.protocols.oip_tensors import InferRequest, InputTensor
from service.settings import Settings
from tests.models.fast.test_arrow_block import MAX_ROWS, NAMES, SCHEMA, body_of, columns_of

ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture(scope="module")
def number_model() -> TabularModel:
    x = np.random.default_rng(0).uniform(0, 9, (50, 3))
    encoder = Encoder.fit(SCHEMA, Frame(x, np.empty((50, 0), np.int64)), x.sum(axis=1), bins=0)
    layer = Dense(np.full((encoder.width, 1), 0.5), np.zeros(1))
    return TabularModel("1", SCHEMA, encoder, NumpyEngine(Network([layer]), "a test"))


@pytest.fixture
def asgi_app(make_app: Callable[..., Application], number_model: TabularModel) -> Iterator[Application]:
    asgi_app = make_app([number_model], Settings(max_rows=MAX_ROWS))
    yield asgi_app
    asgi_app.plane.close()


# Responses


@pytest.mark.parametrize("rows", [1, 2, 7, 64, 1000])
def test_fast_arrow_messages_equal_those_of_pyarrow(number_model: TabularModel, rows: int) -> None:
    table = RecordBatchWriter(number_model)
    values = np.random.default_rng(rows).normal(size=(rows, 1))
    accepted = ValidatedRows(Frame(np.zeros((rows, 3)), np.zeros((rows, 0), np.int64)), rows)
    for outputs in (Outputs(values), Outputs(-values)):
        assert table.message(accepted, outputs, 0) == to_message(table.batch(accepted, outputs, 0))


def test_responses_of_the_fast_path_equal_those_of_the_general_path(
    asgi_app: Application, asgi: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def send_request(body: bytes) -> Any:
        reply = asyncio.run(
            asgi(asgi_app, "POST", "/predict/numbers", body, "on_invalid=skip", {"content-type": ARROW})
        )
        assert reply.status == 200
        return pa.ipc.open_stream(reply.content).read_all()

    bodies = [body_of(columns_of(5)), body_of({**columns_of(3), "a": pa.array([1.0, 50.0, float("nan")])})]
    found = [send_request(body) for body in bodies]
    monkeypatch.setattr(arrow_block, "common_block", lambda *_: None)
    monkeypatch.setattr(RecordBatchWriter, "message", lambda self, *arrays: to_message(self.batch(*arrays)))
    assert found == [send_request(body) for body in bodies]
    assert [bool(text) for text in found[1]["error"].to_pylist()] == [False, False, True]


# Tensors


def validation_result(tensors: list[InputTensor]) -> Any:
    """The validated rows of tensors, or the error."""
    try:
        found = oip_rows.validate_inputs(SCHEMA, InferRequest(tensors, [], "", {"on_invalid": "skip"}), MAX_ROWS)
    except RequestError as error:
        return error.status, error.document()
    rows = found.frame.numbers.tolist()
    return found.count, str(rows), found.valid, [*found.errors], found.omitted, found.warnings


COMMON, ANY = (st.lists(st.tuples(*[cell] * 3), max_size=4) for cell in (st.integers(0, 9), st.floats(width=32)))


@given(COMMON | ANY, st.data())
@settings(max_examples=100, deadline=None)
def test_column_tensors_have_the_same_result_on_both_paths(rows: list[tuple[float, ...]], data: st.DataObject) -> None:
    """Some tensors take the fast path, others do not: columns in any order, extra dimensions, missing or repeated
    columns.
    """
    names = data.draw(st.permutations(NAMES) | st.sampled_from([["a", "b"], ["a", "a", "b"], [*NAMES, "x"]]))
    values = dict(zip(NAMES, np.array(rows, np.float32).reshape(-1, 3).T, strict=True))
    tensors = []
    for name in names:
        shape = data.draw(st.sampled_from([[len(rows)], [len(rows), 1]] * 4 + [[1, len(rows)]]))
        tensors.append(InputTensor(name, "FP32", shape, values.get(name, np.zeros(len(rows), np.float32))))
    found = validation_result(tensors)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oip_rows, "fast_columns", lambda *_: None)
        patch.setattr(column_validation, "common_columns", lambda *_: None)
        assert found == validation_result(tensors)
