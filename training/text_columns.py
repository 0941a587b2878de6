"""Fits the scores of text columns to the target; afterwards the columns are numbers.

The rows to which a score is fitted receive out-of-fold scores. With a random split these are the train and validation
rows, otherwise only the train rows, so that the validation rows show how well a score predicts for other rows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from models.encoding.column_encodings import stable_moments
from models.feature import Feature
from models.schema import FeatureSchema
from training.dataset import Dataset, MemoryColumns
from training.errors import UsageError
from training.splitting import Split
from training.text_model import MAX_ROWS, TextRows, Vector, fit_out_of_fold


@dataclass(frozen=True)
class ScoredDataset:
    """A data set whose schema has the scores of all texts. columns: the columns of the data set, with scores instead of
    texts."""

    dataset: Dataset
    columns: Mapping[str, npt.NDArray[Any]]


def with_candidates(dataset: Dataset) -> Dataset:
    """Return the data set with the text columns that training tries."""
    place = {decision.column: number for number, decision in enumerate(dataset.decisions)}
    added = [candidate.feature for candidate in dataset.candidates]
    features = sorted([*dataset.schema.features, *added], key=lambda feature: place[feature.name])
    names = {feature.name for feature in added}
    ignored = [column for column in dataset.schema.ignored if column.name not in names]
    columns = MemoryColumns({candidate.feature.name: candidate.values for candidate in dataset.candidates})
    return replace(
        dataset,
        schema=with_features(dataset.schema, features, ignored=ignored),
        columns=MemoryColumns({**dataset.columns, **columns}).ordered([feature.name for feature in features]),
        candidates=(),
    )


def without_candidates(dataset: Dataset, reason: str) -> Dataset:
    """Return the data set without text candidates; its schema ignores them for the given reason."""
    names = {candidate.feature.name for candidate in dataset.candidates}
    ignored = [
        column.model_copy(update={"reason": reason}) if column.name in names else column
        for column in dataset.schema.ignored
    ]
    return replace(dataset, schema=dataset.schema.model_copy(update={"ignored": ignored}), candidates=())


def fit_scores(dataset: Dataset, split: Split, seed: int, groups: npt.NDArray[Any] | None = None) -> ScoredDataset:
    """Fit the scores of all texts. groups: (n,) rows of a group are in one fold. Raises UsageError for many classes."""
    texts = [feature for feature in dataset.schema.numeric if feature.kind == "text"]
    if not texts:
        return ScoredDataset(dataset, dataset.columns)
    if dataset.schema.task == "multiclass":
        raise UsageError(f"column {texts[0].name!r}: text is only supported for a regression or for two classes")
    rng = np.random.default_rng(seed)
    fit_rows = np.concatenate([split.train, split.validation]) if split.drawn else split.train
    fit_rows = np.sort(rng.permutation(fit_rows)[:MAX_ROWS])
    mean, deviation = stable_moments(dataset.target[fit_rows].astype(np.float64))
    y = (dataset.target[fit_rows] - mean) / deviation
    fitted, columns = list[Feature](), dict(dataset.columns)
    for feature in texts:
        values = dataset.columns[feature.name]
        own_groups = None if groups is None else groups[fit_rows]
        model, scores = fit_out_of_fold(TextRows(values[fit_rows]), y, rng, own_groups)
        scored = feature.model_copy(update={"score": model.as_score()})
        columns[feature.name] = _score_all(scored, values, fit_rows, scores)
        fitted.append(scored)
    by_name = {feature.name: feature for feature in fitted}
    features = [by_name.get(feature.name, feature) for feature in dataset.schema.features]
    return ScoredDataset(replace(dataset, schema=with_features(dataset.schema, features)), columns)


def _score_all(
    feature: Feature, values: npt.NDArray[Any], fit_rows: npt.NDArray[np.intp], out_of_fold_scores: Vector
) -> Vector:
    """(n,): the scores of all rows, NaN if missing; the scores of `fit_rows` are out of fold."""
    scores = np.full(len(values), np.nan)
    scores[fit_rows] = out_of_fold_scores
    others = np.setdiff1d(np.arange(len(values)), fit_rows)
    scores[others] = feature.score_texts(values[others])
    return scores


def with_features(schema: FeatureSchema, features: list[Feature], **changes: Any) -> FeatureSchema:
    """Return the schema with other features. It has format 2 if a value may be missing or cells have a format."""
    plain = not any(feature.nullable or feature.cells.set_fields() for feature in features)
    version = schema.format if plain else 2
    fields = schema.model_dump(exclude={"features", "ignored", "format"})
    ignored = changes.get("ignored", schema.ignored)
    return FeatureSchema(**fields, features=features, ignored=ignored, format=version)
