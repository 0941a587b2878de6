"""How a server stops:
it answers accepted requests, ends immediately at a second signal, and leaves no process behind.
"""

import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.child_processes import kill_at_exit
from tests.e2e.conftest import ROOT, environment
from tests.e2e.server_processes import WAIT_S, descendants, wait_until
from tests.ports import free_port

Serve = Callable[..., Any]
BODY = json.dumps({"rows": [{"a": 1.5, "b": 2.5}]}).encode()
REQUEST = b"POST /predict/small HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)


def all_ended(processes: list[psutil.Process]) -> bool:
    """Whether all processes have ended. Their ports may stay in use a little longer, until the last threads end."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                return False
    return True


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class ReconnectingClient(threading.Thread):
    """Sends each request over a new connection, regardless of /readyz, until connections are refused."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.port = port
        self.results: Counter[str] = Counter()

    def run(self) -> None:
        while True:
            try:
                connection = socket.create_connection(("127.0.0.1", self.port), WAIT_S)
            except ConnectionRefusedError:
                return
            try:
                with connection:
                    connection.sendall(REQUEST)
                    reply = http.client.HTTPResponse(connection)
                    reply.begin()
                    reply.read()
                    self.results[str(reply.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.results[type(error).__name__] += 1


def test_a_stopping_server_answers_requests_on_new_connections(serve: Serve, home: Path) -> None:
    server = serve(home, TABSERVE_WORKERS="2", TABSERVE_DRAIN_S="1")
    clients = [ReconnectingClient(server.port) for _ in range(24)]
    for client in clients:
        client.start()
    wait_until(lambda: all(client.results["200"] > 3 for client in clients))
    before = sum(client.results["200"] for client in clients)
    server.process.send_signal(signal.SIGTERM)
    for client in clients:
        client.join(WAIT_S)
        assert not client.is_alive()
    total = sum((client.results for client in clients), Counter())
    assert set(total) == {"200"}, total
    assert total["200"] > before
    assert server.process.wait(WAIT_S) == 0


def test_a_second_signal_stops_the_server_immediately(serve: Serve, home: Path) -> None:
    server = serve(home, TABSERVE_WORKERS="2", TABSERVE_DRAIN_S="600")
    workers = descendants(server.process.pid)
    server.process.send_signal(signal.SIGTERM)
    wait_until(lambda: httpx.get(f"{server.url}/readyz", timeout=WAIT_S).status_code == 503)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(WAIT_S) == 1
    wait_until(lambda: all_ended(workers))
    wait_until(lambda: is_free(server.port))


def test_a_signal_during_the_replacement_of_a_worker_stops_the_server(serve: Serve, home: Path) -> None:
    server = serve(home)
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    (worker,) = descendants(server.process.pid)
    worker.kill()
    deadline = time.monotonic() + WAIT_S
    # No sleep, because the successor takes only a short time to start
    while not {*children.read_text().split()} - {str(worker.pid)}:
        assert time.monotonic() < deadline
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(WAIT_S) == 0


def test_workers_end_after_their_supervisor_is_killed_and_the_server_can_restart(serve: Serve, home: Path) -> None:
    server = serve(home, TABSERVE_WORKERS="2")
    workers = descendants(server.process.pid)
    server.process.kill()
    server.process.wait(WAIT_S)
    wait_until(lambda: all_ended(workers))
    wait_until(lambda: is_free(server.port))
    restarted = serve(home, port=server.port)
    assert httpx.post(f"{restarted.url}/predict/small", content=BODY, timeout=WAIT_S).status_code == 200


def test_a_server_ends_when_its_launching_command_is_killed(home: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "service", "--port", str(port)]
    settings = {"TABSERVE_WORKERS": "1", "TABSERVE_DRAIN_S": "0"}
    with kill_at_exit(
        subprocess.Popen(command, cwd=ROOT, env=environment(home, **settings), stdout=subprocess.PIPE)
    ) as launcher:
        assert launcher.stdout
        while b"Serving" not in (line := launcher.stdout.readline()):
            assert line, "the launcher has ended"
        server = descendants(launcher.pid)
        launcher.kill()
    wait_until(lambda: all_ended(server))
    wait_until(lambda: is_free(port))
