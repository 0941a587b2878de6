"""Finds, saves, loads and deletes versions in BentoML's model store."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from models import golden_rows, manifest, store_library_hooks, trusted_keys, version_files
from models.atomic_file import sync_files, sync_folder
from models.serving_file import SERVING_FILE
from models.serving_state import ServingStateError
from models.store_repair import write_latest
from models.tabular_model import TabularModel
from models.text import truncate
from models.unfinished_folder import discard, unfinished_folder
from models.version_files import EngineChoice, StoredVersion, StoreError, TrainedVersion
from models.version_folder import DESCRIPTION_FILE, read_description

if TYPE_CHECKING:  # installed by the extra `signing`
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

MODELS = "models"  # the folder of models in BENTOML_HOME


def location(store: Path | None = None) -> Path:
    """The folder of models, in `store` or by default in BentoML's store."""
    if store is not None:
        return store / MODELS if (store / MODELS).is_dir() else store
    return store_library_hooks.bentoml_folder()


def serving_folder(store: Path | None = None) -> Path:
    """The folder of `serving.json` and the audit, independent of how the store is specified.

    For BENTOML_HOME and its folder of models this is BENTOML_HOME; for any other folder it is `store` itself. A
    `serving.json` in the folder of models takes precedence, because it was written by a server to which only this
    folder was mounted. Raises ServingStateError if both folders contain one.
    """
    models = location(store)
    is_in_home = store is None or models != store or (store.name == MODELS and is_bentoml_home(store.parent))
    own, of_home = models / SERVING_FILE, models.parent / SERVING_FILE
    if not is_in_home or not own.is_file():
        return models.parent if is_in_home else models
    if of_home.is_file():
        raise ServingStateError(
            f"{own} and {of_home} both specify which versions are served: keep the correct file, and delete the other"
        )
    return models


def is_bentoml_home(folder: Path) -> bool:
    """Whether this folder has been used as BENTOML_HOME, by BentoML or by a change of versions."""
    return (folder / "bentos").is_dir() or (folder / SERVING_FILE).is_file()


def versions(store: Path | None = None) -> tuple[dict[str, list[StoredVersion]], list[str]]:
    """The versions of this project's models by name, newest first, and the tags of all other models."""
    place = location(store)
    if (place / "features.json").is_file():
        single = unpacked_version(place)
        return {single.name: [single]}, []
    ours: dict[str, list[StoredVersion]] = {}
    others = []
    for folder in sorted(place.glob("*/*/")):
        name, version = folder.parent.name, folder.name
        if version.isdecimal() and (folder / "features.json").is_file():
            ours.setdefault(name, []).append(StoredVersion(name, int(version), folder))
        else:
            others.append(f"{name}:{version}")
    for found in ours.values():
        found.sort(key=lambda stored: -stored.version)
    return ours, others


def unpacked_version(folder: Path) -> StoredVersion:
    """The version whose files are directly in this folder, as after unpacking an export."""
    try:
        name = str(version_files.read_json(folder / "features.json")["name"])
    except (OSError, ValueError, LookupError, TypeError):
        name = folder.name  # `load` reports the error
    try:
        number = read_description(folder).get("version", "")
        version = int(number) if number.isdecimal() else 1
    except (OSError, ValueError):  # no description, or a number with thousands of digits
        version = 1
    return StoredVersion(name, version, folder)


def check_writable() -> None:
    """Raises StoreError if no version can be stored. It is called before training starts."""
    folder = location()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with unfinished_folder(folder):
            pass
    except OSError as error:
        raise StoreError(f"nothing can be stored in {folder}: {error.strerror or error}") from error


def save(trained: TrainedVersion, signing_key: "EllipticCurvePrivateKey | None" = None) -> StoredVersion:
    """Store a version under the next number. It is first loaded and checked; after an error no files are left.

    signing_key: the key with which the version is signed before it appears in the store.
    """
    store, name = location(), trained.schema.name
    try:
        with unfinished_folder(store) as folder:
            version_files.write(folder, trained)
            load(StoredVersion(name, next_version(name), folder))
            stored = _publish(folder, store, trained, signing_key)
    except OSError as error:
        raise StoreError(f"{name} cannot be stored in {store}: {error.strerror or error}") from error
    try:
        write_latest(stored.path.parent)
    except OSError:  # `store_repair` writes it before the next training run
        pass
    except KeyboardInterrupt:
        discard(stored.path)
        raise
    return stored


def environment_trusted_keys() -> trusted_keys.KeyPaths:
    """The keys in TABSERVE_TRUSTED_KEYS, for programs without server settings. Raises StoreError."""
    try:
        return trusted_keys.configured()
    except trusted_keys.TrustedKeysError as error:
        raise StoreError(str(error)) from error


def _publish(
    folder: Path, store: Path, trained: TrainedVersion, signing_key: "EllipticCurvePrivateKey | None"
) -> StoredVersion:
    """Rename the folder of a complete version to the next free number."""
    name = trained.schema.name
    labels = {"framework": "keras" if trained.keras is not None else "numpy", "task": trained.schema.task}
    while True:
        version = next_version(name)
        stored = StoredVersion(name, version, store / name / str(version))
        text = store_library_hooks.description(stored.tag, labels, {"target": trained.schema.target})
        (folder / DESCRIPTION_FILE).write_text(text, encoding="utf-8")
        manifest.write(folder)
        if signing_key is not None:
            from models import signature

            signature.sign(folder, signing_key, stored.tag)
        stored.path.parent.mkdir(parents=True, exist_ok=True)
        sync_files(folder)
        try:
            os.rename(folder, stored.path)
        except OSError:
            if stored.path.exists() or not stored.path.parent.exists():
                continue  # another training run used the number, or the last version was deleted meanwhile
            raise
        with contextlib.suppress(OSError):  # the version is complete and visible
            sync_folder(stored.path.parent)
            sync_folder(store)  # the model's folder may be new
        return stored


def next_version(name: str) -> int:
    """One more than the highest version number of this model in the store, including versions of other projects."""
    taken = [int(folder.name) for folder in (location() / name).glob("*/") if folder.name.isdecimal()]
    return max(taken, default=0) + 1


def remove(stored: StoredVersion) -> None:
    """Delete a version, which a single rename removes from the store."""
    discard(stored.path)
    with contextlib.suppress(OSError):
        _remove_if_empty(model := stored.path.parent)
        write_latest(model)


def _remove_if_empty(model: Path) -> None:
    """Remove the folder of a model if it contains no versions."""
    if not any(model.glob("*/")):
        (model / "latest").unlink(missing_ok=True)
        model.rmdir()


def load(stored: StoredVersion, engine: EngineChoice = "auto", trusted_keys: Sequence[Path] = ()) -> TabularModel:
    """Read a version, create its engine and check its golden rows. Raises StoreError.

    trusted_keys: files and folders of public keys, one of which must have signed the version; if empty, signatures are
    not checked.
    """
    try:
        model = version_files.read(stored, engine, trusted_keys=trusted_keys)
        golden_rows.check(model)
    except StoreError:
        raise
    except Exception as error:  # for a damaged file NumPy, Keras or pydantic can raise any exception
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise StoreError(f"{stored.tag} in {stored.path} cannot be read: {truncate(reason, 300)}") from error
    return model
