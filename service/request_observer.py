"""The request observer, which is called after the response to every HTTP request and gRPC call.

It does nothing by default. To write an access log, pass a subclass to the `ServerContext` in `service.app`.
"""

from service.request import Request


class RequestObserver:
    def observe(self, request: Request, status: int, seconds: float) -> None:
        """Called with the status of the response and the seconds since the request head arrived."""
