"""An object store behind a URL, such as `s3://bucket/models`: S3 and compatible stores, Google Cloud Storage, Azure.

Objects are always written as a whole, conditionally if required. The library `obstore` reads credentials from the
environment.
"""

import contextlib
import importlib.util
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.file_destination import is_url
from models.serving_state import ServingStateError
from models.text import truncate

if TYPE_CHECKING:  # installed by the extra `cloud`
    from obstore import GetOptions

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "memory")
CHUNK_BYTES = 8 * 1024**2  # size of each range that a download requests, because the time of a request is limited
REQUEST_S = 30
CONNECT_S = 5
RETRIES = 2
RETRY_S = 20
PROBE = "_probe"
"""The name of the object that is used to test conditions."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
EXTRA_MISSING = "a store at a URL needs obstore, which is not installed (pip install 'tabserve[cloud]')"


class ObjectStoreError(ServingStateError):
    """The object store refuses a request, or its content is invalid."""


class StoreUnreachable(ObjectStoreError):  # noqa: N818 - the name describes the error
    """The store does not respond, or has an error that is not caused by the request. The request may succeed later."""


class AccessDenied(ObjectStoreError):  # noqa: N818 - the name describes the error
    """The credentials do not allow the request."""


class ConditionFailed(ObjectStoreError):  # noqa: N818 - the name describes the error
    """The object has a different revision than the condition requires, or exists already. Nothing was written."""


@dataclass(frozen=True)
class Revision:
    """Identifies the content of an object by its ETag and, for stores that need it, its version."""

    e_tag: str | None
    version: str | None


@dataclass(frozen=True)
class StoredObject:
    content: bytes
    revision: Revision


@dataclass(frozen=True)
class ListedObject:
    """An entry in the list of a store's objects. name: relative to the URL."""

    name: str
    size: int
    e_tag: str | None
    modified: datetime


def check_url(url: str) -> None:
    """Raises ValueError if the store of this URL cannot be used."""
    scheme = url.partition("://")[0]
    if not is_url(url) or scheme not in SCHEMES:
        raise ValueError(f"a store cannot be at {scheme}://; expected a folder, or s3://, gs:// or az://")
    if importlib.util.find_spec("obstore") is None:
        raise ValueError(EXTRA_MISSING)


@cache
def open_object_store(url: str) -> "ObjectStore":
    """The store at a URL; each process creates it once. Raises ValueError."""
    check_url(url)
    return ObjectStore(url)


