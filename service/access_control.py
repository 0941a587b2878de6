"""Access control: decides for every HTTP request and gRPC call whether its client may send it.

It allows everything by default. To check API keys, pass a subclass to the `ServerContext` in `service.app`.
"""

from service.request import Request


class AccessControl:
    def check(self, request: Request) -> None:
        """Called before the body is read. Raises RequestError to deny access."""
