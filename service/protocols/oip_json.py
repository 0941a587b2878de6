"""Requests of the Open Inference Protocol over REST: JSON, with or without binary tensors."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import orjson

from models.text import render, truncate
from service.errors import BadBody
from service.protocols import native
from service.protocols.oip_tensors import (
    DATATYPES,
    NONE,
    InferRequest,
    InputTensor,
    Parameters,
    decode,
    elements,
    invalid_input,
    wrong_size,
)

MOST_TENSORS = 10_000
MOST_DIGITS = 18  # of the length of a header
ONE, ONE_BY_ONE = [1], [1, 1]  # shapes of a tensor of one element


def read(body: bytes, header_length: bytes | None = None) -> InferRequest:
    """The body of an infer request. header_length: how much of it is JSON, as the client says; the rest is binary.

    Raises BadJson, BadBody or RequestNotValid.
    """
    length = len(body) if header_length is None else length_of(header_length, len(body))
    document = parse(body if length == len(body) else body[:length])
    if not isinstance(document, dict):
        raise invalid_input("wrong_type", 'the body is no object, expected {"inputs": [...]}')
    given = document.get("inputs")
    if not isinstance(given, list):
        raise invalid_input("missing_rows", "the body has no array of 'inputs'", "inputs")
    if len(given) > MOST_TENSORS:
        raise invalid_input("bad_tensor", f"{len(given)} inputs are more than {MOST_TENSORS}")
    inputs, place = [], length
    for entry in given:
        tensor = fast_tensor(entry)
        if tensor is None:
            tensor, place = read_tensor(entry, body, place)
        inputs.append(tensor)
    if place != len(body):
        raise BadBody(f"{len(body) - place} bytes follow its tensors")
    request_id = document.get("id", "")
    if not isinstance(request_id, str):
        raise invalid_input("wrong_type", "'id' is no text", "id")
    return InferRequest(inputs, wanted(document.get("outputs")), request_id, parameters_of(document))


def length_of(text: bytes, most: int) -> int:
    if not text.isdigit() or len(text) > MOST_DIGITS or int(text) > most:
        told = truncate(text.decode("latin-1"))
        raise BadBody(f"Inference-Header-Content-Length {told!r} is no length of a part of its {most} bytes")
    if int(text) == 0:
        raise BadBody("it has no JSON before its tensors; raw requests are not supported")
    return int(text)


def parse(text: bytes) -> Any:
    """The JSON value, bare NaN and Infinity included, as clients write them for the elements of a tensor."""
    try:
        return orjson.loads(text)
    except ValueError:
        return native.parse_json(text, constants=True)


def fast_tensor(entry: object) -> InputTensor | None:
    """The common input: one element, no parameters. None where `read_tensor` has to read it."""
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
    return InputTensor(name, datatype, shape, data, NONE)


def read_tensor(entry: object, body: bytes, place: int) -> tuple[InputTensor, int]:
    """An input and where the next one's bytes begin."""
    if not isinstance(entry, dict):
        raise invalid_input("bad_tensor", f"an input is {render(entry)}, expected an object")
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if not isinstance(name, str):
        raise invalid_input("bad_tensor", "an input has no name")
    if not isinstance(datatype, str):
        raise invalid_input("bad_tensor", f"input {truncate(name)!r}: {render(datatype)} is no datatype", name)
    if not isinstance(shape, list):
        raise invalid_input("bad_tensor", f"input {truncate(name)!r} has no shape", name)
    parameters = parameters_of(entry) if "parameters" in entry else NONE
    data = entry.get("data")
    size = parameters.get("binary_data_size")
    if size is None:
        count = elements(name, datatype, shape)
        if not isinstance(data, list):
            raise invalid_input("bad_tensor", f"input {truncate(name)!r} has no array of data", name)
        if data and type(data[0]) is list:
            data = flat(name, shape, data)
        if len(data) != count:
            raise wrong_size(name, shape, f"{len(data)} elements")
        return InputTensor(name, datatype, shape, data, parameters), place
    if data is not None:
        raise invalid_input("bad_tensor", f"input {truncate(name)!r} has both data and binary data", name)
    if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= len(body) - place:
        raise BadBody(
            f"input {truncate(name)!r}: {render(size)} is no size of a part of the {len(body) - place} bytes left"
        )
    raw = memoryview(body)[place : place + size]
    return InputTensor(name, datatype, shape, decode(name, datatype, shape, raw), parameters), place + size


def parameters_of(entry: Mapping[str, Any]) -> Parameters:
    parameters = entry.get("parameters", NONE)
    if parameters is None:
        return NONE
    if not isinstance(parameters, dict):
        raise invalid_input("wrong_type", f"'parameters' is {render(parameters)}, expected an object", "parameters")
    return parameters


def wanted(outputs: object) -> list[tuple[str, Parameters]]:
    if outputs is None:
        return []
    if not isinstance(outputs, list) or not all(isinstance(entry, dict) for entry in outputs):
        raise invalid_input("wrong_type", "'outputs' is no array of objects", "outputs")
    if not all(isinstance(entry.get("name"), str) for entry in outputs):
        raise invalid_input("bad_tensor", "an output has no name", "outputs")
    return [(entry["name"], parameters_of(entry)) for entry in outputs]


def flat(name: str, shape: Sequence[int], data: list[Any]) -> list[Any]:
    """The elements of nested arrays."""
    if len(shape) != 2 or len(data) != shape[0] or any(type(row) is not list or len(row) != shape[1] for row in data):
        raise wrong_size(name, shape, "arrays of other sizes")
    return list(chain.from_iterable(data))
