"""A server with keys and two workers: raw requests that try to bypass the keys, rates, and changes of the key file."""

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.access.keys_file import read_keys
from tests.service.access_keys import KeySet, key_headers

SECONDS = 300  # the timeout of every wait, generous for slow machines
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
def send_raw(server: Any) -> Callable[[bytes], bytes]:
    def send(content: bytes) -> bytes:
        """Send bytes. Returns everything that the server sends until it closes the connection."""
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


def encoded_post(key: str, *lines: bytes, body: bytes = b"") -> bytes:
    fields = [b"POST /predict/homes HTTP/1.1", b"host: x", f"authorization: Bearer {key}".encode(), *lines]
    return b"\r\n".join(fields) + b"\r\n\r\n" + body


def test_a_request_does_not_inherit_the_key_of_the_previous_request(
    send_raw: Callable[[bytes], bytes], keys: KeySet, home_row: dict[str, Any]
) -> None:
    body = json.dumps({"rows": [home_row]}).encode()
    with_key = encoded_post(
        keys.texts["shop"], b"content-length: %d" % len(body), b"content-type: application/json", body=body
    )
    assert status_lines(send_raw(with_key + HIDDEN + with_key + HIDDEN + LAST)) == [200, 401, 200, 401, 200]


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
def test_a_smuggled_request_does_not_use_the_key_of_the_first_request(
    send_raw: Callable[[bytes], bytes], keys: KeySet, lines: list[bytes]
) -> None:
    """The server may read the bytes after the head as a body or as a second request, which must not be answered with
    the first request's key.
    """
    for tail in (b"0\r\n\r\n" + HIDDEN, HIDDEN, b"3c\r\n" + HIDDEN + b"\r\n0\r\n\r\n"):
        received = send_raw(encoded_post(keys.texts["shop"], *lines, body=tail) + LAST)
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
def test_a_key_in_an_invalid_header_is_not_accepted(
    send_raw: Callable[[bytes], bytes], keys: KeySet, line: bytes
) -> None:
    field = line.replace(b"%s", keys.texts["shop"].encode())
    received = send_raw(b"GET /models HTTP/1.1\r\nhost: x\r\n" + field + b"\r\nconnection: close\r\n\r\n")
    assert status_lines(received) in ([400], [401])


@pytest.mark.parametrize(
    "target",
    [
        *("/predict/%0d%0aset-cookie:%20a=b", "/predict/homes%0d%0a%0d%0aHTTP/1.1%20200", "/%0aset-cookie:a=b"),
        *("/models/homes?x=%0d%0aset-cookie:a=b", "/models/%E2%80%A8set-cookie:a"),
    ],
)
def test_line_breaks_in_requests_do_not_split_responses(
    send_raw: Callable[[bytes], bytes], keys: KeySet, target: str
) -> None:
    for key in ("", f"authorization: Bearer {keys.texts['shop']}\r\n"):
        fields = "x-request-id: a%0d%0aset-cookie:b\r\norigin: https://app.example.com%0d%0ax:y\r\n"
        request = f"GET {target} HTTP/1.1\r\nhost: x\r\n{key}{fields}connection: close\r\n\r\n"
        received = send_raw(request.encode())
        head, _, body = received.partition(b"\r\n\r\n")
        assert received.startswith(b"HTTP/1.1 ")
        assert b"\nHTTP/" not in received
        names = [line.partition(b":")[0] for line in head.split(b"\r\n")[1:]]
        assert b"set-cookie" not in names
        assert b"access-control-allow-origin" not in names
        json.loads(body)


def test_clients_cannot_inject_log_lines(send_raw: Callable[[bytes], bytes], keys: KeySet, server: Any) -> None:
    marker = b'{"level":"error","message":"injected"}'
    attacks = [
        b"GET /models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \xff\x1b[2J" + marker + b"\r\n",
        b"GET /models%0d%0a" + marker.replace(b'"', b"%22") + b" HTTP/1.1\r\nhost: x\r\n",
        b"GET /models HTTP/1.1\r\nhost: x\r\nx-api-key: "
        + keys.texts["shop"].encode()
        + b"\r\nuser-agent: \x1b]0;x\x07\r\n",
    ]
    for attack in attacks:
        send_raw(attack + b"connection: close\r\n\r\n")
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
def send_get(server: Any) -> Callable[..., httpx.Response]:
    """send_get(key, path) sends a request over a new connection, so that the kernel distributes requests over the
    workers.
    """

    def send_get(key: str | None, path: str = "/models") -> httpx.Response:
        return httpx.get(f"{server.url}{path}", headers=key_headers(key), timeout=SECONDS)

    return send_get


def test_two_workers_do_not_exceed_a_rate_together(send_get: Callable[..., httpx.Response], keys: KeySet) -> None:
    key = keys.texts["slow"]
    started = time.monotonic()
    replies = [send_get(key) for _ in range(40)]
    seconds = time.monotonic() - started
    accepted = sum(reply.status_code == 200 for reply in replies)
    assert {reply.status_code for reply in replies} <= {200, 429}
    assert 1 <= accepted <= 1.1 * 5 * seconds + 1
    refused = [reply for reply in replies if reply.status_code == 429]
    assert all(reply.headers["retry-after"] == "1" for reply in refused)
    assert all("5 requests per second" in reply.json()["detail"] for reply in refused)


def wait_until(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not check():
        assert time.monotonic() < deadline, "the condition did not hold in time"
        time.sleep(0.1)


def test_all_workers_follow_changes_of_the_key_file(send_get: Callable[..., httpx.Response], keys: KeySet) -> None:
    key = keys.texts["revoked"]
    assert send_get(key).status_code == 200
    keys.stored = [one for one in keys.stored if one.name != "revoked"]
    new = keys.add("new")
    wait_until(lambda: all(send_get(key).status_code == 401 and send_get(new).status_code == 200 for _ in range(8)))
    good = keys.path.read_bytes()
    keys.path.write_bytes(good[: len(good) // 2])
    time.sleep(1)
    assert all(send_get(new).status_code == 200 for _ in range(8))
    keys.path.write_bytes(good)
    assert len(read_keys(keys.path).keys) == 3


def test_preflights_and_origins_work_with_keys(server: Any, keys: KeySet) -> None:
    origin = {"origin": "https://app.example.com"}
    preflight = {**origin, "access-control-request-method": "POST"}
    reply = httpx.options(f"{server.url}/predict/homes", headers=preflight, timeout=SECONDS)
    assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (204, origin["origin"])
    refused = httpx.post(f"{server.url}/predict/homes", headers=origin, timeout=SECONDS)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, origin["origin"])


def test_the_page_needs_no_key_but_its_data_do(send_get: Callable[..., httpx.Response], server: Any) -> None:
    page = httpx.get(f"{server.url}/", headers={"accept": "text/html"}, timeout=SECONDS)
    assert page.status_code == 200
    assert page.headers["x-frame-options"] == "DENY"
    assert send_get(None, "/static_content/swagger-ui.css").status_code == 200
    for path in ("/docs.json", "/schema.json", "/static_content/../schema.json", "/metrics"):
        assert send_get(None, path).status_code == 401, path
