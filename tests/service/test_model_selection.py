"""The selection of versions: a damaged version is not served, and the engine setting never changes the version."""

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
    """Version 1 of three models, and version 2 of `homes`."""
    root = Path(shutil.copytree(store_folder, tmp_path / "store"))
    shutil.copytree(root / "homes/1", root / "homes/2")
    return root


def served(settings: Settings) -> list[str]:
    return [model.tag for model in model_selection.select_models(settings)]


def only_tensorflow(version: Path) -> None:
    """A version whose network NumPy cannot express."""
    description = json.loads((version / "network.json").read_text())
    (version / "network.json").write_text(json.dumps({**description, "network": None, "reason": "a lambda layer"}))
    (version / "model.keras").touch()
    manifest.write(version)


def test_the_newest_valid_version_of_each_name_is_served(folder: Path) -> None:
    assert served(Settings(store=folder)) == ["homes:2", "house_class:1", "income:1"]
    (folder / "homes/2/weights.npz").write_bytes(b"")
    assert served(Settings(store=folder)) == ["homes:1", "house_class:1", "income:1"]


def test_a_damaged_model_does_not_take_down_the_others(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "income/1/golden.json").write_text("{")
    assert served(Settings(store=folder)) == ["homes:2", "house_class:1"]
    assert [record.__dict__["model"] for record in caplog.records if record.message == "model skipped"] == ["income"]
    with pytest.raises(SelectionError, match="no version of 'income' can be served"):
        served(Settings(store=folder, models=("homes", "income")))


def test_the_start_stops_if_every_model_is_damaged(folder: Path) -> None:
    for golden in folder.glob("*/*/golden.json"):
        golden.unlink()
    with pytest.raises(SelectionError, match="no version of 'homes' can be served"):
        served(Settings(store=folder))


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
    only_tensorflow(folder / "homes/2")
    with pytest.raises(SelectionError, match=r"homes:2: it has no NumPy network \(a lambda layer\)"):
        served(Settings(store=folder, models=models, engine="numpy"))


def test_tensorflow_that_is_not_installed_ends_the_start_and_no_older_version_is_served(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only_tensorflow(folder / "homes/2")
    for library in ("tensorflow", "keras"):
        monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(SelectionError, match="homes:2: needs TensorFlow, which is not installed"):
        served(Settings(store=folder))
