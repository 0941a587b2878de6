"""An endpoint around Keras' `Model.predict`, as in tutorials. The endpoint uses Starlette, the base of FastAPI, because
FastAPI is not installed; it would also validate each request.
"""

import os

import keras
import numpy as np
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from models import keras_nets  # noqa: F401 - registers our layers, which the file contains

model = keras.saving.load_model(os.environ["BENCH_KERAS"], compile=False)


async def predict(request: Request) -> JSONResponse:
    rows = (await request.json())["rows"]
    x = np.array([list(row.values()) for row in rows], dtype=np.float32)
    y = model.predict(x, verbose=0)
    return JSONResponse({"predictions": [{"value": value} for value in y[:, 0].tolist()]})


app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
