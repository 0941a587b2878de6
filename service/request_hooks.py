"""Hooks for every request: an access check before its body is read, and an observer after its response.

Both do nothing by default. `service.app` passes a subclass to the `ServerContext`, for API keys or an access log.
"""

from collections.abc import Mapping
from typing import Protocol


class Request(Protocol):
    """A request as the hooks see it. `service.exchange.Exchange` implements it."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def headers(self) -> Mapping[bytes, bytes]: ...
    @property
    def request_id(self) -> bytes: ...
    @property
    def protocol(self) -> str: ...


class RequestHooks:
    """Called for every HTTP request and gRPC call."""

    def check_access(self, request: Request) -> None:
        """Called before the body is read. Raises RequestError to deny access."""

    def observe(self, request: Request, status: int, seconds: float) -> None:
        """Called after the response, with its status and the seconds since the request head arrived."""
