"""The signature of a model in the Open Inference Protocol: its input and output tensors, and the responses with
them."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from models.columns import Array
from models.feature import Feature
from models.frame import Row
from models.json_text import dumps, error_entries
from models.output_columns import DType, OutputSpec, OutputTensor
from models.output_options import available_options, columns
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
ROW_OPTIONS = frozenset(["on_invalid", "missing"])  # the parameters that change how rows are read


def as_list(data: list[Any] | Array) -> list[Any]:
    return data.tolist() if isinstance(data, np.ndarray) else data


class ModelSignature:
    """The input and output tensors of a model. Writes predictions as output tensors."""

    def __init__(self, model: TabularModel, spec: OutputSpec | None = None) -> None:
        """spec: the output columns; by default the model's own."""
        self.model = model
        self.spec = spec or model.output_spec
        self.inputs = [TensorSpec(feature.name, metadata_datatype(feature), (-1,)) for feature in model.schema.features]
        self.outputs = tensor_specs(self.spec.tensors)
        self._accepted_datatypes = {
            feature.name: frozenset(accepted_datatypes(feature)) for feature in model.schema.features
        }
        self._names = {spec.name for spec in self.outputs}
        self.optional_outputs = optional_outputs(model)
        self._head = b'{"model_name":%s,"model_version":%s' % (dumps(model.name), dumps(model.version))
        one_value = b',"outputs":[{"name":"value","datatype":"FP64","shape":[1],"data":['
        self._fast_value = self._head + one_value if self.spec.common == "value" else None

    def fast_row(self, inference: InferRequest) -> Row | None:
        """The unvalidated row of a common request: one row, no options. None for other requests."""
        inputs, schema = inference.inputs, self.model.schema
        if inference.parameters and not ROW_OPTIONS.isdisjoint(inference.parameters):
            return None
        if is_matrix(schema, inputs):
            (matrix,) = inputs
            if matrix.shape != [1, len(schema.features)] or matrix.datatype not in NUMBERS:
                return None
            return dict(zip(schema.by_name, as_list(matrix.data), strict=True))
        row: dict[str, Any] = {}
        for tensor in inputs:
            if len(tensor.data) != 1 or tensor.datatype not in self._accepted_datatypes.get(tensor.name, ()):
                return None
            if tensor.parameters and not ROW_OPTIONS.isdisjoint(tensor.parameters):
                return None
            row[tensor.name] = as_list(tensor.data)[0]
        return row if len(row) == len(inputs) else None

    def check_outputs(self, inference: InferRequest) -> None:
        """Raises RequestNotValid for unknown outputs and options that are not supported."""
        for name, parameters in inference.outputs:
            if name not in self._names:
                known = [spec.name for spec in (*self.outputs, *self.optional_outputs)]
                message = f"unknown output {truncate(name)!r}, expected {', '.join(dict.fromkeys(known))}"
                raise invalid_input("unknown_key", message, truncate(name))
            if unknown := {"classification", "shared_memory_region"}.intersection(parameters):
                raise invalid_input("unknown_option", f"output {name!r}: {min(unknown)} is not supported", name)

    def response_tensors(
        self, validated: ValidatedRows, outputs: Outputs, inference: InferRequest
    ) -> list[ResponseTensor]:
        """The requested output tensors, by default all. outputs: the outputs of the valid rows."""
        names = [name for name, _ in inference.outputs] or self.spec.by_name
        return [self._output(self.spec.by_name[name], validated, outputs) for name in names]

    def _output(self, tensor: OutputTensor, validated: ValidatedRows, outputs: Outputs) -> ResponseTensor:
        count, valid, datatype = validated.count, validated.valid, OUTPUT_DATATYPES[tensor.dtype]
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
        return ResponseTensor(tensor.name, datatype, (count, *tensor.row_shape), scatter(values, count, valid))

    def write(self, validated: ValidatedRows, outputs: Outputs, inference: InferRequest) -> tuple[bytes, int | None]:
        """The REST response: the body, and the length of its JSON if binary tensors follow."""
        if self._fast_value and len(outputs.primary) == 1 and is_plain(validated, inference):
            return b"%s%s]}]}" % (self._fast_value, orjson.dumps(outputs.primary.item(0))), None
        parts = [self._head]
        if inference.id:
            parts.append(b',"id":%s' % dumps(inference.id))
        if parameters := response_parameters(validated, skip=inference.skip):
            parts.append(b',"parameters":%s' % dumps(parameters))
        tensors, raws = [], []
        binary = bool(inference.parameters.get("binary_data_output", False))
        requested = dict(inference.outputs)
        for output in self.response_tensors(validated, outputs, inference):
            head = b'{"name":"%s","datatype":"%s","shape":%s' % (
                output.name.encode(),
                output.datatype.encode(),
                dumps(output.shape),
            )
            if requested.get(output.name, NONE).get("binary_data", binary):
                raws.append(encode(output))
                tensors.append(b'%s,"parameters":{"binary_data_size":%d}}' % (head, len(raws[-1])))
            else:
                tensors.append(b'%s,"data":%s}' % (head, json_data(output, validated)))
        parts.append(b',"outputs":[%s]}' % b",".join(tensors))
        text = b"".join(parts)
        return (b"".join([text, *raws]), len(text)) if raws else (text, None)


