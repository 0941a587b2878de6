"""Clients of `tests.e2e.versions_proof`: `python -m tests.e2e.version_clients PORT GRPC_PORT HTTP GRPC FILE`.

HTTP and GRPC are numbers of connections. Each connection sends requests of all kinds in sequence until standard input
ends. The predictions of every response are compared with the expected predictions of the version that the response
names. Standard input starts with the expected predictions. FILE receives a row for each request: the times of request
and response, the version, and whether the request named an alias.
"""

import asyncio
import json
import sys
import time
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

from tests.e2e.version_requests import MANY, ONE, VersionRequest, http_requests

REPORT_S = 0.2
TOLERANCE = 1e-5
TIMEOUT_S = 60.0
MAX_WRONG = 20
SAME_CONNECTION_S = 0.1  # two losses in a shorter time are on the same dead connection
Expected = Mapping[str, Mapping[str, list[float]]]
"""The expected predictions, by version and by number of rows."""


class VersionRecords:
    """The results of all requests of this process.

    cut: the number of connections that were lost while a request was in progress.
    """

    def __init__(self, expected: Expected) -> None:
        self.columns = array("d")  # sent, answered, version, whether it named an alias
        self.cut = 0
        self.wrong: list[str] = []
        self.stopped = False
        self._expected = expected
        self._checked: set[tuple[str, int, str, bytes]] = set()

    @property
    def count(self) -> int:
        return len(self.columns) // 4

    def add(self, request: VersionRequest, sent: float, status: int, headers: Mapping[str, str], body: bytes) -> None:
        answered = time.monotonic()
        if status != 200:
            self.fail(f"{request.name}: {status} {body[:200]!r}")
            return
        version = request.version_of(headers, body)
        received = (request.name, len(request.rows), version, body)
        if received not in self._checked:
            self.check(request.name, version, request.values(body), len(request.rows))
            self._checked.add(received)
        self.columns.extend((sent, answered, float(version), float(request.fixed)))

    def check(self, name: str, version: str, values: list[float], rows: int) -> None:
        expected = self._expected[version][str(rows)]
        if len(values) != rows or not np.allclose(values, expected, rtol=TOLERANCE, atol=0):
            self.fail(f"{name}: version {version} does not predict {values[:3]}")

    def fail(self, problem: str) -> None:
        if len(self.wrong) < MAX_WRONG:
            self.wrong.append(problem)


async def http_client(port: int, requests: list[VersionRequest], records: VersionRecords) -> None:
    heads = [head_of(request) for request in requests]
    number = 0
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
    while not records.stopped:
        request, head = requests[number], heads[number]
        number = (number + 1) % len(requests)
        await asyncio.sleep(0)  # lets the reader notice a connection that the server has closed
        if streams is not None and streams[0].at_eof():  # if this process was paused for seconds
            streams[1].close()
            streams = None
        sent = time.monotonic()
        try:
            if streams is None:
                streams = await asyncio.open_connection("127.0.0.1", port)
                sent = time.monotonic()
            reader, writer = streams
            writer.write(head + request.body)
            status, headers, body = await asyncio.wait_for(read_response(reader), TIMEOUT_S)
        except (OSError, asyncio.IncompleteReadError):
            records.cut += 1
            streams = None
            continue
        records.add(request, sent, status, headers, body)
        if headers.get("connection") == "close":
            writer.close()
            streams = None


def head_of(request: VersionRequest) -> bytes:
    fields = {"host": "localhost", "content-type": request.content_type, "accept": request.accept}
    fields["content-length"] = str(len(request.body))
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"POST {request.path} HTTP/1.1\r\n{lines}\r\n".encode()


async def read_response(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "content-length" in headers:
        return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return int(first.split()[1]), headers, body


async def grpc_client(port: int, records: VersionRecords) -> None:
    requests = [(rows, infer_request(rows)) for rows in (ONE, MANY)]
    options = [("grpc.use_local_subchannel_pool", 1)]  # a separate connection for each client
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        number = 0
        lost = False  # whether the previous request was lost
        while not records.stopped:
            rows, request = requests[number % 2]
            number += 1
            sent = time.monotonic()
            try:
                reply = await stub.ModelInfer(request, wait_for_ready=True, timeout=TIMEOUT_S)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.UNAVAILABLE and "shutting down" not in (error.details() or ""):
                    same = lost and time.monotonic() - sent < SAME_CONNECTION_S
                    records.cut += not same  # `cut` is compared with the number of connections
                    lost = True
                else:
                    lost = False
                    records.fail(f"gRPC: {error.code()} {error.details()}")
                continue
            answered, version, lost = time.monotonic(), reply.model_version, False
            records.check("gRPC", version, [*reply.outputs[0].contents.fp64_contents], len(rows))
            records.columns.extend((sent, answered, float(version), 0.0))


def infer_request(rows: list[dict[str, float]]) -> Any:
    request = service_pb2.ModelInferRequest(model_name="small")
    for name in "ab":
        tensor = request.inputs.add(name=name, datatype="FP64", shape=[len(rows)])
        tensor.contents.fp64_contents.extend(row[name] for row in rows)
    return request


async def main(port: int, grpc_port: int, http_connections: int, grpc_connections: int, file: Path) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    records = VersionRecords(json.loads(await reader.readline()))
    requests = http_requests()
    clients = []
    for number in range(http_connections):  # the clients start with different kinds of requests
        first = number % len(requests)
        clients.append(http_client(port, [*requests[first:], *requests[:first]], records))
    clients += [grpc_client(grpc_port, records) for _ in range(grpc_connections)]
    running = [asyncio.create_task(client) for client in clients]
    report = asyncio.create_task(report_counts(records))
    await reader.read()
    records.stopped = True
    await asyncio.gather(*running)
    report.cancel()
    np.save(file, np.array(records.columns).reshape(-1, 4))
    print(json.dumps({"count": records.count, "cut": records.cut, "wrong": records.wrong}), flush=True)


async def report_counts(records: VersionRecords) -> None:
    while True:
        print(json.dumps({"count": records.count, "cut": records.cut, "wrong": records.wrong}), flush=True)
        await asyncio.sleep(REPORT_S)


if __name__ == "__main__":
    *numbers, name = sys.argv[1:]
    asyncio.run(main(*map(int, numbers), Path(name)))  # type: ignore[call-arg, arg-type]
