"""All protocols apply the same rules to Content-Type and Accept."""

from collections.abc import Callable
from typing import Any

import pytest

from service.http import negotiation
from service.http.negotiation import CHARSETS, JSON

SendRequest = Callable[..., Any]
PATHS = ("/predict/homes", "/v2/models/homes/infer", "/invocations")
MODEL = {"x-amzn-sagemaker-custom-attributes": "model=homes"}
JSON_TYPES = [
    None,
    "",
    "application/json",
    "Application/JSON",
    "application/json;charset=utf-8",
    'application/json; charset="UTF-8"',
    "application/json; Charset=utf8",
    "application/json; charset=us-ascii",
    'application/json;charset="US-ASCII"',
    "application/json; charset=",
    "application/json; version=1",
    "; charset=utf-8",
]
OTHER_TYPES = [
    "text/html",
    "application/xml",
    "application/json; charset=latin-1",
    'application/json; charset="utf-16"',
    "application/json; charset=utf-8; charset=latin-1",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded",
]


def send_request(
    send_asgi: SendRequest, path: str, content_type: str | None, body: bytes = b"not JSON", **headers: str
) -> Any:
    fields = MODEL if content_type is None else {**MODEL, "content-type": content_type}
    return send_asgi("POST", path, body, **fields, **headers)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content_type", JSON_TYPES)
def test_every_route_reads_the_same_content_types_as_json(
    send_asgi: SendRequest, path: str, content_type: str | None
) -> None:
    reply = send_request(send_asgi, path, content_type)
    assert (reply.status, b"JSON" in reply.content) == (400, True)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("content_type", OTHER_TYPES)
def test_every_route_refuses_the_same_content_types(send_asgi: SendRequest, path: str, content_type: str) -> None:
    reply = send_request(send_asgi, path, content_type)
    assert reply.status == 415
    assert repr(content_type).encode() in reply.content.replace(rb"\"", b'"')
    assert b"application/json" in reply.content


@pytest.mark.parametrize("path", ["/predict/income", "/invocations"])
@pytest.mark.parametrize("charset", sorted(CHARSETS - {b""}))
def test_a_csv_may_name_the_same_charsets_as_json(send_asgi: SendRequest, path: str, charset: bytes) -> None:
    headers = {"content-type": f"text/csv; charset={charset.decode()}"}
    naming = {"x-amzn-sagemaker-custom-attributes": "model=income"}
    assert send_asgi("POST", path, b"age\n30\n", **headers, **naming).status == 200


@pytest.mark.parametrize("path", ["/predict/homes", "/invocations"])
@pytest.mark.parametrize("charset", ["windows-1252", "ISO-8859-1", "utf-16"])
def test_a_csv_may_be_in_another_charset(
    send_asgi: SendRequest, home_row: dict[str, Any], path: str, charset: str
) -> None:
    row = {**home_row, "Outcome Type": "Köln"}
    text = ",".join(f'"{name}"' for name in row) + "\n" + ",".join(f'"{value}"' for value in row.values()) + "\n"
    plain = send_asgi("POST", path, text.encode(), **MODEL, content_type="text/csv")
    reply = send_asgi("POST", path, text.encode(charset), **MODEL, content_type=f"text/csv; charset={charset}")
    assert (reply.status, reply.content) == (200, plain.content)
    reply = send_asgi("POST", path, text.encode("cp1252"), **MODEL, content_type="text/csv")
    assert (reply.status, b"not UTF-8" in reply.content) == (400, True)


@pytest.mark.parametrize("content_type", ["application/octet-stream", "Application/Octet-Stream"])
def test_tensors_may_be_binary(send_asgi: SendRequest, content_type: str) -> None:
    reply = send_request(send_asgi, "/v2/models/homes/infer", content_type, inference_header_content_length="x")
    assert reply.status == 400
    assert send_request(send_asgi, "/predict/homes", content_type).status == 415


@pytest.mark.parametrize(
    ("header", "json"),
    [("", True), ("application/JSON; x=y", True), ("text/csv; note=json", False), ("application/octet-stream", False)],
)
def test_the_size_of_json_is_checked_for_content_types_in_any_case(header: str, json: bool) -> None:
    assert negotiation.is_json({b"content-type": header.encode()} if header else {}) is json


ACCEPTED: dict[str, tuple[str, float, float]] = {
    # Accept, quality of CSV, quality of JSON
    "neither format": ("image/png", 0, 0),
    "by name": ("text/csv, application/json;q=0.5", 1, 0.5),
    "in any case": ("TEXT/CSV;Q=0.3", 0.3, 0),
    "by range": ("text/*;q=0.4", 0.4, 0),
    "an exact type has precedence over its range": ("text/csv;q=0.1, text/*", 0.1, 0),
    "a range has precedence over */*": ("text/*;q=0.2, */*;q=0.9", 0.2, 0.9),
    "all": ("*/*", 1, 1),
    "refused by 0": ("text/csv;q=0, */*", 0, 1),
    "out of range": ("text/csv;q=7, application/json;q=-1", 1, 0),
    "not a number": ("text/csv;q=high, application/json;q=nan", 0, 0),
}


@pytest.mark.parametrize(("accept", "csv", "json"), ACCEPTED.values(), ids=ACCEPTED.keys())
def test_the_quality_of_a_format_is_parsed_from_accept(accept: str, csv: float, json: float) -> None:
    qualities = negotiation.parse_accept(accept.encode())
    assert negotiation.quality(qualities, (b"text/csv", b"application/csv")) == csv
    assert negotiation.quality(qualities, (JSON,)) == json


PREFERENCES = {
    "": "application/json",
    "*/*": "application/json",
    "text/csv, application/json": "text/csv",
    "text/*": "text/csv",
    "text/csv;q=0.5, */*": "application/json",
    "text/csv;q=nan": "application/json",
}


@pytest.fixture
def response_type(send_asgi: SendRequest) -> Callable[[str, str], str]:
    def send_and_get_type(path: str, accept: str) -> str:
        headers = {"x-amzn-sagemaker-custom-attributes": "model=income", "accept": accept}
        body = b'{"rows": [{"age": 30}]}' if path.startswith("/predict") else b'{"instances": [{"age": 30}]}'
        reply = send_asgi("POST", path, body, content_type="application/json", **headers)
        return str(reply.headers["content-type"]).partition(";")[0] if reply.status == 200 else str(reply.status)

    return send_and_get_type


@pytest.mark.parametrize(("accept", "expected"), PREFERENCES.items())
def test_csv_is_returned_if_accept_prefers_csv(
    response_type: Callable[[str, str], str], accept: str, expected: str
) -> None:
    assert response_type("/invocations", accept) == expected


def test_an_invalid_quality_counts_as_0(response_type: Callable[[str, str], str]) -> None:
    assert response_type("/predict/income", "text/csv;q=nan") == "406"
    assert response_type("/predict/income", "text/csv;q=0.5, */*") == "application/json"