class ObjectStore:
    """Reads and writes the objects below a URL. All methods raise ObjectStoreError."""

    def __init__(self, url: str) -> None:
        """Raises ValueError if the library cannot use the URL in this environment."""
        from obstore.exceptions import BaseError
        from obstore.store import from_url

        self.url = url.rstrip("/")
        options = {} if url.startswith("memory:") else client_options(os.environ)
        try:
            self._client: Any = from_url(self.url, **options)
        except BaseError as error:
            raise ValueError(reason_of(error)) from None

    def get(self, name: str) -> StoredObject | None:
        """An object; None if it does not exist."""
        return self._get(name, {})

    def get_if_changed(self, name: str, known: Revision) -> StoredObject | None:
        """An object; None if it does not exist. Raises Unchanged if it still has the known revision."""
        return self._get(name, {"if_none_match": known.e_tag} if known.e_tag else {})

    def _get(self, name: str, options: "GetOptions") -> StoredObject | None:
        import obstore
        from obstore.exceptions import NotModifiedError

        with self._errors(name):
            try:
                found = obstore.get(self._client, name, options=options)
                return StoredObject(bytes(found.bytes()), revision_of(found.meta))
            except FileNotFoundError:
                return None
            except NotModifiedError:
                raise Unchanged from None

    def download(self, listed: ListedObject, path: Path) -> None:
        """Write an object to a file. Also raises OSError."""
        import obstore

        with path.open("wb") as file:
            for start in range(0, listed.size, CHUNK_BYTES):
                end = min(start + CHUNK_BYTES, listed.size)
                with self._errors(listed.name):
                    part = bytes(obstore.get_range(self._client, listed.name, start=start, end=end))
                if len(part) != end - start:
                    raise StoreUnreachable(f"{self.url}/{listed.name} was received only in part")
                file.write(part)
            file.flush()
            os.fsync(file.fileno())

    def put(self, name: str, content: bytes | Path) -> None:
        """Write a new object, or replace the present object."""
        self._put(name, content, "overwrite")

    def create(self, name: str, content: bytes) -> None:
        """Write a new object. Raises ConditionFailed if it exists."""
        self._put(name, content, "create")

    def replace(self, name: str, content: bytes, known: Revision) -> None:
        """Replace an object if it still has the known revision. Raises ConditionFailed otherwise."""
        condition = {"e_tag": known.e_tag, "version": known.version}
        self._put(name, content, {key: value for key, value in condition.items() if value is not None})

    def _put(self, name: str, content: bytes | Path, mode: Any) -> None:
        import obstore

        # Some stores support conditions only in single requests; files may be too large for a single request.
        multipart = None if isinstance(content, Path) else False
        with self._errors(name):
            obstore.put(self._client, name, content, mode=mode, use_multipart=multipart)

    def delete(self, names: list[str]) -> None:
        """Delete objects in this order. Objects that do not exist are ignored."""
        import obstore

        for name in names:
            with self._errors(name), contextlib.suppress(FileNotFoundError):
                obstore.delete(self._client, name)

    def list(self, prefix: str | None = None, after: str | None = None) -> list[ListedObject]:
        """The objects below a prefix, which is a folder, sorted by name. after: only names that sort after this
        text."""
        import obstore

        with self._errors("the list of its objects"):
            found = [each for part in obstore.list(self._client, prefix, offset=after) for each in part]
        listed = (ListedObject(str(m["path"]), m["size"], m["e_tag"], m["last_modified"]) for m in found)
        return sorted(listed, key=lambda each: each.name)

    def check_conditions(self) -> None:
        """Raises ObjectStoreError if the store ignores conditions and writes although they are not satisfied."""
        if self.url in _checked:
            return
        self.put(PROBE, b"")
        for mode in ("create", {"e_tag": '"00000000000000000000000000000000"', "version": "1"}):
            try:
                self._put(PROBE, b"", mode)
            except ConditionFailed:
                continue
            raise ObjectStoreError(
                f"{self.url} cannot be changed: its server ignores conditions (If-Match, If-None-Match), "
                "so two simultaneous changes could overwrite each other; it can only be read"
            )
        _checked.add(self.url)

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        """Convert errors of the library to ObjectStoreError."""
        from obstore import exceptions

        try:
            yield
        except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
            raise AccessDenied(f"{self.url}: access to {name} was denied: {reason_of(error)}") from error
        except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
            raise ConditionFailed(f"{self.url}/{name} was changed meanwhile") from error
        except FileNotFoundError as error:
            raise ObjectStoreError(f"{self.url}: there is no {name}, or no such bucket") from error
        except exceptions.NotSupportedError as error:
            raise ObjectStoreError(f"{self.url}: {name}: not supported: {reason_of(error)}") from error
        except (exceptions.BaseError, TimeoutError, ConnectionError) as error:
            raise StoreUnreachable(f"{self.url} cannot be reached ({name}): {reason_of(error)}") from error


class Unchanged(Exception):  # noqa: N818 - not an error
    """The object still has the known revision."""


_checked: set[str] = set()
"""The URLs whose servers are known to support conditions."""


def client_options(environ: Mapping[str, str]) -> dict[str, Any]:
    """The time limits of requests. HTTP without TLS is allowed if the environment contains such an endpoint."""
    named = next((environ[name] for name in ENDPOINTS if environ.get(name)), "")
    client: dict[str, Any] = {"timeout": f"{REQUEST_S}s", "connect_timeout": f"{CONNECT_S}s"}
    if named.startswith("http://"):
        client["allow_http"] = True
    return {
        "client_options": client,
        "retry_config": {"max_retries": RETRIES, "retry_timeout": timedelta(seconds=RETRY_S)},
    }


def revision_of(meta: Mapping[str, Any]) -> Revision:
    return Revision(meta["e_tag"], meta["version"])


def reason_of(error: BaseException) -> str:
    """The first line of the library's error; its other lines repeat details."""
    return truncate(str(error).strip().partition("\n")[0], 300)
