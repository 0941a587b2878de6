"""A worker follows the key file and continues with its keys when the file is damaged or missing."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service.access.key_access import KeyAccess
from service.access.key_ring import COPY, KeyRing
from service.access.keys_file import KeysFileError
from service.errors import Unauthorized
from tests.service.access_keys import KeySet


@pytest.fixture
def keys(tmp_path: Path) -> KeySet:
    made = KeySet(tmp_path / "keys.json")
    made.add("a")
    return made


def key_names(ring: KeyRing) -> list[str]:
    return [key.caller.name for key in ring.keys.values()]


def test_keys_are_added_and_revoked_while_the_server_runs(keys: KeySet) -> None:
    ring = KeyRing(keys.path, None)
    assert key_names(ring) == ["a"]
    keys.add("b")
    ring.poll()
    assert key_names(ring) == ["a", "b"]
    keys.stored.pop(0)
    keys.write()
    ring.poll()
    assert key_names(ring) == ["b"]


def test_the_key_file_is_read_again_only_after_a_change(keys: KeySet) -> None:
    ring = KeyRing(keys.path, None)
    before = ring.keys
    ring.poll()
    assert ring.keys is before


@pytest.mark.parametrize("content", [None, b"", b'{"keys": [', b"\x00" * 100, b"{}garbage"])
def test_an_invalid_key_file_does_not_change_the_keys(
    keys: KeySet, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "tabserve")
    ring = KeyRing(keys.path, None)
    good = keys.path.read_bytes()
    if content is None:
        keys.path.unlink()
    else:
        keys.path.write_bytes(content)
    for _ in range(3):
        ring.poll()
    assert key_names(ring) == ["a"]
    assert caplog.text.count("the previous keys remain in use") == 1
    keys.path.write_bytes(good)
    ring.poll()
    assert "valid again" in caplog.text
    assert key_names(ring) == ["a"]


def test_a_server_does_not_start_without_valid_keys(tmp_path: Path) -> None:
    with pytest.raises(KeysFileError, match="keys create"):
        KeyRing(tmp_path / "none.json", None)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(KeysFileError, match=r"bad\.json"):
        KeyRing(tmp_path / "bad.json", tmp_path)


def test_a_replaced_worker_starts_with_the_last_valid_keys(keys: KeySet, tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    KeyRing(keys.path, folder)
    keys.path.write_text('{"keys": [')
    ring = KeyRing(keys.path, folder)
    assert key_names(ring) == ["a"]
    assert (folder / COPY).stat().st_mode & 0o077 == 0
    keys.add("b")
    ring.poll()
    assert key_names(ring) == ["a", "b"]
    keys.path.write_text("{")
    (folder / COPY).write_text("{")
    with pytest.raises(KeysFileError):
        KeyRing(keys.path, folder)


@pytest.mark.skipif(os.getuid() == 0, reason="root can read every file")
def test_an_unreadable_key_file_is_reported(keys: KeySet) -> None:
    keys.path.chmod(0)
    with pytest.raises(KeysFileError, match="Permission denied"):
        KeyRing(keys.path, None)


def test_a_verified_header_is_cached_until_the_keys_change(tmp_path: Path) -> None:
    keys = KeySet(tmp_path / "keys.json")
    keys.add("a")
    ring = KeyRing(keys.path, None)
    access, header = KeyAccess(ring), b"Bearer " + keys.texts["a"].encode()

    def check(authorization: bytes) -> str:
        request: Any = SimpleNamespace(headers={b"authorization": authorization}, served=None, caller=None)
        access.check(request, "predict", None)
        return str(request.caller.name)

    assert [check(header), check(header)] == ["a", "a"]
    assert [*access._verified] == [header]
    ring.keys = {}
    for refused in (header, b"Bearer x"):
        with pytest.raises(Unauthorized):
            check(refused)
    assert not access._verified
