"""`bentoml serve` with mutual TLS: HTTP and gRPC, renewed certificates, limits, and routes for local clients."""

import json
import shutil
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.certificates import Authority
from tests.e2e.conftest import Server
from tests.e2e.server_processes import wait_until
from tests.ports import free_port

BODY = b'{"rows": [{"a": 1, "b": 2}]}'
JSON = {"content-type": "application/json"}


class TlsServer:
    """A server with mutual TLS, its certificate authority, and the certificate of a client."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.files = [
            Path(shutil.copy(file, folder / f"served{file.suffix}")) for file in self.authority.issue("first")
        ]
        self.client_files = self.authority.issue("client")
        self.context = ssl.create_default_context(cafile=str(self.authority.file))
        self.context.load_cert_chain(*self.client_files)
        self.server: Any = None
        self.grpc_port = free_port()

    @property
    def options(self) -> list[str]:
        certificate, key = map(str, self.files)
        return ["--ssl-certfile", certificate, "--ssl-keyfile", key, "--ssl-ca-certs", str(self.authority.file)]

    def certificate_names(self) -> set[str]:
        """The names in the server certificates of several new connections, which are enough to reach both workers."""
        found = set()
        for _ in range(8):
            with self.connect() as connection:
                subject = (connection.getpeercert() or {})["subject"]
                found.add(dict(part for parts in subject for part in parts)["commonName"])  # type: ignore[misc]
        return found

    def connect(self) -> ssl.SSLSocket:
        plain = socket.create_connection(("127.0.0.1", self.server.port), 60)
        try:
            return self.context.wrap_socket(plain, server_hostname="127.0.0.1")
        except OSError:
            plain.close()
            raise

    def channel(self, *, with_certificate: bool = True) -> grpc.Channel:
        certificate, key = (file.read_bytes() for file in self.client_files)
        authority = self.authority.file.read_bytes()
        client_pair = (key, certificate) if with_certificate else (None, None)
        credentials = grpc.ssl_channel_credentials(authority, *client_pair)
        return grpc.secure_channel(f"127.0.0.1:{self.grpc_port}", credentials)


@pytest.fixture(scope="module")
def secured(
    serve_module: Callable[..., Server], trained_home: Path, tmp_path_factory: pytest.TempPathFactory
) -> TlsServer:
    found = TlsServer(tmp_path_factory.mktemp("tls"))
    home = Path(shutil.copytree(trained_home, tmp_path_factory.mktemp("home") / "home"))
    found.server = serve_module(
        home,
        options=found.options,
        tls=found.context,
        TABSERVE_WORKERS="2",
        TABSERVE_DRAIN_S="1",
        TABSERVE_GRPC_PORT=str(found.grpc_port),
    )
    return found


@pytest.fixture
def client(secured: TlsServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=secured.server.url, verify=secured.context, timeout=60) as made:
        yield made


def test_a_client_needs_a_certificate(secured: TlsServer, client: httpx.Client) -> None:
    reply = client.post("/predict/small", content=BODY, headers=JSON)
    assert reply.status_code == 200
    assert reply.headers["strict-transport-security"] == "max-age=31536000"
    without = ssl.create_default_context(cafile=str(secured.authority.file))
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{secured.server.url}/livez", verify=without, timeout=60)
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{secured.server.port}/livez", timeout=60)


def test_size_limits_apply_over_tls(secured: TlsServer, client: httpx.Client) -> None:
    with secured.connect() as connection:
        connection.sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 70_000 + b"\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 431 ")
    assert client.post("/predict/small", content=b"[", headers=JSON).status_code == 400
    assert client.post("/predict/small", content=b" " * (17 * 2**20), headers=JSON).status_code == 413


def test_admin_routes_accept_only_the_origin_of_the_server(secured: TlsServer, client: httpx.Client) -> None:
    own = {**JSON, "origin": secured.server.url}
    assert client.post("/models/small/promote", content=b'{"version": 1}', headers=own).status_code == 200
    other = {**JSON, "origin": "https://example.com"}
    assert client.post("/models/small/promote", content=b'{"version": 1}', headers=other).status_code == 403


def test_grpc_uses_the_same_certificates(secured: TlsServer) -> None:
    with secured.channel() as channel:
        health = health_pb2_grpc.HealthStub(channel)
        assert health.Check(health_pb2.HealthCheckRequest(), timeout=60).status == 1
    with secured.channel(with_certificate=False) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        with pytest.raises(grpc.RpcError) as refused:
            health.Check(health_pb2.HealthCheckRequest(), timeout=60)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE


def test_all_workers_use_a_renewed_certificate_without_failed_requests(
    secured: TlsServer, client: httpx.Client
) -> None:
    stopped, statuses = threading.Event(), []

    def send() -> None:
        while not stopped.is_set():
            with httpx.Client(verify=secured.context, timeout=60) as fresh:  # a new handshake for each request
                statuses.append(
                    fresh.post(f"{secured.server.url}/predict/small", content=BODY, headers=JSON).status_code
                )

    sender = threading.Thread(target=send)
    sender.start()
    try:
        old = secured.certificate_names()
        for new, served in zip(secured.authority.issue("renewed"), secured.files, strict=True):
            shutil.copy(new, served)
        wait_until(lambda: secured.certificate_names() == {"renewed"})
    finally:
        stopped.set()
        sender.join(60)
    assert len(old) == 1
    assert set(statuses) == {200}
    assert client.get("/livez").status_code == 200


def is_stopping(probe: httpx.Client) -> bool:
    """Whether a server reports on /readyz that it is stopping, or refuses connections."""
    try:
        return probe.get("/readyz").status_code == 503
    except httpx.TransportError:
        return True


def test_a_stopping_server_answers_a_request_in_progress_over_tls(secured: TlsServer) -> None:
    """This test must be the last one that uses this server, because it stops the server."""
    head = b"POST /predict/small HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    with secured.connect() as connection:
        connection.sendall(head + b"content-length: %d\r\n\r\n" % len(BODY))
        with httpx.Client(base_url=secured.server.url, verify=secured.context, timeout=60) as probe:
            secured.server.process.terminate()
            wait_until(lambda: is_stopping(probe))
        time.sleep(0.1)
        connection.sendall(BODY)
        received = b""
        while part := connection.recv(65_536):
            received += part
    response_head, _, content = received.partition(b"\r\n\r\n")
    assert response_head.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in response_head
    assert json.loads(content)["version"] == "1"
    assert secured.server.process.wait(60) == 0


def test_a_certificate_with_a_mismatched_key_stops_the_start(
    serve: Callable[..., Server], home: Path, tmp_path: Path
) -> None:
    certificate, _ = Authority(tmp_path).issue("one")
    _, key = Authority(tmp_path, "other").issue("two")
    server = serve(home, wait=False, options=["--ssl-certfile", str(certificate), "--ssl-keyfile", str(key)])
    assert server.process.wait(120) == 1
    log = server.log.read_text()
    assert "cannot be used for TLS" in log
    assert "Traceback" not in log
