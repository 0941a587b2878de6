"""Direct responses have the same bytes, counters and log lines as responses of the application.

Two servers receive the same random bytes in the same random pieces. Direct responses are disabled in one of them.
"""

import asyncio
import dataclasses
import json
import logging
import random
import re
import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from models.aliases import CHAMPION
from models.tabular_model import TabularModel
from service.errors import Forbidden
from service.http import direct_responses
from service.http.asgi import Application
from service.server import http_protocol
from service.settings import Settings
from tests.service.conftest import HOME
from tests.service.server.conftest import listening

ROUNDS = 200
BODIES = [
    *[json.dumps({"rows": [HOME | {"class": number, "_u": 1 + number % 3}]}).encode() for number in range(4)] * 3,
    json.dumps({"rows": [HOME, HOME]}).encode(),
    json.dumps({"rows": [HOME | {"class": 1e9}]}).encode(),  # a warning
    json.dumps({"rows": [HOME | {"class": "x"}]}).encode(),
    json.dumps({"rows": []}).encode(),
    b'{"rows": [' + json.dumps(HOME)[:-1].encode() + b', "_u": 2}]}',  # a repeated name
    b'{"rows": [{"_u": NaN}]}',
    b"{",
    b"",
    json.dumps({"rows": [HOME] * 60}).encode(),  # not small
]
TENSORS: list[dict[str, Any]] = [
    {"name": name, "shape": [1], "datatype": datatype, "data": [HOME[name]]}
    for name, datatype in {
        "educational-num": "INT64",
        "Outcome Type": "BYTES",
        "class": "FP64",
        "model_x": "BOOL",
        "2nd": "BYTES",
        "_u": "INT64",
    }.items()
]
OIP, TF_SERVING = "/v2/models/homes/infer", "/v1/models/homes:predict"
OTHER_PROTOCOLS: list[tuple[str, bytes]] = [
    *[("", b"")] * 6,
    (OIP, json.dumps({"inputs": TENSORS}).encode()),
    (OIP, json.dumps({"id": "a", "inputs": TENSORS, "outputs": [{"name": "value"}]}).encode()),
    (OIP, json.dumps({"inputs": TENSORS, "outputs": [{"name": "low", "parameters": {"level": 0.9}}]}).encode()),
    (OIP, json.dumps({"inputs": TENSORS[1:]}).encode()),
    ("/v2/models/homes/versions/1/infer", json.dumps({"inputs": TENSORS}).encode()),
    (TF_SERVING, json.dumps({"instances": [HOME]}).encode()),
    (TF_SERVING, json.dumps({"instances": [HOME, HOME | {"class": None}]}).encode()),
    (TF_SERVING, json.dumps({"instances": [HOME | {"class": 1e9}]}).encode()),
    (TF_SERVING, json.dumps({"inputs": {name: [value] for name, value in HOME.items()}}).encode()),
    (TF_SERVING, json.dumps({"instances": []}).encode()),
    (TF_SERVING, b"["),
    ("/v1/models/homes:regress", json.dumps({"examples": [HOME]}).encode()),
]
PATHS = ["/predict/homes"] * 12 + [
    "/predict/homes?on_invalid=skip",
    "/predict/homes?typo=1",
    "/predict/home%73",
    "/predict/homes/",
    "/predict/homes/versions/1",
    "/predict/unknown",
    OIP,
    TF_SERVING,
    "http://x/predict/homes",
    "/models",
]
FIELDS = [
    "Accept: */*",
    "Accept: application/json",
    "Accept: text/csv",
    "accept-encoding: gzip",
    "User-Agent: x",
    "X-Request-ID: given-1",
    "X-Request-ID: not valid",
    "Connection: keep-alive",
    "Connection: Keep-Alive, x",
    "Cookie: a=b",
    "Origin: http://x",
    "X-Forwarded-For: 10.0.0.1",
    "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "X-Request-Timeout: 1",
    "X-Request-Timeout: x",
    "X-Client-Key: a",
    "User-Agent: a\r\nUser-Agent: b",
    "Authorization: Bearer x",
    "Expect: 100-continue",
    "Upgrade: h2c\r\nConnection: Upgrade",
    "Host: y",
]
TYPES = ["application/json"] * 8 + ["application/json; charset=utf-8", "text/csv", "text/plain", None]

Apps = tuple[Application, Application, list[bytes]]
LAST = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def plain_request(body: bytes, path: str = "", other_body: bytes = b"") -> bytes:
    """A valid request with common headers. path, other_body: the path and body for another protocol."""
    body = other_body or body
    head = f"POST {path or '/predict/homes'} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: "
    return f"{head}{len(body)}\r\n\r\n".encode() + body


