"""A request as access control and request observers see it."""

from collections.abc import Mapping
from typing import Protocol

from service.access.caller import Caller
from service.errors import RequestError
from service.served_model import ServedModel


class Request(Protocol):
    """`service.exchange.Exchange` implements it, for HTTP requests and gRPC calls."""

    caller: Caller

    @property
    def failed(self) -> RequestError | None:
        """The error in its response."""
        ...

    @property
    def served(self) -> ServedModel | None:
        """The model version that answers, if its path names one that is served."""
        ...

    def check_model(self, model: str, *, served: bool = True) -> None:
        """Raises RequestError if the caller may not use this model. served: or if it is not served."""

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
