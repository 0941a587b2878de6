"""The workers of a server share its client connections about equally."""

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from service.server.connection_balancer import RETRY_S

CONNECTIONS = 32
LIVENESS_REQUEST = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"

Serve = Callable[..., Any]


@contextmanager
def open_connections(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Connections opened in quick succession, as a client with a connection pool opens them."""
    opened = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(count)]
    try:
        yield opened
    finally:
        for each in opened:
            each.close()


def accepting_worker(connection: socket.socket) -> str:
    """The worker that accepted a connection, identified by the prefix of its request ids, which a worker chooses at its
    start.
    """
    connection.sendall(LIVENESS_REQUEST)
    received = b""
    while b"\r\n\r\n" not in received:
        read = connection.recv(4096)
        assert read, "the connection was closed without a response"
        received += read
    head = received.partition(b"\r\n\r\n")[0].decode().lower()
    request_id = next(line for line in head.split("\r\n") if line.startswith("x-request-id: "))
    return request_id.removeprefix("x-request-id: ").rpartition("-")[0]


def connections_per_worker(port: int, count: int = CONNECTIONS) -> list[int]:
    with open_connections(port, count) as opened:
        return sorted(Counter(accepting_worker(each) for each in opened).values())


def workers(server: Any) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children()


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the workers of `two_worker_server` publish their connection counts."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def two_worker_server(trained_home: Path, serve_module: Serve, shared_folder: Path) -> Iterator[Any]:
    """A server with two workers, which must stop without an error after the tests."""
    server = serve_module(trained_home, TABSERVE_WORKERS="2", TMPDIR=str(shared_folder))
    yield server
    assert server.stop() == 0


def wait_for_both_workers(server: Any) -> set[str]:
    """Wait until both workers accept connections. Returns their identifiers."""
    found: set[str] = set()
    until = time.monotonic() + 300
    while len(found) < 2:
        assert time.monotonic() < until, found
        with open_connections(server.port, CONNECTIONS) as opened:
            found = {accepting_worker(each) for each in opened}
    return found


def test_two_workers_share_connections_opened_in_quick_succession(two_worker_server: Any) -> None:
    wait_for_both_workers(two_worker_server)
    balanced, tries = 0, list[list[int]]()
    while balanced < 5 and len(tries) < 30:
        time.sleep(0.3)
        tries.append(connections_per_worker(two_worker_server.port))
        balanced += len(tries[-1]) == 2 and tries[-1][0] >= CONNECTIONS // 4
    assert balanced == 5, tries


def test_other_workers_accept_the_connections_of_a_hung_worker(two_worker_server: Any) -> None:
    """The published count of a hung worker stays low; the other workers must not wait for it."""
    wait_for_both_workers(two_worker_server)
    hung = workers(two_worker_server)[0]
    hung.suspend()
    try:
        with open_connections(two_worker_server.port, CONNECTIONS) as opened:
            assert len({accepting_worker(each) for each in opened}) == 1
    finally:
        hung.resume()


def test_the_connection_count_of_a_killed_worker_is_removed_and_its_successor_accepts_connections(
    two_worker_server: Any, shared_folder: Path
) -> None:
    before = wait_for_both_workers(two_worker_server)
    killed = workers(two_worker_server)[0].pid
    (file,) = shared_folder.glob(f"tabserve-shared-*/connections_{killed}")
    psutil.Process(killed).kill()
    until = time.monotonic() + 300
    seen: set[str] = set()
    while (file.exists() or len(seen - before) != 1) and time.monotonic() < until:
        time.sleep(0.3)
        with open_connections(two_worker_server.port, CONNECTIONS) as opened:
            seen |= {accepting_worker(each) for each in opened}
    assert len(seen - before) == 1, "the successor has accepted no connections"
    assert not file.exists()


def test_a_worker_is_replaced_even_if_the_shared_folder_was_removed(home: Path, serve: Serve, tmp_path: Path) -> None:
    server = serve(home, TMPDIR=str(tmp_path))
    (folder,) = tmp_path.glob("tabserve-shared-*")
    # Rename instead of rmtree, because the server may write into the folder at any time
    folder.rename(tmp_path / "removed")
    (worker,) = workers(server)
    worker.kill()
    worker.wait(60)
    server.wait_ready()
    assert server.stop() == 0


def wait_for_open_files(worker: psutil.Process) -> None:
    """Wait until a worker has opened its files at startup: until their number stays constant for a second."""
    counts, until = [worker.num_fds()], time.monotonic() + 300
    while len(counts) < 10 or len({*counts[-10:]}) > 1:
        assert time.monotonic() < until, counts
        time.sleep(0.1)
        counts.append(worker.num_fds())


def test_a_worker_without_free_file_descriptors_accepts_connections_again_later(home: Path, serve: Serve) -> None:
    server = serve(home)
    (worker,) = workers(server)
    wait_for_open_files(worker)
    worker.rlimit(psutil.RLIMIT_NOFILE, (worker.num_fds() + 8, 4096))
    with open_connections(server.port, 20) as opened:
        assert accepting_worker(opened[0])
        started = time.monotonic()
        until = started + 60
        messages = ("cannot read the connection counts of other workers", "cannot accept connections")
        while not all(message in server.log.read_text() for message in messages):
            assert time.monotonic() < until, server.log.read_text()
            time.sleep(0.1)
        time.sleep(2)
        count = server.log.read_text().count("cannot accept connections")
        assert count <= 2 + (time.monotonic() - started) / RETRY_S  # few messages in spite of many retries
        for each in opened[:12]:
            each.close()
        assert accepting_worker(opened[-1])
    assert server.stop() == 0
