"""Selects the model versions to serve: the requested ones, otherwise the newest servable version of each model."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from models import store
from models.engines import NumpyEngine
from models.tabular_model import TabularModel
from models.text import nearest
from models.version_files import EngineUnavailable, StoredVersion, StoreError
from service.settings import Settings

log = logging.getLogger("tabserve.model_selection")


class SelectionError(Exception):
    """The models cannot be selected. The message is one line with the searched place and what to do."""


class NoModelStored(SelectionError):  # noqa: N818 - no suffix `Error`, as in service.errors
    """The store has no model."""


class NoServableVersion(SelectionError):  # noqa: N818 - no suffix `Error`, as in service.errors
    """All versions of a model are damaged."""


def pinned_by_bento(service_file: Path) -> tuple[str, ...]:
    """The tags that a Bento was built with, from its `bento.yaml`; empty outside of a Bento."""
    description = service_file.resolve().parents[2] / "bento.yaml"
    if service_file.resolve().parents[1].name != "src" or not description.is_file():
        return ()
    bento = yaml.safe_load(description.read_text(encoding="utf-8"))
    found = [model["tag"] for part in bento.get("services", []) for model in part.get("models", [])]
    return tuple(dict.fromkeys([*found, *[model["tag"] for model in bento.get("models", [])]]))


def select_models(settings: Settings, pinned: Sequence[str] = ()) -> list[TabularModel]:
    """Load the models to serve and check their golden rows. Raises SelectionError."""
    models = load_selected(settings, () if settings.store else pinned)
    default, names = settings.default_model, [model.name for model in models]
    if default is not None and default not in names:
        raise SelectionError(f"TABSERVE_DEFAULT_MODEL={default!r} is not served; served models: {', '.join(names)}")
    return models


def load_selected(settings: Settings, pinned: Sequence[str]) -> list[TabularModel]:
    """Load the models that the settings or the Bento request, by default all. Raises SelectionError."""
    stored, foreign = store.versions(settings.store)
    place = store.location(settings.store)
    requested = settings.models or tuple(pinned)
    if foreign and not requested:
        log.info("ignoring models of other programs", extra={"models": ", ".join(foreign[:10])})
    if not stored:
        raise NoModelStored(
            f"there is no model in {place}; train the default models: {training_command(settings.store)}"
        )
    if requested:
        return [load_tag(tag, stored, settings, place) for tag in requested]
    return newest_of_each_model(stored, settings)


def training_command(folder: Path | None) -> str:
    """The command that trains models into `folder`: training writes to the store in BENTOML_HOME."""
    command = "python -m training"
    return command if folder is None else f"BENTOML_HOME={shlex.quote(str(folder.resolve()))} {command}"


def newest_of_each_model(found: dict[str, list[StoredVersion]], settings: Settings) -> list[TabularModel]:
    """The newest servable version of each model. Skips models without one; raises NoServableVersion if none is left."""
    models, damaged = [], []
    for name in sorted(found):
        try:
            models.append(load_newest(name, found[name], settings))
        except NoServableVersion as error:
            damaged.append(error)
            log.error("model skipped", extra={"model": name, "reason": str(error)})
    if not models:
        raise damaged[0]
    return models


def load_tag(tag: str, found: dict[str, list[StoredVersion]], settings: Settings, place: Path) -> TabularModel:
    """Load `name` or `name:version`. Raises SelectionError."""
    name, _, version = tag.partition(":")
    if name not in found:
        near = nearest(name, found)
        hint = f"did you mean {near}?" if near else f"stored models: {', '.join(sorted(found))}"
        raise SelectionError(f"there is no model {name!r} in {place}; {hint}")
    if not version:
        return load_newest(name, found[name], settings)
    for stored in found[name]:
        if str(stored.version) == version:
            try:
                return load_version(stored, settings)
            except StoreError as error:
                raise SelectionError(str(error)) from error
    versions = ", ".join(str(stored.version) for stored in found[name])
    raise SelectionError(f"there is no {tag} in {place}; stored versions: {versions}")


def load_newest(name: str, candidates: Sequence[StoredVersion], settings: Settings) -> TabularModel:
    """Load the first version, newest first, that reproduces its golden rows. Raises SelectionError.

    If the engine is not available, that is an error: the version is not damaged, and no older version replaces it.
    """
    reasons = []
    for stored in candidates:
        try:
            return load_version(stored, settings)
        except EngineUnavailable as error:
            raise SelectionError(str(error)) from error
        except StoreError as error:
            reasons.append(str(error))
            log.error("version skipped", extra={"model": stored.tag, "reason": str(error)})
    raise NoServableVersion(f"no version of {name!r} can be served: {reasons[0]}")


def load_version(stored: StoredVersion, settings: Settings) -> TabularModel:
    """Load a version with the configured engine; with NumPy if TensorFlow is not available. Raises StoreError."""
    try:
        return store.load(stored, settings.engine)
    except EngineUnavailable as error:
        if settings.engine != "tensorflow":
            raise
        model = store.load(stored)
        if isinstance(model.engine, NumpyEngine):
            model.engine.reason = error.why
        log.warning("using NumPy instead of TensorFlow", extra={"model": stored.tag, "reason": error.why})
        return model