def random_request(rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        return plain_request(rng.choice(BODIES[:12]), *rng.choice(OTHER_PROTOCOLS))
    method = rng.choice(["POST"] * 12 + ["GET", "PUT", "OPTIONS"])
    version = rng.choice(["1.1"] * 20 + ["1.0"])
    body = rng.choice(BODIES)
    lines = [f"{method} {rng.choice(PATHS)} HTTP/{version}", "Host: x"]
    lines += rng.sample(FIELDS, rng.choice([0, 0, 0, 1, 1, 2]))
    if (content_type := rng.choice(TYPES)) is not None:
        lines.append(f"Content-Type: {content_type}")
    kind = rng.choice(["length"] * 12 + ["chunked", "none", "both"])
    if kind in ("length", "both"):
        lines.append(f"Content-Length: {len(body)}")
    if kind in ("chunked", "both"):
        lines.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    elif kind == "none":
        body = b""
    rng.shuffle(fields := lines[1:])
    return "\r\n".join([lines[0], *fields, "", ""]).encode() + body


def random_requests(rng: random.Random) -> bytes:
    """Some random requests, of which the last one closes the connection."""
    requests: list[bytes] = []
    for _ in range(rng.choice([1, 1, 2, 4])):
        requests.append(random_request(rng))
        if b" HTTP/1.0" in requests[-1]:
            return b"".join(requests)
    return b"".join([*requests, LAST])


def random_pieces(rng: random.Random, content: bytes) -> Iterator[bytes]:
    """Split the content at a few random positions."""
    cuts = sorted(rng.sample(range(1, len(content)), min(rng.choice([0, 0, 1, 3, 8]), len(content) - 1)))
    for start, end in zip([0, *cuts], [*cuts, len(content)], strict=True):
        yield content[start:end]


async def responses(address: tuple[str, int], pieces: list[bytes], pause: int = 1) -> bytes:
    """The bytes that the server sends until it closes the connection, without parts that differ between two servers.

    Returns no bytes after a connection reset, which discards an arbitrary part of the responses, because the server has
    closed the connection before reading everything. pause: iterations of the event loop after each piece.
    """
    reader, writer = await asyncio.open_connection(*address)
    received = asyncio.ensure_future(reader.read())
    for piece in pieces:
        writer.write(piece)
        for _ in range(pause):
            await asyncio.sleep(0)
    try:
        found = await asyncio.wait_for(received, 60)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()
    found = re.sub(rb"x-request-id: (?!given)[^\r]*", b"x-request-id: some", found)
    return re.sub(rb"date: [^\r]*\r\n", b"", found)


def equal_responses(apps: Apps, conversations: Iterable[list[bytes]], pause: int = 1) -> int:
    """Assert that both servers send the same bytes in each conversation, and return the number of comparisons.

    conversations: the pieces that a client sends. pause: as in `responses`.
    """

    async def compare() -> int:
        compared = 0
        async with listening(apps[0]) as one, listening(apps[1]) as other:
            for pieces in conversations:
                found, expected = await asyncio.gather(responses(one, pieces, pause), responses(other, pieces, pause))
                compared += bool(found and expected)
                assert found == expected or not (found and expected), pieces
        return compared

    return asyncio.run(compare())


def counters_of(app: Application) -> list[Any]:
    """The counters of all served versions, without durations."""
    parts = []
    for served in app.plane.snapshot.served:
        counters = served.counters
        rows = counters.valid_rows, counters.invalid_rows
        parts.append((served.name, counters.requests, rows, counters.warnings, counters.rejected))
    return parts


def test_direct_responses_equal_those_of_the_application(apps: Apps, caplog: pytest.LogCaptureFixture) -> None:
    with_direct, without, sent = apps
    rng = random.Random(5)

    conversations = ([*random_pieces(rng, random_requests(rng))] for _ in range(ROUNDS))
    caplog.set_level(logging.INFO, "tabserve.access")
    assert equal_responses(apps, conversations) > 0.7 * ROUNDS
    assert len(sent) > ROUNDS / 4
    for name in (b'{"value":', b"x-model-version: ", b'"outputs":['):  # a part of the responses of each protocol
        assert any(name in response for response in sent), name
    assert counters_of(with_direct) == counters_of(without)
    lines = [
        (record.route, record.protocol, record.model, record.version, record.rows, record.status, record.client)  # type: ignore[attr-defined]
        for record in caplog.records
        if record.name.startswith("tabserve.access")
    ]
    assert len(lines) % 2 == 0
    assert all(count % 2 == 0 for count in {line: lines.count(line) for line in lines}.values())


def test_direct_responses_split_traffic_as_the_application_does(apps: Apps) -> None:
    with_direct, without, sent = apps
    for app in (with_direct, without):
        plane = app.plane
        entry = plane.snapshot.entry("homes")
        challenger = plane.load(dataclasses.replace(entry.champion.model, version="2"))
        traffic = {CHAMPION: 50.0, "challenger": 50.0}
        aliases = {CHAMPION: entry.champion.version, "challenger": "2"}
        split = dataclasses.replace(
            entry, versions={**entry.versions, "2": challenger}, aliases=aliases, traffic=traffic
        )
        plane.replace(dataclasses.replace(plane.snapshot, entries={**plane.snapshot.entries, "homes": split}))
    bodies = [{"rows": [HOME | {"class": number / 10}]} for number in range(30)]
    requests = [plain_request(json.dumps(body).encode()) for body in bodies]
    requests += [plain_request(b"", *other) for other in OTHER_PROTOCOLS if other[0]]

    async def compare() -> None:
        async with listening(with_direct) as one, listening(without) as other:
            pieces = [LAST.replace(b"close", b"keep-alive"), *requests, LAST]  # the first request replaces the router
            found, expected = await asyncio.gather(responses(one, pieces, 8), responses(other, pieces, 8))
            assert found == expected != b""

    asyncio.run(compare())
    assert len(sent) > 30
    assert len([model for model in counters_of(with_direct) if model[0] == "homes" and model[1]]) == 2
    assert counters_of(with_direct) == counters_of(without)


async def status_of_response(address: tuple[str, int], request: bytes) -> int:
    content = await responses(address, [request + LAST])
    return int(content.split(b" ", 2)[1])


REQUEST = plain_request(BODIES[0])


@pytest.mark.parametrize("case", ["loading", "draining", "forbidden", "failing"])
def test_requests_that_need_the_application_are_not_answered_directly(
    apps: Apps, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, _, sent = apps
    checked = [0]

    def check(*arguments: Any) -> None:
        checked[0] += 1
        if case == "forbidden":
            raise Forbidden("no")

    monkeypatch.setattr(app.context.access, "check", check)
    if case == "loading":
        app.context.state.admits_requests = app.context.state.passes_probes = False
    elif case == "draining":
        app.context.state.begin_draining()
    elif case == "failing":
        monkeypatch.setattr(app.direct.router.direct[b"/predict/homes"], "answer", lambda body: 1 / 0)

    async def send_request() -> int:
        async with listening(app) as address:
            return await status_of_response(address, REQUEST)

    expected = {"loading": 503, "draining": 200, "forbidden": 403, "failing": 500}
    assert asyncio.run(send_request()) == expected[case]
    assert not sent
    if case == "failing":  # access is checked only once for each request, because a check may count the request
        assert checked[0] == 2  # one check for this request, one for the last request, GET /livez


def test_a_connection_stays_open_between_direct_responses(apps: Apps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each response restarts the keep-alive timer, which closes the connection at the end."""
    app, _, sent = apps
    timeout, passed, real = 60.0, [0.0], time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + passed[0])  # also the clock of the event loop
    init = http_protocol.GuardedHttpProtocol.__init__

    def init_with_timeout(protocol: Any, *arguments: Any, **options: Any) -> None:
        init(protocol, *arguments, **options)
        protocol.timeout_keep_alive = timeout

    monkeypatch.setattr(http_protocol.GuardedHttpProtocol, "__init__", init_with_timeout)

    async def pass_time(seconds: float) -> None:
        passed[0] += seconds
        for _ in range(10):  # let due timers run
            await asyncio.sleep(0)

    async def send_request() -> None:
        async with listening(app) as address:
            reader, writer = await asyncio.open_connection(*address)
            for _ in range(5):
                writer.write(REQUEST)
                head = await reader.readuntil(b"\r\n\r\n")
                match = re.search(rb"content-length: (\d+)", head)
                assert match
                await reader.readexactly(int(match[1]))
                await pass_time(timeout / 2)
            await pass_time(timeout)
            assert await asyncio.wait_for(reader.read(), 60) == b""  # the server closes the connection
            writer.close()

    asyncio.run(send_request())
    assert len(sent) > 2


def test_only_the_listed_headers_are_known() -> None:
    """All known headers are listed in the decision record. A new header must have the same effect without the
    application.
    """
    assert sorted(direct_responses.KNOWN_HEADERS) == [
        b"accept",
        b"accept-encoding",
        b"authorization",
        b"connection",
        b"content-length",
        b"content-type",
        b"host",
        b"user-agent",
        b"x-api-key",
        b"x-request-id",
    ]


@pytest.mark.parametrize("inline_rows", [0, 1])
def test_a_body_is_not_parsed_directly_if_the_model_predicts_no_rows_inline(
    make_app: Any, tabular_models: list[TabularModel], monkeypatch: pytest.MonkeyPatch, inline_rows: int
) -> None:
    """The general path parses the body instead."""
    route: Any = make_app(tabular_models, Settings()).direct.router.common_routes["/predict/homes"]
    parsed: list[bytes] = []
    monkeypatch.setattr(route, "_parse_body", parsed.append)
    monkeypatch.setattr(route.served, "inline_rows", inline_rows)
    assert route.answer(BODIES[0], b"id") is None
    assert len(parsed) == inline_rows
