"""Sends many large bodies concurrently: `python -m tests.e2e.large_bodies --clients 50 --mib 16 --limit-mib 512`.

The bodies are JSON over HTTP, or gRPC messages (`--grpc`, `--compressed`). Clients retry refused requests (503,
UNAVAILABLE). Prints the status codes of all responses and the peak memory of the server.
"""

import argparse
import http.client
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import grpc
import numpy as np

from service.protocols.oip_messages import MESSAGES, SERVICE
from tests.e2e.conftest import Server, start_server, train_version
from tests.e2e.server_processes import descendants, proportional_mib, workers
from tests.ports import free_port

MIB = 1024**2
ROWS = 9_000  # fewer than TABSERVE_MAX_ROWS
ROW = '{"a": 1.55555555555555, "b": 2.5}'
UNKNOWN_FIELD = b"\xa2\x06"  # the tag of field 100, of type bytes
WAIT_S = 300


def json_body(row: str, size: int) -> bytes:
    """A JSON body of about this size that repeats a row ROWS times, padded with spaces."""
    padded = "{" + " " * (size // ROWS - len(row) - 2) + row[1:]
    return ('{"rows": [' + ", ".join([padded] * ROWS) + "]}").encode()


def grpc_message(model: str, row: str, size: int) -> bytes:
    """A gRPC message of about this size that repeats a row ROWS times and ends with a large unknown field."""
    request = MESSAGES["ModelInferRequest"](model_name=model)
    for name, value in json.loads(row).items():
        datatype = "BYTES" if isinstance(value, str) else "FP64"
        request.inputs.add(name=name, datatype=datatype, shape=[ROWS])
        cell = len(value).to_bytes(4, "little") + value.encode() if datatype == "BYTES" else np.float64(value).tobytes()
        request.raw_input_contents.append(cell * ROWS)
    message: bytes = request.SerializeToString()
    padding = size - len(message) - 10
    length = bytes([padding & 127 | 128, padding >> 7 & 127 | 128, padding >> 14 & 127 | 128, padding >> 21])
    return message + UNKNOWN_FIELD + length + bytes(padding)


class Reply(NamedTuple):
    status: str
    retry_after: float = 0.0


class HttpClient:
    """Sends a body to a model over HTTP."""

    def __init__(self, port: int, model: str, body: bytes, content_type: str = "application/json") -> None:
        self.port, self.model, self.body = port, model, body
        self.headers = {"content-type": content_type}

    def send(self) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        try:
            connection.request("POST", f"/predict/{self.model}", self.body, self.headers)
            reply = connection.getresponse()
            reply.read()
            return Reply(str(reply.status), float(reply.getheader("retry-after", "0")))
        except (OSError, http.client.HTTPException) as error:
            return Reply(type(error).__name__)
        finally:
            connection.close()


class GrpcClient:
    """Sends a message to a gRPC method over a separate connection."""

    def __init__(self, port: int, message: bytes, compressed: bool = False, method: str = f"/{SERVICE}/ModelInfer"):
        self.message, self.compression = message, grpc.Compression.Gzip if compressed else None
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        self.call = channel.unary_unary(method)

    def send(self) -> Reply:
        try:
            self.call(self.message, timeout=WAIT_S, compression=self.compression)
        except grpc.RpcError as error:
            metadata = dict(error.trailing_metadata() or ())
            return Reply(error.code().name, float(metadata.get("retry-after", "0")))
        return Reply("200")


Client = HttpClient | GrpcClient


class Sender(threading.Thread):
    """Sends a request repeatedly until the status is 200."""

    def __init__(self, client: Client) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.results: Counter[str] = Counter()

    def run(self) -> None:
        deadline = time.monotonic() + WAIT_S
        while not self.results["200"] and time.monotonic() < deadline:
            reply = self.client.send()
            self.results[reply.status] += 1
            time.sleep(reply.retry_after)


class MemoryWatch(threading.Thread):
    """Measures the peak memory of all processes of a server together; shared memory counts once."""

    def __init__(self, server: Server) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.peak_mib = 0.0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.05):
            processes = (self.server.process.pid, *(child.pid for child in descendants(self.server.process.pid)))
            self.peak_mib = max(self.peak_mib, sum(map(proportional_mib, processes)))


class LoadOutcome:
    """The status codes that the clients received, the lost workers, and the peak memory of the server."""

    def __init__(self, server: Server, clients: int, new_client: Callable[[], Client]) -> None:
        before, memory = workers(server), MemoryWatch(server)
        memory.start()
        self.senders = [Sender(new_client()) for _ in range(clients)]
        for sender in self.senders:
            sender.start()
        for sender in self.senders:
            sender.join(WAIT_S)
        self.results = sum((sender.results for sender in self.senders), Counter[str]())
        self.answered = sum(sender.results["200"] for sender in self.senders)
        self.lost_workers = set(before) - set(workers(server))
        memory.ended.set()
        memory.join(WAIT_S)
        self.peak_mib = memory.peak_mib


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.large_bodies", description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--mib", type=int, default=16, help="size of each body")
    parser.add_argument(
        "--limit-mib", type=int, default=512, help="TABSERVE_MEMORY_BYTES, the limit of the whole server"
    )
    parser.add_argument("--grpc", action="store_true", help="send gRPC messages")
    parser.add_argument("--compressed", action="store_true", help="compress the gRPC messages")
    options = parser.parse_args()
    memory, size, grpc_port = str(options.limit_mib * MIB), options.mib * MIB, free_port()
    with tempfile.TemporaryDirectory() as folder:
        train_version(Path(folder), "small")
        server = start_server(
            Path(folder),
            free_port(),
            Path(folder) / "log",
            TABSERVE_WORKERS="2",
            TABSERVE_MEMORY_BYTES=memory,
            TABSERVE_GRPC_PORT=str(grpc_port),
        )
        body = grpc_message("small", ROW, size) if options.grpc else json_body(ROW, size)

        def new_client() -> Client:
            if options.grpc:
                return GrpcClient(grpc_port, body, options.compressed)
            return HttpClient(server.port, "small", body)

        try:
            server.wait_ready()
            started = time.monotonic()
            outcome = LoadOutcome(server, options.clients, new_client)
        finally:
            server.stop()
    print(f"{outcome.answered} of {options.clients} answered in {time.monotonic() - started:.0f} s: {outcome.results}")
    print(f"peak {outcome.peak_mib:.0f} MiB of {options.limit_mib}; workers lost: {len(outcome.lost_workers)}")
    return int(outcome.answered < options.clients or bool(outcome.lost_workers) or outcome.peak_mib > options.limit_mib)


if __name__ == "__main__":
    sys.exit(main())
