"""Properties of all requests to the application: routes, methods, content types, limits, request ids, draining.

This file has more than 400 lines: the tests share two servers, one in this process and one in a separate process.
"""

import asyncio
import dataclasses
import gzip
import json
import logging
import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from backports import zstd

from models.tabular_model import TabularModel
from service.http.asgi import Application
from service.logs import JsonFormatter
from service.server_state import ServerState
from service.settings import Settings

Row = dict[str, Any]


@pytest.fixture(params=["server"])
def client(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    server = request.getfixturevalue(request.param.replace(" ", "_"))
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def is_problem(reply: httpx.Response, status: int) -> bool:
    document = reply.json()
    return (
        reply.status_code == status == document["status"]
        and reply.headers["content-type"] == "application/problem+json"
        and bool(document["detail"])
        and "x-request-id" in reply.headers
    )


@pytest.mark.parametrize("path", ["/nope", "/predict", "/predict/nope", "/models/nope", "/predict/homes/no", "/a%00b"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_unknown_routes_return_problem_documents(client: httpx.Client, method: str, path: str) -> None:
    reply = client.request(method, path)
    assert is_problem(reply, 404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/predict/homes", "POST"),
        ("DELETE", "/predict/homes", "POST"),
        ("POST", "/models", "GET"),
        ("PUT", "/models/homes", "GET"),
        ("POST", "/readyz", "GET"),
        ("POST", "/", "GET"),
        ("DELETE", "/schema.json", "GET"),
    ],
)
def test_unsupported_methods_return_405_with_the_allowed_methods(
    client: httpx.Client, method: str, path: str, allowed: str
) -> None:
    reply = client.request(method, path)
    assert is_problem(reply, 405)
    assert allowed in reply.headers["allow"]


def test_options_and_head_are_supported(client: httpx.Client) -> None:
    options = client.options("/predict/homes")
    assert (options.status_code, options.headers["allow"]) == (204, "POST, OPTIONS")
    assert not {"content-length", "content-type", "transfer-encoding"} & set(options.headers)
    head = client.head("/models")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    "path", ["/livez", "/docs.json", "/metrics", "/models", "/v2/models/homes", "/v1/models/homes"]
)
def test_a_trailing_slash_is_ignored_without_a_redirect(client: httpx.Client, path: str) -> None:
    without, with_slash = (client.get(each, headers={"Host": "elsewhere.example"}) for each in (path, f"{path}/"))
    assert with_slash.status_code == without.status_code == 200
    assert with_slash.headers["content-type"] == without.headers["content-type"]
    assert "location" not in with_slash.headers


@pytest.mark.parametrize("path", ["/static_content", "/nowhere/"])
def test_unknown_paths_are_not_redirected(client: httpx.Client, path: str) -> None:
    reply = client.get(path, headers={"Host": "elsewhere.example"}, follow_redirects=False)
    assert reply.status_code == 404
    assert "location" not in reply.headers


@pytest.mark.parametrize(
    "kind", ["application/json", "application/json; charset=utf-8", 'Application/JSON; charset="UTF-8"', None]
)
def test_bodies_of_json_types_or_without_a_type_are_read_as_json(
    client: httpx.Client, home_row: Row, kind: str | None
) -> None:
    headers = {"content-type": kind} if kind else {}
    reply = client.post("/predict/homes", content=json.dumps({"rows": [home_row]}), headers=headers)
    assert reply.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/html"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "application/vnd.bentoml+pickle"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "br"},
    ],
)
def test_unsupported_content_types_are_refused_with_a_list_of_supported_types(
    client: httpx.Client, home_row: Row, headers: dict[str, str]
) -> None:
    reply = client.post("/predict/homes", content=json.dumps({"rows": [home_row]}), headers=headers)
    assert is_problem(reply, 415)
    assert "application/json" in reply.json()["detail"] or "gzip" in reply.json()["detail"]


