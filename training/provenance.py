"""The provenance of a version, for `training.json`: its data, options, recipe, training and libraries."""

import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from training.config import DataOptions
from training.dataset import Dataset
from training.training_run import FitResult

LIBRARIES = ("numpy", "keras")


def training_record(
    options: DataOptions, dataset: Dataset, result: FitResult, search: dict[str, Any] | None
) -> dict[str, Any]:
    """All information for tracing a version and training it again. search: the trials of `--tune`."""
    data = Path(options.data).name
    record = {
        "recipe": asdict(result.recipe),
        "options": asdict(options) | {"data": data},
        "data": data,
        "bundled": options.bundled,
        "fingerprint": dataset.fingerprint,
        "file": dataset.origin,
        "rows_read": dataset.rows_read,
        "rows_used": dataset.rows_used,
        "notices": dataset.notices,
        "parameters": result.parameters,
        "tried": result.trial_losses,
        "temperature": result.temperature,
        "outputs": len(dataset.schema.classes or ()) if dataset.schema.task == "multiclass" else 1,
        "epochs": len(result.history),
        "kept_epoch": result.kept_epoch.number,
        "history": [epoch._asdict() for epoch in result.history],
        "seconds": result.seconds,
        "libraries": {"python": platform.python_version()} | {name: _version_of(name) for name in LIBRARIES},
    }
    return record | ({"search": search} if search else {})


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
