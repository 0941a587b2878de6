"""A request as access control and request observers see it."""

from collections.abc import Mapping
from typing import Protocol


class Request(Protocol):
    """`service.exchange.Exchange` implements it, for HTTP requests and gRPC calls."""

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
    @property
    def client(self) -> str:
        """The address of the client."""
        ...
