"""The inputs and outputs of a model as tensors."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import orjson

from models.columns import Array
from models.feature import Feature
from models.frame import Row
from models.json_text import dumps, listed
from models.outputs import Answers
from models.rows import ValidatedRows
from models.tabular_model import TabularModel
from models.text import truncate
from service.protocols.oip_rows import fitting, is_matrix
from service.protocols.oip_tensors import KINDS, NONE, NUMBERS, Inference, Output, Spec, encode, invalid

ROW_OPTIONS = frozenset(["on_invalid", "missing"])  # parameters that say what a row means


def plain(data: list[Any] | Array) -> list[Any]:
    return data.tolist() if isinstance(data, np.ndarray) else data


class Signature:
    """The inputs and outputs of a model, and its answers as tensors."""

    def __init__(self, model: TabularModel) -> None:
        self.model = model
        self.classes = model.schema.classes
        self.inputs = [Spec(feature.name, preferred(feature), (-1,)) for feature in model.schema.features]
        if self.classes is None:
            self.outputs = [Spec("value", "FP64", (-1,))]
        else:
            self.label_type = type_of_classes(self.classes)
            probabilities = Spec("probabilities", "FP32", (-1, len(self.classes)))
            self.outputs = [Spec("label", self.label_type, (-1,)), probabilities]
        self._fitting = {feature.name: frozenset(fitting(feature)) for feature in model.schema.features}
        self._names = {spec.name for spec in self.outputs}
        self._head = b'{"model_name":%s,"model_version":%s' % (dumps(model.name), dumps(model.version))
        self._value = self._head + b',"outputs":[{"name":"value","datatype":"FP64","shape":[1],"data":['

    def one_row(self, inference: Inference) -> Row | None:
        """The row, not checked, that the tensors hold where that is plain to see; None where `accept` has to look."""
        inputs, schema = inference.inputs, self.model.schema
        if inference.parameters and not ROW_OPTIONS.isdisjoint(inference.parameters):
            return None
        if is_matrix(schema, inputs):
            (whole,) = inputs
            if whole.shape != [1, len(schema.features)] or whole.datatype not in NUMBERS:
                return None
            return dict(zip(schema.by_name, plain(whole.data), strict=True))
        row: dict[str, Any] = {}
        for tensor in inputs:
            if len(tensor.data) != 1 or tensor.datatype not in self._fitting.get(tensor.name, ()):
                return None
            if tensor.parameters and not ROW_OPTIONS.isdisjoint(tensor.parameters):
                return None
            row[tensor.name] = plain(tensor.data)[0]
        return row if len(row) == len(inputs) else None

    def check_outputs(self, inference: Inference) -> None:
        """Raises RequestNotValid for outputs that there are none of."""
        for name, parameters in inference.outputs:
            if name not in self._names:
                message = f"there is no output {truncate(name)!r}, only {', '.join(spec.name for spec in self.outputs)}"
                raise invalid("unknown_key", message, truncate(name))
            if unknown := {"classification", "shared_memory_region"}.intersection(parameters):
                raise invalid("unknown_option", f"output {name!r}: {min(unknown)} is not supported", name)

    def answer(self, accepted: ValidatedRows, answers: Answers, inference: Inference) -> list[Output]:
        """What was asked for. answers: (valid rows, 1) values or (valid rows, classes) probabilities."""
        names = [name for name, _ in inference.outputs] or [spec.name for spec in self.outputs]
        return [self._output(name, accepted, answers) for name in names]

    def _output(self, name: str, accepted: ValidatedRows, answers: Answers) -> Output:
        count, valid = accepted.count, accepted.valid
        if name == "value":
            values = answers[:, 0].astype("<f8", copy=False)
            return Output(name, "FP64", (count,), spread(values, count, valid))
        assert self.classes is not None
        if name == "probabilities":
            shape = (count, len(self.classes))
            return Output(name, "FP32", shape, spread(answers.reshape(-1, shape[1]).astype("<f4"), count, valid))
        best = answers.argmax(axis=1) if valid is None or valid else np.empty(0, np.intp)
        if self.label_type == "BYTES":
            labels: list[Any] = [self.classes[winner] for winner in best.tolist()]
            if valid is not None:
                there = dict(zip(valid, labels, strict=True))
                labels = [there.get(row) for row in range(count)]
            return Output(name, "BYTES", (count,), labels)
        labels_of = np.array(self.classes, KINDS[self.label_type])
        return Output(name, self.label_type, (count,), spread(labels_of[best], count, valid))

    # JSON and binary

    def write(self, accepted: ValidatedRows, answers: Answers, inference: Inference) -> tuple[bytes, int | None]:
        """The body of the response, and how much of it is JSON where binary tensors follow."""
        if self.classes is None and len(answers) == 1 and _usual(accepted, inference):
            return b"%s%s]}]}" % (self._value, orjson.dumps(answers.item(0))), None
        parts = [self._head]
        if inference.id:
            parts.append(b',"id":%s' % dumps(inference.id))
        if parameters := said(accepted, skip=inference.skip):
            parts.append(b',"parameters":%s' % dumps(parameters))
        tensors, raws = [], []
        binary = bool(inference.parameters.get("binary_data_output", False))
        asked = dict(inference.outputs)
        for output in self.answer(accepted, answers, inference):
            head = b'{"name":"%s","datatype":"%s","shape":%s' % (
                output.name.encode(),
                output.datatype.encode(),
                dumps(output.shape),
            )
            if asked.get(output.name, NONE).get("binary_data", binary):
                raws.append(encode(output))
                tensors.append(b'%s,"parameters":{"binary_data_size":%d}}' % (head, len(raws[-1])))
            else:
                tensors.append(b'%s,"data":%s}' % (head, json_data(output, accepted)))
        parts.append(b',"outputs":[%s]}' % b",".join(tensors))
        text = b"".join(parts)
        return (b"".join([text, *raws]), len(text)) if raws else (text, None)


def _usual(accepted: ValidatedRows, inference: Inference) -> bool:
    """Whether nothing is to be said of any row, and nothing is asked for but answers."""
    said_of_rows = accepted.warnings or accepted.errors or accepted.valid is not None
    return not (said_of_rows or inference.outputs or inference.id or inference.parameters)


def spread(values: Array, count: int, valid: Sequence[int] | None) -> Array:
    """Values at the places of the valid rows; NaN (or 0, for what has none) at those of the others."""
    if valid is None:
        return np.ascontiguousarray(values)
    whole = np.full((count, *values.shape[1:]), math.nan if values.dtype.kind == "f" else 0, values.dtype)
    if len(valid):
        whole[valid] = values
    return whole


def json_data(output: Output, accepted: ValidatedRows) -> bytes:
    """The flat array of a tensor, null for rows that are not valid."""
    if isinstance(output.data, list):
        return dumps(output.data)
    if accepted.valid is not None and output.data.dtype.kind != "f":
        there = set(accepted.valid)
        return dumps([value if row in there else None for row, value in enumerate(output.data.tolist())])
    return orjson.dumps(output.data.reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY)


def said(accepted: ValidatedRows, *, skip: bool) -> dict[str, Any]:
    """Warnings and the errors of rows that were left out, as parameters: those are text and numbers only."""
    told: dict[str, Any] = {}
    if accepted.warnings:
        told["warnings"] = dumps(warnings_by_row(accepted)).decode()
    if skip:
        told["errors"] = dumps(listed(accepted.errors)).decode()
        told["errors_omitted"] = accepted.omitted
    return told


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
    first = fitting(feature)[0]
    if first in ("BOOL", "BYTES"):
        return first
    whole = feature.kind == "category" and not feature.nullable
    return "INT64" if whole and all(isinstance(level, int) for level in feature.seen.levels or [0.5]) else "FP64"


def type_of_classes(classes: Sequence[Any]) -> str:
    def every(kind: type, fits: Callable[[Any], bool] = lambda label: True) -> bool:
        return all(isinstance(label, kind) and fits(label) for label in classes)

    if every(str):
        return "BYTES"
    if every(bool):
        return "BOOL"
    return "INT64" if every(int, lambda label: -(2**63) <= label < 2**63) else "FP64"


def tensors(specs: Iterable[Spec]) -> list[dict[str, Any]]:
    """Specifications as the metadata write them."""
    return [{"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)} for spec in specs]
