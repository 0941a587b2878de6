"""Copies of the served versions in the server's own folder: a worker can be replaced when the store is missing."""

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import replace
from pathlib import Path

from models import store
from models.atomic_file import replace_file
from models.file_destination import is_url
from models.serving_file import SERVING_FILE
from models.tabular_model import TabularModel
from service.model_selection import SelectionError
from service.settings import Settings

FOLDER = "models"
STORE_VARIABLE = "TABSERVE_STORE"
log = logging.getLogger("tabserve.model_selection")


def replace_missing_store(environ: MutableMapping[str, str], folder: Path) -> str | None:
    """Set TABSERVE_STORE to the copies in `folder` if the store is missing, which would prevent the start.

    Returns the missing folder.
    """
    named = environ.get(STORE_VARIABLE)
    if not named or is_url(named) or Path(named).is_dir() or not (folder / FOLDER).is_dir():
        return None
    environ[STORE_VARIABLE] = str(folder / FOLDER)
    return named


def select_models(
    settings: Settings, select: Callable[[Settings], list[TabularModel]], folder: Path | None
) -> list[TabularModel]:
    """Load the models to serve with `select`, and store copies of them in `folder`. Loads the copies if the store
    fails.

    folder: the folder that the workers of this server share; None outside of workers. Raises SelectionError.
    """
    try:
        models = select(settings)
    except (SelectionError, OSError) as error:
        copies = folder and folder / FOLDER
        if copies is None or not copies.is_dir():
            raise
        log.warning("the store fails, loading copies of its versions", extra={"reason": str(error)})
        return select(replace(settings, store=copies))
    if folder is not None:
        copy_versions(models, settings, folder / FOLDER)
    return models


def copy_served_versions(models: Sequence[TabularModel], settings: Settings, folder: Path) -> None:
    """Store copies of the served versions and of `serving.json`, and delete other copies. folder: as in
    `select_models`."""
    copies = folder / FOLDER
    copy_versions(models, settings, copies)
    served = {model.tag for model in models}
    with contextlib.suppress(OSError):
        for copy in copies.glob("*/*/"):
            if copy.name.isdecimal() and f"{copy.parent.name}:{copy.name}" not in served:
                shutil.rmtree(copy, ignore_errors=True)
        replace_file(copies / SERVING_FILE, (store.serving_folder(settings.store) / SERVING_FILE).read_bytes())


def copy_versions(models: Sequence[TabularModel], settings: Settings, copies: Path) -> None:
    """Copy the versions that have no copy yet. Without disk space, a warning is logged instead."""
    stored, _ = store.versions(settings.store)
    for model in models:
        copy = copies / model.name / model.version
        source = next((each.path for each in stored.get(model.name, ()) if each.tag == model.tag), None)
        if source is None or copy.exists():
            continue
        part = copies / model.name / f"{model.version}.{os.getpid()}"
        try:
            part.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, part, copy_function=link_or_copy)
            part.rename(copy)
        except OSError as error:
            shutil.rmtree(part, ignore_errors=True)
            if not copy.exists():  # otherwise another worker has copied it
                log.warning("workers can be replaced only while the store works", extra={"reason": str(error)})
                return


def link_or_copy(source: str, target: str) -> None:
    """Link a file, which needs no disk space. If that is not possible, for example to another disk, copy it."""
    with contextlib.suppress(OSError):
        os.link(source, target)
        return
    shutil.copyfile(source, target)
