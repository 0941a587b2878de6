"""A real server with keys and two workers: raw bytes that try to get around them, rates, and changes of the file."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.access.keys_file import read_keys
from tests.service.access_keys import KeySet, headers_of

SECONDS = 300  # the longest wait for anything, also on the slowest machine
HIDDEN = b"GET /models HTTP/1.1\r\nhost: x\r\nx-request-id: hidden\r\n\r\n"
LAST = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> KeySet:
    made = KeySet(tmp_path_factory.mktemp("keys") / "keys.json")
    made.add("shop")
    made.add("slow", rate=5, burst=1)
    made.add("revoked")
    return made


@pytest.fixture(scope="module")
def server(make_server: Callable[..., Any], store_folder: Path, keys: KeySet) -> Any:
    return make_server(
        TABSERVE_STORE=str(store_folder),
        TABSERVE_WORKERS="2",
        TABSERVE_DRAIN_S="0.5",
        TABSERVE_KEYS_FILE=str(keys.path),
        TABSERVE_CORS_ORIGINS="https://app.example.com",
        TABSERVE_ACCESS_LOG="1",
        TABSERVE_LOG_FORMAT="json",
    )


@pytest.fixture
def raw(server: Any) -> Callable[[bytes], bytes]:
    def send(content: bytes) -> bytes:
        """All bytes that the server answers until it closes the connection."""
        with socket.create_connection(("127.0.0.1", server.port), SECONDS) as connection:
            connection.settimeout(SECONDS)
            connection.sendall(content)
            received = b""
            try:
                while data := connection.recv(65536):
                    received += data
            except ConnectionResetError:
                pass
            return received

    return send


def status_lines(received: bytes) -> list[int]:
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def post(key: str, *lines: bytes, body: bytes = b"") -> bytes:
    fields = [b"POST /predict/homes HTTP/1.1", b"host: x", f"authorization: Bearer {key}".encode(), *lines]
    return b"\r\n".join(fields) + b"\r\n\r\n" + body


def test_a_request_does_not_inherit_the_key_of_the_one_before_it(
    raw: Callable[[bytes], bytes], keys: KeySet, home_row: dict[str, Any]
) -> None:
    body = json.dumps({"rows": [home_row]}).encode()
    with_key = post(keys.texts["shop"], b"content-length: %d" % len(body), b"content-type: application/json", body=body)
    assert status_lines(raw(with_key + HIDDEN + with_key + HIDDEN + LAST)) == [200, 401, 200, 401, 200]


@pytest.mark.parametrize(
    "lines",
    [
        [b"content-length: 6", b"transfer-encoding: chunked"],
        [b"transfer-encoding: chunked", b"content-length: 6"],
        [b"content-length: 0", b"content-length: 60"],
        [b"content-length: 60", b"content-length: 0"],
        [b"transfer-encoding: chunked, identity"],
        [b"transfer-encoding: identity, chunked"],
        [b"transfer-encoding: xchunked", b"content-length: 0"],
        [b"transfer-encoding:\x0bchunked", b"content-length: 0"],
        [b"transfer-encoding : chunked"],
        [b"content-length: +0"],
        [b"content-length: 0x0"],
        [b"content-length: 0,0"],
        [b" content-length: 0"],
        [b"x: y\nauthorization: Bearer x", b"content-length: 0"],
        [b"x: y\rz: 1", b"content-length: 0"],
        [b"x\x00y: 1", b"content-length: 0"],
    ],
)
def test_a_smuggled_request_is_not_answered_with_another_ones_key(
    raw: Callable[[bytes], bytes], keys: KeySet, lines: list[bytes]
) -> None:
    """The bytes after the head may be read as a body or as another request, which is never answered with the first
    one's key."""
    for tail in (b"0\r\n\r\n" + HIDDEN, HIDDEN, b"3c\r\n" + HIDDEN + b"\r\n0\r\n\r\n"):
        received = raw(post(keys.texts["shop"], *lines, body=tail) + LAST)
        hidden = [part for part in received.split(b"HTTP/1.1 ")[1:] if b"x-request-id: hidden" in part]
        assert all(part.startswith(b"401") for part in hidden), received
        assert b'"models":' not in received, received


@pytest.mark.parametrize(
    "line",
    [
        *(b"authorization : Bearer %s", b" authorization: Bearer %s", b"authorization: Bearer\r\n %s"),
        *(b"x: y\rauthorization: Bearer %s", b"authorization\x00: Bearer %s", b"authorization: Bearer \x00%s"),
        *(b"authorization: Bearer %s\x00", b"x-api-key: %s, x", b"cookie: authorization=Bearer %s"),
    ],
)
def test_a_key_in_an_unusual_place_is_not_accepted(raw: Callable[[bytes], bytes], keys: KeySet, line: bytes) -> None:
    field = line.replace(b"%s", keys.texts["shop"].encode())
    received = raw(b"GET /models HTTP/1.1\r\nhost: x\r\n" + field + b"\r\nconnection: close\r\n\r\n")
    assert status_lines(received) in ([400], [401])


