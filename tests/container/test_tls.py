"""The image with certificates from a mounted secret: HTTPS, gRPC over TLS, client certificates, and certificate
renewal.
"""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.certificates import Authority
from tests.container.containers import LOCKED_DOWN, Container, docker, run, wait_until

GRPC_PORT = "9000"
SECRET = "/secrets/tls"
SERVING = health_pb2.HealthCheckResponse.SERVING
FILES = ("--env", f"SSL_CERTFILE={SECRET}/tls.crt", "--env", f"SSL_KEYFILE={SECRET}/tls.key")
Start = Callable[..., Container]


class MountedSecret:
    """A secret's folder as Kubernetes mounts it: the files are links into a subfolder, which each renewal replaces."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        folder.mkdir()

    def write(self, **files: Path) -> None:
        self._count += 1
        content = self.folder / f"..{self._count}"
        content.mkdir()
        for name, file in files.items():
            (content / name.replace("_", ".")).write_bytes(file.read_bytes())
        new = self.folder / "..new"
        new.symlink_to(content.name)
        new.rename(self.folder / "..data")
        for name in files:
            link = self.folder / name.replace("_", ".")
            if not link.is_symlink():
                link.symlink_to(f"..data/{link.name}")


@pytest.fixture(scope="module")
def grpc_image(home: Path) -> str:
    image = "tabserve:tested-grpc"
    run("make", "image", f"IMAGE={image}", "MODELS=penguins", "EXTRAS=grpc")
    return image


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    return Authority(tmp_path)


@pytest.fixture
def secret(authority: Authority) -> MountedSecret:
    made = MountedSecret(authority.folder / "secret")
    certificate, key = authority.issue("first")
    made.write(tls_crt=certificate, tls_key=key, ca_crt=authority.file)
    return made


@pytest.fixture
def start_secured(start: Start, grpc_image: str, secret: MountedSecret) -> Start:
    """start_secured(options…) starts a container that mounts the secret and has minimal privileges."""
    mount = ("--volume", f"{secret.folder}:{SECRET}:ro")
    served = ("--env", f"TABSERVE_GRPC_PORT={GRPC_PORT}", "--publish", f"127.0.0.1::{GRPC_PORT}")

    def start_with_options(*options: str) -> Container:
        return start(grpc_image, *LOCKED_DOWN, *mount, *FILES, *served, "--env", "TABSERVE_WORKERS=2", *options)

    return start_with_options


def published_address(container: Container, port: str) -> tuple[str, int]:
    """The published address of a port of the container."""
    host, _, number = docker("port", container.id, port).splitlines()[0].rpartition(":")
    return host, int(number)


def https_url(container: Container) -> str:
    return f"https://{urlsplit(container.url).netloc}"


def wait_ready_over_tls(container: Container, context: ssl.SSLContext) -> None:
    def ready() -> bool:
        try:
            return httpx.get(f"{https_url(container)}/readyz", verify=context, timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    wait_until(ready, 90, lambda: container.logs)
    wait_until(lambda: container.inspect("{{.State.Health.Status}}") == "healthy", 90, lambda: container.logs)


def certificate_names(container: Container, port: str, context: ssl.SSLContext) -> set[str]:
    """The names in the server certificates of several new connections, which are enough to reach both workers."""
    found = set()
    for _ in range(8):
        plain = socket.create_connection(published_address(container, port), 10)
        with context.wrap_socket(plain, server_hostname="127.0.0.1") as connection:
            subject = (connection.getpeercert() or {})["subject"]
            found.add(dict(part for parts in subject for part in parts)["commonName"])  # type: ignore[misc]
    return found


def grpc_status(container: Container, authority: Authority, client: tuple[Path, Path] | None = None) -> int:
    certificate, key = (None, None) if client is None else (file.read_bytes() for file in client)
    credentials = grpc.ssl_channel_credentials(authority.file.read_bytes(), key, certificate)
    host, port = published_address(container, GRPC_PORT)
    with grpc.secure_channel(f"{host}:{port}", credentials) as channel:
        request = health_pb2.HealthCheckRequest()
        return int(health_pb2_grpc.HealthStub(channel).Check(request, timeout=30, wait_for_ready=False).status)


def test_https_and_grpc_use_a_mounted_certificate_and_its_renewal(
    start_secured: Start, authority: Authority, secret: MountedSecret
) -> None:
    container = start_secured()
    context = ssl.create_default_context(cafile=str(authority.file))
    wait_ready_over_tls(container, context)
    with httpx.Client(base_url=https_url(container), verify=context, timeout=15) as client:
        row = client.get("/models/penguins").json()["examples"][0]["row"]
        response = client.post("/predict/penguins", json={"rows": [row]})
        assert response.status_code == 200
        assert "strict-transport-security" in response.headers
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{container.url}/readyz", timeout=10)
    assert grpc_status(container, authority) == SERVING
    host, port = published_address(container, GRPC_PORT)
    with grpc.insecure_channel(f"{host}:{port}") as channel, pytest.raises(grpc.RpcError):
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert certificate_names(container, "3000", context) == {"first"}
    certificate, key = authority.issue("renewed")
    secret.write(tls_crt=certificate, tls_key=key, ca_crt=authority.file)
    wait_until(lambda: certificate_names(container, "3000", context) == {"renewed"}, 60, lambda: container.logs)
    assert grpc_status(container, authority) == SERVING
    assert container.inspect("{{.RestartCount}}") == "0"


def test_clients_need_a_certificate_of_the_configured_authority(start_secured: Start, authority: Authority) -> None:
    container = start_secured("--env", f"SSL_CA_CERTS={SECRET}/ca.crt")
    client = authority.issue("client")
    context = ssl.create_default_context(cafile=str(authority.file))
    context.load_cert_chain(*client)
    wait_ready_over_tls(container, context)
    assert grpc_status(container, authority, client) == SERVING
    without = ssl.create_default_context(cafile=str(authority.file))
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{https_url(container)}/readyz", verify=without, timeout=10)
    with pytest.raises(grpc.RpcError):
        grpc_status(container, authority)


def test_an_unreadable_tls_key_stops_the_start_without_a_traceback(
    start_secured: Start, authority: Authority, secret: MountedSecret
) -> None:
    certificate, key = authority.issue("unreadable")
    secret.write(tls_crt=certificate, tls_key=key, ca_crt=authority.file)
    (secret.folder / "tls.key").resolve().chmod(0o600)
    container = start_secured()
    assert container.wait_exit() == 1
    assert "tls.key" in container.logs
    assert "Traceback" not in container.logs
