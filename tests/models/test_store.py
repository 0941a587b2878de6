"""A version in BentoML's store: stored completely, and loaded unchanged."""

import errno
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bentoml
import numpy as np
import pytest

from models import store, version_files
from models.golden_rows import TOLERANCE, max_distance
from models.schema import FeatureSchema
from models.version_files import StoredVersion, StoreError, TrainedVersion
from tests.models.damage import damage

Make = Callable[..., TrainedVersion]
Row = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# Saving


@pytest.mark.parametrize("task", ["regression", "binary", "multiclass"])
def test_stored_version_is_loaded_with_the_same_predictions(
    bentoml_store: Path, make_trained: Make, some_rows: Callable[[int], list[Row]], task: str
) -> None:
    trained = make_trained(task)
    stored = store.save(trained)
    model = store.load(stored)
    assert (model.tag, stored.path) == ("homes:1", bentoml_store / "homes" / "1")
    assert model.schema.to_json() == trained.schema.to_json()
    assert model.encoder.to_json() == trained.encoder.to_json()
    assert (model.metrics, model.training, model.card) == (trained.metrics, trained.training, trained.card)
    assert (model.engine.name, model.engine.reason) == ("numpy", "a test")
    rows = some_rows(50)
    assert trained.network is not None
    outputs = trained.network.predict(trained.encoder.encode(trained.schema.frames.from_rows(rows)))
    expected = trained.encoder.target.unscale(outputs) if task == "regression" else store_probabilities(outputs)
    assert max_distance(model.predict_rows(rows).primary, expected, model.tolerance()) <= TOLERANCE


def store_probabilities(outputs: Any) -> Any:
    from models.probabilities import probabilities

    return probabilities(outputs)


def test_version_consists_of_readable_files(stored: StoredVersion) -> None:
    assert files(stored.path) == {
        *("features.json", "encoder.json", "network.json", "weights.npz", "metrics.json", "training.json"),
        *("golden.json", "card.md", "card.html", "learning.png", "model.yaml", "manifest.json"),
    }
    for path in stored.path.glob("*.json"):
        json.loads(path.read_text("utf-8"))
    assert FeatureSchema.from_json((stored.path / "features.json").read_bytes()).format == 1
    assert stored.path.stat().st_mode & 0o055 == 0o055  # a container reads it as another user


def test_bentoml_lists_the_stored_version(stored: StoredVersion) -> None:
    [found] = bentoml.models.list()
    assert str(found.tag) == "homes:1"
    assert found.info.labels == {"framework": "numpy", "task": "regression"}


def test_versions_are_numbered_and_listed_newest_first(bentoml_store: Path, make_trained: Make) -> None:
    for name in ("homes", "homes", "cars"):
        store.save(make_trained(name=name))
    ours, others = store.versions()
    assert {name: [stored.version for stored in found] for name, found in ours.items()} == {
        "cars": [1],
        "homes": [2, 1],
    }
    assert others == []


def test_version_numbers_are_sorted_numerically(bentoml_store: Path, make_trained: Make) -> None:
    for version in (9, 10):
        folder = bentoml_store / "homes" / str(version)
        folder.mkdir(parents=True)
        version_files.write(folder, make_trained())
    assert [stored.version for stored in store.versions()[0]["homes"]] == [10, 9]
    assert store.save(make_trained()).version == 11


def test_models_of_other_projects_are_listed_separately_and_keep_their_numbers(
    bentoml_store: Path, make_trained: Make
) -> None:
    for tag in ("homes:1", "other:abc"):
        with bentoml.models.create(tag) as model:
            Path(model.path, "data.txt").write_text("theirs")
    assert store.save(make_trained()).tag == "homes:2"
    ours, others = store.versions()
    assert list(ours) == ["homes"]
    assert sorted(others) == ["homes:1", "other:abc"]


