"""Converts tensors of the Open Inference Protocol, from JSON, binary or gRPC responses, to JSON values."""

import base64
import json
import math
import struct
from typing import Any

ELEMENTS = {"BOOL": "?", "INT64": "q", "FP32": "f", "FP64": "d"}
"""The `struct` formats of the data types of outputs, except BYTES."""


def decode_tensor(datatype: str, content: bytes) -> list[Any]:
    """Decode the elements of a binary tensor."""
    if datatype == "BYTES":
        return decode_texts(content)
    form = ELEMENTS[datatype]
    found = struct.unpack(f"<{len(content) // struct.calcsize(form)}{form}", content)
    return ["NaN" if isinstance(value, float) and math.isnan(value) else value for value in found]


def decode_texts(content: bytes) -> list[str]:
    found, place = [], 0
    while place < len(content):
        (size,) = struct.unpack_from("<I", content, place)
        if place + 4 + size > len(content):
            raise ValueError("a text exceeds the content")
        found.append(content[place + 4 : place + 4 + size].decode())
        place += 4 + size
    return found


def with_decoded_contents(message: Any) -> Any:
    """The gRPC message with decoded elements instead of raw contents."""
    raws = message.pop("raw_output_contents", None)
    if raws is not None:
        datatypes = [output["datatype"] for output in message["outputs"]]
        parts = zip(datatypes, map(base64.b64decode, raws), strict=True)
        message["raw_output_contents"] = [decode_tensor(datatype, content) for datatype, content in parts]
    return message


def split_response(content: bytes, length: int) -> tuple[str, list[list[Any]]]:
    """Split a response into its JSON and the elements of its binary tensors. Raises ValueError if bytes remain."""
    text, place, found = content[:length].decode(), length, []
    for output in json.loads(text)["outputs"]:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is not None:
            found.append(decode_tensor(output["datatype"], content[place : place + size]))
            place += size
    if place != len(content):
        raise ValueError(f"{len(content) - place} bytes follow the tensors")
    return text, found
