"""The parts of `bench tls` that need no training, no nginx and no real server."""

import asyncio
import shutil
import ssl
from pathlib import Path

import pytest

from loadtest.bench import tls_cost
from loadtest.bench.clients import JSON, LoadFigures, run_bundled_client
from loadtest.bench.tls_cost import CONNECTIONS, NGINX, PLAIN, TLS, MeasuredServer
from tests.certificates import Authority


@pytest.mark.parametrize("closes", [False, True])
def test_bundled_client_connects_with_tls(tmp_path: Path, closes: bool) -> None:
    """With `connection: close`, each request uses a new connection."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*Authority(tmp_path).issue("server"))
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while not reader.at_eof():
            try:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(2)
            except (asyncio.IncompleteReadError, OSError):
                break
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async def run() -> LoadFigures:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        headers = {**JSON, "connection": "close"} if closes else JSON
        try:
            return await run_bundled_client(url, b"{}", 2, 0.1, headers)
        finally:
            server.close()

    figures = asyncio.run(run())
    assert figures.errors == 0
    assert figures.requests >= 2
    assert connections == (figures.requests if closes else 2)


def test_the_report_compares_with_the_server_without_tls(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    ways = {name: MeasuredServer(None, "") for name in (PLAIN, TLS, NGINX)}  # type: ignore[arg-type]  # no request is sent
    for number, measured in enumerate(ways.values(), 1):
        for kind in CONNECTIONS:
            measured.cpu_us[kind] = [100.0 * number] * 3
            measured.loads[kind] = [LoadFigures(10, 1.0, 0.001, 0.002, 0)] * 3
    assert tls_cost.report(ways, 3, tmp_path / "tls.md") == 0
    printed = capsys.readouterr().out
    assert printed.count("2.00 to 2.00") == len(CONNECTIONS)
    assert "| nginx with TLS | 300 | 3.00 |" in (tmp_path / "tls.md").read_text()


def test_a_missing_program_is_named(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None)
    assert tls_cost.run(1, 1.0, None) == 2
    assert capsys.readouterr().err == "error: nginx is not installed\n"
