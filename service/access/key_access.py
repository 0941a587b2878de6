"""Access control by keys: checks the key of a request, and the key's scope, models, expiry and rate."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from hmac import compare_digest

from models.text import counted
from service.access.caller import ANYBODY, NOBODY, Access
from service.access.key_ring import ActiveKey, KeyRing
from service.access_control import AccessControl
from service.errors import Forbidden, RateExceeded, Unauthorized
from service.request import Request

BEARER = b"bearer "
MAX_VERIFIED = 1024
UNKNOWN = ActiveKey(bytes(32), NOBODY, None, None)
"""Compared in place of an unknown key's hash, so that unknown and known keys take the same steps. No key has this
digest."""


class KeyAccess(AccessControl):
    """open_routes: paths that need no key; a path that ends with `*` is a prefix. Routes of the scope `admin` always
    need a key."""

    uses_keys = True

    def __init__(self, ring: KeyRing, open_routes: Sequence[str] = ()) -> None:
        super().__init__()
        self._ring = ring
        self._keys = ring.keys  # the keys that `_verified` was filled from
        self._verified: dict[bytes | None, ActiveKey] = {}  # verified keys by the value of Authorization
        self._has_open_routes = bool(open_routes)
        self._open_paths = frozenset(path for path in open_routes if not path.endswith("*"))
        self._open_prefixes = tuple(path[:-1] for path in open_routes if path.endswith("*"))

    def check(self, request: Request, access: Access, model: str | None) -> None:
        if access == "open":
            request.caller = NOBODY
            return
        if self._has_open_routes and access != "admin" and self._is_open(request.path):
            request.caller = ANYBODY
            return
        if self._keys is not self._ring.keys:
            self._keys, self._verified = self._ring.keys, {}
        found = self._verified.get(request.headers.get(b"authorization"))
        if found is None:
            found = self._verify(request)
        caller = request.caller = found.caller
        if found.expires is not None and found.is_expired:
            raise Unauthorized("the key has expired", invalid=True)
        if access not in caller.scopes:
            raise Forbidden(f"the key {caller.name!r} does not have the scope {access!r}")
        models = caller.models
        if models is not None and model is not None and (model not in models or request.served is None):
            request.check_model(model, served=access != "admin")
        if found.rate is not None and (seconds := found.rate.take()):
            limit = counted(found.rate.per_second, "request", spec="g")
            raise RateExceeded(f"the key {caller.name!r} is limited to {limit} per second", seconds)

    def _verify(self, request: Request) -> ActiveKey:
        """The key of a request. Raises Unauthorized.

        Header values with a valid key are remembered until the keys change, so their hash is computed only once. The
        time for an invalid value does not depend on its similarity to a valid one: the dictionary compares only values
        whose hashes, which depend on a secret of this process, are equal.
        """
        sent = sent_key(request.headers)
        digest = sha256(sent).digest()
        found = self._ring.keys.get(digest, UNKNOWN)
        if not compare_digest(digest, found.digest):
            request.caller = NOBODY
            raise unauthorized(sent)
        authorization = request.headers.get(b"authorization")
        if authorization is not None and is_bearer(authorization) and len(self._verified) < MAX_VERIFIED:
            self._verified[authorization] = found
        return found

    def check_admin(self, request: Request) -> None:
        """The scope replaces the rules for servers without keys: a web page or a proxy cannot add a key."""
        if "admin" not in request.caller.scopes:
            raise Forbidden("changes of versions need a key with the scope 'admin'")

    def identify(self, request: Request) -> None:
        """Find out who sends a request to an open route. An invalid key counts as no key."""
        sent = sent_key(request.headers)
        digest = sha256(sent).digest()
        found = self._ring.keys.get(digest, UNKNOWN)
        if compare_digest(digest, found.digest) and not found.is_expired:
            request.caller = found.caller

    def _is_open(self, path: str) -> bool:
        return path in self._open_paths or path.rstrip("/") in self._open_paths or path.startswith(self._open_prefixes)


def unauthorized(sent: bytes) -> Unauthorized:
    if sent:
        return Unauthorized("the key is not valid", invalid=True)
    return Unauthorized("this server needs a key: Authorization: Bearer KEY, or X-API-Key: KEY", invalid=False)


def is_bearer(authorization: bytes) -> bool:
    return authorization[:7].lower() == BEARER


def sent_key(headers: Mapping[bytes, bytes]) -> bytes:
    """The key in the headers of a request; empty without a key."""
    sent = headers.get(b"authorization")
    if sent is not None and is_bearer(sent):
        return sent[7:].strip()
    return headers.get(b"x-api-key", b"")