def tensor_specs(tensors: Iterable[OutputTensor]) -> list[TensorSpec]:
    return [TensorSpec(tensor.name, OUTPUT_DATATYPES[tensor.dtype], (-1, *tensor.row_shape)) for tensor in tensors]


def optional_outputs(model: TabularModel) -> list[TensorSpec]:
    """The outputs that a request may name in `outputs` in addition to those of every response."""
    found = columns(model, available_options(model))
    return tensor_specs(tensor for column in found for tensor in column.tensors)


def is_plain(validated: ValidatedRows, inference: InferRequest) -> bool:
    """Whether no row has warnings or errors, and the request has only inputs."""
    has_remarks = validated.warnings or validated.errors or validated.valid is not None
    return not (has_remarks or inference.outputs or inference.id or inference.parameters)


def scatter(values: Array, count: int, valid: Sequence[int] | None) -> Array:
    """The values at the positions of the valid rows, with NaN (0 for integers) at the positions of the invalid rows."""
    if valid is None:
        return np.ascontiguousarray(values)
    whole = np.full((count, *values.shape[1:]), math.nan if values.dtype.kind == "f" else 0, values.dtype)
    if len(valid):
        whole[valid] = values
    return whole


def json_data(output: ResponseTensor, validated: ValidatedRows) -> bytes:
    """The elements of a tensor as a flat JSON array, null for invalid rows."""
    if isinstance(output.data, list):
        return dumps(output.data)
    if validated.valid is not None and output.data.dtype.kind != "f":
        valid = set(validated.valid)
        return dumps([value if row in valid else None for row, value in enumerate(output.data.tolist())])
    return orjson.dumps(output.data.reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY)


def response_parameters(validated: ValidatedRows, *, skip: bool) -> dict[str, Any]:
    """Warnings and the errors of skipped rows as parameters, which can only be strings and numbers."""
    parameters: dict[str, Any] = {}
    if validated.warnings:
        parameters["warnings"] = dumps(warnings_by_row(validated)).decode()
    if skip:
        parameters["errors"] = dumps(error_entries(validated.errors)).decode()
        parameters["errors_omitted"] = validated.omitted
    return parameters


def warnings_by_row(validated: ValidatedRows) -> list[dict[str, Any]]:
    positions = validated.valid
    return [
        {
            "row": row if positions is None else positions[row],
            "field": warning.field,
            "code": warning.code,
            "message": warning.message,
        }
        for row, warnings in validated.warnings.items()
        for warning in warnings
    ]


def metadata_datatype(feature: Feature) -> str:
    """The datatype in the metadata."""
    first = accepted_datatypes(feature)[0]
    if first in ("BOOL", "BYTES"):
        return first
    whole = feature.kind == "category" and not feature.nullable
    return "INT64" if whole and all(isinstance(level, int) for level in feature.seen.levels or [0.5]) else "FP64"


def tensors_metadata(specs: Iterable[TensorSpec]) -> list[dict[str, Any]]:
    """Tensor specifications in the format of the metadata."""
    return [{"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)} for spec in specs]
