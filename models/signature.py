"""The signature of all files of a version, `model.sig`, in the format of the package model-signing.

The file is a Sigstore bundle: its DSSE envelope contains a signed in-toto statement with the SHA-256 of each file. The
keys are elliptic curve keys. Signatures need no network, but the library cryptography (the extra `signing`).
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from models.atomic_file import replace_file
from models.version_folder import SIGNATURE_FILE, AlteredVersion, check_hashes, file_hash, signed_files

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
SERIALIZATION = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
MAX_SIGNATURE_BYTES = 1024**2
HASHES: Mapping[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
"""The hash algorithm for each curve that Sigstore bundles allow."""
PublicKeys = Mapping[str, ec.EllipticCurvePublicKey]
"""Public keys by their `key_hash`."""


class KeyFileError(ValueError):
    """A file contains no key for signatures of versions. The message names the file."""


@dataclass(frozen=True)
class Bundle:
    """The content of `model.sig`. payload: the statement, as JSON. key: the `key_hash` of the signing key."""

    payload: bytes
    signature: bytes
    key: str

    def to_json(self) -> dict[str, Any]:
        return {
            "mediaType": BUNDLE_TYPE,
            "verificationMaterial": {"publicKey": {"hint": self.key}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(self.payload).decode(),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": base64.b64encode(self.signature).decode(), "keyid": ""}],
            },
        }

    @classmethod
    def from_json(cls, text: bytes) -> "Bundle":
        """Parse a bundle. Raises AlteredVersion unless `to_json` returns the same document."""
        try:
            document = json.loads(text)
            envelope, material = document["dsseEnvelope"], document["verificationMaterial"]
            payload = base64.b64decode(envelope["payload"], validate=True)
            signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
            bundle = cls(payload, signature, str(material["publicKey"]["hint"]))
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise AlteredVersion(f"its {SIGNATURE_FILE} cannot be read") from error
        if bundle.to_json() != document:
            raise AlteredVersion(f"its {SIGNATURE_FILE} does not have the form of a signature by a key")
        return bundle


def read_private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key in PEM. Raises KeyFileError."""
    try:
        key = _read_key(path, "private", lambda pem: serialization.load_pem_private_key(pem, None))
    except TypeError as error:
        raise KeyFileError(f"{path} is encrypted; expected a private key without a passphrase") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in HASHES:
        raise _curve_error(path)
    return key


def read_public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Read a public key in PEM. Raises KeyFileError."""
    key = _read_key(path, "public", serialization.load_pem_public_key)
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in HASHES:
        raise _curve_error(path)
    return key


def _read_key(path: Path, kind: str, load: Callable[[bytes], Any]) -> Any:
    """Read a key of any algorithm. kind: private or public. Raises KeyFileError, and TypeError if the key is
    encrypted."""
    try:
        return load(path.read_bytes())
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror or error}") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(f"{path} is not a {kind} key in PEM") from error


def _curve_error(path: Path) -> KeyFileError:
    return KeyFileError(f"{path} is not a key of one of the curves {', '.join(HASHES)}")


def key_hash(key: ec.EllipticCurvePublicKey) -> str:
    """The SHA-256 of the public key in PEM, which identifies the key in a bundle."""
    pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()


def sign(folder: Path, key: ec.EllipticCurvePrivateKey, name: str) -> str:
    """Write `model.sig` of a version. name: the name of the version, for information only. Returns the `key_hash`."""
    payload = statement(name, {file: file_hash(folder / file) for file in signed_files(folder)})
    signature = key.sign(signed_bytes(payload), ec.ECDSA(HASHES[key.curve.name]))
    bundle = Bundle(payload, signature, key_hash(key.public_key()))
    replace_file(folder / SIGNATURE_FILE, json.dumps(bundle.to_json(), separators=(",", ":")).encode())
    return bundle.key


def verify(folder: Path, keys: PublicKeys) -> str:
    """Check that one of the keys has signed exactly the files of this folder. Returns its `key_hash`.

    Raises AlteredVersion.
    """
    path = folder / SIGNATURE_FILE
    if not path.is_file():
        raise AlteredVersion(f"it is not signed: it has no {SIGNATURE_FILE}")
    if path.stat().st_size > MAX_SIGNATURE_BYTES:
        raise AlteredVersion(f"its {SIGNATURE_FILE} is larger than {MAX_SIGNATURE_BYTES} bytes")
    bundle = Bundle.from_json(path.read_bytes())
    key = keys.get(bundle.key)
    if key is None:
        raise AlteredVersion(f"it is signed by a key that is not trusted ({bundle.key[:16]}…)")
    try:
        key.verify(bundle.signature, signed_bytes(bundle.payload), ec.ECDSA(HASHES[key.curve.name]))
    except InvalidSignature as error:
        raise AlteredVersion(f"its {SIGNATURE_FILE} was altered: the signature is not valid") from error
    signed = signed_hashes(bundle.payload)
    check_hashes(folder, signed_files(folder), signed, unlisted="is not signed", since="signed")
    return bundle.key


def statement(name: str, files: Mapping[str, str]) -> bytes:
    """The in-toto statement about the files of a version. files: their SHA-256 by name."""
    resources = [{"name": file, "algorithm": "sha256", "digest": files[file]} for file in sorted(files)]
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": digest_of(resources)}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {"serialization": {**SERIALIZATION, "ignore_paths": [SIGNATURE_FILE]}, "resources": resources},
    }
    return json.dumps(document, indent=2).encode()


def signed_hashes(payload: bytes) -> dict[str, str]:
    """The SHA-256 of each file in a statement. Raises AlteredVersion for a statement of another type."""
    try:
        document = json.loads(payload)
        predicate, (subject,) = document["predicate"], document["subject"]
        resources = predicate["resources"]
        files = {str(resource["name"]): str(resource["digest"]) for resource in resources}
        valid = (
            (document["_type"], document["predicateType"]) == (STATEMENT_TYPE, PREDICATE_TYPE)
            and SERIALIZATION.items() <= predicate["serialization"].items()
            and all(resource["algorithm"] == "sha256" for resource in resources)
            and len(files) == len(resources)
            and subject["digest"]["sha256"] == digest_of(resources)
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise AlteredVersion(f"the statement in its {SIGNATURE_FILE} cannot be read") from error
    if not valid:
        raise AlteredVersion(f"the statement in its {SIGNATURE_FILE} is not a model_signing statement about files")
    return files


def digest_of(resources: Iterable[Mapping[str, str]]) -> str:
    """The SHA-256 of the concatenated digests of all files."""
    return hashlib.sha256(b"".join(bytes.fromhex(resource["digest"]) for resource in resources)).hexdigest()


def signed_bytes(payload: bytes) -> bytes:
    """The bytes that are signed: the DSSE encoding of the payload and its type."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
