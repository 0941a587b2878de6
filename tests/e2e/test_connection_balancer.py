"""The workers of a server share its connections."""

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
ASK = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"

Serve = Callable[..., Any]


@contextmanager
def connections(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Opened in quick succession, as by a client with a connection pool."""
    opened = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(count)]
    try:
        yield opened
    finally:
        for each in opened:
            each.close()


def worker_of(connection: socket.socket) -> str:
    """Identifies the worker behind a connection by the part of request ids that each worker chooses when it starts."""
    connection.sendall(ASK)
    answer = b""
    while b"\r\n\r\n" not in answer:
        read = connection.recv(4096)
        assert read, "closed without an answer"
        answer += read
    head = answer.partition(b"\r\n\r\n")[0].decode().lower()
    request_id = next(line for line in head.split("\r\n") if line.startswith("x-request-id: "))
    return request_id.removeprefix("x-request-id: ").rpartition("-")[0]


def shares(port: int, count: int = CONNECTIONS) -> list[int]:
    with connections(port, count) as opened:
        return sorted(Counter(worker_of(each) for each in opened).values())


def workers(server: Any) -> list[psutil.Process]:
    return psutil.Process(server.process.pid).children()


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the workers of `pair` publish their connection counts."""
    return tmp_path_factory.mktemp("shared")


@pytest.fixture(scope="module")
def pair(trained_home: Path, serve_module: Serve, shared_folder: Path) -> Iterator[Any]:
    """A server of two workers, which stops without an error after the tests."""
    server = serve_module(trained_home, TABSERVE_WORKERS="2", TMPDIR=str(shared_folder))
    yield server
    assert server.stop() == 0


def both_workers(server: Any) -> set[str]:
    """Wait until both workers accept connections. Returns their identifiers, as `worker_of` does."""
    found: set[str] = set()
    until = time.monotonic() + 300
    while len(found) < 2:
        assert time.monotonic() < until, found
        with connections(server.port, CONNECTIONS) as opened:
            found = {worker_of(each) for each in opened}
    return found


def test_two_workers_share_connections_that_are_opened_together(pair: Any) -> None:
    both_workers(pair)
    good, tries = 0, list[list[int]]()
    while good < 5 and len(tries) < 30:
        time.sleep(0.3)
        tries.append(shares(pair.port))
        good += len(tries[-1]) == 2 and tries[-1][0] >= CONNECTIONS // 4
    assert good == 5, tries


def test_connections_that_a_hung_worker_does_not_accept_go_to_the_others(pair: Any) -> None:
    """The hung worker seems to have few connections all the time; the other workers do not wait for it."""
    both_workers(pair)
    hung = workers(pair)[0]
    hung.suspend()
    try:
        with connections(pair.port, CONNECTIONS) as opened:
            assert len({worker_of(each) for each in opened}) == 1
    finally:
        hung.resume()


def test_the_count_of_a_dead_worker_is_removed_and_its_successor_accepts_connections(
    pair: Any, shared_folder: Path
) -> None:
    before = both_workers(pair)
    killed = workers(pair)[0].pid
    (file,) = shared_folder.glob(f"tabserve-shared-*/connections_{killed}")
    psutil.Process(killed).kill()
    until = time.monotonic() + 300
    seen: set[str] = set()
    while (file.exists() or len(seen - before) != 1) and time.monotonic() < until:
        time.sleep(0.3)
        with connections(pair.port, CONNECTIONS) as opened:
            seen |= {worker_of(each) for each in opened}
    assert len(seen - before) == 1, "the successor has accepted none"
    assert not file.exists()


def test_a_worker_is_replaced_even_if_the_shared_folder_was_removed(home: Path, serve: Serve, tmp_path: Path) -> None:
    server = serve(home, TMPDIR=str(tmp_path))
    (folder,) = tmp_path.glob("tabserve-shared-*")
    folder.rename(tmp_path / "removed")  # at once: the server writes into the folder at any time
    (worker,) = workers(server)
    worker.kill()
    worker.wait(60)
    server.wait_ready()
    assert server.stop() == 0


def wait_for_open_files(worker: psutil.Process) -> None:
    """Wait until a worker has opened the files that it opens when it starts: their number is the same for a while."""
    counts, until = [worker.num_fds()], time.monotonic() + 300
    while len(counts) < 10 or len({*counts[-10:]}) > 1:
        assert time.monotonic() < until, counts
        time.sleep(0.1)
        counts.append(worker.num_fds())


def test_a_worker_out_of_file_descriptors_accepts_again_once_there_are_some(home: Path, serve: Serve) -> None:
    server = serve(home)
    (worker,) = workers(server)
    wait_for_open_files(worker)
    worker.rlimit(psutil.RLIMIT_NOFILE, (worker.num_fds() + 8, 4096))
    with connections(server.port, 20) as opened:
        assert worker_of(opened[0])
        started = time.monotonic()
        until = started + 60
        messages = ("cannot read the connection counts of other workers", "cannot accept connections")
        while not all(message in server.log.read_text() for message in messages):
            assert time.monotonic() < until, server.log.read_text()
            time.sleep(0.1)
        time.sleep(2)
        count = server.log.read_text().count("cannot accept connections")
        assert count <= 2 + (time.monotonic() - started) / RETRY_S  # fewer messages than connections
        for each in opened[:12]:
            each.close()
        assert worker_of(opened[-1])
    assert server.stop() == 0
