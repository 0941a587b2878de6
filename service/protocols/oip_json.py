"""Parses REST requests of the Open Inference Protocol: JSON, with or without binary tensors."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import orjson

from models.text import counted, render, truncate
from service.errors import BadBody
from service.protocols.oip_tensors import (
    DATATYPES,
    NONE,
    InferRequest,
    InputTensor,
    Parameters,
    decode,
    decode_content,
    element_count,
    invalid_input,
    wrong_size,
)
from service.protocols.parsing import parse_json

MAX_TENSORS = 10_000
MAX_LENGTH_DIGITS = 18
ONE, ONE_BY_ONE = [1], [1, 1]  # the shapes of a tensor with one element


def read(body: bytes, header_length: bytes | None = None) -> InferRequest:
    """Parse the body of an infer request. header_length: the length of its JSON, which precedes binary tensors.

    Raises BadJson, BadBody or RequestNotValid.
    """
    length = len(body) if header_length is None else json_length(header_length, len(body))
    document = parse_document(body if length == len(body) else body[:length])
    if not isinstance(document, dict):
        raise invalid_input("wrong_type", 'the body is not an object, expected {"inputs": [...]}')
    entries = document.get("inputs")
    if not isinstance(entries, list):
        raise invalid_input("missing_rows", "'inputs' is missing or not an array", "inputs")
    if len(entries) > MAX_TENSORS:
        raise invalid_input("bad_tensor", f"the request has {len(entries)} inputs, expected at most {MAX_TENSORS}")
    inputs, position = [], length
    for entry in entries:
        tensor = fast_tensor(entry)
        if tensor is None:
            tensor, position = read_tensor(entry, body, position)
            tensor = decode_content(tensor)
        inputs.append(tensor)
    if position != len(body):
        raise BadBody(f"{counted(len(body) - position, 'byte follows', 'bytes follow')} the last tensor")
    request_id = document.get("id", "")
    if not isinstance(request_id, str):
        raise invalid_input("wrong_type", "'id' is not a string", "id")
    return InferRequest(inputs, requested_outputs(document.get("outputs")), request_id, parameters_of(document))


def json_length(text: bytes, body_length: int) -> int:
    if not text.isdigit() or len(text) > MAX_LENGTH_DIGITS or int(text) > body_length:
        rendered = truncate(text.decode("latin-1"))
        length = counted(body_length, "byte")
        raise BadBody(f"Inference-Header-Content-Length {rendered!r} is not valid for a body of {length}")
    if int(text) == 0:
        raise BadBody("there is no JSON before the tensors; raw requests are not supported")
    return int(text)


def parse_document(text: bytes) -> Any:
    """Parse JSON with NaN and Infinity, which some clients write as elements of a tensor. Raises BadJson."""
    try:
        return orjson.loads(text)
    except ValueError:
        return parse_json(text, constants=True)


def fast_tensor(entry: object) -> InputTensor | None:
    """The tensor of the most common input: one element, no parameters. None for other inputs, which `read_tensor`
    parses."""
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
    if type(shape[0]) is not int or type(shape[-1]) is not int:  # rejects True and 1.0, which equal 1
        return None
    if type(data) is not list or len(data) != 1 or type(data[0]) is list:
        return None
    return InputTensor(name, datatype, shape, data, NONE)


def read_tensor(entry: object, body: bytes, position: int) -> tuple[InputTensor, int]:
    """Parse an input. Returns it and the position of the next input's binary data."""
    if not isinstance(entry, dict):
        raise invalid_input("bad_tensor", f"an input is {render(entry)}, expected an object")
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str):
        raise invalid_input("bad_tensor", "an input has no name")
    if not isinstance(datatype, str):
        raise invalid_input("bad_tensor", f"input {truncate(name)!r}: unknown datatype {render(datatype)}", name)
    if not isinstance(shape, list):
        raise invalid_input("bad_tensor", f"input {truncate(name)!r} has no shape", name)
    parameters = parameters_of(entry) if "parameters" in entry else NONE
    data = entry.get("data")
    size = parameters.get("binary_data_size")
    if size is None:
        count = element_count(name, datatype, shape)
        if not isinstance(data, list):
            raise invalid_input("bad_tensor", f"input {truncate(name)!r}: 'data' is missing or not an array", name)
        if data and type(data[0]) is list:
            data = flatten(name, shape, data)
        if len(data) != count:
            raise wrong_size(name, shape, counted(len(data), "element"))
        return InputTensor(name, datatype, shape, data, parameters), position
    if data is not None:
        raise invalid_input("bad_tensor", f"input {truncate(name)!r} has both data and binary data", name)
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(body) - position:
        raise BadBody(
            f"input {truncate(name)!r}: binary_data_size {render(size)}, expected 0 to {len(body) - position}"
        )
    raw = memoryview(body)[position : position + size]
    return InputTensor(name, datatype, shape, decode(name, datatype, shape, raw), parameters), position + size


def parameters_of(entry: Mapping[str, Any]) -> Parameters:
    parameters = entry.get("parameters", NONE)
    if parameters is None:
        return NONE
    if not isinstance(parameters, dict):
        raise invalid_input("wrong_type", f"'parameters' is {render(parameters)}, expected an object", "parameters")
    return parameters


def requested_outputs(outputs: object) -> list[tuple[str, Parameters]]:
    if outputs is None:
        return []
    if not isinstance(outputs, list) or not all(isinstance(entry, dict) for entry in outputs):
        raise invalid_input("wrong_type", "'outputs' is not an array of objects", "outputs")
    if not all(isinstance(entry.get("name"), str) for entry in outputs):
        raise invalid_input("bad_tensor", "an output has no name", "outputs")
    return [(entry["name"], parameters_of(entry)) for entry in outputs]


def flatten(name: str, shape: Sequence[int], data: list[Any]) -> list[Any]:
    """The elements of nested arrays, row by row."""
    if len(shape) != 2 or len(data) != shape[0] or any(type(row) is not list or len(row) != shape[1] for row in data):
        raise wrong_size(name, shape, "arrays of different sizes")
    return list(chain.from_iterable(data))
