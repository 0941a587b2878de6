"""How the workers of a server share what connects to it."""

import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

CONNECTIONS = 32
ASK = b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n"

Serve = Callable[..., Any]


@contextmanager
def connections(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Opened one right after the other, as clients with a pool open theirs."""
    opened = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(count)]
    try:
        yield opened
    finally:
        for each in opened:
            each.close()


def worker_of(connection: socket.socket) -> str:
    """Who answers here, by the part of its request ids that each worker draws when it starts."""
    connection.sendall(ASK)
    answer = b""
    while not answer.endswith(b"\r\n\r\n") and b"\r\n\r\n" not in answer:
        answer += connection.recv(4096)
    head = answer.partition(b"\r\n\r\n")[0].decode().lower()
    request_id = next(line for line in head.split("\r\n") if line.startswith("x-request-id: "))
    return request_id.removeprefix("x-request-id: ").rpartition("-")[0]


def shares(port: int, count: int = CONNECTIONS) -> list[int]:
    with connections(port, count) as opened:
        return sorted(Counter(worker_of(each) for each in opened).values())


def test_two_workers_share_the_connections_that_are_opened_together(home: Path, serve: Serve) -> None:
    server = serve(home, TABSERVE_WORKERS="2")
    tries = []
    for _ in range(20):
        time.sleep(0.3)
        tries.append(shares(server.port))
        if len(tries[-1]) == 2 and tries[-1][0] >= CONNECTIONS // 4:
            break
    else:
        raise AssertionError(tries)


def test_the_connections_of_a_worker_that_died_are_its_successors_turn(home: Path, serve: Serve) -> None:
    """What it held is forgotten: else the other would leave every connection to somebody who is not there."""
    server = serve(home, TABSERVE_WORKERS="2")
    with connections(server.port, CONNECTIONS) as held:
        before = {worker_of(each) for each in held}
        workers = [
            each for each in psutil.Process(server.process.pid).children() if "worker" in " ".join(each.cmdline())
        ]
        workers[0].kill()
        until = time.monotonic() + 30
        seen: set[str] = set()
        while len(seen | before) < len(before) + 1 and time.monotonic() < until:
            time.sleep(0.3)
            with connections(server.port, 8) as opened:
                seen |= {worker_of(each) for each in opened}
        assert seen - before, "the successor has taken none"
    assert server.stop() == 0


def test_a_worker_out_of_file_descriptors_takes_who_waits_when_there_are_some_again(home: Path, serve: Serve) -> None:
    server = serve(home)
    time.sleep(1)  # for what it opens when it starts
    (worker,) = psutil.Process(server.process.pid).children()
    worker.rlimit(psutil.RLIMIT_NOFILE, (worker.num_fds() + 8, 4096))
    with connections(server.port, 20) as opened:
        assert worker_of(opened[0])
        until = time.monotonic() + 20
        while "no connection can be accepted" not in server.log.read_text() and time.monotonic() < until:
            time.sleep(0.1)
        assert "no connection can be accepted" in server.log.read_text()
        for each in opened[:12]:
            each.close()
        assert worker_of(opened[-1])
    assert server.stop() == 0
