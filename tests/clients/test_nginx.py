"""Large bodies through a real nginx get a complete response, or an error that every client detects."""

import io
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.child_processes import stop_all
from tests.clients.conftest import HOUSING, ROOT
from tests.ports import free_port
from tests.service.conftest import Server

ROWS = {"csv": 530_000, "ndjson": 170_000, "arrow": 330_000}  # 20 MB each
CELLS = (8.3, 41, 6.98, 1.02, 322, 2.56, 37.88, 22.23)
COMPOSE = ROOT / "deploy/compose/nginx.conf"
DEFAULT = """
worker_processes 1;
pid /tmp/nginx.pid;
error_log /dev/stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path /tmp/body;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    server {{
        listen 8000;
        client_max_body_size 1g;
        location / {{
            proxy_pass http://172.30.117.11:3000;
            {options}
        }}
    }}
}}
"""
"""nginx's defaults for a proxy: HTTP/1.0 to the server, bodies and responses buffered."""
CONFIGURATIONS = {
    "compose": COMPOSE.read_text(encoding="utf-8"),
    "default": DEFAULT.format(options=""),
    "unbuffered": DEFAULT.format(options="proxy_http_version 1.1; proxy_request_buffering off; proxy_buffering off;"),
}


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def proxy(request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an nginx that has one of the configurations and forwards requests to the server."""
    yield from nginx(CONFIGURATIONS[request.param], server.port, tmp_path_factory.mktemp("nginx"))


def nginx(configuration: str, server_port: int, folder: Path) -> Iterator[str]:
    """Start an nginx that forwards requests to a server, yield its address, and stop it afterwards."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    assert program, "nginx is not installed: run make clients-check"
    port = free_port()
    folder.chmod(0o777)
    folder.parent.chmod(0o755)  # nginx's workers run as another user
    configuration = configuration.replace("/tmp/", f"{folder}/")
    lines = [line for line in configuration.splitlines() if "172.30.117.12" not in line]
    configuration = "\n".join(lines).replace("172.30.117.11:3000", f"127.0.0.1:{server_port}")
    path = folder / "nginx.conf"
    path.write_text(configuration.replace("listen 8000", f"listen 127.0.0.1:{port}"))
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([program, "-g", "daemon off; user root;", "-c", path], stdout=out, stderr=out)
    try:
        wait_for(f"http://127.0.0.1:{port}/readyz", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        stop_all([process], signal.SIGTERM)


def wait_for(url: str, log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if httpx.get(url, timeout=60).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError(log.read_text())


def table(rows: int) -> pa.Table:
    return pa.table({name: pa.array([float(cell)] * rows) for name, cell in zip(HOUSING, CELLS, strict=True)})


def csv_body() -> bytes:
    line = ",".join(map(str, CELLS)) + "\n"
    return (",".join(HOUSING) + "\n" + line * ROWS["csv"]).encode()


def ndjson_body() -> bytes:
    line = "{" + ",".join(f'"{name}":{cell}' for name, cell in zip(HOUSING, CELLS, strict=True)) + "}\n"
    return (line * ROWS["ndjson"]).encode()


def arrow_body() -> bytes:
    sink = io.BytesIO()
    content = table(ROWS["arrow"])
    with pa.ipc.new_stream(sink, content.schema) as writer:
        writer.write_table(content, max_chunksize=65_536)
    return sink.getvalue()


def lines_of(content: bytes) -> int:
    return content.count(b"\n")


FORMS: dict[str, tuple[str, Callable[[], bytes], Callable[[bytes], int]]] = {
    "csv": ("text/csv", csv_body, lambda content: lines_of(content) - 1),
    "ndjson": ("application/x-ndjson", ndjson_body, lines_of),
    "arrow": (
        "application/vnd.apache.arrow.stream",
        arrow_body,
        lambda content: pa.ipc.open_stream(content).read_all().num_rows,
    ),
}


@pytest.mark.parametrize("proxy", ["compose"], indirect=True)
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/models/housing/promote", 403),
        ("POST", "/v2/repository/models/housing/unload", 403),
        ("GET", "/audit", 403),
        ("GET", "/metrics", 404),
        ("GET", "/models/housing", 200),
    ],
)
def test_the_compose_proxy_blocks_version_changes(proxy: str, method: str, path: str, status: int) -> None:
    assert httpx.request(method, proxy + path, timeout=60).status_code == status


@pytest.mark.parametrize("form", FORMS)
def test_large_body_gets_a_complete_response(proxy: str, form: str) -> None:
    content_type, make, count = FORMS[form]
    body = make()
    assert len(body) > 20e6
    response = httpx.post(f"{proxy}/predict/housing", content=body, headers={"content-type": content_type}, timeout=300)
    assert response.status_code == 200, response.text[:500]
    assert count(response.content) == ROWS[form]
    assert b"stopped:" not in response.content[-1000:]


def test_error_is_never_a_complete_response(proxy: str) -> None:
    """An NDJSON body with an invalid last row gets status 422. The response to a Parquet body starts before the last
    row is read, so an error ends the connection, unless the connection uses HTTP/1.0.
    """
    body = ndjson_body() + b"{}\n"
    headers = {"content-type": "application/x-ndjson"}
    response = httpx.post(f"{proxy}/predict/housing", content=body, headers=headers, timeout=300)
    assert response.status_code == 422
    assert response.json()["errors"][0]["row"] == ROWS["ndjson"]

    rows = 100_000  # more than 1 MiB of predictions
    wrong = table(rows).set_column(0, HOUSING[0], pa.array([8.3] * (rows - 1) + [None], pa.float64()))
    sink = io.BytesIO()
    pq.write_table(wrong, sink)
    headers = {"content-type": "application/vnd.apache.parquet", "accept": "application/x-ndjson"}
    try:
        response = httpx.post(f"{proxy}/predict/housing", content=sink.getvalue(), headers=headers, timeout=300)
    except httpx.RemoteProtocolError:
        return
    assert response.status_code == 422
