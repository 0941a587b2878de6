"""An object store behind a URL, such as `s3://bucket/models`: S3 and compatible stores, Google Cloud Storage, Azure.

Objects are written as a whole and, if required, on a condition. Credentials come from the environment, as the library
`obstore` reads them.
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

if TYPE_CHECKING:  # it needs the extra cloud
    from obstore import GetOptions

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "memory")
CHUNK_BYTES = 8 * 1024**2  # size of each request of a download, whose time is bounded
REQUEST_S = 30
CONNECT_S = 5
RETRIES = 2
RETRY_S = 20
PROBE = "_probe"
"""The object on which conditions are tried."""
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
EXTRA_MISSING = "a store at a URL needs obstore, which is not installed (pip install 'tabserve[cloud]')"


class ObjectStoreError(ServingStateError):
    """The object store refuses a request, or its content cannot be used."""


class StoreUnreachable(ObjectStoreError):  # noqa: N818 - the name describes the error
    """No answer, or one that does not depend on the request: it may succeed later."""


class AccessDenied(ObjectStoreError):  # noqa: N818 - the name describes the error
    """The credentials do not allow it."""


class ConditionFailed(ObjectStoreError):  # noqa: N818 - the name describes the error
    """The object is not the one that the condition names: nothing was written."""


@dataclass(frozen=True)
class Revision:
    """Identifies the content of an object: the ETag, and the version that some stores need, too."""

    e_tag: str | None
    version: str | None


@dataclass(frozen=True)
class StoredObject:
    content: bytes
    revision: Revision


@dataclass(frozen=True)
class ListedObject:
    """name: relative to the URL."""

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
    """The store of a URL, one for each process. Raises ValueError."""
    check_url(url)
    return ObjectStore(url)


class ObjectStore:
    """All methods raise ObjectStoreError."""

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
        """An object, None if there is none."""
        return self._get(name, {})

    def get_if_changed(self, name: str, known: Revision) -> StoredObject | None:
        """An object, None if there is none. Raises Unchanged if it is still the known one."""
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
        """Write an object to a file. Raises OSError, too."""
        import obstore

        with path.open("wb") as file:
            for start in range(0, listed.size, CHUNK_BYTES):
                end = min(start + CHUNK_BYTES, listed.size)
                with self._errors(listed.name):
                    part = bytes(obstore.get_range(self._client, listed.name, start=start, end=end))
                if len(part) != end - start:
                    raise StoreUnreachable(f"{self.url}/{listed.name} was received in part")
                file.write(part)
            file.flush()
            os.fsync(file.fileno())

    def put(self, name: str, content: bytes | Path) -> None:
        """Write an object, or replace the present one."""
        self._put(name, content, "overwrite")

    def create(self, name: str, content: bytes) -> None:
        """Write an object that does not exist. Raises ConditionFailed if it does."""
        self._put(name, content, "create")

    def replace(self, name: str, content: bytes, known: Revision) -> None:
        """Write an object if it is still the known one. Raises ConditionFailed otherwise."""
        condition = {"e_tag": known.e_tag, "version": known.version}
        self._put(name, content, {key: value for key, value in condition.items() if value is not None})

    def _put(self, name: str, content: bytes | Path, mode: Any) -> None:
        import obstore

        # The conditions of some stores hold for single requests only; files may be too large for one.
        multipart = None if isinstance(content, Path) else False
        with self._errors(name):
            obstore.put(self._client, name, content, mode=mode, use_multipart=multipart)

    def delete(self, names: list[str]) -> None:
        """Delete objects, in this order. Ignores those that do not exist."""
        import obstore

        for name in names:
            with self._errors(name), contextlib.suppress(FileNotFoundError):
                obstore.delete(self._client, name)

    def list(self, prefix: str | None = None, after: str | None = None) -> list[ListedObject]:
        """The objects below a prefix, a folder, by name. after: only names that follow this text."""
        import obstore

        with self._errors("the list of its objects"):
            found = [each for part in obstore.list(self._client, prefix, offset=after) for each in part]
        listed = (ListedObject(str(m["path"]), m["size"], m["e_tag"], m["last_modified"]) for m in found)
        return sorted(listed, key=lambda each: each.name)

    def check_conditions(self) -> None:
        """Raises ObjectStoreError if the store writes although a condition does not hold."""
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
                "so two changes at once would overwrite each other; it can only be read"
            )
        _checked.add(self.url)

    @contextlib.contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        """Errors of the library as ObjectStoreError."""
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
    """The object is still the known one."""


_checked: set[str] = set()
"""URLs whose server honours conditions."""


def client_options(environ: Mapping[str, str]) -> dict[str, Any]:
    """Bounds of requests. HTTP without TLS is allowed if the environment names such an endpoint."""
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
    """The first line of an error of the library, whose other lines repeat its parts."""
    return truncate(str(error).strip().partition("\n")[0], 300)
