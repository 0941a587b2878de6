"""The selection of versions: damaged versions are not served, and the engine setting does not change the selected
version.
"""

import json
import logging
import shutil
import sys
from pathlib import Path

import pytest

from models import manifest
from service import model_selection
from service.model_selection import SelectionError
from service.settings import Settings


@pytest.fixture
def folder(store_folder: Path, tmp_path: Path) -> Path:
    """A store with version 1 of three models, and version 2 of `homes`."""
    root = Path(shutil.copytree(store_folder, tmp_path / "store"))
    shutil.copytree(root / "homes/1", root / "homes/2")
    return root


def selected_tags(settings: Settings) -> list[str]:
    return [model.tag for model in model_selection.select_models(settings)]


def require_tensorflow(version: Path) -> None:
    """Change a stored version so that only TensorFlow can run it."""
    description = json.loads((version / "network.json").read_text())
    (version / "network.json").write_text(json.dumps({**description, "network": None, "reason": "a lambda layer"}))
    (version / "model.keras").touch()
    manifest.write(version)


def test_the_newest_valid_version_of_each_name_is_served(folder: Path) -> None:
    assert selected_tags(Settings(store=folder)) == ["homes:2", "house_class:1", "income:1"]
    (folder / "homes/2/weights.npz").write_bytes(b"")
    assert selected_tags(Settings(store=folder)) == ["homes:1", "house_class:1", "income:1"]


def test_a_damaged_model_is_skipped_and_other_models_are_served(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "income/1/golden.json").write_text("{")
    assert selected_tags(Settings(store=folder)) == ["homes:2", "house_class:1"]
    assert [record.__dict__["model"] for record in caplog.records if record.message == "model skipped"] == ["income"]
    with pytest.raises(SelectionError, match="no version of 'income' can be served"):
        selected_tags(Settings(store=folder, models=("homes", "income")))


def test_the_start_stops_if_every_model_is_damaged(folder: Path) -> None:
    for golden in folder.glob("*/*/golden.json"):
        golden.unlink()
    with pytest.raises(SelectionError, match="no version of 'homes' can be served"):
        selected_tags(Settings(store=folder))


@pytest.mark.parametrize("models", [(), ("homes",), ("homes:2",)])
def test_a_version_without_a_keras_model_is_served_by_numpy_if_tensorflow_is_requested(
    folder: Path, caplog: pytest.LogCaptureFixture, models: tuple[str, ...]
) -> None:
    with caplog.at_level(logging.WARNING):
        homes = model_selection.select_models(Settings(store=folder, models=models, engine="tensorflow"))[0]
    assert homes.tag == "homes:2"
    assert (homes.engine.name, homes.engine.reason) == ("numpy", "trained by NumPy, has no Keras model")
    assert "using NumPy instead of TensorFlow" in caplog.messages


@pytest.mark.parametrize("models", [(), ("homes",), ("homes:2",)])
def test_a_version_that_needs_tensorflow_stops_the_start_if_numpy_is_requested(
    folder: Path, models: tuple[str, ...]
) -> None:
    require_tensorflow(folder / "homes/2")
    with pytest.raises(SelectionError, match=r"homes:2: it has no NumPy network \(a lambda layer\)"):
        selected_tags(Settings(store=folder, models=models, engine="numpy"))


def test_missing_tensorflow_stops_the_start_instead_of_serving_an_older_version(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_tensorflow(folder / "homes/2")
    for library in ("tensorflow", "keras"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SelectionError, match="homes:2: needs TensorFlow, which is not installed"):
        selected_tags(Settings(store=folder))