def test_concurrent_training_takes_the_next_version_number(
    bentoml_store: Path, make_trained: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = version_files.write

    def write_after_another(folder: Path, trained: TrainedVersion) -> None:
        real(folder, trained)
        monkeypatch.setattr(version_files, "write", real)
        store.save(make_trained())  # takes number 1 while we are writing

    monkeypatch.setattr(version_files, "write", write_after_another)
    assert store.save(make_trained()).tag == "homes:2"
    assert [stored.version for stored in store.versions()[0]["homes"]] == [2, 1]


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_failed_write_leaves_no_files(
    bentoml_store: Path, make_trained: Make, monkeypatch: pytest.MonkeyPatch, failure: type[BaseException]
) -> None:
    def fail(*arguments: Any) -> None:
        raise failure

    monkeypatch.setattr(version_files, "golden_predictions", fail)
    with pytest.raises(failure):
        store.save(make_trained())
    assert files(bentoml_store) == set()


@pytest.mark.parametrize("function", ["rename", "replace"])
@pytest.mark.parametrize("before", [0, 1])
def test_interrupted_save_leaves_no_version(
    bentoml_store: Path, make_trained: Make, monkeypatch: pytest.MonkeyPatch, before: int, function: str
) -> None:
    """`os.rename` gives a version its number, and `os.replace` writes the number to `latest`."""
    for _ in range(before):
        store.save(make_trained())
    real = getattr(os, function)

    def interrupt_once(*arguments: Any) -> None:
        monkeypatch.setattr(os, function, real)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, function, interrupt_once)
    with pytest.raises(KeyboardInterrupt):
        store.save(make_trained())
    assert len(store.versions()[0].get("homes", [])) == before
    assert len(bentoml.models.list()) == before
    assert store.save(make_trained()).version == before + 1
    assert files(bentoml_store) == {"homes"}


