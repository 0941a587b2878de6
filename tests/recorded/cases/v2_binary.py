"""The Open Inference Protocol's REST with binary tensors behind the JSON of a request."""

import json
import struct
from collections.abc import Sequence
from typing import Any

from tests.recorded.case import Case, Maker
from tests.recorded.cases import samples
from tests.recorded.cases.v2 import HOMES, NUMBERS_AT, OCTETS

Tensor = tuple[str, str, Sequence[int], bytes]


def cases() -> list[Case]:
    make = Maker("v2-binary")
    matrices(make)
    mixed(make)
    elements(make)
    return make.made


def packed(inputs: Sequence[Tensor], **more: Any) -> tuple[bytes, int]:
    """A request whose tensors follow its JSON, and the length of the JSON."""
    written = [
        {"name": name, "datatype": kind, "shape": shape, "parameters": {"binary_data_size": len(raw)}}
        for name, kind, shape, raw in inputs
    ]
    head = json.dumps({"inputs": written, **more}).encode()
    return head + b"".join(raw for *_, raw in inputs), len(head)


def text(*values: str) -> bytes:
    """Elements of BYTES."""
    return b"".join(struct.pack("<I", len(value.encode())) + value.encode() for value in values)


def send(make: Maker, name: str, target: str, content: bytes, length: object, kind: str = OCTETS) -> None:
    make.post(name, target, content, kind=kind, inference_header_content_length=str(length))


def matrices(make: Maker) -> None:
    numbers = [value for row in samples.numbers(2) for value in row.values()]
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
        send(make, name, f"{NUMBERS_AT}/infer", *packed([("x", kind, shape, raw)], **more))


def mixed(make: Maker) -> None:
    """A tensor for each column of `homes`."""
    shape = [2, 1]
    inputs: list[Tensor] = [
        ("sq. metres ($)", "FP32", shape, struct.pack("<2f", 80.1, 120.7)),
        ("educational-num", "INT8", shape, struct.pack("<2b", 3, 12)),
        ("Outcome Type", "BYTES", shape, text("größer, neu", "NA")),
        ("class", "FP16", shape, struct.pack("<2e", 1.5, float("nan"))),
        ("garden?", "BOOL", shape, b"\x01\x00"),
        ("renovated", "BYTES", shape, text("true", "NA")),
        ("2nd", "BYTES", shape, text("2013-04-11", "2014-01-01")),
        ("sold on", "BYTES", shape, text("15/03/2012 12:30", "16/03/2012 12:30")),
        ("zone", "UINT8", shape, b"\x01\x03"),
        ("street", "BYTES", shape, text("street 1", "new street")),
    ]
    content, length = packed(inputs, parameters={"missing": "NA"})
    target = f"{HOMES}/infer"
    send(make, "homes", target, content, length)
    send(make, "json-kind", target, content, length, "application/json")
    send(make, "bytes-left", target, content + b"left", length)
    send(make, "cut-off", target, content[:-30], length)
    make.post("no-length", target, content, kind=OCTETS)
    sized = str(length)
    gzipped = samples.gzipped(content)
    make.post("gzip", target, gzipped, kind=OCTETS, content_encoding="gzip", inference_header_content_length=sized)
    for name, declared in {"zero": "0", "text": "x", "too-large": "999999", "negative": "-1", "long": "1" * 30}.items():
        send(make, f"length-{name}", target, content, declared)


def elements(make: Maker) -> None:
    send(make, "bf16", "/v2/models/single/infer", *packed([("x", "BF16", [2], b"\x80\x3f\x20\x41")]))
    sizes: Tensor = ("size", "FP64", [1], struct.pack("<d", 2))
    for name, raw in {"bytes-short": b"\x09\x00\x00\x00ab", "bytes-not-utf8": b"\x01\x00\x00\x00\xff"}.items():
        send(make, name, "/v2/models/stars/infer", *packed([("kind", "BYTES", [1], raw), sizes]))
