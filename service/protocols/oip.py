"""The Open Inference Protocol's tensors: requests become checked rows, answers become tensors.

JSON, JSON with binary tensors and gRPC meet in `Inference` and `Output`. Pure functions; no HTTP, no gRPC.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson

from models.column_validation import usual_numbers
from models.columns import Array, Column
from models.feature import Feature
from models.frame import Frame, Row
from models.outputs import Answers, short_floats
from models.rows import RowError
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.text import nearest, short, shown
from service.errors import BadBody, RequestNotValid, RowsNotValid, TooManyRows, listed
from service.protocols import native
from service.protocols.native import OPTIONS, Accepted, dumps, fault

Parameters = Mapping[str, Any]
Place = Literal["json", "binary"]

KINDS = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
NUMBERS = (*list(KINDS)[1:], "BF16")
DATATYPES = dict.fromkeys([*KINDS, "BF16", "BYTES"])
BOOLEANS = {"true": True, "false": False}
ROW_OPTIONS = frozenset(["on_invalid", "missing"])  # parameters that say what a row means
MOST_TENSORS = 10_000
MOST_DIGITS = 18  # of the length of a header
NONE: Parameters = {}
ONE, ONE_BY_ONE = [1], [1, 1]  # shapes of a tensor of one element


@dataclass(slots=True)
class Tensor:
    """An input. data: its elements, row by row; a list of JSON values, or an array."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: list[Any] | Array
    parameters: Parameters = field(default_factory=dict)


@dataclass(slots=True)
class Inference:
    """A request in any of the three forms."""

    inputs: list[Tensor]
    outputs: Sequence[tuple[str, Parameters]] = field(default_factory=list)  # what is asked for; none: everything
    id: str = ""
    parameters: Parameters = field(default_factory=dict)

    @property
    def skip(self) -> bool:
        """Whether rows that are not valid are left out. Raises RequestNotValid."""
        option = self.parameters.get("on_invalid", "fail")
        if option not in OPTIONS:
            raise invalid("unknown_option", f"on_invalid={shown(option)} is unknown, expected fail or skip")
        return bool(option == "skip")


class Output(NamedTuple):
    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Array | list[str | None]  # BYTES as text, None where there is none


class Spec(NamedTuple):
    """What the metadata tell about a tensor."""

    name: str
    datatype: str
    shape: tuple[int, ...]  # -1: as many as there are rows


def invalid(code: str, message: str, name: str | None = None) -> RequestNotValid:
    return RequestNotValid(message, [fault(code, message, name)])


# Reading JSON and binary tensors


def read(body: bytes, header_length: bytes | None = None) -> Inference:
    """The body of an infer request. header_length: how much of it is JSON, as the client says; the rest is binary.

    Raises BadJson, BadBody or RequestNotValid.
    """
    length = len(body) if header_length is None else length_of(header_length, len(body))
    document = parse(body if length == len(body) else body[:length])
    if not isinstance(document, dict):
        raise invalid("wrong_type", 'the body is no object, expected {"inputs": [...]}')
    given = document.get("inputs")
    if not isinstance(given, list):
        raise invalid("missing_rows", "the body has no array of 'inputs'", "inputs")
    if len(given) > MOST_TENSORS:
        raise invalid("bad_tensor", f"{len(given)} inputs are more than {MOST_TENSORS}")
    inputs, place = [], length
    for entry in given:
        tensor = read_single(entry)
        if tensor is None:
            tensor, place = read_tensor(entry, body, place)
        inputs.append(tensor)
    if place != len(body):
        raise BadBody(f"{len(body) - place} bytes follow its tensors")
    request_id = document.get("id", "")
    if not isinstance(request_id, str):
        raise invalid("wrong_type", "'id' is no text", "id")
    return Inference(inputs, wanted(document.get("outputs")), request_id, parameters_of(document))


def length_of(text: bytes, most: int) -> int:
    if not text.isdigit() or len(text) > MOST_DIGITS or int(text) > most:
        told = short(text.decode("latin-1"))
        raise BadBody(f"Inference-Header-Content-Length {told!r} is no length of a part of its {most} bytes")
    if int(text) == 0:
        raise BadBody("it has no JSON before its tensors; raw requests are not supported")
    return int(text)


