"""Decides whether a new version is served: immediately, never, or if it is not worse than the champion."""

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from models import serving_changes, store
from models.aliases import CHALLENGER
from models.frame import Frame
from models.outputs import Array
from models.schema import FeatureSchema
from models.serving_state import ModelState
from models.tabular_model import TabularModel
from models.text import counted
from models.version_files import StoredVersion, StoreError, read_json
from models.version_lifecycle import VersionStore
from training import pipeline
from training.build_dataset import load_dataset
from training.comparison import MIN_ROWS, Comparison, compare_classifications, compare_regressions
from training.config import DataOptions, FitOptions
from training.dataset import Dataset
from training.pipeline import TrainingResult
from training.row_hash import row_hashes
from training.splitting import Indices
from training.test_set import NotComparable, column_types, unseen_rows
from training.training_run import Report

if TYPE_CHECKING:  # the extra `signing` installs cryptography
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

PromotionMode = Literal["auto", "always", "never", "if-better"]


@dataclass(frozen=True)
class PromotionOptions:
    """mode: auto promotes unless a person chose the champion. judge_on: a file with rows for the comparison."""

    mode: PromotionMode = "auto"
    judge_on: str = ""


def run(
    options: DataOptions,
    fit_options: FitOptions,
    promotion: PromotionOptions,
    *,
    baselines: bool = True,
    tune: float | None = None,
    engine: pipeline.TrainingEngine = "local",
    signing_key: "EllipticCurvePrivateKey | None" = None,
    report: Report = print,
) -> StoredVersion:
    """Train and store a version, sign it if there is a key, and promote it according to the options.

    Raises ServingStateError, and the errors of `pipeline.run`.
    """
    stored, result = pipeline.run(
        options, fit_options, baselines=baselines, tune=tune, engine=engine, signing_key=signing_key, report=report
    )
    promote(stored, result, options, promotion, report)
    return stored


def promote(
    stored: StoredVersion, result: TrainingResult, data: DataOptions, options: PromotionOptions, report: Report
) -> None:
    """Make a stored version the champion or the challenger, or leave both unchanged, according to the options."""
    versions = VersionStore()
    state = versions.serving.read().model(stored.name)
    current = current_champion(versions, state, stored)
    if options.mode == "if-better" and current is not None:
        promote_if_better(versions, stored, current, result, data, options.judge_on, report)
    else:
        promote_without_comparison(stored, options.mode, "trained", report)


def promote_without_comparison(stored: StoredVersion, mode: PromotionMode, reason: str, report: Report) -> None:
    """Make a stored version the champion or keep the current one, depending on the mode and on an earlier choice by a
    person."""
    versions = VersionStore()
    state = versions.serving.read().model(stored.name)
    current = current_champion(versions, state, stored)
    if mode == "never" or (mode == "auto" and is_chosen_by_person(state)):
        keep_current(versions, current)
        why = "" if mode == "never" else f": a person chose the served version of {stored.name}"
        report(f"{stored.tag} is not served{why}. To serve it: tabserve promote {stored.tag}")
    else:
        versions.promote(stored, by_person=mode == "always", reason=reason)
        if current is not None:
            report(f"{stored.tag} is the champion instead of {current.tag}; to undo: tabserve rollback {stored.name}")


def keep_current(versions: VersionStore, current: StoredVersion | None) -> None:
    """Make the current version the champion if it was served only because it was the newest version."""
    if current is not None:
        number = current.version
        versions.change(
            "promote",
            current.name,
            lambda state: state if state.champion else serving_changes.promote(state, number, by_person=False),
            stored=current,
            reason="served before a training run, remains the champion",
        )


def is_chosen_by_person(state: ModelState) -> bool:
    """Whether a person chose the served version, so that a training run does not change it."""
    return state.chosen_by_person or state.traffic is not None or state.shadow is not None


def current_champion(versions: VersionStore, state: ModelState, stored: StoredVersion) -> StoredVersion | None:
    """The champion before this training run, by default the newest version."""
    others = [found for found in versions.versions(stored.name) if found.version != stored.version]
    if state.champion is None:
        return next(iter(others), None)
    return next((found for found in others if found.version == state.champion), None)


def promote_if_better(
    versions: VersionStore,
    stored: StoredVersion,
    current: StoredVersion,
    result: TrainingResult,
    data: DataOptions,
    judge_on: str,
    report: Report,
) -> None:
    try:
        comparison = compare(current, result, data, judge_on)
    except NotComparable as error:
        promoted, reason = False, f"it was not compared with {current.tag}: {error}"
    else:
        promoted, reason = comparison.is_not_worse, f"compared with {current.tag}, {comparison}"
    if not promoted:
        keep_current(versions, current)
    if promoted:
        versions.promote(stored, by_person=False, reason=reason)
        report(f"{stored.tag} is the champion: {reason}. To undo: tabserve rollback {stored.name}")
    elif make_challenger(versions, stored, reason):
        report(f"{stored.tag} is the {CHALLENGER}: {reason}. To serve it: tabserve promote {stored.tag}")
    else:
        report(f"{stored.tag} is not served: {reason}. The {CHALLENGER} receives requests and was not changed")


