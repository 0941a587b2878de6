"""Selects the version of each model to serve at the start: a pinned version, the champion, or the newest version that
can be served."""

import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from models import store
from models.engines import NumpyEngine
from models.serving_file import ServingFile
from models.serving_state import ServingState, ServingStateError
from models.tabular_model import TabularModel
from models.text import nearest
from models.version_files import EngineUnavailable, StoredVersion, StoreError
from models.version_lifecycle import VersionStore
from service.settings import Settings
from service.wanted_versions import Selection, Stored, WantedModel, wanted_models

VersionLoad = Callable[[StoredVersion, Settings], TabularModel]
"""Loads a version and checks its golden rows. Raises StoreError."""

log = logging.getLogger("tabserve.model_selection")


class SelectionError(Exception):
    """The models cannot be selected. The message is one line with the searched store and the remedy."""


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


def select_models(
    settings: Settings,
    pinned: Sequence[str] = (),
    at_start: Mapping[str, int] | None = None,
    load: VersionLoad | None = None,
) -> list[TabularModel]:
    """Load the champions of the models to serve and check their golden rows. Raises SelectionError.

    pinned: the tags that the Bento pins. at_start: as in `Selection`, for a replaced worker. load: by default
    `load_version`.
    """
    selection = selection_of(settings, pinned, at_start)
    models = load_selected(settings, selection, load or load_version)
    default, names = settings.default_model, [model.name for model in models]
    if default is not None and names and default not in names:
        raise SelectionError(f"TABSERVE_DEFAULT_MODEL={default!r} is not served; served models: {', '.join(names)}")
    return models


def selection_of(
    settings: Settings, pinned: Sequence[str] = (), at_start: Mapping[str, int] | None = None
) -> Selection:
    """The selection in the settings or, if there is none, in the Bento."""
    return Selection.of(settings.models or (() if settings.store else pinned), at_start)


def load_selected(settings: Settings, selection: Selection, load: VersionLoad) -> list[TabularModel]:
    """Load the champion of each selected model, by default of all models. Raises SelectionError."""
    stored, foreign = store.versions(settings.store)
    place = VersionStore(settings.store).place
    names = selection.names
    if foreign and not names:
        log.info("ignoring models of other programs", extra={"models": ", ".join(foreign[:10])})
    if not stored:
        raise NoModelStored(
            f"there is no model in {place}; train the default models: {training_command(settings.store)}"
        )
    for name in names or ():
        check_stored(name, selection.pins.get(name), stored, place)
    wanted = wanted_models(serving_state(settings), stored, selection)
    if names:
        listed = [wanted[name] for name in names if name in wanted]
        return [load_champion(model, settings, load, pinned=model.name in selection.pins) for model in listed]
    return champion_of_each_model([*wanted.values()], settings, load)


def serving_state(settings: Settings) -> ServingState:
    """The state in `serving.json`. If it cannot be read, the problem is logged and the default state is returned."""
    try:
        return ServingFile(store.serving_folder(settings.store)).read()
    except ServingStateError as error:
        log.error("serving.json is ignored", extra={"reason": str(error)})
        return ServingState()


def check_stored(name: str, pin: int | None, found: Stored, place: str) -> None:
    """Raises SelectionError if the model, or its pinned version, is not stored."""
    if name not in found:
        near = nearest(name, found)
        hint = f"did you mean {near}?" if near else f"stored models: {', '.join(sorted(found))}"
        raise SelectionError(f"there is no model {name!r} in {place}; {hint}")
    if pin is not None and all(stored.version != pin for stored in found[name]):
        versions = ", ".join(str(stored.version) for stored in found[name])
        raise SelectionError(f"there is no {name}:{pin} in {place}; stored versions: {versions}")


def training_command(folder: Path | None) -> str:
    """The command that trains models into `folder`: training writes to the store in BENTOML_HOME."""
    command = "python -m training"
    return command if folder is None else f"BENTOML_HOME={shlex.quote(str(folder.resolve()))} {command}"


def champion_of_each_model(wanted: Sequence[WantedModel], settings: Settings, load: VersionLoad) -> list[TabularModel]:
    """The champion of each model. Skips models without a good version; raises NoServableVersion if none is left."""
    models, damaged = [], []
    for model in wanted:
        try:
            models.append(load_champion(model, settings, load))
        except NoServableVersion as error:
            damaged.append(error)
            log.error("model skipped", extra={"model": model.name, "reason": str(error)})
    if damaged and not models:
        raise damaged[0]
    return models


def load_champion(wanted: WantedModel, settings: Settings, load: VersionLoad, *, pinned: bool = False) -> TabularModel:
    """Load the first candidate that reproduces its golden rows. Raises SelectionError.

    A pinned version is never replaced by another version. A missing engine is an error, not a reason to replace a
    version.
    """
    reasons = []
    for stored in wanted.candidates:
        try:
            return load(stored, settings)
        except EngineUnavailable as error:
            raise SelectionError(str(error)) from error
        except StoreError as error:
            if pinned:
                raise SelectionError(str(error)) from error
            reasons.append(str(error))
            log.error("version skipped", extra={"model": stored.tag, "reason": str(error)})
    raise NoServableVersion(f"no version of {wanted.name!r} can be served: {reasons[0]}")


def load_version(stored: StoredVersion, settings: Settings) -> TabularModel:
    """Load a version with the configured engine; with NumPy if TensorFlow is not available. Raises StoreError."""
    try:
        return store.load(stored, settings.engine, settings.trusted_keys)
    except EngineUnavailable as error:
        if settings.engine != "tensorflow":
            raise
        model = store.load(stored, trusted_keys=settings.trusted_keys)
        if isinstance(model.engine, NumpyEngine):
            model.engine.reason = error.reason
        log.warning("using NumPy instead of TensorFlow", extra={"model": stored.tag, "reason": error.reason})
        return model
