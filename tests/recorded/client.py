"""Sends a recorded request to a server and returns the response as a JSON value, in which text stays readable. Values
that vary are removed or replaced: dates, generated ids, seconds to wait.
"""

import base64
import contextlib
import gzip
import http.client
import io
import re
import socket
import time
from typing import Any

import grpc

from tests.recorded import messages, tensors
from tests.recorded.case import Case, GrpcCase, HttpCase, SocketCase
from tests.recorded.servers import Server

Response = dict[str, Any]
TIMEOUT_S = 60
LONG = 64 * 1024  # bytes; longer bodies are recorded compressed
GENERATED, SECONDS = "<generated>", "<seconds>"
COUNTED_S = 60.0
REQUESTS = "tabserve_requests_total"
VERSION_LABEL = re.compile(r',version="[^"]*"')  # a label that is newer than the recording
COUNTERS = re.compile(r"^(tabserve_(?!row_errors_)\w+_total\{[^}]*\}) (\S+)$", re.MULTILINE)


def send(case: Case, server: Server) -> Response:
    before = server.counters or (read_counters(server) if case.counted else {})
    server.counters = {}
    if isinstance(case, HttpCase):
        response = send_http(case, server)
    elif isinstance(case, SocketCase):
        response = send_bytes(case, server)
    else:
        assert isinstance(case, GrpcCase)
        response = call_grpc(case, server)
    response = {"name": case.name, **response}
    if case.counted:
        response["counted"] = counter_increments(before, server)
    return response


def counter_increments(before: dict[str, float], server: Server) -> dict[str, float]:
    """The increments of all counters. The server counts a request shortly after its response, so this waits for the
    count.
    """
    until = time.monotonic() + COUNTED_S
    while True:
        server.counters = read_counters(server)
        changes = {name: value - before.get(name, 0.0) for name, value in sorted(server.counters.items())}
        if any(change for name, change in changes.items() if name.startswith(REQUESTS)) or time.monotonic() > until:
            return {name: change for name, change in changes.items() if change}
        time.sleep(0.02)


def read_counters(server: Server) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
    finally:
        connection.close()
    return {VERSION_LABEL.sub("", name): float(value) for name, value in COUNTERS.findall(page)}


# HTTP


def send_http(case: HttpCase, server: Server) -> Response:
    with socket.create_connection(("127.0.0.1", server.port), timeout=TIMEOUT_S) as connection:
        # The server may respond before it has received the whole request
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(request_bytes(case))
        response = http.client.HTTPResponse(connection, method=case.method)
        response.begin()
        return recorded_response(response, response.read(), request_id(case))


def request_id(case: HttpCase) -> str:
    sent = {name.lower(): value for name, value in case.headers}
    return sent.get("x-request-id", case.name)


def request_bytes(case: HttpCase) -> bytes:
    """The encoded request. Its request id is the name of the case, unless the case sets another id."""
    header_fields = [("Host", "tabserve.test"), *case.headers]
    if not any(name.lower() == "x-request-id" for name, _ in header_fields):
        header_fields.append(("X-Request-ID", case.name))
    body = b"" if case.body is None else case.body
    if case.chunk is not None:
        header_fields.append(("Transfer-Encoding", "chunked"))
        body = chunked_body(body, case.chunk)
    elif case.body is not None:
        header_fields.append(("Content-Length", str(len(body))))
    lines = [f"{case.method} {case.target} HTTP/1.1", *(f"{name}: {value}" for name, value in header_fields if value)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked_body(body: bytes, size: int) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def recorded_response(response: http.client.HTTPResponse, body: bytes, sent_id: str | None) -> Response:
    header_fields = [[name.lower(), value] for name, value in response.getheaders() if name.lower() != "date"]
    for header in header_fields:
        if header[0] == "x-request-id" and header[1] != sent_id:
            header[1] = GENERATED
        if header[0] == "retry-after":
            header[1] = SECONDS
    return {"status": response.status, "reason": response.reason, "headers": header_fields, **body_fields(body)}


def body_fields(body: bytes) -> Response:
    if len(body) > LONG:
        return {"gzip": base64.b64encode(gzip.compress(body, mtime=0)).decode()}
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(body).decode()}


def body_bytes(response: Response) -> bytes:
    """The bytes of a recorded response body."""
    if "gzip" in response:
        return gzip.decompress(base64.b64decode(response["gzip"]))
    if "base64" in response:
        return base64.b64decode(response["base64"])
    text: str = response["body"]
    return text.encode()


# Bytes


def send_bytes(case: SocketCase, server: Server) -> Response:
    received = b""
    address = ("127.0.0.1", server.port)
    closed = contextlib.suppress(BrokenPipeError, ConnectionResetError)
    with socket.create_connection(address, timeout=TIMEOUT_S) as connection, closed:
        connection.sendall(case.content)
        if case.finish:
            connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(65536):
            received += part
    return {"responses": responses_in(received, case)}


class ReceivedBytes:
    """A substitute for a socket from which `http.client` reads several responses in sequence."""

    def __init__(self, content: bytes) -> None:
        self.file = UnclosedBytes(content)

    def makefile(self, mode: str) -> "UnclosedBytes":
        return self.file


class UnclosedBytes(io.BytesIO):
    def close(self) -> None: ...


def responses_in(content: bytes, case: SocketCase) -> list[Response]:
    source: Any = ReceivedBytes(content)
    methods = iter(case.methods)
    found: list[Response] = []
    while source.file.tell() < len(content):
        place = source.file.tell()
        if content.startswith(b"HTTP/1.1 100 ", place):
            end = content.index(b"\r\n\r\n", place) + 4
            found.append({"interim": content[place:end].decode()})
            source.file.seek(end)
            continue
        response = http.client.HTTPResponse(source, method=next(methods, "GET"))
        response.begin()
        found.append(recorded_response(response, response.read(), case.name))
    return found


# gRPC


def call_grpc(case: GrpcCase, server: Server) -> Response:
    metadata = [*case.metadata]
    if not any(name == "x-request-id" for name, _ in metadata):
        metadata.append(("x-request-id", case.name))
    method = server.channel.unary_unary(f"/{case.service}/{case.method}")
    try:
        reply, call = method.with_call(case.body, metadata=metadata, timeout=TIMEOUT_S, wait_for_ready=True)
    except grpc.RpcError as error:
        return {"code": error.code().name, "details": error.details(), **metadata_fields(error, case)}
    message = tensors.with_decoded_contents(messages.as_json(case.response_type, reply))
    return {"code": call.code().name, "details": call.details(), **metadata_fields(call, case), "message": message}


def metadata_fields(call: Any, case: GrpcCase) -> Response:
    """The initial and trailing metadata of a call."""
    sent_id = dict(case.metadata).get("x-request-id", case.name)

    def without_generated_ids(items: Any) -> list[list[str]]:
        found = [[name, value] for name, value in items or ()]
        for item in found:
            if item[0] == "x-request-id" and item[1] != sent_id:
                item[1] = GENERATED
        return found

    return {
        "initial": without_generated_ids(call.initial_metadata()),
        "trailing": without_generated_ids(call.trailing_metadata()),
    }
