"""The cost of TLS: a server without TLS, a server with TLS, and nginx that terminates TLS in front of a server.

The cost is the CPU time of all processes of a server, nginx included, per request: over connections that stay open, and
over a new connection, with its handshake, for each request.
"""

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import psutil

from loadtest.bench.clients import JSON, LoadFigures, load
from loadtest.bench.paired_ratios import ratio
from loadtest.bench.process_usage import cpu_seconds
from loadtest.bench.server_process import BenchServer, free_port
from loadtest.bench.server_scenarios import Contender, tabserve_server
from loadtest.bench.servers import body, train
from models import text_tables
from models.text import counted

MODEL = "eight"
CONNECTIONS = {"open connections": 32, "a new connection for each request": 8}
HEADERS: Mapping[str, Mapping[str, str]] = {
    "open connections": JSON,
    "a new connection for each request": {**JSON, "connection": "close"},
}
PLAIN, TLS, NGINX = "without TLS", "TLS", "nginx with TLS"
NGINX_CONF = """
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream tabserve {{ server 127.0.0.1:{upstream}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/server.crt;
        ssl_certificate_key {folder}/server.key;
        location / {{
            proxy_pass http://tabserve;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


class MissingProgramError(Exception):
    """nginx or openssl is not installed."""


@dataclass
class MeasuredServer:
    """A measured server. proxy: the nginx process in front of the server."""

    server: BenchServer
    url: str
    proxy: "subprocess.Popen[bytes] | None" = None
    cpu_us: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in CONNECTIONS})
    loads: dict[str, list[LoadFigures]] = field(default_factory=lambda: {kind: [] for kind in CONNECTIONS})

    def cpu(self) -> float:
        total = self.server.cpu()
        if self.proxy is not None:
            root = psutil.Process(self.proxy.pid)
            total += sum(cpu_seconds(process) for process in (root, *root.children()))
        return total

    def measure(self, kind: str, seconds: float) -> None:
        before = self.cpu()
        figures = load(self.url, self.server.request, CONNECTIONS[kind], seconds, HEADERS[kind])
        self.loads[kind].append(figures)
        self.cpu_us[kind].append((self.cpu() - before) / max(figures.requests, 1) * 1e6)


def program(name: str) -> str:
    found = shutil.which(name, path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if found is None:
        raise MissingProgramError(f"{name} is not installed")
    return found


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a self-signed certificate for 127.0.0.1."""
    certificate, key = folder / "server.crt", folder / "server.key"
    options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command = [program("openssl"), "req", "-x509", *options, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def tls_server(certificate: Path, key: Path) -> Contender:
    plain = tabserve_server(TLS, MODEL)
    options = ("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key))
    return Contender(TLS, (*plain.command, *options), plain.path, plain.settings, model=MODEL, scheme="https")


@contextlib.contextmanager
def running(store: Path, home: Path) -> Iterator[dict[str, MeasuredServer]]:
    """The three servers, which run until the block ends."""
    certificate, key = make_certificate(home)
    request = body(store, MODEL, 1)
    plain = tabserve_server(PLAIN, MODEL)
    contenders = {PLAIN: plain, TLS: tls_server(certificate, key), NGINX: plain}
    found: dict[str, MeasuredServer] = {}
    try:
        for name, contender in contenders.items():
            server = BenchServer(contender, store, home, request)
            found[name] = MeasuredServer(server, server.url)
            server.wait()
        found[NGINX].proxy, port = start_nginx(home, found[NGINX].server.port)
        found[NGINX].url = f"https://127.0.0.1:{port}{plain.path}"
        yield found
    finally:
        for measured in found.values():
            if measured.proxy is not None:
                measured.proxy.terminate()
                try:
                    measured.proxy.wait(20)
                except subprocess.TimeoutExpired:
                    measured.proxy.kill()
                    measured.proxy.wait()
            measured.server.stop()


def start_nginx(folder: Path, upstream: int) -> "tuple[subprocess.Popen[bytes], int]":
    port = free_port()
    path = folder / "nginx.conf"
    path.write_text(NGINX_CONF.format(folder=folder, upstream=upstream, port=port), encoding="utf-8")
    return subprocess.Popen([program("nginx"), "-g", "daemon off;", "-c", str(path)]), port


def measure(servers: Mapping[str, MeasuredServer], rounds: int, seconds: float) -> None:
    for number in range(rounds + 1):  # the first is a warm-up
        for measured in servers.values():
            for kind in CONNECTIONS:
                measured.measure(kind, seconds if number else 1.0)
                if not number:
                    measured.cpu_us[kind].clear()
                    measured.loads[kind].clear()


def table(servers: Mapping[str, MeasuredServer], kind: str) -> list[list[str]]:
    lines = [
        ["server", "CPU µs / request", f"÷ {PLAIN}", "95 % interval", "requests / s", "p50 ms", "p99 ms", "errors"]
    ]
    for name, measured in servers.items():
        found, loads = ratio(servers[PLAIN].cpu_us[kind], measured.cpu_us[kind]), measured.loads[kind]
        lines.append(
            [
                name,
                f"{median(measured.cpu_us[kind]):,.0f}",
                f"{found.median:.2f}",
                f"{found.low:.2f} to {found.high:.2f}",
                f"{median(one.per_second for one in loads):,.0f}",
                f"{1e3 * median(one.p50 for one in loads):.1f}",
                f"{1e3 * median(one.p99 for one in loads):.1f}",
                f"{sum(one.errors for one in loads)}",
            ]
        )
    return lines


def run(rounds: int, seconds: float, markdown: Path | None) -> int:
    """Print a table for each kind of connection. Returns 1 if a request failed, 2 if a program is missing."""
    try:
        program("nginx")
        program("openssl")
    except MissingProgramError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="tabserve-tls-") as folder:
        home = Path(folder)
        home.chmod(0o755)  # nginx's worker process may run as another user
        print("training the model", file=sys.stderr)
        store = train(home, {MODEL})
        with running(store, home) as servers:
            measure(servers, rounds, seconds)
    return report(servers, rounds, markdown)


def report(servers: Mapping[str, MeasuredServer], rounds: int, markdown: Path | None) -> int:
    written: list[str] = []
    for kind, connections in CONNECTIONS.items():
        lines: Sequence[Sequence[str]] = table(servers, kind)
        title = f"one row per request, one worker, {counted(connections, 'client')}, {kind}, "
        title += f"median of {counted(rounds, 'round')}"
        print(f"\n{title}\n\n{text_tables.aligned(lines)}", flush=True)
        written.append(f"{title}\n\n{text_tables.markdown(lines, numbers=True)}\n")
    if markdown:
        markdown.write_text("\n".join(written), encoding="utf-8")
    return int(any(one.errors for measured in servers.values() for loads in measured.loads.values() for one in loads))