def test_bodies_compressed_by_gzip_are_accepted(client: httpx.Client, home_row: Row) -> None:
    body = gzip.compress(json.dumps({"rows": [home_row]}).encode())
    assert client.post("/predict/homes", content=body, headers={"content-encoding": "gzip"}).status_code == 200
    cut = client.post("/predict/homes", content=body[:-9], headers={"content-encoding": "gzip"})
    assert is_problem(cut, 400)
    half = len(plain := json.dumps({"rows": [home_row]}).encode()) // 2
    members = gzip.compress(plain[:half]) + gzip.compress(plain[half:])
    assert client.post("/predict/homes", content=members, headers={"content-encoding": "gzip"}).status_code == 200


def test_bodies_compressed_by_zstd_are_accepted(client: httpx.Client, home_row: Row) -> None:
    def send_request(body: bytes) -> httpx.Response:
        return client.post("/predict/homes", content=body, headers={"content-encoding": "zstd"})

    plain = json.dumps({"rows": [home_row]}).encode()
    body = zstd.compress(plain)
    assert send_request(body).status_code == 200
    assert send_request(zstd.compress(plain[:20]) + zstd.compress(plain[20:])).status_code == 200
    assert "truncated" in send_request(body[:-5]).json()["detail"]
    assert is_problem(send_request(b"no zstd"), 400)
    assert "the 4 bytes after the zstd data are not zstd" in send_request(body + b"junk").json()["detail"]
    assert is_problem(send_request(zstd.compress(b" " * 10**8)), 413)


def test_bytes_after_gzip_are_refused(client: httpx.Client, home_row: Row) -> None:
    body = gzip.compress(json.dumps({"rows": [home_row]}).encode())
    junk = client.post("/predict/homes", content=body + b"junk", headers={"content-encoding": "gzip"})
    assert is_problem(junk, 400)
    assert "the 4 bytes after the gzip data are not gzip" in junk.json()["detail"]


def test_gzip_bodies_with_too_many_members_are_refused(client: httpx.Client) -> None:
    reply = client.post("/predict/homes", content=gzip.compress(b"") * 101, headers={"content-encoding": "gzip"})
    assert is_problem(reply, 400)
    assert "more than 100 members" in reply.json()["detail"]


def test_a_decompression_bomb_is_refused_without_expanding_it(client: httpx.Client) -> None:
    reply = client.post("/predict/homes", content=gzip.compress(b" " * 10**8), headers={"content-encoding": "gzip"})
    assert is_problem(reply, 413)
    members = gzip.compress(b" " * 400_000) * 2
    assert is_problem(client.post("/predict/homes", content=members, headers={"content-encoding": "gzip"}), 413)


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("/predict/homes", '{"rows":[{"a":1},', "[1]]}"),
        ("/predict/homes", '{"rows":[', "[1]]"),
        ("/v1/models/homes:predict", '{"instances":[', "[1]]}"),
        ("/invocations", '{"dataframe_split":{"columns":["a"],"data":[', "[1]]}}"),
        ("/v2/models/homes/infer", '{"inputs":[{"name":"a","datatype":"FP64","shape":[1],"data":[', "[1]]}]}"),
    ],
)
def test_a_body_with_too_many_lists_is_refused_without_being_parsed(
    client: httpx.Client, path: str, before: str, after: str
) -> None:
    """Parsing it would take seconds and hundreds of megabytes."""
    reply = client.post(path, content=before + "[1]," * 100_000 + after, headers={"Content-Type": "application/json"})
    assert reply.status_code == 413
    assert re.search(r"10000\d JSON arrays and objects, expected at most \d+", reply.text)


def test_a_body_over_the_limit_is_refused_with_or_without_a_length(client: httpx.Client) -> None:
    for content in (b" " * 700_000, (b" " * 50_000 for _ in range(14))):
        reply = client.post("/predict/homes", content=content, headers={"content-type": "application/json"})
        assert is_problem(reply, 413)
        assert [error["code"] for error in reply.json()["errors"]] == ["body_too_large"]


def test_a_slow_head_gets_408(server: Any) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(b"POST /predict/homes HTTP/1.1\r\nhost:")
        assert connection.recv(65536).startswith(b"HTTP/1.1 408 Request head too slow")


