"""Compares two recorded responses. Predictions may differ as far as "Equal predictions" in docs/reference/models.md
allows.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.recorded import tensors
from tests.recorded.client import Response, body_bytes

TOLERANCE = 1e-5
SHOWN = 200
BODIES = {"body", "base64", "gzip"}
JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|[^"\d-]+|.', re.DOTALL)
CSV_TOKEN = re.compile(r'"(?:[^"]|"")*"|[^",\n]+|.', re.DOTALL)
MEASURED = re.compile(r'("inline_rows"|"chunk_rows"):\d+')  # measured by the server at its start
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
DECIMAL = re.compile(r"[.eE]")
ADDED = ("x-model-version",)  # headers that are newer than the recording
LENGTHS = ("content-length", "inference-header-content-length")

Differences = Iterator[str]


def differences(expected: Response, actual: Response, scale: float) -> list[str]:
    """A description of each difference. scale: `s` of "Equal predictions": the target's standard deviation, or 1."""
    return [*compare_responses(expected, actual, scale)]


def compare_responses(expected: Response, actual: Response, scale: float) -> Differences:
    if expected.keys() - BODIES != actual.keys() - BODIES:
        yield f"the response has {sorted(actual)}, expected {sorted(expected)}"
        return
    for key in sorted(expected.keys() - BODIES - {"headers", "responses", "message"}):
        if expected[key] != actual[key]:
            yield f"{key} is {actual[key]!r}, expected {expected[key]!r}"
    if "headers" in expected:
        yield from compare_headers(expected, actual)
        yield from compare_bodies(expected, actual, scale)
    if "message" in expected:
        yield from compare_values(expected["message"], actual["message"], scale, "message")
    if "responses" in expected:
        yield from compare_response_lists(expected["responses"], actual["responses"], scale)


def compare_response_lists(expected: Sequence[Response], actual: Sequence[Response], scale: float) -> Differences:
    if len(expected) != len(actual):
        yield f"there are {len(actual)} responses, expected {len(expected)}"
        return
    for place, (old, new) in enumerate(zip(expected, actual, strict=True)):
        for found in compare_responses(old, new, scale):
            yield f"response {place}: {found}"


# Headers


def compare_headers(expected: Response, actual: Response) -> Differences:
    """Compare headers in any order. The content length may differ if the bodies differ, but must match its own body."""
    old, new = (
        sorted(tuple(pair) for pair in response["headers"] if pair[0] not in ADDED) for response in (expected, actual)
    )
    if same_body(expected, actual):
        lengths: tuple[str, ...] = ()
    else:
        lengths = LENGTHS
        yield from compare_length(actual)
    old, new = ([pair for pair in pairs if pair[0] not in lengths] for pairs in (old, new))
    for name, value in old:
        if (name, value) not in new or old.count((name, value)) != new.count((name, value)):
            yield f"header {name}: expected {shortened(value)}, received {header(actual, name)!r}"
    for name, value in new:
        if (name, value) not in old:
            yield f"header {name}: unexpected value {shortened(value)}"
    if {name for name, _ in old} != {name for name, _ in new}:
        yield "the names of the headers differ"


def same_body(expected: Response, actual: Response) -> bool:
    return body_bytes(expected) == body_bytes(actual)


def compare_length(response: Response) -> Differences:
    length = header(response, "content-length")
    if length is not None and length != str(len(body_bytes(response))):
        yield f"content-length is {length}, the body has {len(body_bytes(response))} bytes"


def header(response: Response, name: str) -> str | None:
    return next((value for key, value in response["headers"] if key == name), None)


# Bodies


def compare_bodies(expected: Response, actual: Response, scale: float) -> Differences:
    if same_body(expected, actual):
        return
    media = (header(expected, "content-type") or "").partition(";")[0]
    old, new = body_bytes(expected), body_bytes(actual)
    try:
        if media == "application/octet-stream":
            lengths = [int(header(response, LENGTHS[1]) or 0) for response in (expected, actual)]
            yield from compare_binary(old, new, lengths, scale)
        else:
            yield from COMPARERS.get(media, compare_bytes)(old, new, scale)
    except (ValueError, KeyError, OSError, pa.ArrowException) as error:
        yield f"the body cannot be read as {media}: {error}"


