"""The tensors of the Open Inference Protocol, in JSON, binary and gRPC requests alike."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from models.columns import Array
from models.text import render, truncate
from service.errors import RequestNotValid
from service.protocols.native import OPTIONS, error_entry

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
    """An input. data: its elements, row by row; a list of JSON values, or an array."""

    name: str
    datatype: str
    shape: Sequence[int]
    data: list[Any] | Array
    parameters: Parameters = field(default_factory=dict)


@dataclass(slots=True)
class InferRequest:
    """A request in any of the three forms."""

    inputs: list[InputTensor]
    outputs: Sequence[tuple[str, Parameters]] = field(default_factory=list)  # requested outputs; none: all of them
    id: str = ""
    parameters: Parameters = field(default_factory=dict)

    @property
    def skip(self) -> bool:
        """Whether rows that are not valid are left out. Raises RequestNotValid."""
        option = self.parameters.get("on_invalid", "fail")
        if option not in OPTIONS:
            raise invalid_input("unknown_option", f"on_invalid={render(option)} is unknown, expected fail or skip")
        return bool(option == "skip")


class ResponseTensor(NamedTuple):
    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Array | list[str | None]  # BYTES as text, None where there is none


class TensorSpec(NamedTuple):
    """What the metadata tell about a tensor."""

    name: str
    datatype: str
    shape: tuple[int, ...]  # -1: as many as there are rows


def invalid_input(code: str, message: str, name: str | None = None) -> RequestNotValid:
    return RequestNotValid(message, [error_entry(code, message, name)])


def elements(name: str, datatype: object, shape: Sequence[Any]) -> int:
    """How many elements a tensor of this shape has. Raises RequestNotValid for a shape or type that is none."""
    if datatype not in DATATYPES:
        expected = ", ".join(DATATYPES)
        raise invalid_input(
            "bad_tensor", f"input {truncate(name)!r}: {render(datatype)} is no datatype, expected {expected}", name
        )
    rows, columns = shape if len(shape) == 2 else (shape[0], 1) if len(shape) == 1 else (None, None)
    if type(rows) is not int or type(columns) is not int or not (0 <= rows < 2**63 and 0 <= columns < 2**63):
        told = truncate(str(list(shape)[:5]))
        raise invalid_input(
            "bad_tensor", f"input {truncate(name)!r}: its shape {told} is not [rows] or [rows, columns]", name
        )
    return rows * columns


def wrong_size(name: str, shape: Sequence[int], what: str) -> RequestNotValid:
    return invalid_input("bad_tensor", f"input {truncate(name)!r} of shape {list(shape)[:2]} holds {what}", name)


def decode(name: str, datatype: str, shape: Sequence[int], raw: "memoryview | bytes") -> Array:
    """The elements of a binary tensor: little-endian, row by row, each of BYTES after its length in 4 bytes."""
    count, size = elements(name, datatype, shape), len(raw)
    if datatype == "BYTES":
        return split_bytes(name, shape, count, raw)
    kind = np.dtype("<u2" if datatype == "BF16" else NUMPY_TYPES[datatype])
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
        raise invalid_input("wrong_type", f"input {truncate(name)!r} is not all UTF-8", name) from None


def as_array(values: list[Any] | Array) -> Array:
    """Values of JSON as an array of objects."""
    if isinstance(values, np.ndarray):
        return values
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def encode(output: ResponseTensor) -> bytes:
    """The bytes of a binary tensor."""
    if isinstance(output.data, list):
        encoded = [(text or "").encode("utf-8", "replace") for text in output.data]
        return b"".join(chain.from_iterable((len(text).to_bytes(4, "little"), text) for text in encoded))
    return output.data.tobytes()
