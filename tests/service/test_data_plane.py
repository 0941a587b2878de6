"""The fast path through the data plane returns the same response as the general path, or None."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from models.architecture import Architecture
from models.encoding.encoder import Encoder
from models.engines import NumpyEngine
from models.fast.single_row import SingleRowPredictor, single_row_predictor
from models.feature import Feature, TrainingRange
from models.formats.json_encoder import JsonWriter
from models.frame import Frame, Row
from models.network.network import build
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from service.data_plane import DataPlane, PredictionContext
from service.errors import EngineFailed, RequestError
from service.routes.native import PredictRoute, predict_json
from service.settings import Settings

CLASSES: dict[str, Any] = {"regression": None, "binary": ["100 %", "no"], "multiclass": [1, 2, 5]}
FEATURES = [
    Feature(name="n", kind="number", nullable=True, seen=TrainingRange(min=-2, max=2)),
    Feature(name="few", kind="category", nullable=True, seen=TrainingRange(levels=["a", "b", "c"])),
]


def model_for_task(task: str) -> TabularModel:
    rng = np.random.default_rng(0)
    schema = FeatureSchema(name=task, task=task, target="y", classes=CLASSES[task], features=FEATURES)  # type: ignore[arg-type]
    frame = Frame(rng.uniform(-2, 2, (300, 1)), rng.integers(-2, 3, (300, 1)))
    encoder = Encoder.fit(schema, frame, frame.numbers[:, 0] if task == "regression" else None, numbers="quantile")
    outputs = 3 if task == "multiclass" else 1
    network = build(Architecture(encoder.width, hidden=(8,), outputs=outputs), rng)
    return TabularModel("1", schema, encoder, NumpyEngine(network, "test"))


@pytest.fixture(scope="module")
def plane() -> Iterator[DataPlane]:
    made = DataPlane([model_for_task(task) for task in CLASSES], Settings())
    made.start()
    yield made
    made.close()


def predict_fast(plane: DataPlane, name: str, body: bytes) -> bytes | None:
    found = PredictRoute(plane, plane.snapshot.find(name)).answer(body, b"")
    return None if found is None else found[0]


async def predict(plane: DataPlane, name: str, body: bytes) -> bytes:
    return await predict_json(plane, plane.snapshot.find(name), body, "fail", PredictionContext(time.monotonic() + 60))


ROW = st.fixed_dictionaries(
    {"n": st.one_of(st.none(), st.floats(-2, 2), st.integers(-3, 3))},
    optional={"few": st.sampled_from(["a", "b", "c", None, "d", 1])},
)


@examples(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(ROW, max_size=3), st.sampled_from([*CLASSES]))
def test_the_fast_path_returns_the_bytes_of_the_general_path_or_none(
    plane: DataPlane, rows: list[Row], task: str
) -> None:
    body = json.dumps({"rows": rows}).encode()
    fast = predict_fast(plane, task, body)
    try:
        response = asyncio.run(predict(plane, task, body))
    except RequestError:
        assert fast is None
    else:
        assert fast == (None if b"warnings" in response else response)


@pytest.mark.parametrize("task", [*CLASSES])
def test_a_common_row_of_any_task_takes_the_fast_path_and_is_counted(plane: DataPlane, task: str) -> None:
    served = plane.snapshot.find(task)
    assert isinstance(served._single_row, SingleRowPredictor)
    calls, rows = sum(served.counters.batch_rows.counts), served.counters.valid_rows
    assert predict_fast(plane, task, b'{"rows": [{"n": 1.5, "few": "a"}]}')
    assert sum(served.counters.batch_rows.counts) == calls + 1
    assert served.counters.valid_rows == rows + 1


def test_large_responses_are_written_in_a_thread(plane: DataPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    write, on_the_loop = JsonWriter.write, []

    def record_thread(*arguments: Any, **options: Any) -> bytes:
        on_the_loop.append(threading.current_thread() is threading.main_thread())
        return write(*arguments, **options)

    monkeypatch.setattr(JsonWriter, "write", record_thread)
    for count in (1000, 1001):
        body = json.dumps({"rows": [{"n": 1.5, "few": "a"}] * count}).encode()
        assert len(json.loads(asyncio.run(predict(plane, "regression", body)))["predictions"]) == count
    assert on_the_loop == [True, False]


class FailingForSingleRows:
    """An engine that fails for single rows only."""

    name, reason = "numpy", "test"

    def __init__(self, model: TabularModel) -> None:
        self.whole = model.engine

    def outputs(self, x: Any) -> Any:
        if len(x) == 1:
            raise ArithmeticError("poison")
        return self.whole.outputs(x)


@pytest.mark.parametrize("task", [*CLASSES])
def test_an_engine_failure_on_the_fast_path_is_reported_by_the_general_path(task: str) -> None:
    plane = DataPlane([model_for_task(task)], Settings())
    plane.start()
    served = plane.snapshot.find(task)
    served.model = TabularModel("1", served.model.schema, served.model.encoder, FailingForSingleRows(served.model))
    served.batcher.model = served.model
    served._single_row = single_row_predictor(served.model)
    body = b'{"rows": [{"n": 1.5, "few": "a"}]}'
    assert predict_fast(plane, task, body) is None
    with pytest.raises(EngineFailed):
        asyncio.run(predict(plane, task, body))
    plane.close()
