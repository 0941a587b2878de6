"""Requests over TLS behave as without TLS, and renewed certificates are loaded."""

import contextlib
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from service.__main__ import main, serve_parser, tls_files
from service.server import http_protocol, silent_connections, tls
from service.server.connection_balancer import ConnectionBalancer
from service.server.connection_counts import ConnectionCounts
from service.server.tls_files import TlsError, TlsFiles
from tests.certificates import Authority
from tests.service.server.test_http_protocol import (
    HELLO,
    RunningServer,
    read,
    split_responses,
    statuses,
    test_a_request_has_exactly_one_host,
    test_a_stopping_server_answers_a_request_in_transit,
    test_an_invalid_body_is_refused_before_its_response_has_begun,
    test_upgrades_are_ignored_with_chunks_without_a_body_and_with_connection_close,
)

__all__ = [
    "test_a_request_has_exactly_one_host",
    "test_a_stopping_server_answers_a_request_in_transit",
    "test_an_invalid_body_is_refused_before_its_response_has_begun",
    "test_upgrades_are_ignored_with_chunks_without_a_body_and_with_connection_close",
]
WAIT_S = 60


class RunningTls(RunningServer):
    """A running server with TLS. context: the TLS context of the client."""

    def __init__(self, authority: Authority, files: tuple[Path, Path], **options: object) -> None:
        self.context = client_context(authority)
        super().__init__(ssl_certfile=str(files[0]), ssl_keyfile=str(files[1]), **options)

    def connect(self) -> socket.socket:
        return self.context.wrap_socket(super().connect(), server_hostname="127.0.0.1")

    def connect_raw(self) -> socket.socket:
        return super().connect()

    @property
    def served_name(self) -> str:
        """The name in the certificate that the server presents to a new connection."""
        with self.connect() as connection:
            assert isinstance(connection, ssl.SSLSocket)
            subject = (connection.getpeercert() or {})["subject"]
        return dict(part for parts in subject for part in parts)["commonName"]  # type: ignore[misc]


def client_context(authority: Authority, client: tuple[Path, Path] | None = None) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(authority.file))
    if client:
        made.load_cert_chain(*client)
    return made


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> tuple[Path, Path]:
    """The files of a certificate and its key, which a test may change."""
    return tuple(Path(shutil.copy(file, tmp_path)) for file in authority.issue("first"))  # type: ignore[return-value]


@pytest.fixture
def running(authority: Authority, files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningTls]:
    monkeypatch.setattr(http_protocol, "LINGER_S", 0.1)
    monkeypatch.setattr(tls, "CHECK_INTERVAL_S", 0.1)
    server = RunningTls(authority, files)
    yield server
    server.stop()


@pytest.fixture
def stopping(running: RunningTls) -> RunningTls:
    return running


def test_responses_have_the_strict_transport_security_header(running: RunningTls) -> None:

    def response() -> bytes:
        with running.connect() as connection:
            connection.sendall(HELLO)
            return read(connection, lambda got: got.endswith(b"}"))[0]

    wait_until(lambda: b"\r\nstrict-transport-security: max-age=31536000\r\n" in response())


def test_a_large_head_is_refused_over_tls(running: RunningTls) -> None:
    responses, closed = running.responses(b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 300_000 + b"\r\n\r\n")
    assert (statuses(responses), closed) == ([431], True)


def test_a_slow_head_gets_a_408(running: RunningTls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silent_connections, "HEAD_S", 0.2)
    monkeypatch.setattr(silent_connections, "CHECK_INTERVAL_S", 0.1)
    responses, closed = running.responses(b"POST /hello HTTP/1.1\r\nhost:")
    assert (statuses(responses), closed) == ([408], True)


def test_connections_without_tls_get_no_response(running: RunningTls) -> None:
    """The listeners that replace those of uvicorn also use TLS."""
    with running.connect_raw() as plain:
        plain.sendall(HELLO)
        with contextlib.suppress(ConnectionResetError):
            assert b"HTTP/" not in read(plain)[0]
    assert statuses(running.responses(HELLO, count=1)[0]) == [200]


