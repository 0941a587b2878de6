"""Plain BentoML services: an endpoint with a pydantic row, without and with BentoML's batching."""

import bentoml
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from loadtest.bench.bare_asgi import FIELDS, W1, W2, b1, b2

Matrix = npt.NDArray[np.float32]


class Row(BaseModel):
    """One block of houses."""

    MedInc: float
    HouseAge: float
    AveRooms: float
    AveBedrms: float
    Population: float
    AveOccup: float
    Latitude: float
    Longitude: float


class Prediction(BaseModel):
    value: float


class PredictionList(BaseModel):
    predictions: list[Prediction]


def forward(rows: list[Row]) -> Matrix:
    """(rows, 1)"""
    x = np.array([[getattr(row, name) for name in FIELDS] for row in rows], dtype=np.float32)
    y: Matrix = np.maximum(x @ W1 + b1, 0) @ W2 + b2
    return y


@bentoml.service(workers=1)
class Plain:
    """`@bentoml.api` as in BentoML's documentation."""

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    def predict(self, rows: list[Row]) -> PredictionList:
        return PredictionList(predictions=[Prediction(value=value) for value in forward(rows)[:, 0].tolist()])


@bentoml.service(workers=1)
class Batched:
    """The service with `batchable=True`: rows of several requests are predicted in one call."""

    @bentoml.api(route="/predict", batchable=True, max_batch_size=1000, max_latency_ms=10_000)  # type: ignore[untyped-decorator]
    def predict(self, rows: list[Row]) -> list[Prediction]:
        return [Prediction(value=value) for value in forward(rows)[:, 0].tolist()]
