"""A damaged or altered version is refused with a one-line error that names the version."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import manifest, store
from models.rows import validate_rows
from models.version_files import StoredVersion, StoreError, TrainedVersion
from tests.models.damage import damage

Make = Callable[..., TrainedVersion]


@pytest.mark.parametrize("how", ["missing", "empty", "cut"])
@pytest.mark.parametrize(
    "name",
    ["features.json", "encoder.json", "network.json", "weights.npz", "golden.json", "metrics.json", "training.json"],
)
def test_damaged_file_gives_a_one_line_error_with_the_version(stored: StoredVersion, name: str, how: str) -> None:
    assert_refused_after_damage(stored, name, how)


@pytest.mark.parametrize("how", ["list", "flipped"])
@pytest.mark.parametrize("name", ["encoder.json", "network.json", "weights.npz", "golden.json"])
def test_file_with_different_content_gives_a_one_line_error_with_the_version(
    stored: StoredVersion, name: str, how: str
) -> None:
    assert_refused_after_damage(stored, name, how)


def assert_refused_after_damage(stored: StoredVersion, name: str, how: str) -> None:
    damage(stored.path / name, how)
    with pytest.raises(StoreError) as refused:
        store.load(stored)
    assert "homes:1" in str(refused.value)
    assert "\n" not in str(refused.value)


def change(path: Path, **values: Any) -> None:
    """Change a file of a version and remove its manifest; tabserve 0.1.0 stored no manifests."""
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values))
    path.with_name("manifest.json").unlink()


@pytest.mark.parametrize("name", ["weights.npz", "card.md", "metrics.json", "learning.png", "manifest.json"])
def test_altered_file_is_named(stored: StoredVersion, name: str) -> None:
    store.load(stored)
    damage(stored.path / name, "cut")
    with pytest.raises(StoreError, match=rf"^homes:1 .* is not the version that was stored: its (file )?{name}"):
        store.load(stored)


def test_added_and_missing_files_are_named(stored: StoredVersion) -> None:
    for name in (".DS_Store", "model.sig"):
        (stored.path / name).write_text("")
    store.load(stored)
    (stored.path / "card.md").rename(stored.path / "background.json")
    with pytest.raises(StoreError, match=r"its file background.json was added after it was stored"):
        store.load(stored)
    (stored.path / "background.json").unlink()
    with pytest.raises(
        StoreError, match=r"its file card.md is missing \(to serve it nevertheless, delete its manifest"
    ):
        store.load(stored)


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        '{"format": 2, "files": {}}',
        '{"format": 1, "files": 3}',
        '{"format": 1, "files": {"a": 3}}',
        "\ud800",
    ],
)
def test_invalid_manifest_is_refused(stored: StoredVersion, text: str) -> None:
    (stored.path / "manifest.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(StoreError, match=r"its manifest.json (cannot be read|has the format 2)"):
        store.load(stored)


def test_digest_depends_on_all_files(stored: StoredVersion, make_trained: Make) -> None:
    digest = manifest.digest(stored.path)
    assert digest != manifest.digest(store.save(make_trained("binary")).path)
    (stored.path / "manifest.json").unlink()
    assert manifest.digest(stored.path) is None
    store.load(stored)


def test_changed_weights_are_detected(stored: StoredVersion) -> None:
    (stored.path / "manifest.json").unlink()
    with np.load(stored.path / "weights.npz") as arrays:
        weights = dict(arrays)
    weights = {name: array + 0.01 for name, array in weights.items()}
    np.savez(stored.path / "weights.npz", **weights)
    with pytest.raises(StoreError, match="homes:1 does not predict its golden rows"):
        store.load(stored)


@pytest.mark.parametrize(
    "predictions", [[[0.0]] * 6, [[float("nan")]] * 6, [[0.0]], [[0.0, 1.0]] * 6, "x", [["a"]] * 6]
)
def test_changed_golden_predictions_are_detected(stored: StoredVersion, predictions: Any) -> None:
    change(stored.path / "golden.json", answers=predictions)
    with pytest.raises(StoreError, match="homes:1"):
        store.load(stored)


@pytest.mark.parametrize(("rows", "message"), [([], "no golden rows"), ([{"typo": 1}], "not valid by its schema")])
def test_golden_rows_must_exist_and_be_valid(stored: StoredVersion, rows: Any, message: str) -> None:
    change(stored.path / "golden.json", rows=rows)
    with pytest.raises(StoreError, match=message):
        store.load(stored)


@pytest.mark.parametrize(
    ("edit", "message"),
    [({"format": 3}, "format"), ({"name": "cars"}, "'cars'"), ({"colour": "red"}, "colour")],
)
def test_schema_of_another_model_is_refused(stored: StoredVersion, edit: Any, message: str) -> None:
    change(stored.path / "features.json", **edit)
    with pytest.raises(StoreError, match=message):
        store.load(stored)


def test_level_added_to_a_stored_schema_is_refused(stored: StoredVersion) -> None:
    schema = json.loads((stored.path / "features.json").read_text("utf-8"))
    schema["features"][1]["seen"]["levels"].append("Euthanasia")
    change(stored.path / "features.json", **schema)
    with pytest.raises(StoreError, match="'Outcome Type' has changed since the encoder was fitted"):
        store.load(stored)


def test_limit_added_to_a_stored_schema_is_applied(stored: StoredVersion) -> None:
    schema = json.loads((stored.path / "features.json").read_text("utf-8"))
    schema["features"][0]["maximum"] = 120
    change(stored.path / "features.json", **schema)
    model = store.load(stored)
    [error] = validate_rows(model.schema, [model.golden.rows[0] | {"age": 121}]).errors
    assert error.code == "above_maximum"