def compare_bytes(expected: bytes, actual: bytes, scale: float) -> Differences:
    if expected != actual:
        place = next((i for i, (a, b) in enumerate(zip(expected, actual, strict=False)) if a != b), len(expected))
        around = slice(max(0, place - SHOWN // 4), place + SHOWN)
        yield f"the body differs at byte {place}: {actual[around]!r}, expected {expected[around]!r}"


def compare_json(expected: bytes, actual: bytes, scale: float) -> Differences:
    old, new = (MEASURED.sub(r"\1:0", content.decode()) for content in (expected, actual))
    yield from compare_tokens(JSON_TOKEN.findall(old), JSON_TOKEN.findall(new), scale)


def compare_csv(expected: bytes, actual: bytes, scale: float) -> Differences:
    yield from compare_tokens(CSV_TOKEN.findall(expected.decode()), CSV_TOKEN.findall(actual.decode()), scale)


def compare_tokens(expected: Sequence[str], actual: Sequence[str], scale: float) -> Differences:
    """Report the first token that differs."""
    for place, (old, new) in enumerate(zip(expected, actual, strict=False)):
        if old != new and not equal_numbers(old, new, scale):
            before, after = "".join(expected[max(0, place - 10) : place]), "".join(actual[place : place + 5])
            yield f"after {shortened(before)}: {shortened(after)}, expected {shortened(old)}"
            return
    if len(expected) != len(actual):
        yield f"the body has {len(actual)} tokens, expected {len(expected)}"


def equal_numbers(expected: str, actual: str, scale: float) -> bool:
    """Whether both texts are numbers that are equal within the tolerance. Two whole numbers must be identical."""
    if not NUMBER.fullmatch(expected) or not NUMBER.fullmatch(actual):
        return False
    if not DECIMAL.search(expected) and not DECIMAL.search(actual):
        return False
    return within_tolerance(float(expected), float(actual), scale)


def within_tolerance(expected: float, actual: float, scale: float) -> bool:
    return abs(actual - expected) <= TOLERANCE * max(abs(expected), scale)


def compare_binary(expected: bytes, actual: bytes, lengths: Sequence[int], scale: float) -> Differences:
    """Compare bodies of JSON followed by binary tensors."""
    (old_text, old), (new_text, new) = (
        tensors.split_response(expected, lengths[0]),
        tensors.split_response(actual, lengths[1]),
    )
    yield from compare_json(old_text.encode(), new_text.encode(), scale)
    yield from compare_values(old, new, scale, "tensors")


def compare_arrow(expected: bytes, actual: bytes, scale: float) -> Differences:
    old, new = (pa.ipc.open_stream(content).read_all() for content in (expected, actual))
    yield from compare_tables(old, new, scale)


def compare_parquet(expected: bytes, actual: bytes, scale: float) -> Differences:
    files = [pq.ParquetFile(pa.BufferReader(content)) for content in (expected, actual)]
    yield from compare_tables(files[0].read(), files[1].read(), scale)
    groups = [file.metadata.num_row_groups for file in files]
    if groups[0] != groups[1]:
        yield f"there are {groups[1]} row groups, expected {groups[0]}"


def compare_tables(expected: Any, actual: Any, scale: float) -> Differences:
    if not expected.schema.equals(actual.schema, check_metadata=True):
        yield f"the schema is {actual.schema}, expected {expected.schema}"
        return
    for name in expected.schema.names:
        yield from compare_values(
            expected.column(name).to_pylist(), actual.column(name).to_pylist(), scale, f"column {name}"
        )


def compare_values(expected: Any, actual: Any, scale: float, place: str) -> Differences:
    """Compare JSON values. The members of an object may be in any order."""
    if type(expected) is not type(actual) and not {type(expected), type(actual)} <= {int, float}:
        yield f"{place} is {shortened(actual)}, expected {shortened(expected)}"
    elif isinstance(expected, dict):
        if expected.keys() != actual.keys():
            yield f"{place} has {sorted(actual)}, expected {sorted(expected)}"
            return
        for key, value in expected.items():
            yield from compare_values(value, actual[key], scale, f"{place}.{key}")
    elif isinstance(expected, list):
        if len(expected) != len(actual):
            yield f"{place} has {len(actual)} elements, expected {len(expected)}"
            return
        for number, (old, new) in enumerate(zip(expected, actual, strict=True)):
            yield from compare_values(old, new, scale, f"{place}[{number}]")
    elif not (
        equal_or_both_nan(expected, actual)
        or (isinstance(expected, float) and within_tolerance(expected, actual, scale))
    ):
        yield f"{place} is {shortened(actual)}, expected {shortened(expected)}"


def equal_or_both_nan(expected: Any, actual: Any) -> bool:
    """Whether two values are equal, where NaN equals NaN."""
    return bool(expected == actual or (expected != expected and actual != actual))


def shortened(value: object) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


COMPARERS: Mapping[str, Callable[[bytes, bytes, float], Differences]] = {
    "application/json": compare_json,
    "application/problem+json": compare_json,
    "application/x-ndjson": compare_json,
    "text/csv": compare_csv,
    "application/vnd.apache.arrow.stream": compare_arrow,
    "application/vnd.apache.parquet": compare_parquet,
}
