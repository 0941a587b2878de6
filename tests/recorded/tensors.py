"""The tensors of the Open Inference Protocol as JSON values, whether they came as JSON, binary or by gRPC."""

import base64
import json
import math
import struct
from typing import Any

ELEMENTS = {"BOOL": "?", "INT64": "q", "FP32": "f", "FP64": "d"}
"""The binary formats of the datatypes of outputs, except BYTES."""


def unpacked(datatype: str, content: bytes) -> list[Any]:
    """The elements of a binary tensor."""
    if datatype == "BYTES":
        return texts(content)
    form = ELEMENTS[datatype]
    found = struct.unpack(f"<{len(content) // struct.calcsize(form)}{form}", content)
    return ["NaN" if isinstance(value, float) and math.isnan(value) else value for value in found]


def texts(content: bytes) -> list[str]:
    found, place = [], 0
    while place < len(content):
        (size,) = struct.unpack_from("<I", content, place)
        if place + 4 + size > len(content):
            raise ValueError("a text is longer than what is there")
        found.append(content[place + 4 : place + 4 + size].decode())
        place += 4 + size
    return found


def decoded(message: Any) -> Any:
    """A gRPC message in which raw contents are elements."""
    raws = message.pop("raw_output_contents", None)
    if raws is not None:
        datatypes = [output["datatype"] for output in message["outputs"]]
        parts = zip(datatypes, map(base64.b64decode, raws), strict=True)
        message["raw_output_contents"] = [unpacked(datatype, content) for datatype, content in parts]
    return message


def split(content: bytes, length: int) -> tuple[str, list[list[Any]]]:
    """The JSON of a response with binary tensors, and their elements. Raises ValueError if bytes are left over."""
    text, place, found = content[:length].decode(), length, []
    for output in json.loads(text)["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is not None:
            found.append(unpacked(output["datatype"], content[place : place + size]))
            place += size
    if place != len(content):
        raise ValueError(f"{len(content) - place} bytes follow the tensors")
    return text, found
