"""`push`: upload a version of the local store to a store at a URL."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from models.command_line import missing_library
from models.file_destination import is_url
from models.serving_state import ServingStateError
from models.trusted_keys import TrustedKeysError
from models.version_files import StoreError
from models.version_lifecycle import VersionStore
from models.version_upload import push as push_version
from service.commands import followers
from service.commands.descriptions import describe_change
from service.commands.named_version import find_version

if TYPE_CHECKING:  # it needs the extra `signing`
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

Arguments = argparse.Namespace


def push(arguments: Arguments, local: VersionStore) -> int:
    """Upload a version and, if requested, make it the champion there."""
    if not is_url(arguments.to):
        raise ServingStateError(f"--to {arguments.to or '(nothing)'}: expected a URL such as s3://bucket/models")
    stored = find_version(arguments.tag, local)
    remote = VersionStore.at_url(arguments.to)
    assert remote.mirror
    try:
        pushed, is_new = push_version(stored, remote.mirror, signing_key(arguments.sign))
    except OSError as error:
        raise StoreError(f"{stored.tag} cannot be pushed: {error.strerror or error}") from error
    if is_new:
        print(f"{stored.tag} is {pushed.tag} in {remote.place}")
    else:
        print(f"{stored.tag} was pushed before: it is {pushed.tag} in {remote.place}")
    if not arguments.promote:
        print(f"serve it: TABSERVE_STORE={remote.place} tabserve promote {pushed.tag}")
        return 0
    before, after = remote.promote(pushed, by_person=True, reason=arguments.reason)
    print(describe_change(pushed.name, before, after))
    for line in followers.describe_servers([], remote.mirror):
        print(line)
    return 0


def signing_key(path: str | None) -> "EllipticCurvePrivateKey | None":
    """Raises TrustedKeysError."""
    if path is None:
        return None
    try:
        from models import signature
    except ModuleNotFoundError as error:
        raise TrustedKeysError(missing_library("cryptography", "signing")) from error
    try:
        return signature.read_private_key(Path(path))
    except signature.KeyFileError as error:
        raise TrustedKeysError(str(error)) from error
