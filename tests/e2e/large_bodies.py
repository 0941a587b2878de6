"""Many large JSON bodies at once: `python -m tests.e2e.large_bodies --clients 50 --mib 16 --limit-mib 512`.

Clients that are refused (503) try again. Prints what they got and how much memory the server took at its peak.
"""

import argparse
import http.client
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from tests.e2e.conftest import Server, start_server, train_version
from tests.e2e.server_processes import peak_mib, workers
from tests.ports import free_port

MIB = 1024**2
ROWS = 9_000  # within TABSERVE_MAX_ROWS
ROW = '{"a": 1.55555555555555, "b": 2.5}'
WAIT_S = 300


def body_of(row: str, size: int) -> bytes:
    """A body of about this size: ROWS times the same row, with blanks in it."""
    padded = "{" + " " * (size // ROWS - len(row) - 2) + row[1:]
    return ('{"rows": [' + ", ".join([padded] * ROWS) + "]}").encode()


class Sender(threading.Thread):
    """Sends a body again and again until it is answered."""

    def __init__(self, port: int, model: str, body: bytes) -> None:
        super().__init__(daemon=True)
        self.port, self.model, self.body = port, model, body
        self.results: Counter[str] = Counter()

    def run(self) -> None:
        deadline = time.monotonic() + WAIT_S
        while not self.results["200"] and time.monotonic() < deadline:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
            try:
                connection.request("POST", f"/predict/{self.model}", self.body, {"content-type": "application/json"})
                reply = connection.getresponse()
                reply.read()
            except (OSError, http.client.HTTPException) as error:
                self.results[type(error).__name__] += 1
            else:
                self.results[str(reply.status)] += 1
                time.sleep(float(reply.getheader("retry-after", "0")))
            finally:
                connection.close()


class Outcome:
    """The results of the clients, the number of workers that died, and the sum of the peaks of all processes."""

    def __init__(self, server: Server, model: str, row: str, clients: int, size: int) -> None:
        before, body = workers(server), body_of(row, size)
        senders = [Sender(server.port, model, body) for _ in range(clients)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(WAIT_S)
        self.results = sum((sender.results for sender in senders), Counter[str]())
        self.answered = sum(sender.results["200"] for sender in senders)
        self.lost_workers = set(before) - set(workers(server))
        self.peak_mib = sum(peak_mib(pid) for pid in (server.process.pid, *(worker.pid for worker in workers(server))))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.large_bodies", description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--mib", type=int, default=16, help="the size of each body")
    parser.add_argument("--limit-mib", type=int, default=512, help="TABSERVE_MEMORY_BYTES, of the whole server")
    options = parser.parse_args()
    memory = str(options.limit_mib * MIB)
    with tempfile.TemporaryDirectory() as folder:
        train_version(Path(folder), "small")
        server = start_server(
            Path(folder), free_port(), Path(folder) / "log", TABSERVE_WORKERS="2", TABSERVE_MEMORY_BYTES=memory
        )
        try:
            server.wait_ready()
            started = time.monotonic()
            outcome = Outcome(server, "small", ROW, options.clients, options.mib * MIB)
        finally:
            server.stop()
    print(f"{outcome.answered} of {options.clients} answered in {time.monotonic() - started:.0f} s: {outcome.results}")
    print(f"peak {outcome.peak_mib:.0f} MiB of {options.limit_mib}; workers lost: {len(outcome.lost_workers)}")
    return int(outcome.answered < options.clients or bool(outcome.lost_workers) or outcome.peak_mib > options.limit_mib)


if __name__ == "__main__":
    sys.exit(main())
