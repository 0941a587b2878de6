"""TF Serving's REST API and KServe's v1 protocol: converts bodies to rows, and outputs to bodies. Pure functions.

The columns of the table are the named inputs of the model, with one value per row. The outputs are `value`, or `label`
and `probabilities` in the order of the classes in the metadata.
"""

import base64
import contextlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from models.feature import Feature
from models.json_text import dumps, numbers, template_json
from models.output_columns import DType, OutputSpec
from models.outputs import Outputs
from models.rows import RowError
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.text import class_key, counted, nearest, truncate
from service.errors import BadJson, RequestError, TooManyRows
from service.protocols import error_text
from service.protocols.parsing import error_entry, invalid_request, parse_json

SIGNATURES = {
    "predict": ("serving_default", "predict", "tensorflow/serving/predict"),
    "classify": ("serving_default", "classification", "tensorflow/serving/classify"),
    "regress": ("serving_default", "regression", "tensorflow/serving/regress"),
}
"""The names that a request may use for the model's signature, by method."""

DTYPES = {"number": "DT_DOUBLE", "boolean": "DT_BOOL", "date": "DT_STRING", "text": "DT_STRING"}
OUTPUT_DTYPES: Mapping[DType, str] = {
    "float64": "DT_DOUBLE",
    "float32": "DT_FLOAT",
    "int64": "DT_INT64",
    "bool": "DT_BOOL",
    "text": "DT_STRING",
}


class TFServingRequest(NamedTuple):
    """The rows of a request. `columns`: whether request and response are in column form."""

    rows: list[Any]
    columns: bool = False


# Requests


def read_predict(schema: FeatureSchema, body: bytes, max_rows: int) -> TFServingRequest:
    """Parse the body of `:predict`. Raises BadJson, RequestNotValid or TooManyRows."""
    return read_predict_document(schema, body, max_rows)[1]


def read_predict_document(schema: FeatureSchema, body: bytes, max_rows: int) -> tuple[dict[str, Any], TFServingRequest]:
    """Parse the body of `:predict`. Returns the request, and the body as JSON."""
    document = read_object(body)
    check_signature(document, "predict")
    if ("instances" in document) == ("inputs" in document):
        both = "Both 'inputs' and 'instances' keys, expected one" if "inputs" in document else None
        raise invalid_request([error_entry("missing_rows", both or "Missing 'inputs' or 'instances' key")])
    if "inputs" in document:
        return document, TFServingRequest(read_inputs(schema, document["inputs"], max_rows), columns=True)
    instances = document["instances"]
    if not fast_instances(body, instances):
        instances = read_instances(schema, instances, max_rows)
    return document, TFServingRequest(instances)


def read_examples(schema: FeatureSchema, body: bytes, method: str, max_rows: int) -> TFServingRequest:
    """Parse the body of `:classify` or `:regress`. Raises BadJson, RequestNotValid or TooManyRows."""
    document = read_object(body)
    check_signature(document, method)
    if "examples" not in document:
        message = f"When method is {method}, key 'examples' is expected and was not found"
        raise invalid_request([error_entry("missing_rows", message, "examples")])
    context = document.get("context", {})
    if not isinstance(context, dict):
        raise invalid_request([error_entry("wrong_type", "'context' is not an object of features", "context")])
    rows = read_instances(schema, document["examples"], max_rows, "examples")
    if not context:
        return TFServingRequest(rows)
    common = {name: cell_value(value) for name, value in context.items()}
    return TFServingRequest([add_context(common, number, row) for number, row in enumerate(rows)])


def add_context(common: dict[str, Any], number: int, row: Any) -> Any:
    """A row to which the features of `context` are added."""
    if not isinstance(row, dict):
        return row
    if repeated := common.keys() & row.keys():
        message = f"row {number}: {truncate(min(repeated))!r} is also in 'context'"
        raise invalid_request([RowError(number, truncate(min(repeated)), "unknown_key", message)])
    return {**common, **row}


def read_object(body: bytes) -> dict[str, Any]:
    document = parse_json(body, constants=True)
    if not isinstance(document, dict):
        raise invalid_request([error_entry("wrong_type", "JSON Value: the body is not an object")])
    return document


def check_signature(document: Mapping[str, Any], method: str) -> None:
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise invalid_request(
            [error_entry("wrong_type", "'signature_name' key must be a string value.", "signature_name")]
        )
    if name and name not in SIGNATURES[method]:
        message = f'Serving signature name: "{truncate(name)}" not found in signature def'
        raise invalid_request([error_entry("unknown_option", message, "signature_name")])


