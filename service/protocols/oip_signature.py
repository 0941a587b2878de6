"""The inputs and outputs of a model as tensors."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from models.columns import Array
from models.feature import Feature
from models.frame import Row
from models.json_text import dumps, listed
from models.output_columns import DType, OutputSpec, OutputTensor
from models.outputs import Outputs
from models.rows import ValidatedRows
from models.tabular_model import TabularModel
from models.text import truncate
from service.protocols.oip_rows import accepted_datatypes, is_matrix
from service.protocols.oip_tensors import (
    NONE,
    NUMBERS,
    NUMPY_TYPES,
    InferRequest,
    ResponseTensor,
    TensorSpec,
    encode,
    invalid_input,
)

OUTPUT_DATATYPES: Mapping[DType, str] = {
    "float64": "FP64",
    "float32": "FP32",
    "int64": "INT64",
    "bool": "BOOL",
    "text": "BYTES",
}
ROW_OPTIONS = frozenset(["on_invalid", "missing"])  # parameters that say what a row means


def as_list(data: list[Any] | Array) -> list[Any]:
    return data.tolist() if isinstance(data, np.ndarray) else data


class ModelSignature:
    """The inputs and outputs of a model, and its answers as tensors."""

    def __init__(self, model: TabularModel, spec: OutputSpec | None = None) -> None:
        """spec: the columns of the answers to come; those of the model if None."""
        self.model = model
        self.spec = spec or model.output_spec
        self.inputs = [TensorSpec(feature.name, preferred(feature), (-1,)) for feature in model.schema.features]
        self.outputs = [
            TensorSpec(tensor.name, OUTPUT_DATATYPES[tensor.dtype], (-1, *tensor.row_shape))
            for tensor in self.spec.tensors
        ]
        self._fitting = {feature.name: frozenset(accepted_datatypes(feature)) for feature in model.schema.features}
        self._names = {spec.name for spec in self.outputs}
        self._head = b'{"model_name":%s,"model_version":%s' % (dumps(model.name), dumps(model.version))
        one_value = b',"outputs":[{"name":"value","datatype":"FP64","shape":[1],"data":['
        self._fast_value = self._head + one_value if self.spec.common == "value" else None

    def fast_row(self, inference: InferRequest) -> Row | None:
        """The common case, one row without options, not validated yet. None where `oip_rows.accept` has to read it."""
        inputs, schema = inference.inputs, self.model.schema
        if inference.parameters and not ROW_OPTIONS.isdisjoint(inference.parameters):
            return None
        if is_matrix(schema, inputs):
            (whole,) = inputs
            if whole.shape != [1, len(schema.features)] or whole.datatype not in NUMBERS:
                return None
            return dict(zip(schema.by_name, as_list(whole.data), strict=True))
        row: dict[str, Any] = {}
        for tensor in inputs:
            if len(tensor.data) != 1 or tensor.datatype not in self._fitting.get(tensor.name, ()):
                return None
            if tensor.parameters and not ROW_OPTIONS.isdisjoint(tensor.parameters):
                return None
            row[tensor.name] = as_list(tensor.data)[0]
        return row if len(row) == len(inputs) else None

    def check_outputs(self, inference: InferRequest) -> None:
        """Raises RequestNotValid for outputs that there are none of."""
        for name, parameters in inference.outputs:
            if name not in self._names:
                message = f"there is no output {truncate(name)!r}, only {', '.join(spec.name for spec in self.outputs)}"
                raise invalid_input("unknown_key", message, truncate(name))
            if unknown := {"classification", "shared_memory_region"}.intersection(parameters):
                raise invalid_input("unknown_option", f"output {name!r}: {min(unknown)} is not supported", name)

    def response_tensors(
        self, accepted: ValidatedRows, outputs: Outputs, inference: InferRequest
    ) -> list[ResponseTensor]:
        """The requested tensors, all if none is named. outputs: of the valid rows."""
        names = [name for name, _ in inference.outputs] or self.spec.by_name
        return [self._output(self.spec.by_name[name], accepted, outputs) for name in names]

    def _output(self, tensor: OutputTensor, accepted: ValidatedRows, outputs: Outputs) -> ResponseTensor:
        count, valid, datatype = accepted.count, accepted.valid, OUTPUT_DATATYPES[tensor.dtype]
        values = tensor.array(outputs)
        if datatype == "BYTES":
            labels = tensor.categories
            texts: list[Any] = [labels[position] for position in values.tolist()]
            if valid is not None:
                by_row = dict(zip(valid, texts, strict=True))
                texts = [by_row.get(row) for row in range(count)]
            return ResponseTensor(tensor.name, datatype, (count,), texts)
        if tensor.categories:
            values = np.array(tensor.categories)[values]
        values = values.astype(NUMPY_TYPES[datatype], copy=False)
        return ResponseTensor(tensor.name, datatype, (count, *tensor.row_shape), scattered(values, count, valid))

    # JSON and binary

    def write(self, accepted: ValidatedRows, outputs: Outputs, inference: InferRequest) -> tuple[bytes, int | None]:
        """The body of the response, and the length of its JSON if binary tensors follow."""
        if self._fast_value and len(outputs.primary) == 1 and is_plain(accepted, inference):
            return b"%s%s]}]}" % (self._fast_value, orjson.dumps(outputs.primary.item(0))), None
        parts = [self._head]
        if inference.id:
            parts.append(b',"id":%s' % dumps(inference.id))
        if parameters := response_parameters(accepted, skip=inference.skip):
            parts.append(b',"parameters":%s' % dumps(parameters))
        tensors, raws = [], []
        binary = bool(inference.parameters.get("binary_data_output", False))
        requested = dict(inference.outputs)
        for output in self.response_tensors(accepted, outputs, inference):
            head = b'{"name":"%s","datatype":"%s","shape":%s' % (
                output.name.encode(),
                output.datatype.encode(),
                dumps(output.shape),
            )
            if requested.get(output.name, NONE).get("binary_data", binary):
                raws.append(encode(output))
                tensors.append(b'%s,"parameters":{"binary_data_size":%d}}' % (head, len(raws[-1])))
            else:
                tensors.append(b'%s,"data":%s}' % (head, json_data(output, accepted)))
        parts.append(b',"outputs":[%s]}' % b",".join(tensors))
        text = b"".join(parts)
        return (b"".join([text, *raws]), len(text)) if raws else (text, None)


def is_plain(accepted: ValidatedRows, inference: InferRequest) -> bool:
    """Whether no row has warnings or errors, and the request has nothing but inputs."""
    remarks = accepted.warnings or accepted.errors or accepted.valid is not None
    return not (remarks or inference.outputs or inference.id or inference.parameters)


def scattered(values: Array, count: int, valid: Sequence[int] | None) -> Array:
    """Values at the positions of the valid rows; NaN, or 0 for types without it, at those of the others."""
    if valid is None:
        return np.ascontiguousarray(values)
    whole = np.full((count, *values.shape[1:]), math.nan if values.dtype.kind == "f" else 0, values.dtype)
    if len(valid):
        whole[valid] = values
    return whole


def json_data(output: ResponseTensor, accepted: ValidatedRows) -> bytes:
    """The flat array of a tensor, null for rows that are not valid."""
    if isinstance(output.data, list):
        return dumps(output.data)
    if accepted.valid is not None and output.data.dtype.kind != "f":
        valid = set(accepted.valid)
        return dumps([value if row in valid else None for row, value in enumerate(output.data.tolist())])
    return orjson.dumps(output.data.reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY)


def response_parameters(accepted: ValidatedRows, *, skip: bool) -> dict[str, Any]:
    """Warnings, and the errors of skipped rows, as parameters: those are text and numbers only."""
    parameters: dict[str, Any] = {}
    if accepted.warnings:
        parameters["warnings"] = dumps(warnings_by_row(accepted)).decode()
    if skip:
        parameters["errors"] = dumps(listed(accepted.errors)).decode()
        parameters["errors_omitted"] = accepted.omitted
    return parameters


def warnings_by_row(accepted: ValidatedRows) -> list[dict[str, Any]]:
    places = accepted.valid
    return [
        {
            "row": row if places is None else places[row],
            "field": warning.field,
            "code": warning.code,
            "message": warning.message,
        }
        for row, warnings in accepted.warnings.items()
        for warning in warnings
    ]


def preferred(feature: Feature) -> str:
    """The datatype that the metadata name."""
    first = accepted_datatypes(feature)[0]
    if first in ("BOOL", "BYTES"):
        return first
    whole = feature.kind == "category" and not feature.nullable
    return "INT64" if whole and all(isinstance(level, int) for level in feature.seen.levels or [0.5]) else "FP64"


def tensors(specs: Iterable[TensorSpec]) -> list[dict[str, Any]]:
    """Specifications as the metadata write them."""
    return [{"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)} for spec in specs]
