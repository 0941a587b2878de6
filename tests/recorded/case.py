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
    """name: unique, also the request's id. server: a name in servers.SETTINGS. model: the one that answers, for the
    scale of its predictions.

    counted: whether the counters in /metrics that it raises are recorded, too.
    """

    name: str
    server: str = "all"
    model: str | None = None
    counted: bool = False


@dataclass(frozen=True, kw_only=True)
class HttpCase(Case):
    """chunk: bytes in each chunk of a body that is sent without its length."""

    method: str = "GET"
    target: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    chunk: int | None = None


@dataclass(frozen=True, kw_only=True)
class SocketCase(Case):
    """Bytes that are sent unchanged. methods: of the requests in them, to know which answers have no body.

    finish: whether the client says that it sends no more; else it waits for the server to close the connection.
    """

    content: bytes
    methods: Sequence[str] = ("GET",)
    finish: bool = False


@dataclass(frozen=True, kw_only=True)
class GrpcCase(Case):
    """answer: the message that is answered."""

    method: str
    answer: str
    body: bytes = b""
    metadata: Sequence[tuple[str, str]] = ()
    service: str = "inference.GRPCInferenceService"


@dataclass(frozen=True)
class Maker:
    """Makes HTTP cases whose names have a common prefix."""

    prefix: str
    server: str = "all"
    made: list[Case] = field(default_factory=list)

    def get(self, name: str, target: str, *, method: str = "GET", server: str | None = None, **headers: str) -> None:
        """headers: named as Python names them, `accept_encoding`."""
        self.made.append(
            HttpCase(
                name=self._name(name),
                server=self._server(server),
                model=model_in(target),
                method=method,
                target=target,
                headers=fields(headers),
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
        """body: bytes, or a value that is written as JSON. kind: its content type."""
        content_type = [] if kind is None else [("content-type", kind)]
        self.made.append(
            HttpCase(
                name=self._name(name),
                server=self._server(server),
                model=model or model_in(target),
                counted=counted,
                method=method,
                target=target,
                headers=[*content_type, *fields(headers)],
                body=as_bytes(body),
                chunk=chunk,
            )
        )

    def _name(self, name: str) -> str:
        return f"{self.prefix}-{name}"

    def _server(self, server: str | None) -> str:
        return self.server if server is None else server


def model_in(target: str) -> str | None:
    """The model in a path."""
    found = MODEL.search(target)
    return found[1] if found else None


def fields(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name.replace("_", "-"), value) for name, value in headers.items()]


def as_bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
