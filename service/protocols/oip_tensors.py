"""The tensors of the Open Inference Protocol, shared by JSON, binary and gRPC requests."""

from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from models.columns import Array
from models.text import counted, render, truncate
from service.errors import RequestNotValid
from service.protocols.parsing import ON_INVALID_OPTIONS, error_entry

Parameters = Mapping[str, Any]
NUMPY_TYPES = {
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
NUMBERS = (*list(NUMPY_TYPES)[1:], "BF16")
DATATYPES = dict.fromkeys([*NUMPY_TYPES, "BF16", "BYTES"])
NONE: Parameters = {}


@dataclass(slots=True)
class InputTensor:
    """An input tensor. data: its elements row by row, as a list of JSON values or an array."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: list[Any] | Array
    parameters: Parameters = field(default_factory=dict)


@dataclass(slots=True)
class InferRequest:
    """A parsed infer request, the same for JSON, binary and gRPC."""

    inputs: list[InputTensor]
    outputs: Sequence[tuple[str, Parameters]] = field(default_factory=list)  # name and parameters; empty: all outputs
    id: str = ""
    parameters: Parameters = field(default_factory=dict)

    @property
    def skip(self) -> bool:
        """Whether invalid rows are skipped. Raises RequestNotValid."""
        option = self.parameters.get("on_invalid", "fail")
        if option not in ON_INVALID_OPTIONS:
            raise invalid_input("unknown_option", f"on_invalid={render(option)} is unknown, expected fail or skip")
        return bool(option == "skip")


class ResponseTensor(NamedTuple):
    """An output tensor of a response."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Array | list[str | None]  # BYTES elements are texts, and None for an invalid row


class TensorSpec(NamedTuple):
    """A tensor in the metadata of a model."""

    name: str
    datatype: str
    shape: tuple[int, ...]  # -1: the number of rows


def invalid_input(code: str, message: str, name: str | None = None) -> RequestNotValid:
    return RequestNotValid(message, [error_entry(code, message, name)])


def element_count(name: str, datatype: object, shape: Sequence[Any]) -> int:
    """The number of elements of a tensor. Raises RequestNotValid for an invalid shape or datatype."""
    if datatype not in DATATYPES:
        expected = ", ".join(DATATYPES)
        raise invalid_input(
            "bad_tensor", f"input {truncate(name)!r}: unknown datatype {render(datatype)}, expected {expected}", name
        )
    rows, columns = shape if len(shape) == 2 else (shape[0], 1) if len(shape) == 1 else (None, None)
    if type(rows) is not int or type(columns) is not int or not (0 <= rows < 2**63 and 0 <= columns < 2**63):
        rendered = truncate(str(list(shape)[:5]))
        raise invalid_input(
            "bad_tensor", f"input {truncate(name)!r}: its shape {rendered} is not [rows] or [rows, columns]", name
        )
    return rows * columns


def wrong_size(name: str, shape: Sequence[int], found: str) -> RequestNotValid:
    return invalid_input("bad_tensor", f"input {truncate(name)!r} of shape {list(shape)[:2]} holds {found}", name)


def decode(name: str, datatype: str, shape: Sequence[int], raw: "memoryview | bytes") -> Array:
    """The elements of a binary tensor: little-endian, row by row. Each BYTES element follows its length in 4 bytes."""
    count, size = element_count(name, datatype, shape), len(raw)
    if datatype == "BYTES":
        return split_bytes(name, shape, count, raw)
    dtype = np.dtype("<u2" if datatype == "BF16" else NUMPY_TYPES[datatype])
    if size != count * dtype.itemsize:
        raise wrong_size(name, shape, f"{counted(size, 'byte')} of {datatype}, expected {count * dtype.itemsize}")
    array = np.frombuffer(raw, dtype)
    if datatype == "BF16":  # BF16 is the upper half of a 32-bit float
        return (array.astype("<u4") << 16).view("<f4")
    return array.view("<u1") != 0 if datatype == "BOOL" else array


def split_bytes(name: str, shape: Sequence[int], count: int, raw: "memoryview | bytes") -> Array:
    """The elements of a binary BYTES tensor: (count,) strings."""
    size, position = len(raw), 0
    found: list[bytes] = []
    if count * 4 <= size:
        content = bytes(raw)
        while position + 4 <= size and len(found) < count:
            stop = position + 4 + int.from_bytes(content[position : position + 4], "little")
            found.append(content[position + 4 : stop])
            position = stop
    if position != size or len(found) != count:
        found_bytes = counted(size, "byte that is", "bytes that are")
        strings = counted(count, "string with its length", "strings with their lengths")
        raise wrong_size(name, shape, f"{found_bytes} not {strings}")
    return decode_texts(name, found)


def decode_texts(name: str, texts: Iterable[bytes]) -> Array:
    """BYTES elements as an array of strings."""
    try:
        return as_array([text.decode() for text in texts])
    except UnicodeDecodeError:
        raise invalid_input("wrong_type", f"input {truncate(name)!r} is not valid UTF-8", name) from None


def decode_content(tensor: InputTensor) -> InputTensor:
    """Decode the elements of a BYTES tensor with MLServer's content type `base64`. Raises RequestNotValid."""
    if tensor.parameters.get("content_type") != "base64":
        return tensor
    name, what = tensor.name, f"input {truncate(tensor.name)!r}: its content type is base64, "
    if tensor.datatype != "BYTES":
        raise invalid_input("unknown_option", f"{what}which needs the datatype BYTES, not {tensor.datatype}", name)
    texts: list[str | None] = []
    for position, element in enumerate(tensor.data):
        try:
            texts.append(None if element is None else b64decode(element, validate=True).decode())
        except (TypeError, ValueError):
            rendered = render(element)
            message = f"{what}and its element {position}, {rendered}, is not UTF-8 text in base64"
            raise invalid_input("wrong_type", message, name) from None
    return replace(tensor, data=as_array(texts) if isinstance(tensor.data, np.ndarray) else texts)


def as_array(values: list[Any] | Array) -> Array:
    """JSON values as an array of objects."""
    if isinstance(values, np.ndarray):
        return values
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def encode(output: ResponseTensor) -> bytes:
    """An output as binary data."""
    if isinstance(output.data, list):
        encoded = [(text or "").encode("utf-8", "replace") for text in output.data]
        return b"".join(chain.from_iterable((len(text).to_bytes(4, "little"), text) for text in encoded))
    return output.data.tobytes()
