"""Imports a model file and a sample of rows as a version: `run` for commands, `store_keras_model` for Python."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models import store
from models.store_repair import repair_store
from models.text_tables import aligned
from models.version_files import StoredVersion
from training import card, promotion
from training.config import DataOptions
from training.errors import UsageError
from training.importing.import_model import import_model
from training.importing.import_options import ImportOptions, OutputForm, Preprocessing
from training.importing.imported_version import build_version
from training.model_names import check_model_name, model_name
from training.promotion import PromotionMode
from training.steps import step
from training.training_run import Report

if TYPE_CHECKING:  # the extra `signing` installs cryptography
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey


def run(
    options: ImportOptions,
    data: DataOptions,
    promote: PromotionMode = "auto",
    *,
    signing_key: "EllipticCurvePrivateKey | None" = None,
    report: Report = print,
) -> StoredVersion:
    """Import a model and store it as a version. Raises UsageError or StoreError, and then stores nothing."""
    if data.name is None and data.schema is None:
        data = replace(data, name=model_name(Path(options.model).stem))
    store.check_writable()
    for repair in repair_store(store.location()):
        report(f"note: {repair}")
    imported = import_model(options, data, report)
    with step("the model cannot be described", options.model):
        version = build_version(imported, data)
    with step("the model cannot be stored", options.model):
        stored = store.save(version, signing_key)
    report(aligned(card.metrics_table(imported.metrics, {})))
    report(f"Stored as {stored.tag} in {stored.path}")
    promotion.promote_without_comparison(stored, promote, "imported", report)
    return stored


def store_keras_model(
    model: Any,
    data: Any,
    target: str,
    *,
    name: str,
    output: OutputForm | None = None,
    preprocessing: Preprocessing | None = None,
    head: str | None = None,
    schema: str | Path | None = None,
    drop: Sequence[str] = (),
    promote: bool | None = None,
    report: Report = print,
) -> StoredVersion:
    """Store a Keras model as a version, the same as `python -m training import`.

    model: a Keras model, or the path of its `.keras` file. data: a pandas table with the columns of the model
    and the target, or the path of a file. promote: whether the version is served; None: it is served unless a person
    chose the served version. Raises UsageError for a model that cannot be served, with the layer, and StoreError.
    """
    check_model_name(name)  # the name is part of paths
    mode: PromotionMode = "auto" if promote is None else "always" if promote else "never"
    with tempfile.TemporaryDirectory(prefix="tabserve-import-") as folder:
        path = _model_path(model, Path(folder) / f"{name}.keras")
        table = _table_path(data, Path(folder) / f"{name}.parquet")
        options = DataOptions(
            data=table, target=target, name=name, schema=None if schema is None else str(schema), drop=tuple(drop)
        )
        return run(ImportOptions(path, output, preprocessing, head), options, mode, report=report)


def _model_path(model: Any, path: Path) -> str:
    if isinstance(model, str | Path):
        return str(model)
    if not callable(getattr(model, "save", None)):
        raise UsageError(f"expected a Keras model or the path of a .keras file, not {type(model).__name__}")
    model.save(path)
    return str(path)


def _table_path(data: Any, path: Path) -> str:
    if isinstance(data, str | Path):
        return str(data)
    import pandas as pd

    if not isinstance(data, pd.DataFrame):
        raise UsageError(f"expected a pandas table or the path of a file, not {type(data).__name__}")
    data.to_parquet(path, index=False)
    return str(path)