def parse(text: bytes) -> Any:
    """The JSON value, bare NaN and Infinity included, as clients write them for the elements of a tensor."""
    try:
        return orjson.loads(text)
    except ValueError:
        return native.parse(text, constants=True)


def read_single(entry: object) -> Tensor | None:
    """An input of one element and nothing said beside, as most are; None where `read_tensor` has to look."""
    if type(entry) is not dict or len(entry) != 4:
        return None
    try:
        name, datatype, shape, data = entry["name"], entry["datatype"], entry["shape"], entry["data"]
    except KeyError:
        return None
    if type(name) is not str or type(datatype) is not str or datatype not in DATATYPES:
        return None
    if shape != ONE and shape != ONE_BY_ONE:
        return None
    if type(shape[0]) is not int or type(shape[-1]) is not int:  # True is 1, and 1.0 is
        return None
    if type(data) is not list or len(data) != 1 or type(data[0]) is list:
        return None
    return Tensor(name, datatype, shape, data, NONE)


def read_tensor(entry: object, body: bytes, place: int) -> tuple[Tensor, int]:
    """An input and where the next one's bytes begin."""
    if not isinstance(entry, dict):
        raise invalid("bad_tensor", f"an input is {shown(entry)}, expected an object")
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str):
        raise invalid("bad_tensor", "an input has no name")
    if not isinstance(datatype, str):
        raise invalid("bad_tensor", f"input {short(name)!r}: {shown(datatype)} is no datatype", name)
    if not isinstance(shape, list):
        raise invalid("bad_tensor", f"input {short(name)!r} has no shape", name)
    parameters = parameters_of(entry) if "parameters" in entry else NONE
    data = entry.get("data")
    size = parameters.get("binary_data_size")
    if size is None:
        count = elements(name, datatype, shape)
        if not isinstance(data, list):
            raise invalid("bad_tensor", f"input {short(name)!r} has no array of data", name)
        if data and type(data[0]) is list:
            data = flat(name, shape, data)
        if len(data) != count:
            raise wrong_size(name, shape, f"{len(data)} elements")
        return Tensor(name, datatype, shape, data, parameters), place
    if data is not None:
        raise invalid("bad_tensor", f"input {short(name)!r} has both data and binary data", name)
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(body) - place:
        raise BadBody(
            f"input {short(name)!r}: {shown(size)} is no size of a part of the {len(body) - place} bytes left"
        )
    raw = memoryview(body)[place : place + size]
    return Tensor(name, datatype, shape, decode(name, datatype, shape, raw), parameters), place + size


def parameters_of(entry: Mapping[str, Any]) -> Parameters:
    parameters = entry.get("parameters", NONE)
    if parameters is None:
        return NONE
    if not isinstance(parameters, dict):
        raise invalid("wrong_type", f"'parameters' is {shown(parameters)}, expected an object", "parameters")
    return parameters


def wanted(outputs: object) -> list[tuple[str, Parameters]]:
    if outputs is None:
        return []
    if not isinstance(outputs, list) or not all(isinstance(entry, dict) for entry in outputs):
        raise invalid("wrong_type", "'outputs' is no array of objects", "outputs")
    if not all(isinstance(entry.get("name"), str) for entry in outputs):
        raise invalid("bad_tensor", "an output has no name", "outputs")
    return [(entry["name"], parameters_of(entry)) for entry in outputs]


def elements(name: str, datatype: object, shape: Sequence[Any]) -> int:
    """How many elements a tensor of this shape has. Raises RequestNotValid for a shape or type that is none."""
    if datatype not in DATATYPES:
        expected = ", ".join(DATATYPES)
        raise invalid(
            "bad_tensor", f"input {short(name)!r}: {shown(datatype)} is no datatype, expected {expected}", name
        )
    rows, columns = shape if len(shape) == 2 else (shape[0], 1) if len(shape) == 1 else (None, None)
    if type(rows) is not int or type(columns) is not int or not (0 <= rows < 2**63 and 0 <= columns < 2**63):
        told = short(str(list(shape)[:5]))
        raise invalid("bad_tensor", f"input {short(name)!r}: its shape {told} is not [rows] or [rows, columns]", name)
    return rows * columns


def flat(name: str, shape: Sequence[int], data: list[Any]) -> list[Any]:
    """The elements of nested arrays."""
    if len(shape) != 2 or len(data) != shape[0] or any(type(row) is not list or len(row) != shape[1] for row in data):
        raise wrong_size(name, shape, "arrays of other sizes")
    return list(chain.from_iterable(data))


