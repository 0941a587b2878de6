"""The view of a request that access control and request observers receive."""

from collections.abc import Mapping
from typing import Protocol

from service.access.caller import Caller
from service.errors import RequestError
from service.served_model import ServedModel


class Request(Protocol):
    """A request. `service.exchange.Exchange` implements it for HTTP requests and gRPC calls."""

    caller: Caller

    @property
    def failed(self) -> RequestError | None:
        """The error in the response."""
        ...

    @property
    def served(self) -> ServedModel | None:
        """The model version that answers, if the path names a served version."""
        ...

    def check_model(self, model: str, *, served: bool = True) -> None:
        """Raises RequestError if the caller may not use this model or, with `served`, if it is not served."""

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