def fast_instances(body: bytes, instances: Any) -> bool:
    """Whether the instances are already rows: objects without a value that `cell_value` would convert."""
    if body.count(b"[") != 1 or b"NaN" in body or b'b64"' in body:
        return False
    return isinstance(instances, list) and bool(instances) and set(map(type, instances)) == {dict}


def read_instances(schema: FeatureSchema, instances: Any, max_rows: int, key: str = "instances") -> list[Any]:
    """Row form: objects by feature, arrays in the order of the features, or plain values for a single feature."""
    check_count(instances, max_rows, key)
    names = [feature.name for feature in schema.features]
    errors = [error for number, row in enumerate(instances) if (error := width_error(names, number, row))]
    if errors:
        raise invalid_request(errors)
    return [row_of(names, row) for row in instances]


def check_count(rows: Any, max_rows: int, key: str) -> None:
    if not isinstance(rows, list):
        raise invalid_request([error_entry("wrong_type", f"{key!r} is not a list of rows", key)])
    if not rows:
        raise invalid_request([error_entry("empty_rows", f"{key!r} is empty, expected one row or more", key)])
    if len(rows) > max_rows:
        raise TooManyRows(len(rows), max_rows)


def width_error(names: Sequence[str], number: int, row: Any) -> RowError | None:
    """The error of a row that is an array or a value of the wrong width."""
    if isinstance(row, dict):
        return None
    if not isinstance(row, list) and len(names) > 1:
        expected = "an object of features or an array of their values"
        return RowError(number, None, "wrong_type", f"row {number}: a single value, expected {expected}")
    width = len(row) if isinstance(row, list) else 1
    if width == len(names):
        return None
    order = truncate(", ".join(names), 500)
    values = counted(width, "value")
    return RowError(number, None, "wrong_type", f"row {number}: {values}, expected {len(names)}: {order}")


def row_of(names: Sequence[str], row: Any) -> Any:
    if isinstance(row, dict):
        return {name: cell_value(value) for name, value in row.items()}
    values = row if isinstance(row, list) else [row]
    return dict(zip(names, map(cell_value, values), strict=True))


def cell_value(value: Any) -> Any:
    """Convert a value: [v] is a tensor of one element, {"b64": "..."} contains bytes, NaN is a missing value."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict) and len(value) == 1 and isinstance(encoded := value.get("b64"), str):
        with contextlib.suppress(ValueError):
            return base64.b64decode(encoded, validate=True).decode()
    return value


def read_inputs(schema: FeatureSchema, inputs: Any, max_rows: int) -> list[Any]:
    """Column form: an object of columns, or the matrix (rows, features)."""
    if not isinstance(inputs, dict):
        return read_instances(schema, inputs, max_rows, "inputs")
    if not inputs:
        raise invalid_request(
            [error_entry("empty_rows", "'inputs' is empty, expected a list of values for each feature", "inputs")]
        )
    for name, values in inputs.items():
        if not isinstance(values, list):
            message = f"input {truncate(name)!r} is not a list of values, one per row"
            raise invalid_request([error_entry("wrong_type", message, truncate(name))])
    counts = {name: len(values) for name, values in inputs.items()}
    first, count = next(iter(counts.items()))
    for name, other in counts.items():
        if other != count:
            message = (
                f"inputs {truncate(first)!r} and {truncate(name)!r} have different numbers of rows: {count} and {other}"
            )
            raise invalid_request([error_entry("wrong_type", message, truncate(name))])
    check_count(inputs[first], max_rows, "inputs")
    columns = [map(cell_value, column) for column in inputs.values()]
    return [dict(zip(inputs, row, strict=True)) for row in zip(*columns, strict=True)]


# Responses


class TFServingWriter:
    """Writes response bodies directly from arrays."""

    def __init__(self, model: TabularModel, spec: OutputSpec | None = None) -> None:
        """spec: the output columns; by default the model's own."""
        spec = spec or model.output_spec
        self._tensors = spec.tensors
        self._value, self._probabilities = spec.by_name.get("value"), spec.by_name.get("probabilities")
        pairs = (b"%s:%s" % (template_json(one.name), b"[%s]" if one.matrix else b"%s") for one in spec.tensors)
        self._row = b"{%s}" % b",".join(pairs)
        self._columns = b'{"outputs":{%s}}' % b",".join(template_json(one.name) + b":[%s]" for one in spec.tensors)
        label = spec.by_name.get("label")
        keys = map(class_key, label.categories if label else ())
        self._scores = b"[%s]" % b",".join(b"[%s,%%s]" % template_json(key) for key in keys)
        self._fast_rows = list[bytes]()
        if label and spec.common == "classes":
            self._fast_rows = [self._row % (text.replace(b"%", b"%%"), b"%s") for text in label.json_categories]

    def predictions(self, outputs: Outputs) -> bytes:
        """Row form: for each row an object of outputs by name, or the only output."""
        if len(self._tensors) == 1:
            return b'{"predictions":[%s]}' % self._tensors[0].json_array(outputs)
        if self._fast_rows:
            winners, texts = outputs.primary.argmax(axis=1).tolist(), numbers(outputs.primary)[1:-1].split(b"],[")
            rows = [self._fast_rows[winner] % text for winner, text in zip(winners, texts, strict=True)]
            return b'{"predictions":[%s]}' % b",".join(rows)
        columns = [tensor.json_texts(outputs) for tensor in self._tensors]
        return b'{"predictions":[%s]}' % b",".join([self._row % row for row in zip(*columns, strict=True)])

    def outputs(self, outputs: Outputs) -> bytes:
        """Column form: an array for each output, or the array of the only output."""
        if len(self._tensors) == 1:
            return b'{"outputs":[%s]}' % self._tensors[0].json_array(outputs)
        return self._columns % tuple([tensor.json_array(outputs) for tensor in self._tensors])

    def results(self, outputs: Outputs) -> bytes:
        """The response of `:regress` (values) or of `:classify` (pairs of class and probability)."""
        if self._probabilities is None:
            assert self._value is not None
            return b'{"results":[%s]}' % self._value.json_array(outputs)
        texts = self._probabilities.json_texts(outputs)
        return b'{"results":[%s]}' % b",".join([self._scores % tuple(text.split(b",")) for text in texts])