def wrong_size(name: str, shape: Sequence[int], what: str) -> RequestNotValid:
    return invalid("bad_tensor", f"input {short(name)!r} of shape {list(shape)[:2]} holds {what}", name)


def decode(name: str, datatype: str, shape: Sequence[int], raw: "memoryview | bytes") -> Array:
    """The elements of a binary tensor: little-endian, row by row, each of BYTES after its length in 4 bytes."""
    count, size = elements(name, datatype, shape), len(raw)
    if datatype == "BYTES":
        return split_bytes(name, shape, count, raw)
    kind = np.dtype("<u2" if datatype == "BF16" else KINDS[datatype])
    if size != count * kind.itemsize:
        raise wrong_size(name, shape, f"{size} bytes of {datatype}, expected {count * kind.itemsize}")
    array = np.frombuffer(raw, kind)
    if datatype == "BF16":  # the upper half of a float of 32 bits
        return (array.astype("<u4") << 16).view("<f4")
    return array.view("<u1") != 0 if datatype == "BOOL" else array


def split_bytes(name: str, shape: Sequence[int], count: int, raw: "memoryview | bytes") -> Array:
    """(count,) objects: text."""
    size, place = len(raw), 0
    found: list[bytes] = []
    if count * 4 <= size:
        whole = bytes(raw)
        while place + 4 <= size and len(found) < count:
            stop = place + 4 + int.from_bytes(whole[place : place + 4], "little")
            found.append(whole[place + 4 : stop])
            place = stop
    if place != size or len(found) != count:
        raise wrong_size(name, shape, f"{size} bytes that are not {count} texts with their lengths")
    return decoded(name, found)


def decoded(name: str, texts: Iterable[bytes]) -> Array:
    """Elements of BYTES as objects: text."""
    try:
        return as_array([text.decode() for text in texts])
    except UnicodeDecodeError:
        raise invalid("wrong_type", f"input {short(name)!r} is not all UTF-8", name) from None


# From tensors to checked rows


def accept(schema: FeatureSchema, inference: Inference, max_rows: int) -> Accepted:
    """Check the rows that the tensors hold together. Raises RequestNotValid, RowsNotValid or TooManyRows."""
    skip = inference.skip
    usual = usual_matrix(schema, inference.inputs, max_rows) or usual_columns(schema, inference.inputs, max_rows)
    if usual is not None:
        return usual
    inputs = columns_of_matrix(schema, inference.inputs)
    count = row_count(inputs, max_rows)
    check_names(schema, inputs)
    used = [tensor for tensor in inputs if tensor.name in schema.by_name]
    values = [cells(schema.by_name[tensor.name], tensor, inference.parameters) for tensor in used]
    names = [tensor.name for tensor in used]
    if any(isinstance(tensor.data, np.ndarray) for tensor in used):
        return accept_arrays(schema, dict(zip(names, map(as_array, values), strict=True)), count, skip=skip)
    rows = [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]
    return native.accept_rows(schema, rows or [{}] * count, skip=skip)


def usual_matrix(schema: FeatureSchema, inputs: list[Tensor], max_rows: int) -> Accepted | None:
    """The rows of one binary tensor [rows, features] of a model of numbers, where nothing is to be said of any."""
    if not is_matrix(schema, inputs):
        return None
    (whole,) = inputs
    count, width = whole.shape
    if not isinstance(whole.data, np.ndarray) or whole.datatype not in NUMBERS or count > max_rows:
        return None
    if width != len(schema.features):
        return None
    numbers = whole.data.reshape(count, width).astype(np.float64, order="F")  # columns are what is compared
    frame = Frame(numbers, np.empty((count, 0), dtype=np.int64))
    return Accepted(frame, count) if schema.usual(frame) else None


def usual_columns(schema: FeatureSchema, inputs: list[Tensor], max_rows: int) -> Accepted | None:
    """The same of a binary tensor for each feature."""
    if not inputs or len(inputs) != len(schema.features):
        return None
    count = inputs[0].shape[0]
    arrays = {
        tensor.name: tensor.data
        for tensor in inputs
        if isinstance(tensor.data, np.ndarray) and (len(tensor.shape) == 1 or tensor.shape[1] == 1)
    }
    frame = usual_numbers(schema, arrays, count) if count <= max_rows else None
    return None if frame is None else Accepted(frame, count)


