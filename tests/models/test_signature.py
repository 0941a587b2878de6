"""A signed version is accepted by the stock package model-signing, and no file of it can be altered unnoticed."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from models import manifest, signature, store, trusted_keys
from models.trusted_keys import TrustedKeysError
from models.version_files import StoredVersion, StoreError, TrainedVersion
from models.version_folder import AlteredVersion
from tests.signing_keys import write_keys

Make = Callable[..., TrainedVersion]
STOCK = str(Path(sys.executable).parent / "model_signing")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def signed(bentoml_store: Path, make_trained: Make, keys: tuple[Path, Path]) -> StoredVersion:
    """The version homes:1, which was signed when it was stored."""
    return store.save(make_trained(), signature.read_private_key(keys[0]))


def run_stock_command(*words: str | Path) -> str:
    """The output of the command model_signing; asserts that the command succeeds."""
    done = subprocess.run([STOCK, *map(str, words)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal_reason(stored: StoredVersion, public: Path) -> str:
    """The reason why a version is refused with this trusted key."""
    with pytest.raises(StoreError) as refused:
        store.load(stored, trusted_keys=[public])
    message = str(refused.value)
    assert message.startswith(f"{stored.tag} in {stored.path} is not trusted: ")
    assert "\n" not in message
    return message


def test_stock_package_verifies_a_signed_version(signed: StoredVersion, keys: tuple[Path, Path]) -> None:
    verify = ("verify", "key", signed.path, "--signature", signed.path / "model.sig", "--public_key", keys[1])
    assert "Verification succeeded" in run_stock_command(*verify)
    (signed.path / "card.md").write_text("other")
    done = subprocess.run([STOCK, *map(str, verify)], capture_output=True, text=True, timeout=120)
    assert "Hash mismatch" in done.stderr


def test_version_that_the_stock_package_signed_is_trusted(
    bentoml_store: Path, make_trained: Make, tmp_path: Path
) -> None:
    private, public = write_keys(tmp_path, ec.SECP384R1())
    stored = store.save(make_trained())
    assert "it is not signed" in refusal_reason(stored, public)
    run_stock_command("sign", "key", stored.path, "--signature", stored.path / "model.sig", "--private_key", private)
    store.load(stored, trusted_keys=[public])


def test_key_of_the_largest_curve_can_sign_a_version(bentoml_store: Path, make_trained: Make, tmp_path: Path) -> None:
    private, public = write_keys(tmp_path, ec.SECP521R1())
    store.load(store.save(make_trained(), signature.read_private_key(private)), trusted_keys=[public])


def test_a_flipped_bit_in_any_file_is_refused(signed: StoredVersion, keys: tuple[Path, Path]) -> None:
    trusted = trusted_keys.read([keys[1]])
    names = sorted(path.name for path in signed.path.iterdir())
    assert {"model.yaml", "manifest.json", "model.sig", "weights.npz", "learning.png"} <= set(names)
    for name in names:
        path = signed.path / name
        content = path.read_bytes()
        for position in {0, len(content) // 2, len(content) - 1}:
            path.write_bytes(content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :])
            with pytest.raises(AlteredVersion, match=name if name != "model.sig" else None):
                signature.verify(signed.path, trusted)
        path.write_bytes(content)
    signature.verify(signed.path, trusted)


def test_changed_byte_of_the_signature_is_refused(signed: StoredVersion, keys: tuple[Path, Path]) -> None:
    trusted = trusted_keys.read([keys[1]])
    path = signed.path / "model.sig"
    content = path.read_bytes()
    envelope = content.index(b"dsseEnvelope") + 40
    outside = [*range(envelope), *range(content.rindex(b'"payloadType"'), len(content))]
    for position in outside:  # all bytes except the payload, which is signed as a whole
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        with pytest.raises(AlteredVersion):
            signature.verify(signed.path, trusted)


@pytest.mark.parametrize("name", ["background.json", ".hidden", "folder/file", "link"])
def test_signed_version_with_an_added_file_is_refused(
    signed: StoredVersion, keys: tuple[Path, Path], name: str
) -> None:
    path = signed.path / name
    path.parent.mkdir(exist_ok=True)
    if name == "link":
        path.symlink_to("card.md")
    else:
        path.write_text("{}")
    assert name.partition("/")[0] in refusal_reason(signed, keys[1])


@pytest.mark.parametrize("name", ["card.md", "manifest.json", "model.yaml", "model.sig"])
def test_signed_version_with_a_missing_file_is_refused(
    signed: StoredVersion, keys: tuple[Path, Path], name: str
) -> None:
    (signed.path / name).unlink()
    assert name in refusal_reason(signed, keys[1])


def test_a_version_under_another_number_is_refused(signed: StoredVersion, keys: tuple[Path, Path]) -> None:
    """A signed earlier version cannot be passed off as the newest one."""
    copy = Path(shutil.copytree(signed.path, signed.path.with_name("9")))
    assert "it was signed as homes:1" in refusal_reason(StoredVersion("homes", 9, copy), keys[1])


def test_signature_by_an_untrusted_key_is_refused(
    signed: StoredVersion, keys: tuple[Path, Path], tmp_path: Path
) -> None:
    _, other = write_keys(tmp_path)
    assert "it is signed by a key that is not trusted" in refusal_reason(signed, other)
    shutil.copy(keys[1], tmp_path / "second.pub")
    store.load(signed, trusted_keys=[tmp_path / "second.pub"])
    (tmp_path / "key.pem").unlink()
    store.load(signed, trusted_keys=[tmp_path])
    (tmp_path / "second.pub").unlink()
    assert "it is signed by a key that is not trusted" in refusal_reason(signed, tmp_path), (
        "the keys are read at each load"
    )
    other.unlink()
    assert "has no public key" in refusal_reason(signed, tmp_path)


def test_signed_statement_of_an_unexpected_form_is_refused(signed: StoredVersion, keys: tuple[Path, Path]) -> None:
    """The key is trusted, but the signed statement does not describe the files in the expected way."""
    key, trusted = signature.read_private_key(keys[0]), trusted_keys.read([keys[1]])
    path = signed.path / "model.sig"
    bundle = signature.Bundle.from_json(path.read_bytes())
    true = json.loads(bundle.payload)
    first, *others = true["predicate"]["resources"]
    serialization_of = {**true["predicate"]["serialization"]}
    statements: list[Any] = [
        [],
        {},
        {**true, "_type": "https://in-toto.io/Statement/v0.1"},
        {**true, "predicateType": "https://slsa.dev/provenance/v1"},
        {**true, "subject": []},
        {**true, "predicate": {"serialization": {**serialization_of, "method": "shards"}, "resources": [first]}},
        {**true, "predicate": {"serialization": serialization_of, "resources": [first, first, *others]}},
        {**true, "predicate": {"serialization": serialization_of, "resources": others}},
    ]
    for document in statements:
        payload = json.dumps(document).encode()
        signed_payload = key.sign(signature.signed_bytes(payload), ec.ECDSA(signature.HASHES["secp256r1"]))
        path.write_text(json.dumps(signature.Bundle(payload, signed_payload, bundle.key).to_json()))
        with pytest.raises(AlteredVersion):
            signature.verify(signed.path, trusted)


def test_files_exchanged_after_the_check_are_not_read(
    signed: StoredVersion, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes that are read are the checked bytes, even if another process writes to the store in between."""
    check = manifest.check

    def check_then_exchange(folder: Path) -> None:
        check(folder)
        for path in signed.path.iterdir():
            path.write_text("exchanged")

    monkeypatch.setattr(manifest, "check", check_then_exchange)
    assert store.load(signed, trusted_keys=[keys[1]]).card == "# homes"


def test_files_without_a_valid_key_are_named(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    other = rsa.generate_private_key(65537, 2048)
    (tmp_path / "rsa.pub").write_bytes(
        other.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    encrypted = serialization.BestAvailableEncryption(b"secret")
    key = signature.read_private_key(keys[0])
    (tmp_path / "encrypted.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encrypted)
    )
    (tmp_path / "text").write_text("text")
    for name, message in (
        ("rsa.pub", "not a key of one of the curves secp256r1"),
        ("text", "not a public key in PEM"),
        ("none", "cannot be read: No such file"),
    ):
        with pytest.raises(TrustedKeysError, match=message):
            trusted_keys.parse(str(tmp_path / name))
    for name, message in (("encrypted.pem", "is encrypted"), ("text", "not a private key"), ("none", "cannot be read")):
        with pytest.raises(signature.KeyFileError, match=message):
            signature.read_private_key(tmp_path / name)
    assert trusted_keys.parse(f"{keys[1]}, {keys[1]}") == (keys[1], keys[1])
    with pytest.raises(TrustedKeysError, match="expected files or folders"):
        trusted_keys.parse(" , ")
