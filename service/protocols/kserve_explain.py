"""KServe v1's `:explain`: converts bodies to rows and options, and explained outputs to bodies. Pure functions.

The request has the format of `:predict`; `"parameters": {"explain": "fast"}` compares with one typical row. The
response has the `predictions` of `:predict` and the native API's `explanations`.
"""

from typing import Any, NamedTuple

from models.option_parsing import parse_explain
from models.optional_columns import ExplanationColumn
from models.output_columns import OutputSpec
from models.output_options import OutputOptions
from models.outputs import Outputs
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.text import render
from service.error_mapping import translate_option_errors
from service.protocols.parsing import error_entry, invalid_request
from service.protocols.tfserving import TFServingWriter, read_predict_document


class ExplainRequest(NamedTuple):
    """The rows of a request and the options of their explanation."""

    rows: list[Any]
    options: OutputOptions


def read(schema: FeatureSchema, body: bytes, max_rows: int) -> ExplainRequest:
    """Parse the body. Raises BadJson, RequestNotValid or TooManyRows."""
    document, parsed = read_predict_document(schema, body, max_rows)
    parameters = document.get("parameters", {})
    if not isinstance(parameters, dict):
        message = f"'parameters' is {render(parameters)}, expected an object"
        raise invalid_request([error_entry("wrong_type", message, "parameters")])
    with translate_option_errors():
        explain = parse_explain(parameters.get("explain", True))
    if explain == "none":
        message = "explain=false is not possible here, use :predict"
        raise invalid_request([error_entry("unknown_option", message, "parameters")])
    return ExplainRequest(parsed.rows, OutputOptions(explain=explain))


class ExplainWriter:
    """Writes response bodies."""

    def __init__(self, model: TabularModel) -> None:
        self._predictions = TFServingWriter(model, OutputSpec.from_schema(model.schema))
        self._explanations = ExplanationColumn.from_schema(model.schema)

    def write(self, outputs: Outputs) -> bytes:
        """Write a response. outputs: predictions with explanations."""
        predictions = self._predictions.predictions(outputs)[:-1]
        return b'%s,"explanations":[%s]}' % (predictions, b",".join(self._explanations.json_values(outputs)))