@pytest.mark.parametrize(
    "target",
    [
        *("/predict/%0d%0aset-cookie:%20a=b", "/predict/homes%0d%0a%0d%0aHTTP/1.1%20200", "/%0aset-cookie:a=b"),
        *("/models/homes?x=%0d%0aset-cookie:a=b", "/models/%E2%80%A8set-cookie:a"),
    ],
)
def test_no_response_is_split(raw: Callable[[bytes], bytes], keys: KeySet, target: str) -> None:
    for key in ("", f"authorization: Bearer {keys.texts['shop']}\r\n"):
        fields = "x-request-id: a%0d%0aset-cookie:b\r\norigin: https://app.example.com%0d%0ax:y\r\n"
        request = f"GET {target} HTTP/1.1\r\nhost: x\r\n{key}{fields}connection: close\r\n\r\n"
        received = raw(request.encode())
        head, _, body = received.partition(b"\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 ")
        assert b"\nHTTP/" not in received
        names = [line.partition(b":")[0] for line in head.split(b"\r\n")[1:]]
        assert b"set-cookie" not in names
        assert b"access-control-allow-origin" not in names
        json.loads(body)


def test_every_line_of_the_log_is_a_record_of_the_server(
    raw: Callable[[bytes], bytes], keys: KeySet, server: Any
) -> None:
    marker = b'{"level":"error","message":"injected"}'
    attacks = [
        b"GET /models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \xff\x1b[2J" + marker + b"\r\n",
        b"GET /models%0d%0a" + marker.replace(b'"', b"%22") + b" HTTP/1.1\r\nhost: x\r\n",
        b"GET /models HTTP/1.1\r\nhost: x\r\nx-api-key: "
        + keys.texts["shop"].encode()
        + b"\r\nuser-agent: \x1b]0;x\x07\r\n",
    ]
    for attack in attacks:
        raw(attack + b"connection: close\r\n\r\n")
    deadline = time.monotonic() + SECONDS
    while (text := server.log.read_text()).count('"message":"request"') < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert not [line for line in lines if line.get("message") == "injected"]
    assert "\x1b" not in text
    assert not [key for key in keys.texts.values() if key in text]
    requests = [line for line in lines if line["message"] == "request"]
    assert {"shop", None} >= {line["key"] for line in requests if line["route"].startswith("/models")}
    assert any(line["message"] == "key refused" for line in lines)


@pytest.fixture
def client(server: Any) -> Callable[..., httpx.Response]:
    """get(key, path), each time over a new connection: the kernel spreads them over the workers."""

    def get(key: str | None, path: str = "/models") -> httpx.Response:
        return httpx.get(f"{server.url}{path}", headers=headers_of(key), timeout=SECONDS)

    return get


def test_a_rate_holds_over_both_workers(client: Callable[..., httpx.Response], keys: KeySet) -> None:
    key = keys.texts["slow"]
    started = time.monotonic()
    replies = [client(key) for _ in range(40)]
    seconds = time.monotonic() - started
    accepted = sum(reply.status_code == 200 for reply in replies)
    assert {reply.status_code for reply in replies} <= {200, 429}
    assert 1 <= accepted <= 1.1 * 5 * seconds + 1
    refused = [reply for reply in replies if reply.status_code == 429]
    assert all(reply.headers["retry-after"] == "1" for reply in refused)
    assert all("5 requests per second" in reply.json()["detail"] for reply in refused)


def until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def test_all_workers_follow_the_file(client: Callable[..., httpx.Response], keys: KeySet) -> None:
    key = keys.texts["revoked"]
    assert client(key).status_code == 200
    keys.stored = [one for one in keys.stored if one.name != "revoked"]
    new = keys.add("new")
    until(lambda: all(client(key).status_code == 401 and client(new).status_code == 200 for _ in range(8)))
    good = keys.path.read_bytes()
    keys.path.write_bytes(good[: len(good) // 2])
    time.sleep(1)
    assert all(client(new).status_code == 200 for _ in range(8))
    keys.path.write_bytes(good)
    assert len(read_keys(keys.path).keys) == 3


def test_preflights_and_origins_work_with_keys(server: Any, keys: KeySet) -> None:
    origin = {"origin": "https://app.example.com"}
    preflight = {**origin, "access-control-request-method": "POST"}
    reply = httpx.options(f"{server.url}/predict/homes", headers=preflight, timeout=SECONDS)
    assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (204, origin["origin"])
    refused = httpx.post(f"{server.url}/predict/homes", headers=origin, timeout=SECONDS)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, origin["origin"])


def test_the_page_needs_no_key_and_what_it_shows_does(client: Callable[..., httpx.Response], server: Any) -> None:
    page = httpx.get(f"{server.url}/", headers={"accept": "text/html"}, timeout=SECONDS)
    assert page.status_code == 200
    assert page.headers["x-frame-options"] == "DENY"
    assert client(None, "/static_content/swagger-ui.css").status_code == 200
    for path in ("/docs.json", "/schema.json", "/static_content/../schema.json", "/metrics"):
        assert client(None, path).status_code == 401, path