def is_matrix(schema: FeatureSchema, inputs: list[Tensor]) -> bool:
    """Whether one tensor stands for all features of a model of numbers, by whatever name."""
    one = len(inputs) == 1 and len(inputs[0].shape) == 2 and inputs[0].name not in schema.by_name
    return one and schema.only_numbers


def accept_arrays(schema: FeatureSchema, arrays: Mapping[str, Array], count: int, *, skip: bool) -> Accepted:
    """What is unusual in floats of 32 bits is looked at again by their shortest digits."""
    columns = {name: Column(array) for name, array in arrays.items()}
    if not any(map(narrow, arrays.values())):
        return native.accept_columns(schema, columns, count, skip=skip)
    with contextlib.suppress(RowsNotValid):
        accepted = native.accept_columns(schema, columns, count, skip=skip)
        if not accepted.warnings and not accepted.errors:
            return accepted
    columns = {name: Column(widened(array)) for name, array in arrays.items()}
    return native.accept_columns(schema, columns, count, skip=skip)


def columns_of_matrix(schema: FeatureSchema, inputs: list[Tensor]) -> list[Tensor]:
    """One tensor [rows, features] of a model of numbers, by whatever name, as a tensor for each feature."""
    if not is_matrix(schema, inputs):
        return inputs
    whole, width = inputs[0], len(schema.features)
    if whole.shape[1] != width:
        names = short(", ".join(feature.name for feature in schema.features), 200)
        message = f"input {short(whole.name)!r} has {whole.shape[1]} columns, expected the {width} features: {names}"
        raise invalid("bad_tensor", message, whole.name)
    rows = whole.shape[0]
    return [
        Tensor(feature.name, whole.datatype, (rows,), whole.data[place::width], whole.parameters)
        for place, feature in enumerate(schema.features)
    ]


def row_count(inputs: Sequence[Tensor], max_rows: int) -> int:
    """How many rows the tensors have, which has to be the same for all."""
    if not inputs:
        raise invalid("empty_rows", "there are no inputs, expected a tensor for each feature")
    count = inputs[0].shape[0]
    for tensor in inputs:
        name, shape = tensor.name, tensor.shape
        if shape[0] != count:
            first = inputs[0].name
            message = f"input {short(name)!r} has {shape[0]} rows, and input {short(first)!r} has {count}"
            raise invalid("bad_tensor", message, name)
        if len(shape) == 2 and shape[1] != 1:
            message = f"input {short(name)!r}: its shape {list(shape)} is not [{count}] or [{count}, 1]"
            raise invalid("bad_tensor", message, name)
    if count > max_rows:
        raise TooManyRows(count, max_rows)
    if count == 0:
        raise invalid("empty_rows", "the inputs have no rows, expected one row or more")
    return count


def check_names(schema: FeatureSchema, inputs: Sequence[Tensor]) -> None:
    """Every tensor a column of the table, of a type that fits it, and none that is needed is absent."""
    faults: list[RowError] = []
    known, names = schema.by_name, {tensor.name for tensor in inputs}
    if len(names) < len(inputs):
        raise invalid("bad_tensor", "two inputs have the same name")
    for tensor in inputs:
        name = tensor.name
        feature = known.get(name)
        if feature is not None:
            if tensor.datatype not in fitting(feature):
                expected = ", ".join(fitting(feature))
                message = (
                    f"input {short(name)!r}: {tensor.datatype} does not fit this {feature.kind}, expected {expected}"
                )
                faults.append(fault("wrong_type", message, name))
        elif name not in schema.accepted:
            near = nearest(name, known)
            hint = f", did you mean {near!r}?" if near else ""
            message = f"input {short(name)!r}: the table has no such column{hint}"
            faults.append(fault("unknown_field", message, short(name)))
    if len(names) < len(known) or faults:
        for feature in schema.features:
            if feature.name not in names and not feature.nullable:
                message = f"input {feature.name!r}: is absent, and it was never missing in training"
                faults.append(fault("missing_field", message, feature.name))
    if faults:
        raise native.refused(faults)


def fitting(feature: Feature) -> tuple[str, ...]:
    """The datatypes that a column may come in."""
    if feature.kind == "number" or (feature.kind == "category" and feature.level_type == "number"):
        return NUMBERS
    if feature.kind == "boolean" or (feature.kind == "category" and feature.level_type == "boolean"):
        return ("BOOL", "BYTES")
    return ("BYTES",)


