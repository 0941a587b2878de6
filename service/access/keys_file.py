"""The file of keys (`TABSERVE_KEYS_FILE`): readable JSON with the hash of each key instead of the key."""

import contextlib
import json
import os
import re
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator, model_validator

from models.atomic_file import remove_if_possible, sync_folder, write_durably
from models.file_lock import lock_if_possible
from models.schema import NAME
from models.validation_problem import first_problem
from service.access.caller import Scope
from service.access.key_format import ID_CHARACTERS, ID_LENGTH

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
RESERVED_NAMES = ("none", "other")
"""The metric labels of requests without a key, and of keys beyond the limit of time series."""
MAX_BYTES = 16 * 1024**2
MAX_KEYS = 4096
LOCK_S = 10.0
NEW_FILE_MODE = 0o600

KeyName = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class KeysFileError(Exception):
    """The file of keys cannot be read or changed; the message is one line with the reason."""


class StoredKey(BaseModel):
    """A key in the file. rate: requests per second over all workers; burst: the number of requests that may arrive at
    the same moment."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: KeyName
    id: Annotated[str, StringConstraints(pattern=rf"^[{ID_CHARACTERS}]{{{ID_LENGTH}}}$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
    scopes: Annotated[list[Scope], Field(min_length=1)]
    models: list[Annotated[str, StringConstraints(pattern=rf"^{NAME.pattern}$")]] | None = None
    rate: Positive | None = None
    burst: Annotated[int, Field(ge=1, le=10**6)] | None = None
    created: datetime
    expires: datetime | None = None

    @field_validator("name")
    @classmethod
    def _refuse_reserved_name(cls, name: str) -> str:
        if name in RESERVED_NAMES:
            raise ValueError(f"the name {name!r} is reserved")
        return name

    @field_validator("created", "expires")
    @classmethod
    def _require_zone(cls, moment: datetime | None) -> datetime | None:
        if moment is not None and moment.tzinfo is None:
            raise ValueError("expected a time with a zone, such as 2027-01-31T00:00:00Z")
        return moment

    @model_validator(mode="after")
    def _require_rate_for_burst(self) -> Self:
        if self.burst is not None and self.rate is None:
            raise ValueError("a burst needs a rate")
        return self

    def expired(self, now: datetime) -> bool:
        return self.expires is not None and self.expires <= now


class Keys(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    keys: Annotated[list[StoredKey], Field(max_length=MAX_KEYS)] = []

    @model_validator(mode="after")
    def _require_unique_ids(self) -> Self:
        ids = [key.id for key in self.keys]
        if repeated := sorted({one for one in ids if ids.count(one) > 1}) if len({*ids}) < len(ids) else []:
            raise ValueError(f"the id {repeated[0]} occurs twice")
        return self

    def with_name(self, name: str) -> list[StoredKey]:
        return [key for key in self.keys if key.name == name]

    def with_keys(self, keys: list[StoredKey]) -> "Keys":
        """The content with these keys in place of the old ones. Raises KeysFileError."""
        try:
            return Keys(keys=keys)
        except ValidationError as error:
            raise KeysFileError(first_problem(error)) from None


def parse_keys(content: bytes) -> Keys:
    """Raises KeysFileError."""
    try:
        return Keys.model_validate_json(content)
    except ValidationError as error:
        raise KeysFileError(re.sub(r"\s+", " ", first_problem(error))) from None


def read_keys(path: Path) -> Keys:
    """Raises KeysFileError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise KeysFileError(f"{path}: larger than {MAX_BYTES} bytes")
        return parse_keys(path.read_bytes())
    except FileNotFoundError:
        raise KeysFileError(f"{path}: no such file; `python -m service keys create NAME` creates it") from None
    except OSError as error:
        raise KeysFileError(f"{path}: {error.strerror}") from None
    except KeysFileError as error:
        raise KeysFileError(f"{path}: {error}") from None


def write_keys(path: Path, keys: Keys) -> None:
    """Replace the file by one rename. Only the owner can read a new file. Raises KeysFileError."""
    path = path.resolve()  # keeps a symbolic link
    written = path.with_name(f".{path.name}.{os.getpid()}")
    text = json.dumps(keys.model_dump(mode="json"), indent=1) + "\n"
    try:
        before = path.stat() if path.exists() else None
        written.touch(NEW_FILE_MODE)
        write_durably(written, text.encode())
        if before is not None:
            os.chmod(written, stat.S_IMODE(before.st_mode))
            with contextlib.suppress(PermissionError):  # only root may change the owner of a file
                os.chown(written, before.st_uid, before.st_gid)
        written.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise KeysFileError(f"{path}: {error.strerror}") from None
    finally:
        remove_if_possible(written)


@contextlib.contextmanager
def locked_keys(path: Path) -> Iterator[Keys]:
    """Lock the file of keys and read it. Without a file there are no keys. Raises KeysFileError."""
    path = path.resolve()
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise KeysFileError(f"{path.parent}: {error.strerror}") from None
    try:
        if not lock_if_possible(folder, LOCK_S):
            raise KeysFileError(f"{path}: another command is changing it")
        yield read_keys(path) if path.exists() else Keys()
    finally:
        os.close(folder)  # this also releases the lock


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