@pytest.fixture
def largest_file() -> Iterator[Callable[[int], None]]:
    """largest_file(bytes): the operating system refuses to write larger files, as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(("keras", "size"), [(False, 0), (False, 1000), (True, 5000)])
def test_file_that_cannot_be_written_leaves_no_files(
    bentoml_store: Path, make_trained: Make, largest_file: Callable[[int], None], keras: bool, size: int
) -> None:
    trained = make_trained(keras=keras)
    largest_file(size)
    with pytest.raises(StoreError, match=r"homes cannot be stored in .*: File too large"):
        store.save(trained)
    assert files(bentoml_store) == set()
    largest_file(10**9)
    assert store.save(trained).tag == "homes:1"


def test_version_is_written_to_disk_before_it_is_listed(
    bentoml_store: Path, make_trained: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(descriptor: int) -> None:
        fsync(descriptor)
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    def renamed(source: Path, target: Path) -> None:
        rename(source, target)
        events.append("renamed")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    stored = store.save(make_trained())
    position = events.index("renamed")
    before, after = events[:position], events[position + 1 :]
    assert {path.name for path in stored.path.iterdir()} <= {*before}
    assert before[-1].startswith("unfinished-")
    assert stored.name in after


def test_version_that_does_not_reach_the_disk_is_not_listed(
    bentoml_store: Path, make_trained: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError, match=r"cannot be stored.*Input/output error"):
        store.save(make_trained())
    assert store.versions() == ({}, [])
    assert not [*store.location().glob("unfinished-*")]


def test_version_is_stored_although_latest_cannot_be_written(
    bentoml_store: Path, make_trained: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.save(make_trained())

    def raise_disk_full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", raise_disk_full)
        assert store.save(make_trained()).tag == "homes:2"
    assert (bentoml_store / "homes" / "latest").read_text() == "1"
    assert files(bentoml_store / "homes") == {"1", "2", "latest"}


@pytest.mark.parametrize("content", ["", "7", "x"])
def test_invalid_latest_file_does_not_prevent_training(bentoml_store: Path, make_trained: Make, content: str) -> None:
    store.save(make_trained())
    (bentoml_store / "homes" / "latest").write_text(content)
    assert store.save(make_trained()).tag == "homes:2"
    assert str(bentoml.models.get("homes:latest").tag) == "homes:2"


def test_version_with_different_golden_predictions_is_not_stored(
    bentoml_store: Path, make_trained: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_files, "golden_predictions", lambda trained: [[0.0]] * 6)
    with pytest.raises(StoreError, match="does not predict its golden rows"):
        store.save(make_trained())
    assert files(bentoml_store) == set()


def test_unwritable_store_is_reported(bentoml_store: Path, make_trained: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bentoml_store.rmdir()
    bentoml_store.write_text("a file")
    with pytest.raises((StoreError, OSError)):
        store.save(make_trained())
    with pytest.raises(StoreError, match="nothing can be stored in"):
        store.check_writable()


def test_write_check_leaves_no_files(bentoml_store: Path) -> None:
    bentoml_store.rmdir()
    store.check_writable()
    assert list(bentoml_store.iterdir()) == []


def test_deleted_version_is_no_longer_the_latest_of_bentoml(bentoml_store: Path, make_trained: Make) -> None:
    first, second = (store.save(make_trained()) for _ in range(2))
    store.remove(second)
    assert str(bentoml.models.get("homes").tag) == "homes:1"
    store.remove(first)
    assert store.versions() == ({}, [])
    assert files(bentoml_store) == set()


def test_store_can_be_a_folder_of_models_or_its_parent(stored: StoredVersion) -> None:
    models = stored.path.parents[1]
    assert store.location(models) == models
    assert store.location(models.parent) == models
    assert store.versions(models)[0]["homes"] == store.versions(models.parent)[0]["homes"] == [stored]


# Engines


@pytest.mark.parametrize(
    ("description", "version"),
    [
        (b"name: homes\nversion: '7'\n", 7),
        (b"name: homes\n", 1),
        (b"version: 7\nname: \xff\n", 7),
        (b"version: -7\n", 1),
        (b"version: " + b"7" * 5000 + b"\n", 1),
    ],
)
def test_number_of_an_unpacked_version_is_read_from_any_description(
    stored: StoredVersion, tmp_path: Path, description: bytes, version: int
) -> None:
    folder = Path(shutil.copytree(stored.path, tmp_path / "unpacked"))
    (folder / "model.yaml").write_bytes(description)
    assert store.versions(folder)[0] == {stored.name: [StoredVersion(stored.name, version, folder)]}
    (folder / "model.yaml").unlink()
    assert store.versions(folder)[0][stored.name][0].version == 1


def test_numpy_version_has_no_tensorflow_engine(stored: StoredVersion) -> None:
    with pytest.raises(StoreError, match="has no Keras model"):
        store.load(stored, "tensorflow")


def test_loading_a_numpy_version_does_not_import_tensorflow(stored: StoredVersion) -> None:
    program = (
        "import sys; from pathlib import Path; from models import store\n"
        "[[found]] = store.versions(Path(sys.argv[1]))[0].values()\n"
        "model = store.load(found); model.present(model.predict_rows(model.golden.rows))\n"
        "heavy = {'tensorflow', 'keras', 'pandas', 'sklearn', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(stored.path.parents[1])], cwd=ROOT, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()


# Keras


def test_both_engines_of_a_keras_version_have_equal_predictions(
    bentoml_store: Path, make_trained: Make, some_rows: Callable[[int], list[Row]]
) -> None:
    stored = store.save(make_trained("multiclass", keras=True))
    rows = some_rows(200)
    numpy, tensorflow = store.load(stored, "auto"), store.load(stored, "tensorflow")
    assert (numpy.engine.name, tensorflow.engine.name) == ("numpy", "tensorflow")
    assert max_distance(numpy.predict_rows(rows).primary, tensorflow.predict_rows(rows).primary, 1.0) <= TOLERANCE
    assert tensorflow.engine.reason == "requested by TABSERVE_ENGINE"


def test_model_that_numpy_cannot_express_uses_tensorflow(bentoml_store: Path, make_trained: Make) -> None:
    stored = store.save(make_trained(keras=True, network=False))
    model = store.load(stored)
    assert (model.engine.name, model.engine.reason) == ("tensorflow", "a test")
    assert not (stored.path / "weights.npz").exists()
    with pytest.raises(StoreError, match="has no NumPy network"):
        store.load(stored, "numpy")
    for how in ("cut", "empty", "missing"):
        damage(stored.path / "model.keras", how)
        with pytest.raises(StoreError, match="homes:1"):
            store.load(stored)


# Equal predictions


def test_predictions_are_compared_relative_to_prediction_or_spread() -> None:
    assert max_distance(np.array([1.0, 100.0]), np.array([1.1, 101.0]), 10.0) == pytest.approx(0.01)
    assert max_distance(np.array([100.0]), np.array([101.0]), 10.0) == pytest.approx(1 / 101)
    assert np.isnan(max_distance(np.array([np.nan]), np.array([1.0]), 1.0))