def cells(feature: Feature, tensor: Tensor, parameters: Parameters) -> list[Any] | Array:
    """The elements of a tensor as the values that a row in JSON would hold, None where one is missing."""
    data = tensor.data
    if tensor.datatype == "BYTES":
        return texts(feature, tensor, parameters)
    if isinstance(data, np.ndarray):
        return data
    return [None if value != value else value for value in data]  # NaN, which is not itself


def texts(feature: Feature, tensor: Tensor, parameters: Parameters) -> list[Any] | Array:
    """BYTES: booleans by their words; None for the text that the parameter `missing` names."""
    values = tensor.data
    missing = tensor.parameters.get("missing", parameters.get("missing"))
    if missing is not None:
        if not isinstance(missing, str):
            raise invalid("unknown_option", f"missing={shown(missing)} is no text", "missing")
        values = [None if value == missing else value for value in values]
    if "BOOL" in fitting(feature):
        values = [BOOLEANS.get(value.lower(), value) if isinstance(value, str) else value for value in values]
    return values


def plain(data: list[Any] | Array) -> list[Any]:
    return data.tolist() if isinstance(data, np.ndarray) else data


def as_array(values: list[Any] | Array) -> Array:
    """Values of JSON as an array of objects."""
    if isinstance(values, np.ndarray):
        return values
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def narrow(array: Array) -> bool:
    """Whether these are floats of fewer bits than the schema's limits have."""
    return array.dtype.kind == "f" and array.dtype.itemsize < 8


def widened(array: Array) -> Array:
    """Floats of 32 bits by their shortest digits: 0.1 becomes the 0.1 of JSON, and is not above a limit of 0.1."""
    if not narrow(array):
        return array
    wide, finite = array.astype(np.float64), np.isfinite(array)
    wide[finite] = short_floats(array[finite].astype(np.float32))
    return wide


# From answers to tensors


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
                message = f"there is no output {short(name)!r}, only {', '.join(spec.name for spec in self.outputs)}"
                raise invalid("unknown_key", message, short(name))
            if unknown := {"classification", "shared_memory_region"}.intersection(parameters):
                raise invalid("unknown_option", f"output {name!r}: {min(unknown)} is not supported", name)

    def answer(self, accepted: Accepted, answers: Answers, inference: Inference) -> list[Output]:
        """What was asked for. answers: (valid rows, 1) values or (valid rows, classes) probabilities."""
        names = [name for name, _ in inference.outputs] or [spec.name for spec in self.outputs]
        return [self._output(name, accepted, answers) for name in names]

    def _output(self, name: str, accepted: Accepted, answers: Answers) -> Output:
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

    def write(self, accepted: Accepted, answers: Answers, inference: Inference) -> tuple[bytes, int | None]:
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


def _usual(accepted: Accepted, inference: Inference) -> bool:
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


def json_data(output: Output, accepted: Accepted) -> bytes:
    """The flat array of a tensor, null for rows that are not valid."""
    if isinstance(output.data, list):
        return dumps(output.data)
    if accepted.valid is not None and output.data.dtype.kind != "f":
        there = set(accepted.valid)
        return dumps([value if row in there else None for row, value in enumerate(output.data.tolist())])
    return orjson.dumps(output.data.reshape(-1), option=orjson.OPT_SERIALIZE_NUMPY)


def encode(output: Output) -> bytes:
    """The bytes of a binary tensor."""
    if isinstance(output.data, list):
        encoded = [(text or "").encode("utf-8", "replace") for text in output.data]
        return b"".join(chain.from_iterable((len(text).to_bytes(4, "little"), text) for text in encoded))
    return output.data.tobytes()


def said(accepted: Accepted, *, skip: bool) -> dict[str, Any]:
    """Warnings and the errors of rows that were left out, as parameters: those are text and numbers only."""
    told: dict[str, Any] = {}
    if accepted.warnings:
        told["warnings"] = dumps(warnings_by_row(accepted)).decode()
    if skip:
        told["errors"] = dumps(listed(accepted.errors)).decode()
        told["errors_omitted"] = accepted.omitted
    return told


def warnings_by_row(accepted: Accepted) -> list[dict[str, Any]]:
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
