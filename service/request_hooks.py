"""What every request passes through besides its route: a check of access before it is read, observation at its end.

Both do nothing yet. A check of keys or an access log is a subclass that `service.app` gives to the `ServerContext`.
"""

from collections.abc import Mapping
from typing import Protocol


class Request(Protocol):
    """What the hooks see of a request; `service.exchange.Exchange` is one."""

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
    """Called for HTTP and gRPC alike."""

    def check_access(self, request: Request) -> None:
        """Called before a request is read. Raises RequestError where its sender may not do this."""

    def observe(self, request: Request, status: int, seconds: float) -> None:
        """Called when a request was answered, with its status and the time since its head arrived."""
