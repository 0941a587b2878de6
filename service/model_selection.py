"""Which versions a server serves: those named, else of each name the newest that may be served."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from models import store
from models.engines import NumpyEngine
from models.tabular_model import TabularModel
from models.text import nearest
from models.version_files import EngineUnavailable, Stored, StoreError
from service.settings import Settings

log = logging.getLogger("tabserve.catalog")


class SelectionError(Exception):
    """No model can be served; the message is one line that says where was looked and what to do."""


class NoModelStored(SelectionError):  # noqa: N818 - the name says what is wrong
    """There is no model at all."""


class NoServableVersion(SelectionError):  # noqa: N818 - the name says what is wrong
    """Every version of a model is damaged."""


def pinned_by_bento(service_file: Path) -> tuple[str, ...]:
    """The tags that a Bento was built with, its `bento.yaml` beside `src/service/app.py`; empty outside of a Bento."""
    description = service_file.resolve().parents[2] / "bento.yaml"
    if service_file.resolve().parents[1].name != "src" or not description.is_file():
        return ()
    bento = yaml.safe_load(description.read_text(encoding="utf-8"))
    found = [model["tag"] for part in bento.get("services", []) for model in part.get("models", [])]
    return tuple(dict.fromkeys([*found, *[model["tag"] for model in bento.get("models", [])]]))


def select_models(settings: Settings, pinned: Sequence[str] = ()) -> list[TabularModel]:
    """Load what is to be served, golden rows checked. Raises SelectionError."""
    models = load_selected(settings, () if settings.store else pinned)
    default, names = settings.default_model, [model.name for model in models]
    if default is not None and default not in names:
        raise SelectionError(f"TABSERVE_DEFAULT_MODEL={default!r} is not served; there are {', '.join(names)}")
    return models


def load_selected(settings: Settings, pinned: Sequence[str]) -> list[TabularModel]:
    found, foreign = store.versions(settings.store)
    place = store.location(settings.store)
    wanted = settings.models or tuple(pinned)
    if foreign and not wanted:
        log.info("models that are not ours are left alone", extra={"models": ", ".join(foreign[:10])})
    if not found:
        raise NoModelStored(f"there is no model in {place}; train the default ones: {training_command(settings.store)}")
    if wanted:
        return [load_tag(tag, found, settings, place) for tag in wanted]
    return newest_of_each_model(found, settings)


def training_command(folder: Path | None) -> str:
    """The command after which there are models in `folder`: training writes to the store of BentoML's home."""
    command = "python -m training"
    return command if folder is None else f"BENTOML_HOME={shlex.quote(str(folder.resolve()))} {command}"


def newest_of_each_model(found: dict[str, list[Stored]], settings: Settings) -> list[TabularModel]:
    """Of each name the newest good version. A name that has none is left out, unless nothing is left."""
    models, damaged = [], []
    for name in sorted(found):
        try:
            models.append(load_newest(name, found[name], settings))
        except NoServableVersion as error:
            damaged.append(error)
            log.error("model left out", extra={"model": name, "reason": str(error)})
    if not models:
        raise damaged[0]
    return models


def load_tag(tag: str, found: dict[str, list[Stored]], settings: Settings, place: Path) -> TabularModel:
    name, _, version = tag.partition(":")
    if name not in found:
        near = nearest(name, found)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(sorted(found))}"
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
    raise SelectionError(f"there is no {tag} in {place}; there are versions {versions}")


def load_newest(name: str, candidates: Sequence[Stored], settings: Settings) -> TabularModel:
    """Of versions newest first, the first that loads and answers its golden rows.

    An engine that cannot run the newest one is no damage: it ends the start, and no older version takes its place.
    """
    reasons = []
    for stored in candidates:
        try:
            return load_version(stored, settings)
        except EngineUnavailable as error:
            raise SelectionError(str(error)) from error
        except StoreError as error:
            reasons.append(str(error))
            log.error("version left out", extra={"model": stored.tag, "reason": str(error)})
    raise NoServableVersion(f"no version of {name!r} can be served: {reasons[0]}")


def load_version(stored: Stored, settings: Settings) -> TabularModel:
    """By the engine that is asked for; where that is TensorFlow and cannot be had, by NumPy. Raises StoreError."""
    try:
        return store.load(stored, settings.engine)
    except EngineUnavailable as error:
        if settings.engine != "tensorflow":
            raise
        model = store.load(stored)
        if isinstance(model.engine, NumpyEngine):
            model.engine.reason = error.why
        log.warning("served by NumPy", extra={"model": stored.tag, "reason": error.why})
        return model
