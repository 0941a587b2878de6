"""`verify` and `sign`: check the files of a version and its signature, and sign a stored version."""

import argparse
from pathlib import Path

from models import manifest, trusted_keys
from models.checked_folder import check_signature
from models.command_line import missing_library
from models.trusted_keys import TrustedKeysError
from models.version_files import StoredVersion, StoreError, describe_refusal
from models.version_folder import MANIFEST_FILE, SIGNATURE_FILE, AlteredVersion
from models.version_lifecycle import VersionStore

Arguments = argparse.Namespace


def verify(arguments: Arguments, versions: VersionStore) -> int:
    """Check the manifest of a version, and its signature if keys are trusted. Raises StoreError if they do not
    match."""
    stored = versions.find(*arguments.tag)
    keys = trusted_keys.configured() if arguments.trusted_keys is None else trusted_keys.parse(arguments.trusted_keys)
    try:
        if keys:
            key = check_signature(stored.path, stored.tag, keys)
        else:
            manifest.check(stored.path)
    except (AlteredVersion, OSError) as error:
        raise StoreError(describe_refusal(stored, error, trusted=bool(keys))) from error
    digest = manifest.digest(stored.path)
    if digest is None:
        print(f"{stored.tag}: it has no {MANIFEST_FILE}, as versions of 0.1.0, so its files were not checked")
    else:
        print(f"{stored.tag}: all files are those that were stored; SHA-256 of the manifest: {digest}")
    print(f"signed by the trusted key {key}" if keys else unchecked_signature(stored))
    return 0


def unchecked_signature(stored: StoredVersion) -> str:
    if (stored.path / SIGNATURE_FILE).is_file():
        return "signed; the signature was not checked, as no keys are trusted (--trusted-keys, TABSERVE_TRUSTED_KEYS)"
    return "not signed"


def sign(arguments: Arguments, versions: VersionStore) -> int:
    """Sign a version whose files are unchanged since they were stored. Raises StoreError or TrustedKeysError."""
    try:
        from models import signature
    except ModuleNotFoundError as error:
        raise TrustedKeysError(missing_library("cryptography", "signing")) from error
    if versions.mirror:
        raise StoreError(f"{versions.place}: sign a version while it is pushed: push --sign KEY")
    stored = versions.find(*arguments.tag)
    try:
        key = signature.read_private_key(Path(arguments.key))
        manifest.check(stored.path)
        signed_by = signature.sign(stored.path, key, stored.tag)
    except AlteredVersion as error:
        raise StoreError(describe_refusal(stored, error, trusted=False)) from error
    except signature.KeyFileError as error:
        raise TrustedKeysError(str(error)) from error
    except OSError as error:
        raise StoreError(f"{stored.tag} in {stored.path} cannot be signed: {error.strerror or error}") from error
    print(f"{stored.tag}: signed by the key {signed_by}")
    return 0
