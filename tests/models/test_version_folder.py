"""A version is read only if all its files are regular files inside its folder and not too large."""

import os
from pathlib import Path

import pytest

from models import manifest, store, version_files, version_folder
from models.version_files import StoredVersion, StoreError


def refused(stored: StoredVersion, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        store.load(stored)


@pytest.mark.parametrize("has_manifest", [True, False])
def test_a_link_out_of_the_folder_is_refused(stored: StoredVersion, tmp_path: Path, has_manifest: bool) -> None:
    if not has_manifest:
        (stored.path / "manifest.json").unlink()
    card = stored.path / "card.md"
    outside = tmp_path / "outside.md"
    outside.write_bytes(card.read_bytes())
    for target in (str(outside), os.path.relpath(outside, stored.path), "../1/../../../outside.md", "card.md", "none"):
        card.unlink()
        card.symlink_to(target)
        refused(stored, r"its file card.md (is a link to a place outside of its folder|cannot be read)")


def test_a_link_inside_the_folder_is_followed(stored: StoredVersion) -> None:
    """Kubernetes mounts ConfigMaps with such links."""
    (stored.path / "..data").mkdir()
    (stored.path / "card.md").rename(stored.path / "..data/card.md")
    (stored.path / "card.md").symlink_to("..data/card.md")
    assert store.load(stored).card == "# homes"


@pytest.mark.parametrize("name", ["weights.npz", "card.md", "manifest.json", "model.sig"])
def test_reader_does_not_block_on_a_pipe_or_a_device(stored: StoredVersion, name: str) -> None:
    (stored.path / name).unlink(missing_ok=True)
    os.mkfifo(stored.path / name)
    refused(stored, f"its file {name} is not a regular file")
    (stored.path / name).unlink()
    (stored.path / name).symlink_to("/dev/zero")
    refused(stored, f"its file {name} is a link to a place outside of its folder")


def test_large_files_of_a_version_are_refused(stored: StoredVersion, monkeypatch: pytest.MonkeyPatch) -> None:
    with (stored.path / "card.md").open("ab") as file:
        file.truncate(300 * 1024**2)  # a sparse file takes no space
    refused(stored, "its file card.md has 314572800 bytes; at most 268435456 are read")
    with (stored.path / "weights.npz").open("ab") as file:
        file.truncate(3 * 1024**3)
    (stored.path / "card.md").unlink()
    refused(stored, "its file weights.npz has 3221225472 bytes; at most 2147483648 are read")
    monkeypatch.setattr(version_folder, "MAX_FILES", 5)
    refused(stored, r"it has \d+ files; at most 5 are read")


def test_reader_of_unchecked_files_does_not_block_on_a_pipe(stored: StoredVersion) -> None:
    """Pages about versions that are not loaded use files that have not been checked."""
    for name in ("metrics.json", "manifest.json"):
        (stored.path / name).unlink()
        os.mkfifo(stored.path / name)
    with pytest.raises(OSError, match=r"metrics.json is not a regular file"):
        version_files.read_json(stored.path / "metrics.json")
    assert manifest.digest(stored.path) is None