def test_a_slow_body_gets_408(
    make_app: Callable[..., Application], tabular_models: list[TabularModel], asgi: Callable[..., Any]
) -> None:
    asgi_app = make_app(tabular_models, Settings(timeout_s=0.5))
    pieces = [{"type": "http.request", "body": b"{", "more_body": True}]

    async def receive() -> Any:
        if not pieces:
            await asyncio.sleep(3600)
        return pieces.pop()

    async def slow_app(scope: Any, _: Any, send: Any) -> None:
        await asgi_app(scope, receive, send)

    started = time.monotonic()
    reply = asyncio.run(asgi(slow_app, "POST", "/predict/homes", b"", "", {"content-length": "100"}))
    asgi_app.plane.close()
    assert (reply.status, reply.headers["content-type"]) == (408, "application/problem+json")
    assert time.monotonic() - started > 0.4


def test_an_endless_head_gets_431(server: Any) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n")
        response = b""
        try:
            for _ in range(400):
                connection.sendall(b"x-y: " + b"z" * 1000 + b"\r\n")
            response = connection.recv(65536)
        except OSError:  # the connection was reset while sending
            response = response or b"HTTP/1.1 431"
    assert response.startswith(b"HTTP/1.1 431")


def test_invalid_http_gets_a_problem_document(server: Any) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(b"what is this\r\n\r\n")
        head, _, document = connection.recv(65536).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad request\r\ncontent-type: application/problem+json")
    assert json.loads(document)["detail"] == "the request is not valid HTTP"


def test_a_valid_request_id_is_kept_and_others_are_generated(client: httpx.Client, home_row: Row) -> None:
    def returned_id(value: str | None) -> str:
        headers = {"x-request-id": value} if value else {}
        return str(client.post("/predict/homes", json={"rows": [home_row]}, headers=headers).headers["x-request-id"])

    assert returned_id("abc-123:4/5") == "abc-123:4/5"
    made = [returned_id(None), returned_id("has spaces"), returned_id("x" * 500)]
    assert len(set(made)) == 3
    assert all(re.fullmatch(r"[0-9a-f]+-[0-9a-f]+", value) for value in made)
    assert client.get("/", headers={"x-request-id": "page"}).headers["x-request-id"] == "page"


@pytest.mark.parametrize("value", ["soon", "0", "-1", "nan"])
def test_an_invalid_timeout_is_refused(client: httpx.Client, home_row: Row, value: str) -> None:
    reply = client.post("/predict/homes", json={"rows": [home_row]}, headers={"x-request-timeout": value})
    assert is_problem(reply, 422)


def test_a_deadline_that_has_passed_gives_a_504(client: httpx.Client, home_row: Row) -> None:
    reply = client.post("/predict/homes", json={"rows": [home_row]}, headers={"x-request-timeout": "1e-9"})
    assert is_problem(reply, 504)


