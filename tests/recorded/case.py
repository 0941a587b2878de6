"""The types of recorded requests: an HTTP request, bytes on a connection, or a gRPC call."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

JSON = "application/json"
MODEL = re.compile(r"/(?:predict|models)/([a-z_]+)")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A recorded request.

    name: unique, also used as the request id. server: a name in servers.SETTINGS. model: the model that answers, which
    determines the scale of the predictions. counted: whether the request's increments of the counters in /metrics are
    recorded, too.
    """

    name: str
    server: str = "all"
    model: str | None = None
    counted: bool = False


@dataclass(frozen=True, kw_only=True)
class HttpCase(Case):
    """An HTTP request. chunk: the number of bytes per chunk if the body is sent with chunked encoding."""

    method: str = "GET"
    target: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    chunk: int | None = None


@dataclass(frozen=True, kw_only=True)
class SocketCase(Case):
    """Bytes that are sent unchanged over a connection.

    methods: the HTTP methods of the requests, which determine whether responses have a body. finish: whether the client
    shuts down its sending side; otherwise the server must close the connection.
    """

    content: bytes
    methods: Sequence[str] = ("GET",)
    finish: bool = False


@dataclass(frozen=True, kw_only=True)
class GrpcCase(Case):
    """A gRPC call. response_type: the name of the response message's type."""

    method: str
    response_type: str
    body: bytes = b""
    metadata: Sequence[tuple[str, str]] = ()
    service: str = "inference.GRPCInferenceService"


@dataclass(frozen=True)
class CaseBuilder:
    """Collects HTTP cases whose names have a common prefix."""

    prefix: str
    server: str = "all"
    made: list[Case] = field(default_factory=list)

    def get(self, name: str, target: str, *, method: str = "GET", server: str | None = None, **headers: str) -> None:
        """Add a request without a body. headers: names with underscores, such as `accept_encoding`."""
        self.made.append(
            HttpCase(
                name=self._name(name),
                server=self._server(server),
                model=model_in_path(target),
                method=method,
                target=target,
                headers=header_fields(headers),
            )
        )

    def post(
        self,
        name: str,
        target: str,
        body: Any,
        *,
        method: str = "POST",
        kind: str | None = JSON,
        server: str | None = None,
        counted: bool = True,
        chunk: int | None = None,
        model: str | None = None,
        **headers: str,
    ) -> None:
        """Add a request with a body. body: bytes, or a value to encode as JSON. kind: the content type."""
        content_type = [] if kind is None else [("content-type", kind)]
        self.made.append(
            HttpCase(
                name=self._name(name),
                server=self._server(server),
                model=model or model_in_path(target),
                counted=counted,
                method=method,
                target=target,
                headers=[*content_type, *header_fields(headers)],
                body=encode_body(body),
                chunk=chunk,
            )
        )

    def _name(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def _server(self, server: str | None) -> str:
        return self.server if server is None else server


def model_in_path(target: str) -> str | None:
    """The name of the model in a path, if any."""
    found = MODEL.search(target)
    return found[1] if found else None


def header_fields(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name.replace("_", "-"), value) for name, value in headers.items()]


def encode_body(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