def error_body(error: RequestError) -> bytes:
    text = error_text.sentence(error)
    return dumps({"error": f"JSON Parse error: {text}" if isinstance(error, BadJson) else text})


def status(model: TabularModel) -> bytes:
    """The status of a model, with the fields of TF Serving and those of KServe, which share the path."""
    state = {"version": model.version, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    return dumps({"model_version_status": [state], "name": model.name, "ready": True})


def metadata(model: TabularModel) -> bytes:
    """The signatures of a model; `tabserve` contains the values for which TF Serving's metadata has no field."""
    schema = model.schema
    inputs = {feature.name: tensor_info(feature.name, dtype(feature)) for feature in schema.features}
    outputs = {
        one.name: tensor_info(one.name, OUTPUT_DTYPES[one.dtype], *one.row_shape) for one in model.output_spec.tensors
    }
    if schema.classes is None:
        other, method, results = "regression", "regress", {"outputs": outputs["value"]}
    else:
        other, method, many = "classification", "classify", len(schema.classes)
        results = {
            "classes": tensor_info("classes", "DT_STRING", many),
            "scores": tensor_info("scores", "DT_FLOAT", many),
        }
    signatures = {
        "serving_default": signature(inputs, outputs, "predict"),
        other: signature(inputs, results, method),
    }
    about = {
        "task": schema.task,
        "target": schema.target,
        "classes": schema.classes,
        "order": [feature.name for feature in schema.features],
        "nullable": [feature.name for feature in schema.features if feature.nullable],
    }
    return dumps(
        {
            "model_spec": {"name": model.name, "signature_name": "", "version": model.version},
            "metadata": {"signature_def": {"signature_def": signatures}, "tabserve": about},
        }
    )


def signature(inputs: dict[str, Any], outputs: dict[str, Any], method: str) -> dict[str, Any]:
    return {"inputs": inputs, "outputs": outputs, "method_name": f"tensorflow/serving/{method}"}


def tensor_info(name: str, dtype: str, *row_shape: int) -> dict[str, Any]:
    sizes = [{"size": str(size), "name": ""} for size in (-1, *row_shape)]
    return {"dtype": dtype, "tensor_shape": {"dim": sizes, "unknown_rank": False}, "name": name}


def dtype(feature: Feature) -> str:
    return DTYPES[feature.level_type if feature.kind == "category" else feature.kind]


def not_served(models: Mapping[str, Any], name: str, version: str | None = None, label: str | None = None) -> str:
    """The message of TF Serving for an unknown model, version or label."""
    if label is not None:
        return f"Unrecognized servable version label: {truncate(label)}"
    if name in models:
        return f"Servable not found for request: Specific({truncate(name)}, {truncate(version or '')})"
    near = nearest(name, models)
    hint = f", did you mean {near}?" if near else ""
    return f"Servable not found for request: Latest({truncate(name)}){hint}"