def test_a_requested_timeout_never_exceeds_the_setting(
    make_app: Callable[..., Application],
    tabular_model: TabularModel,
    settings: Settings,
    asgi: Callable[..., Any],
    home_row: Row,
) -> None:
    model = dataclasses.replace(tabular_model, engine=SlowFailingEngine(tabular_model, np.inf))
    asgi_app = make_app([model], dataclasses.replace(settings, timeout_s=0.005))
    body = json.dumps({"rows": [home_row]}).encode()
    assert asyncio.run(asgi(asgi_app, "POST", "/predict/homes", body, "", {"x-request-timeout": "60"})).status == 504


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log records about requests."""
    monkeypatch.setattr(logging.getLogger("tabserve"), "propagate", True)
    for name in ("tabserve.exchange", "tabserve.access"):
        caplog.set_level(logging.INFO, name)
    return caplog


def test_slow_requests_are_logged(
    asgi_app: Application,
    asgi: Callable[..., Any],
    home_row: Row,
    logged: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = json.dumps({"rows": [home_row]}).encode()
    for longest, request_id in ((3600.0, "quick"), (-1.0, "slow")):
        monkeypatch.setattr("service.exchange.SLOW_S", longest)
        asyncio.run(asgi(asgi_app, "POST", "/predict/homes", body, "", {"x-request-id": request_id}))
    assert [(line.message, getattr(line, "request_id", None)) for line in logged.records] == [("request", "slow")]


def test_the_setting_determines_the_fraction_of_logged_requests(
    make_app: Callable[..., Application],
    tabular_model: TabularModel,
    settings: Settings,
    asgi: Callable[..., Any],
    home_row: Row,
    logged: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.exchange.SLOW_S", 3600.0)
    asgi_app = make_app([tabular_model], dataclasses.replace(settings, access_log=0.25))
    body = json.dumps({"rows": [home_row]}).encode()
    for drawn in (0.1, 0.3, 0.9):
        monkeypatch.setattr(random, "random", lambda drawn=drawn: drawn)
        asyncio.run(asgi(asgi_app, "POST", "/predict/homes", body, "", {"x-request-id": str(drawn)}))
    assert [getattr(line, "request_id", None) for line in logged.records] == ["0.1"]


FIELDS = ("method", "route", "protocol", "model", "version", "rows", "status")


def test_the_access_log_has_the_same_fields_for_every_request(
    make_app: Callable[..., Application],
    tabular_model: TabularModel,
    settings: Settings,
    asgi: Callable[..., Any],
    home_row: Row,
    logged: pytest.LogCaptureFixture,
) -> None:
    asgi_app = make_app([tabular_model], dataclasses.replace(settings, access_log=1.0, max_body_bytes=20_000))
    row, line = json.dumps(home_row).encode(), (json.dumps(home_row) + "\n").encode()
    v2 = {"inputs": [{"name": "educational-num", "datatype": "FP64", "shape": [2], "data": [1, 2]}]}
    predict, ndjson = "/predict/homes", {"content-type": "application/x-ndjson"}
    sent = [
        ("POST", predict, b'{"rows": [%s, %s]}' % (row, row), {}),
        ("POST", predict, b'{"rows": [%s, {}]}' % row, {}),
        ("POST", predict, line * 500, ndjson),
        ("POST", "/v1/models/homes:predict", b'{"instances": [%s]}' % row, {}),
        ("POST", "/v2/models/homes/infer", json.dumps(v2).encode(), {}),
        ("GET", "/livez", b"", {}),
        ("POST", "/predict/none", b"", {}),
        ("GET", "/no such\npage?" + "x" * 1000, b"", {}),
    ]
    for number, (method, path, body, headers) in enumerate(sent):
        asyncio.run(asgi(asgi_app, method, path, body, "", {**headers, "x-request-id": f"r{number}"}))
    lines = [json.loads(JsonFormatter().format(record)) for record in logged.records]
    assert [tuple(line[field] for field in FIELDS) for line in lines] == [
        ("POST", predict, "json", "homes", "1", 2, 200),
        ("POST", predict, "json", "homes", "1", 2, 422),
        ("POST", predict, "ndjson", "homes", "1", 500, 200),
        ("POST", "/v1/models/homes:predict", "tfserving", "homes", "1", 1, 200),
        ("POST", "/v2/models/homes/infer", "v2", "homes", "1", 0, 400),
        ("GET", "/livez", "page", None, None, 0, 200),
        ("POST", "/predict/none", "json", None, None, 0, 404),
        ("GET", ("/no%20such%0Apage%3F" + "x" * 1000)[: len("%20%0A%3F") - 3 + 200], "bentoml", None, None, 0, 404),
    ]
    assert [line["request_id"] for line in lines] == [f"r{number}" for number in range(len(sent))]
    assert all(line["milliseconds"] >= 0 and line["client"] == "192.0.2.1" for line in lines)
    assert len({tuple(line) for line in lines}) == 1


def test_an_unknown_query_option_is_refused(client: httpx.Client, home_row: Row) -> None:
    reply = client.post("/predict/homes?on_invald=skip", json={"rows": [home_row]})
    assert is_problem(reply, 422)


def test_models_are_listed_and_described(client: httpx.Client) -> None:
    listed = client.get("/models").json()["models"]
    assert [model["name"] for model in listed] == ["homes", "house_class", "income"]
    assert set(listed[0]) == {"name", "version", "task", "target", "metric", "engine"}
    one = client.get("/models/income").json()
    assert one["classes"] == ["<=50K", "100 %s"]
    assert one["schema"]["format"] == 1
    assert one["engine"] == {"name": "numpy", "reason": "trained by NumPy"}
    assert one["card"] == "# income"
    for example in one["examples"]:
        (prediction,) = client.post("/predict/income", json={"rows": [example["row"]]}).json()["predictions"]
        assert prediction["label"] == example["prediction"]["label"]


@pytest.mark.parametrize(
    ("path", "length", "first"),
    [("/predict/homes", 10**9, b"413"), ("/predict/none", 100, b"404"), ("/predict/homes", 100, b"100")],
)
def test_an_invalid_request_that_expects_100_continue_is_refused_at_once(
    server: Any, path: str, length: int, first: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 30) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        connection.sendall(head.encode())
        response = connection.recv(100)
        assert response.startswith(b"HTTP/1.1 " + first)


def test_the_server_returns_both_pages_and_their_files(client: httpx.Client) -> None:
    page = client.get("/", headers={"accept": "text/html"})
    addresses = re.findall(r'(?:src|href)="(page/[^"]+)"', page.text)
    assert len(addresses) > 3
    bento = client.get("/bentoml/", headers={"accept": "text/html"})
    files = re.findall(r'(?:src|href)="\./(static_content/[^"]+)"', bento.text)
    assert len(files) > 3
    for path in (*addresses, *files):
        assert client.get(f"/{path}").status_code == 200, path


def test_requests_for_bentomls_files_are_passed_to_bentoml(client: httpx.Client) -> None:
    assert client.get("/schema.json").json()["routes"]
    assert client.get("/healthz").status_code == 200


def test_readiness_fails_before_loading_and_while_draining(
    asgi_app: Application, asgi: Callable[..., Any], home_row: Row
) -> None:
    body = json.dumps({"rows": [home_row]}).encode()

    async def scenario() -> None:
        asgi_app.context.state = ServerState()
        for method, path in (("GET", "/readyz"), ("POST", "/predict/homes")):
            reply = await asgi(asgi_app, method, path, body)
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        asgi_app.context.state.mark_ready()
        asgi_app.context.state.begin_draining()
        assert (await asgi(asgi_app, "GET", "/livez")).status == 200
        assert (await asgi(asgi_app, "GET", "/readyz")).status == 503
        during_grace = await asgi(asgi_app, "POST", "/predict/homes", body)
        assert (during_grace.status, during_grace.headers["connection"]) == (200, "close")
        asgi_app.context.state.close()
        assert (await asgi(asgi_app, "POST", "/predict/homes", body)).status == 503

    asyncio.run(scenario())


def test_an_internal_error_gives_a_500_without_details(
    asgi_app: Application, asgi: Callable[..., Any], home_row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> Any:
        raise KeyError("secret")

    monkeypatch.setattr("models.formats.json_encoder.JsonWriter.write_plain", fail)
    reply = asyncio.run(asgi(asgi_app, "POST", "/predict/homes", json.dumps({"rows": [home_row]}).encode()))
    assert reply.status == 500
    assert b"secret" not in reply.content


def test_a_client_that_disconnects_while_sending_gets_no_response(asgi_app: Application) -> None:
    sent = []

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict/homes", "query_string": b"", "headers": []}
    asyncio.run(asgi_app(scope, receive, send))
    assert sent == []
    assert asgi_app.context.state.inflight == 0


def test_errors_of_the_wrapped_application_become_problem_documents(
    asgi_app: Application, asgi: Callable[..., Any]
) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/breaks":
            raise RuntimeError("secret")
        await send({"type": "http.response.start", "status": int(scope["path"][1:]), "headers": []})
        await send({"type": "http.response.body", "body": b'[{"error": "secret"}]'})

    asgi_app.wrap(app)
    for path, status in (("/400", 400), ("/429", 429), ("/500", 500), ("/503", 503), ("/breaks", 500)):
        reply = asyncio.run(asgi(asgi_app, "GET", path))
        assert (reply.status, reply.body["status"]) == (status, status)
        assert reply.headers["content-type"] == "application/problem+json"
        assert b"secret" not in reply.content
        assert ("retry-after" in reply.headers) == (status in (429, 503))


def test_text_that_is_not_unicode_does_not_break_a_problem_document(
    asgi_app: Application, asgi: Callable[..., Any]
) -> None:
    reply = asyncio.run(asgi(asgi_app, "GET", "/models/\ud800"))
    assert reply.status == 404
    assert json.loads(reply.content)


def test_the_body_limit_of_the_settings_applies(
    make_app: Callable[..., Application],
    tabular_models: list[TabularModel],
    settings: Settings,
    asgi: Callable[..., Any],
) -> None:
    asgi_app = make_app(tabular_models, dataclasses.replace(settings, max_body_bytes=10))
    assert asyncio.run(asgi(asgi_app, "POST", "/predict/homes", b" " * 11)).status == 413


class SlowFailingEngine:
    """A slow engine that fails for each batch with a row whose `class` is 4.25."""

    name = "numpy"
    reason = "slow"

    def __init__(self, model: TabularModel, failing_row: Any) -> None:
        self.inner, self.failing_row = model.engine, failing_row

    def outputs(self, x: Any) -> Any:
        time.sleep(0.02)
        if np.isclose(x, self.failing_row).all(axis=1).any():
            raise ValueError("secret")
        return self.inner.outputs(x)


def test_under_load_failing_rows_get_500_and_rows_beyond_the_queue_429(
    make_app: Callable[..., Application],
    tabular_model: TabularModel,
    settings: Settings,
    asgi: Callable[..., Any],
    home_row: Row,
) -> None:
    rows = [{**home_row, "class": round(-4 + i / 16, 4)} for i in range(64)]
    rows[40]["class"] = 4.25
    failing_row = tabular_model.encoder.encode(tabular_model.schema.frames.from_rows(rows[40:41]))
    model = dataclasses.replace(tabular_model, engine=SlowFailingEngine(tabular_model, failing_row))
    asgi_app = make_app([model], dataclasses.replace(settings, queue_rows=50))

    async def scenario() -> list[Any]:
        bodies = [json.dumps({"rows": [row]}).encode() for row in rows]
        return await asyncio.gather(*[asgi(asgi_app, "POST", "/predict/homes", body) for body in bodies])

    replies = asyncio.run(scenario())
    expected = tabular_model.predict_rows(rows).primary[:, 0]
    assert [reply.status for reply in replies[:51]] == [500 if row == 40 else 200 for row in range(51)]
    assert b"secret" not in replies[40].content
    for reply, right in zip(replies[:51], expected, strict=False):
        if reply.status == 200:
            assert abs(reply.body["predictions"][0]["value"] - right) <= 1e-5 * max(abs(right), model.tolerance())
    for reply in replies[51:]:
        assert (reply.status, reply.body["title"]) == (429, "Too many requests")
        assert int(reply.headers["retry-after"]) >= 1


@pytest.mark.parametrize("path", ["/predict/homes", "/v1/models/homes:predict"])
def test_the_deadline_counts_from_the_arrival_of_the_head(
    make_app: Callable[..., Application],
    tabular_models: list[TabularModel],
    asgi: Callable[..., Any],
    home_row: dict[str, Any],
    path: str,
) -> None:
    """Under load a request is processed later; the deadline still counts from the arrival of its head."""
    asgi_app = make_app(tabular_models, Settings(timeout_s=60))
    body = json.dumps({"rows" if "predict/" in path else "instances": [home_row]}).encode()

    async def send_request(waited: float) -> int:
        async def late_app(scope: Any, receive: Any, send: Any) -> None:
            await asgi_app({**scope, "arrived": time.monotonic() - waited}, receive, send)

        return int((await asgi(late_app, "POST", path, body)).status)

    assert [asyncio.run(send_request(waited)) for waited in (0, 61)] == [200, 504]