def make_challenger(versions: VersionStore, stored: StoredVersion, reason: str) -> bool:
    """Make a version the challenger. Returns False, and keeps the current challenger, if that receives requests."""

    def apply(state: ModelState) -> ModelState:
        return state if receives_requests(state) else serving_changes.set_alias(state, CHALLENGER, stored.version)

    _, after = versions.change("alias", stored.name, apply, stored=stored, reason=reason)
    return after.model(stored.name).aliases.get(CHALLENGER) == stored.version


def receives_requests(state: ModelState) -> bool:
    return state.shadow is not None or (state.traffic is not None and state.traffic.shares.get(CHALLENGER, 0) > 0)


def compare(current: StoredVersion, result: TrainingResult, data: DataOptions, judge_on: str) -> Comparison:
    """Compare a trained model with a stored version on rows that neither model was trained on. Raises NotComparable."""
    try:
        champion = store.load(current, trusted_keys=store.environment_trusted_keys())
        record = read_json(current.path / "training.json").get("test_set")
    except StoreError as error:
        raise NotComparable(str(error)) from error
    if column_types_of(champion.schema) != column_types(result.dataset):
        raise NotComparable("the columns of the table or their types have changed")
    dataset = comparison_dataset(result.dataset, data, judge_on) if judge_on else result.dataset
    rows = rows_of_file(dataset, result) if judge_on else rows_of_test_set(record, result)
    if len(rows) < MIN_ROWS:
        found = counted(len(rows), "row")
        raise NotComparable(f"{found} that neither version was trained on; at least {MIN_ROWS} are needed")
    new = pipeline.build_model(result.fit, result.dataset.schema, result.encoder)
    target = dataset.target[rows]
    outputs = [model.predict(frame_of(model, dataset, rows)).primary for model in (new, champion)]
    if dataset.schema.task == "regression":
        return compare_regressions(target, outputs[0][:, 0], outputs[1][:, 0])
    classes = [[str(name) for name in schema.classes or ()] for schema in (dataset.schema, new.schema, champion.schema)]
    names = list(dict.fromkeys([*classes[0], *classes[1], *classes[2]]))  # the classes of the target come first
    new_p, current_p = (with_all_classes(p, own, names) for p, own in zip(outputs, classes[1:], strict=True))
    return compare_classifications(target, new_p, current_p)


def rows_of_test_set(record: dict[str, Any] | None, result: TrainingResult) -> Indices:
    """The rows of the new test set on which the current version was not trained either."""
    unseen = unseen_rows(record, result.split.record, result.dataset)
    return result.split.test[unseen[result.split.test]]


def rows_of_file(dataset: Dataset, result: TrainingResult) -> Indices:
    """The rows of a file that the new version was not trained on."""
    learned = np.concatenate([result.split.train, result.split.validation])
    return np.flatnonzero(~np.isin(row_hashes(dataset), row_hashes(result.dataset)[learned]))


def comparison_dataset(dataset: Dataset, options: DataOptions, path: str) -> Dataset:
    """The rows of another file, read with the schema of the table. Raises UsageError."""
    with tempfile.TemporaryDirectory() as folder:
        schema = Path(folder) / "features.json"
        schema.write_text(dataset.schema.to_json(), encoding="utf-8")
        options = replace(
            options,
            drop=(),
            categorical=(),
            number=(),
            date=(),
            text=(),
            na=None,
            split="random",
            rows=None,
            bundled=None,
        )
        return load_dataset(replace(options, data=path, schema=str(schema), name=dataset.schema.name))


def frame_of(model: TabularModel, dataset: Dataset, rows: Indices) -> Frame:
    return model.schema.frames.from_columns({name: values[rows] for name, values in dataset.columns.items()})


def column_types_of(schema: FeatureSchema) -> dict[str, str]:
    return {feature.name: feature.kind for feature in schema.features} | {schema.target: schema.task}


def with_all_classes(p: Array, classes: list[str], names: list[str]) -> npt.NDArray[np.float64]:
    """(rows, classes) probabilities with a column for each of these names, 0 if a model has no such class."""
    result = np.zeros((len(p), len(names)))
    result[:, [names.index(name) for name in classes]] = p
    return result
