"""The typed endpoint of each model for BentoML's schema, client and method calls. HTTP requests do not use it."""

import time
from collections.abc import Callable
from typing import Any

import bentoml
import orjson

from models.tabular_model import TabularModel
from service.data_plane import DataPlane, PredictionContext
from service.openapi import schemas
from service.registry import Snapshot


def typed_endpoint(model: TabularModel, plane: DataPlane) -> Any:
    """The typed endpoint of a model, which predicts with the champion."""
    return bentoml.api(route=f"/predict/{model.name}")(predict_function(model, plane))


def endpoint_name(model: str) -> str:
    return f"predict_{model}"


def predict_function(model: TabularModel, plane: DataPlane) -> Callable[..., Any]:
    name = model.name

    async def predict(self: Any, rows: Any) -> Any:
        from service.routes.native import predict_json  # imports all table formats, which the supervisor does not need

        context = PredictionContext(time.monotonic() + plane.settings.timeout_s)
        body = orjson.dumps({"rows": rows})
        return orjson.loads(await predict_json(plane, plane.snapshot.find(name), body, "fail", context))

    predict.__name__ = predict.__qualname__ = endpoint_name(name)
    predict.__doc__ = f"Predict {model.schema.target}."
    rows_type, response_type = schemas.native_types(model)
    predict.__annotations__ = {"rows": rows_type, "return": response_type}
    return predict


def endpoints_of(snapshot: Snapshot, plane: DataPlane) -> dict[str, Any]:
    """The endpoints of all champions, by the names of their methods, for `Service.apis`."""
    return {endpoint_name(model.name): typed_endpoint(model, plane) for model in snapshot.champions}