def test_an_incomplete_handshake_is_ended(running: RunningTls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "HANDSHAKE_S", 0.5)
    wait_until(lambda: isinstance(running.server.servers[0], ConnectionBalancer))  # uvicorn accepts until then
    with running.connect_raw() as silent, contextlib.suppress(ConnectionResetError):
        assert read(silent) == (b"", True)
    wait_until(lambda: running.server.servers[0]._handshakes == set())


def test_a_renewed_certificate_is_used_without_a_restart(
    running: RunningTls, authority: Authority, files: tuple[Path, Path]
) -> None:
    with running.connect() as before:
        assert running.served_name == "first"
        for new, old in zip(authority.issue("second"), files, strict=True):
            shutil.copy(new, old)
        wait_until(lambda: running.served_name == "second")
        before.sendall(HELLO)
        assert split_responses(read(before, lambda got: got.endswith(b"}"))[0])[0][0] == 200, (
            "the open connection must stay usable"
        )


def test_the_certificate_stays_in_use_after_invalid_files_are_written(
    running: RunningTls, authority: Authority, files: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    third = authority.issue("third")
    shutil.copy(third[0], files[0])  # without its key
    wait_until(lambda: "the new TLS files cannot be used" in caplog.text)
    assert running.served_name == "first"
    files[1].unlink()
    assert running.served_name == "first"
    shutil.copy(third[1], files[1])
    wait_until(lambda: running.served_name == "third")


def test_client_certificates_are_required_and_their_authority_can_change(
    authority: Authority, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "CHECK_INTERVAL_S", 0.1)
    clients, others = Authority(tmp_path, "clients"), Authority(tmp_path, "others")
    accepted = Path(shutil.copy(clients.file, tmp_path / "accepted.pem"))
    server = RunningTls(authority, files, ssl_ca_certs=str(accepted))

    def is_accepted(client: tuple[Path, Path] | None) -> bool:
        server.context = client_context(authority, client)
        try:
            return statuses(server.responses(HELLO, count=1)[0]) == [200]
        except (ssl.SSLError, ConnectionError):
            return False

    try:
        client, other = clients.issue("client"), others.issue("other")
        assert [is_accepted(None), is_accepted(client), is_accepted(other)] == [False, True, False]
        shutil.copy(others.file, accepted)
        wait_until(lambda: is_accepted(other))
        assert not is_accepted(client)
    finally:
        server.stop()


def test_a_listener_without_tls_is_never_installed(files: tuple[Path, Path]) -> None:
    server = uvicorn.Server(uvicorn.Config("x:y", log_config=None, ssl_certfile=str(files[0])))
    with pytest.raises(RuntimeError, match="would accept connections without it"):
        ConnectionBalancer(server, lambda: None, ConnectionCounts(None))  # type: ignore[arg-type,return-value]


def test_tls_files_are_checked_before_the_start(
    authority: Authority, files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = authority.issue("another")
    (tmp_path / "empty").touch()
    for files_to_check, message in (
        (TlsFiles(str(tmp_path / "none")), "cannot be read"),
        (TlsFiles(str(tmp_path)), "cannot be read"),
        (TlsFiles(str(files[0]), str(other[1])), "cannot be used for TLS"),
        (TlsFiles(str(files[0])), "cannot be used for TLS"),
        (TlsFiles(str(files[0]), str(files[1]), str(tmp_path / "empty")), "cannot be used for TLS"),
    ):
        with pytest.raises(TlsError, match=message) as refused:
            files_to_check.check()
        assert "\n" not in str(refused.value)
    for words in (["--ssl-certfile", str(tmp_path / "none")], ["--ssl-keyfile", str(files[1])]):
        with pytest.raises(SystemExit):
            main(words)
        assert capsys.readouterr().err.startswith("error: ")


def test_the_tls_options_are_passed_to_the_workers(files: tuple[Path, Path], authority: Authority) -> None:
    parser = serve_parser()
    words = ["--ssl-certfile", str(files[0]), "--ssl-keyfile", str(files[1]), "--ssl-ca-certs", str(authority.file)]
    named = tls_files(parser.parse_args(words), parser)
    assert named is not None
    assert named.options == words
    assert TlsFiles.of_arguments(["worker", *words]) == named
    assert TlsFiles.of_arguments([f"--ssl-certfile={files[0]}"]) == TlsFiles(str(files[0]))
    assert TlsFiles.of_arguments(["worker"]) is None
    assert tls_files(parser.parse_args([]), parser) is None
