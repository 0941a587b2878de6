"""Load tests of a server with API keys send a key from the environment."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest

from loadtest import open_loop, request_plan
from loadtest.__main__ import main
from loadtest.api_key import KEY, KEY_FILE, key_headers
from loadtest.request_mix import RequestMix
from loadtest.request_plan import PlanError, RequestPlan
from loadtest.run_errors import LoadTestUsageError
from loadtest.server_monitor import metrics

TEXT = "tsk_abcdefghijkm_secret"
HEADER = f"Bearer {TEXT}"


class RefusingServer(BaseHTTPRequestHandler):
    """Answers each request with status 401, and stores its Authorization header."""

    sent: list[str | None]

    def do_GET(self) -> None:
        self.sent.append(self.headers["Authorization"])
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print nothing."""


@pytest.fixture
def refusing_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str | None]]]:
    """The URL of a server that answers with status 401, and the headers that it received."""
    monkeypatch.setattr(RefusingServer, "sent", [], raising=False)
    server = HTTPServer(("127.0.0.1", 0), RefusingServer)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", RefusingServer.sent
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_request_of_a_load_test_has_the_key(
    refusing_server: tuple[str, list[str | None]], monkeypatch: pytest.MonkeyPatch, plan: RequestPlan
) -> None:
    url, sent = refusing_server
    monkeypatch.setenv(KEY, TEXT)
    with pytest.raises(PlanError, match="status 401"):
        request_plan.make(url, RequestMix())
    with httpx.Client(base_url=url, headers=key_headers(), timeout=300) as client:
        assert metrics(client) == {}
    assert sent == [HEADER, HEADER]
    head = open_loop.head("host", "", plan.requests[0]).decode()
    assert f"\r\nAuthorization: {HEADER}\r\n" in head
    assert head.endswith("\r\nX-Request-ID: ")


def test_the_key_is_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert key_headers() == {}
    (tmp_path / "key").write_text(f"{TEXT}\n")
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "key"))
    assert key_headers() == {"Authorization": HEADER}


@pytest.mark.parametrize("content", [None, b"", b"a b", b"a\nb", b"\xff", "ä".encode()])
def test_unusable_key_gives_a_one_line_error_without_the_key(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "key").write_bytes(content)
    monkeypatch.setenv(KEY_FILE, str(tmp_path / "key"))
    with pytest.raises(LoadTestUsageError, match=KEY_FILE):
        key_headers()
    url = "http://127.0.0.1:1"
    monkeypatch.setattr("loadtest.server_under_test.wait_until_ready", lambda *_: None)
    assert main(["run", "--url", url, "--out", str(tmp_path)]) == 2
    printed = capsys.readouterr().err
    assert printed.splitlines()[-1].startswith(f"error: {KEY_FILE}: ")
