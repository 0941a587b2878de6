"""Access control: decides for every HTTP request and gRPC call whether its client may send it.

Without keys it allows predictions to everybody, and changes of versions to clients on the same machine. With keys,
`service.access.key_access` replaces it.
"""

import ipaddress
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from service.access.caller import Access
from service.errors import Forbidden
from service.request import Request
from service.settings import AdminAccess

PROXY_HEADERS = (b"forwarded", b"via")
PROXY_PREFIX = b"x-forwarded-"
JSON = b"application/json"


class AccessControl:
    """Access without keys.

    admin: whether clients on the same machine may change versions.
    """

    uses_keys: ClassVar[bool] = False

    def __init__(self, admin: AdminAccess = "local") -> None:
        self._admin = admin

    def check(self, request: Request, access: Access, model: str | None) -> None:
        """Called before the body is read. Raises RequestError to deny access.

        access: what the route requires. model: the model in the path, if there is one.
        """

    def identify(self, request: Request) -> None:
        """Called by an open route whose response depends on the caller."""

    def check_admin(self, request: Request) -> None:
        """Called before a request that changes versions or reads the audit. Raises Forbidden.

        Requests of a proxy or a web page on the same machine come from a loopback address, too. The form of a web page
        has another content type; Triton's client sends no content type.
        """
        if self._admin == "off":
            raise Forbidden("changes of versions over the network are off (TABSERVE_ADMIN)")
        headers = request.headers
        if not is_loopback(request.client):
            raise Forbidden("changes of versions are allowed from the same machine only")
        if any(name in PROXY_HEADERS or name.startswith(PROXY_PREFIX) for name in headers):
            raise Forbidden("changes of versions are not allowed through a proxy")
        if request.protocol == "grpc":
            return
        if not is_loopback(host_of(headers.get(b"host", b""))):
            raise Forbidden("changes of versions need a loopback address in the header Host")
        if b"origin" in headers and not is_own_origin(headers):
            raise Forbidden("changes of versions are not allowed from another origin")
        content_type = headers.get(b"content-type", JSON).partition(b";")[0].strip().lower()
        if content_type != JSON:
            raise Forbidden("changes of versions need the content type application/json")


def is_own_origin(headers: Mapping[bytes, bytes]) -> bool:
    """Whether the request comes from a page of this server."""
    origin = headers[b"origin"].decode("latin-1").lower()
    return origin.partition("://")[2] == headers.get(b"host", b"").decode("latin-1").lower()


def host_of(header: bytes) -> str:
    """The host in a header `Host`, without its port; empty if it is not valid."""
    try:
        return urlsplit(f"//{header.decode('latin-1')}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether an address, or the name `localhost`, belongs to the same machine."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
