"""TF Serving's REST API and KServe's v1 protocol in the OpenAPI document."""

from collections.abc import Sequence
from typing import Any

from models.tabular_model import TabularModel
from models.text import counted
from service.openapi.operations import ANY, JSON_OBJECT, LISTED, json_body, operation
from service.openapi.responses import MODEL, PREDICTION, READINESS, TIMEOUT_HEADER, ErrorGroup, text_form
from service.openapi.schemas import Schema, example_rows
from service.protocols import tfserving
from service.settings import Settings

TAG = "TF Serving and KServe v1"
FORM = text_form("error")
EXPLAIN_PARAMETERS: Schema = {
    "type": "object",
    "properties": {"explain": {"enum": [True, "true", "fast"], "default": True}},
}


def paths(models: Sequence[TabularModel], settings: Settings) -> dict[str, Any]:
    paths = {"/v1/models": model_info("/v1/models", "List the names of the models")}
    for model in models:
        path = f"/v1/models/{model.name}"
        paths[path] = model_info(path, f"Status of {model.name}", MODEL)
        paths[f"{path}/metadata"] = model_info(f"{path}/metadata", f"Signatures of {model.name}", MODEL)
        other = "regress" if model.schema.classes is None else "classify"
        paths |= {f"{path}:{method}": predict(model, method, settings) for method in ("predict", other)}
        if model.background is not None:
            paths[f"{path}:explain"] = explain(model, settings)
    return paths


def model_info(path: str, summary: str, raised: ErrorGroup = ()) -> Schema:
    return operation(TAG, path, "get", summary, JSON_OBJECT, FORM, (*READINESS, *TIMEOUT_HEADER, *raised))


def explain(model: TabularModel, settings: Settings) -> Schema:
    """The operation of KServe's `:explain`. Its rows have the format of `:predict`."""
    rows = {"instances": LISTED, "inputs": ANY, "parameters": EXPLAIN_PARAMETERS}
    response = {"type": "object", "properties": {"predictions": LISTED, "explanations": LISTED}}
    return operation(
        TAG,
        f"/v1/models/{model.name}:explain",
        "post",
        f"Predict {model.schema.target} and explain the predictions",
        {"application/json": {"schema": response}},
        FORM,
        PREDICTION,
        description=f"Model {model.tag}. explain=fast compares with one typical row.",
        requestBody=json_body("ExplainRequest", rows, {"instances": example_rows(model)}),
    )


def predict(model: TabularModel, method: str, settings: Settings) -> Schema:
    """The operation of one method. Its rows have the format of /predict, except that a value may be a list with one
    value."""
    rows = example_rows(model)
    names = {"type": "string", "enum": ["", *tfserving.SIGNATURES[method]]}
    if method == "predict":
        properties = {"signature_name": names, "instances": LISTED, "inputs": ANY}
        body = json_body("PredictRequest", properties, {"instances": rows})
    else:
        properties = {"signature_name": names, "examples": LISTED, "context": {"type": "object"}}
        body = json_body(f"{method.title()}Request", properties, {"examples": rows}, ["examples"])
    return operation(
        TAG,
        f"/v1/models/{model.name}:{method}",
        "post",
        f"Predict {model.schema.target}",
        JSON_OBJECT,
        FORM,
        PREDICTION,
        description=f"Model {model.tag}, up to {counted(settings.max_rows, 'row')}. NaN is a missing value.",
        requestBody=body,
    )
