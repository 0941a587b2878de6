"""The trusted keys, TABSERVE_TRUSTED_KEYS: files and folders of public keys whose signatures are accepted."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models.command_line import missing_library

if TYPE_CHECKING:  # installed by the extra `signing`
    from models.signature import PublicKeys

VARIABLE = "TABSERVE_TRUSTED_KEYS"
KeyPaths = tuple[Path, ...]


class TrustedKeysError(ValueError):
    """Trusted keys cannot be read. The message names the file."""


def parse(text: str) -> KeyPaths:
    """Parse files and folders, separated by commas. Raises TrustedKeysError unless each contains public keys only."""
    paths = tuple(Path(part.strip()).expanduser().absolute() for part in text.split(",") if part.strip())
    if not paths:
        raise TrustedKeysError("expected files or folders of public keys, separated by commas")
    read(paths)
    return paths


def configured() -> KeyPaths:
    """The trusted keys in the environment; if empty, signatures are not checked. Raises TrustedKeysError."""
    text = os.environ.get(VARIABLE, "").strip()
    try:
        return parse(text) if text else ()
    except TrustedKeysError as error:
        raise TrustedKeysError(f"{VARIABLE}={text!r}: {error}") from None


def read(paths: Sequence[Path]) -> "PublicKeys":
    """Read the public keys in these files and in all files of these folders except hidden files. Raises
    TrustedKeysError."""
    try:
        from models.signature import KeyFileError, key_hash, read_public_key
    except ModuleNotFoundError as error:
        raise TrustedKeysError(missing_library("cryptography", "signing")) from error
    keys = {}
    for path in paths:
        try:
            for file in _files(path):
                key = read_public_key(file)
                keys[key_hash(key)] = key
        except KeyFileError as error:
            raise TrustedKeysError(str(error)) from error
        except OSError as error:
            raise TrustedKeysError(f"{path} cannot be read: {error.strerror or error}") from error
    return keys


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = sorted(each for each in path.iterdir() if not each.name.startswith(".") and not each.is_dir())
    if not files:
        raise TrustedKeysError(f"the folder {path} has no public key")
    return files
