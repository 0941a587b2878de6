"""Requests of the Open Inference Protocol over REST with binary tensors after the JSON."""

import json
import struct
from collections.abc import Sequence
from typing import Any

from tests.recorded.case import Case, CaseBuilder
from tests.recorded.cases import samples
from tests.recorded.cases.v2 import HOMES, NUMBERS_AT, OCTETS

Tensor = tuple[str, str, Sequence[int], bytes]


def cases() -> list[Case]:
    builder = CaseBuilder("v2-binary")
    matrix_cases(builder)
    mixed_type_cases(builder)
    element_cases(builder)
    return builder.made


def binary_body(inputs: Sequence[Tensor], **more: Any) -> tuple[bytes, int]:
    """A request body with binary tensors after the JSON. Returns the body and the length of the JSON."""
    written = [
        {"name": name, "datatype": kind, "shape": shape, "parameters": {"binary_data_size": len(raw)}}
        for name, kind, shape, raw in inputs
    ]
    head = json.dumps({"inputs": written, **more}).encode()
    return head + b"".join(raw for *_, raw in inputs), len(head)


def encode_texts(*values: str) -> bytes:
    """The binary elements of a BYTES tensor."""
    return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)


def add_binary_case(
    builder: CaseBuilder, name: str, target: str, content: bytes, length: object, kind: str = OCTETS
) -> None:
    builder.post(name, target, content, kind=kind, inference_header_content_length=str(length))


def matrix_cases(builder: CaseBuilder) -> None:
    numbers = [value for row in samples.number_rows(2) for value in row.values()]
    doubles, shape = struct.pack("<12d", *numbers), [2, 6]
    requests: dict[str, tuple[str, bytes, dict[str, Any]]] = {
        "matrix": ("FP64", doubles, {}),
        "matrix-float32": ("FP32", struct.pack("<12f", *numbers), {}),
        "matrix-binary-out": ("FP64", doubles, {"parameters": {"binary_data_output": True}}),
        "too-short": ("FP64", doubles[:-8], {}),
        "nan": ("FP64", struct.pack("<d", float("nan")) + doubles[8:], {}),
        "infinity": ("FP64", struct.pack("<d", float("inf")) + doubles[8:], {}),
    }
    for name, (kind, raw, more) in requests.items():
        add_binary_case(builder, name, f"{NUMBERS_AT}/infer", *binary_body([("x", kind, shape, raw)], **more))


def mixed_type_cases(builder: CaseBuilder) -> None:
    """Requests with one tensor of a different data type for each column of `homes`."""
    shape = [2, 1]
    inputs: list[Tensor] = [
        ("sq. metres ($)", "FP32", shape, struct.pack("<2f", 80.1, 120.7)),
        ("educational-num", "INT8", shape, struct.pack("<2b", 3, 12)),
        ("Outcome Type", "BYTES", shape, encode_texts("größer, neu", "NA")),
        ("class", "FP16", shape, struct.pack("<2e", 1.5, float("nan"))),
        ("garden?", "BOOL", shape, b"\x01\x00"),
        ("renovated", "BYTES", shape, encode_texts("true", "NA")),
        ("2nd", "BYTES", shape, encode_texts("2013-04-11", "2014-01-01")),
        ("sold on", "BYTES", shape, encode_texts("15/03/2012 12:30", "16/03/2012 12:30")),
        ("zone", "UINT8", shape, b"\x01\x03"),
        ("street", "BYTES", shape, encode_texts("street 1", "new street")),
    ]
    content, length = binary_body(inputs, parameters={"missing": "NA"})
    target = f"{HOMES}/infer"
    add_binary_case(builder, "homes", target, content, length)
    add_binary_case(builder, "json-kind", target, content, length, "application/json")
    add_binary_case(builder, "bytes-left", target, content + b"left", length)
    add_binary_case(builder, "cut-off", target, content[:-30], length)
    builder.post("no-length", target, content, kind=OCTETS)
    sized = str(length)
    gzip_compressed = samples.gzip_compressed(content)
    builder.post(
        "gzip", target, gzip_compressed, kind=OCTETS, content_encoding="gzip", inference_header_content_length=sized
    )
    for name, declared in {"zero": "0", "text": "x", "too-large": "999999", "negative": "-1", "long": "1" * 30}.items():
        add_binary_case(builder, f"length-{name}", target, content, declared)


def element_cases(builder: CaseBuilder) -> None:
    add_binary_case(builder, "bf16", "/v2/models/single/infer", *binary_body([("x", "BF16", [2], b"\x80\x3f\x20\x41")]))
    sizes: Tensor = ("size", "FP64", [1], struct.pack("<d", 2))
    for name, raw in {"bytes-short": b"\x09\x00\x00\x00ab", "bytes-not-utf8": b"\x01\x00\x00\x00\xff"}.items():
        add_binary_case(builder, name, "/v2/models/stars/infer", *binary_body([("kind", "BYTES", [1], raw), sizes]))
