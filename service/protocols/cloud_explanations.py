"""Explanations in the formats of Vertex AI and SageMaker Clarify. Pure functions.

Vertex AI: the response of `:explain`, an attribution for each row, with the names of its `ExplainResponse`. Clarify:
the response to a request with the header `X-Amzn-SageMaker-Enable-Explanations`. It wraps the response to the same
request without the header, and adds the contributions to the value or to the predicted label's probability.
"""

from typing import Any

import numpy as np

from models.json_text import dumps
from models.optional_columns import BASELINE, CONTRIBUTIONS, DETAILS
from models.outputs import Outputs
from models.tabular_model import TabularModel
from models.text import class_key, truncate
from service.errors import RequestNotValid
from service.protocols.parsing import error_entry, invalid_request

CLARIFY_VERSION = "1.0"
ENABLED = {"`true`": True, "true": True, "`false`": False, "false": False}


def clarify_enabled(header: bytes) -> bool:
    """Whether the header requests explanations. Raises RequestNotValid for an expression that is not a constant."""
    text = header.decode("latin-1").strip()
    if text.lower() not in ENABLED:
        raise unsupported_expression(text)
    return ENABLED[text.lower()]


def unsupported_expression(text: str) -> RequestNotValid:
    message = f"X-Amzn-SageMaker-Enable-Explanations: {truncate(text)!r} is not supported, expected `true` or `false`"
    return invalid_request([error_entry("unknown_option", message)])


def vertex_response(model: TabularModel, predictions: bytes, outputs: Outputs) -> bytes:
    """The response of `:explain`. predictions: the body without explanations, a JSON object. outputs: with
    explanations."""
    classes = model.schema.classes
    names = [feature.name for feature in model.schema.features]
    explanations = []
    for row, contributions in enumerate(outputs.extras[CONTRIBUTIONS].tolist()):
        place, exact, _, error = outputs.extras[DETAILS][row].tolist()
        attribution: dict[str, Any] = {
            "baselineOutputValue": outputs.extras[BASELINE][row].item(),
            "instanceOutputValue": float(
                str(outputs.primary[row, max(int(place), 0)])
            ),  # float32 values, written with their shortest digits
            "featureAttributions": dict(zip(names, contributions, strict=True)),
            "outputName": "value" if classes is None else "probabilities",
        }
        if classes is not None:
            attribution |= {"outputIndex": [int(place)], "outputDisplayName": class_key(classes[int(place)])}
        if not exact:
            attribution["approximationError"] = error
        explanations.append({"attributions": [attribution]})
    return b'%s,"explanations":%s}' % (predictions[:-1], dumps(explanations))


def clarify_response(model: TabularModel, body: bytes, content_type: bytes, outputs: Outputs) -> bytes:
    """The response of Clarify. body, content_type: those of the wrapped response. outputs: with or without
    explanations."""
    predictions = {"content_type": content_type.decode(), "data": body.decode()}
    explanations: dict[str, Any] = {}
    if CONTRIBUTIONS in outputs.extras:
        explanations["kernel_shap"] = kernel_shap(model, outputs.extras[CONTRIBUTIONS])
    return dumps({"version": CLARIFY_VERSION, "predictions": predictions, "explanations": explanations})


def kernel_shap(model: TabularModel, contributions: "np.ndarray[Any, Any]") -> list[list[dict[str, Any]]]:
    """For each row, the list of its columns' attributions. contributions: (rows, columns)."""
    columns = [
        {"feature_header": feature.name, "feature_type": "numerical" if feature.kind == "number" else "categorical"}
        for feature in model.schema.features
    ]
    return [
        [
            {**column, "attributions": [{"attribution": [contribution]}]}
            for column, contribution in zip(columns, row, strict=True)
        ]
        for row in contributions.tolist()
    ]
