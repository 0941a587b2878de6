"""Trains a network and fits its encoder on a split data set."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from models import store
from models.architecture import Architecture, Link, Task
from models.encoding.encoder import Encoder
from models.encoding.target_scaling import LogScaling
from models.frame import Frame
from models.freed_memory import return_freed_memory
from models.schema import FeatureSchema
from training import fit, linear_candidate, linear_part
from training.config import DataOptions, FitOptions
from training.dataset import Dataset
from training.encoded_rows import EncodedRows, Targets, encode_rows
from training.errors import UsageError
from training.level_columns import FoldMeans, add_level_means
from training.progress import Progress
from training.pruned_trial import FinishedTrials, PrunedTrial
from training.recipe import MAX_FOLD_CLASSES, Recipe, decide_recipe
from training.split_rule import parse_split_rule
from training.splitting import Split
from training.steps import step
from training.streaming.spilled_frame import Indices, SpilledFrame, open_frame
from training.text_columns import fit_scores
from training.training_run import FitResult, OnEpoch, Report
from training.tune import Search, TrainSeveral

if TYPE_CHECKING:  # the module needs the extra `ray`
    from training.ray_trainer import RayTrainer

LINKS: dict[Task, Link] = {"regression": "linear", "binary": "sigmoid", "multiclass": "softmax"}


@dataclass(frozen=True)
class EncodingChoices:
    """What a second network reads or learns in addition to the default encoding.

    days: whether dates are also numbers. level_means: the categories with level means; the rows must be in memory.
    log_target: whether the network learns the logarithm of the target.
    """

    days: bool = False
    level_means: tuple[str, ...] = ()
    log_target: bool = False


DEFAULT_ENCODING = EncodingChoices()


@dataclass(frozen=True)
class NetworkFit:
    """A network trained on a data set, with its encoder and all rows."""

    dataset: Dataset
    frame: Frame | SpilledFrame
    encoder: Encoder
    encoded: EncodedRows
    fit: FitResult
    split: Split
    search: dict[str, Any] | None  # the trials of --tune
    choices: EncodingChoices = DEFAULT_ENCODING
    fold_means: FoldMeans | None = None
    further: Indices | None = None  # rows that only the final fit uses
    recipe: Recipe | None = None  # the network's recipe, if a linear model has replaced the network

    @property
    def y(self) -> Targets:
        return self.encoded.y

    @property
    def settings(self) -> Recipe:
        """The settings of the network's best trial, to train another network with them."""
        network = self.recipe or self.fit.recipe
        return replace(network, trials=(), searched=(), seconds=None, linear_part=None)

    @property
    def validation_loss(self) -> float:
        assert self.fit.validation_loss is not None
        return self.fit.validation_loss

    @property
    def validated_y(self) -> Targets:
        """(rows,) the targets of the rows of `FitResult.member_outputs`."""
        assert self.fit.member_outputs is not None
        pooled = np.concatenate([self.split.train, self.split.validation])
        return np.asarray(self.y[pooled[self.fit.member_outputs.rows]])


def recipe_for(dataset: Dataset, split: Split, fit_options: FitOptions) -> Recipe:
    """Return the settings of the training run. Raises UsageError."""
    schema = dataset.schema
    pooled = len(split.train) + len(split.validation)
    fold_rows = pooled if split.drawn and len(schema.classes or ()) <= MAX_FOLD_CLASSES else 0
    return decide_recipe(fit_options, schema.task, len(split.train), len(schema.numeric), fold_rows)


def fit_network(
    dataset: Dataset,
    split: Split,
    options: DataOptions,
    fit_options: FitOptions,
    recipe: Recipe,
    tune: float | None,
    progress: Progress,
    trainer: "RayTrainer | None" = None,
    *,
    choices: EncodingChoices = DEFAULT_ENCODING,
    further: Indices | None = None,
) -> NetworkFit:
    """Fit the scores of texts, encode, and train the network.

    tune: seconds to search for better settings first. trainer: trains several trials at once. further: rows that only
    the final fit uses.
    """
    recipe = replace(recipe, log_target=choices.log_target)
    grouped = parse_split_rule(options.split).method == "group"
    with step("its texts cannot be read", options.data):
        scored = fit_scores(dataset, split, options.seed, dataset.split_key if grouped else None)
    dataset, schema = scored.dataset, scored.dataset.schema
    frame = open_frame(schema, scored.columns, len(dataset.target))
    regression = schema.task == "regression"
    train_target = dataset.target[split.train] if regression else None
    if train_target is not None and train_target.min() == train_target.max():
        raise UsageError(f"target {schema.target!r} is {train_target[0]:g} in all training rows of this split")
    learned = np.concatenate([split.train, split.validation]) if recipe.refit else split.train
    with step("its rows cannot be encoded", options.data):
        encoder = Encoder.fit(
            schema,
            frame.take(learned),
            dataset.target[learned] if regression else None,
            bins=recipe.bins,
            numbers="quantile" if recipe.network == "ensemble" else "scaled",
            clip=recipe.network == "ensemble" and not split.by_time,
            days=choices.days,
        )
        if choices.log_target:
            encoder = with_logarithm(encoder, LogScaling.fit(dataset.target[learned]))
        y = encoder.target.apply(dataset.target) if regression else dataset.target
        fold_means = None
        if choices.level_means:
            assert isinstance(frame, Frame)
            fit_rows = learned if further is None else np.concatenate([learned, further])
            pooled = np.concatenate([split.train, split.validation])
            rows = fit_rows, pooled, options.seed, dataset.split_key if grouped else None
            with_means = add_level_means(encoder, schema, frame, y, choices.level_means, *rows)
            encoder, encoded, fold_means = with_means.encoder, with_means.encoded, with_means.of_folds
        else:
            encoded = encode_rows(encoder, frame, y)
    return_freed_memory()
    train_rows, validation_rows = encoded.take(split.train), encoded.take(split.validation)

    def fit_recipe(recipe: Recipe, on_epoch: OnEpoch) -> FitResult:
        architecture = choose_architecture(recipe, schema, encoder)
        parts = train_rows, validation_rows
        more = None if further is None else encoded.take(further)
        reports = progress.report, progress.rows
        return fit.fit(recipe, architecture, schema.task, *parts, on_epoch, *reports, more, trainer, fold_means)

    def search_trials(recipes: Sequence[Recipe], finished: FinishedTrials, seconds: float) -> Iterator[PrunedTrial]:
        assert trainer
        runs = []
        for recipe in recipes:
            architecture = choose_architecture(recipe, schema, encoder)
            runs.append(fit.training_run(recipe, architecture, schema.task, train_rows, validation_rows))
        return trainer.search_trials(runs, finished, seconds)

    search = None
    try:
        if tune is not None:
            file = study_file(dataset, options, recipe)
            searched = replace(recipe, refit=False, folds=1)
            several = None if trainer is None else TrainSeveral(trainer.parallel, search_trials)
            found, search = Search(file, searched, fit_options, fit_recipe, progress, several).run(tune)
            recipe = replace(found, refit=recipe.refit, folds=recipe.folds)
        with step("the network cannot be trained", options.data):
            fitted = fit_recipe(recipe, progress.epoch)
    finally:
        progress.end_line()
    return NetworkFit(dataset, frame, encoder, encoded, fitted, split, search, choices, fold_means, further)


def with_logarithm(encoder: Encoder, logarithm: LogScaling) -> Encoder:
    """The encoder for a network that learns the logarithm of the target."""
    target = encoder.target.model_copy(update={"logarithm": logarithm})
    return encoder.model_copy(update={"target": target})


def compare_linear(trained: NetworkFit, report: Report) -> NetworkFit:
    """The model with the smallest validation loss: the network, without or with a linear part, or a linear model."""
    encoder, fitted, frame, y, split = trained.encoder, trained.fit, trained.frame, trained.y, trained.split
    recipe, schema = fitted.recipe, trained.dataset.schema
    learned = np.concatenate([split.train, split.validation]) if recipe.refit else split.train
    own = Encoder.fit(schema, frame.take(learned), bins=0).model_copy(update={"target": encoder.target})
    if split.by_time:
        own = linear_candidate.with_extended_dates(own)
    if not linear_candidate.is_affordable(own, frame.rows, max(len(schema.classes or ()), 1)):
        return trained
    runs = []
    for part in (encoder, own):
        # The rows of the network have out-of-fold level means, which `encode_rows` does not compute.
        encoded = trained.encoded if part is encoder else encode_rows(part, frame, y)
        train, validation = encoded.take(split.train), encoded.take(split.validation)
        architecture = choose_architecture(recipe, schema, encoder)
        more = None if trained.further is None else encoded.take(trained.further)
        runs.append(fit.training_run(recipe, architecture, schema.task, train, validation, report=report, further=more))
    of_network = replace(runs[0], fold_means=trained.fold_means)
    network = linear_part.add_linear_part(of_network, encoder, fitted)
    chosen = linear_candidate.compare(runs[1], own, network)
    if chosen.network is network.network:
        return replace(trained, fit=chosen)
    return replace(trained, fit=chosen, encoder=own, encoded=encode_rows(own, frame, y), recipe=recipe)


def study_file(dataset: Dataset, options: DataOptions, recipe: Recipe) -> Path:
    """The file of a search, next to the folder of the stored models.

    The name is the same for searches that can be resumed: those with the same data, split and recipe.
    """
    data = asdict(options) | {"data": dataset.fingerprint, "name": dataset.schema.name}
    digest = hashlib.sha256(json.dumps([data, asdict(recipe)], sort_keys=True).encode()).hexdigest()[:12]
    return store.location().parent / "studies" / f"{dataset.schema.name}-{digest}.log"


def choose_architecture(recipe: Recipe, schema: FeatureSchema, encoder: Encoder) -> Architecture:
    """The network for an encoding: a logit for each class, one logit for two classes, or one value."""
    periodic = encoder.quantile_count
    return Architecture(
        numbers=encoder.width - len(encoder.tables),
        categories=tuple(encoder.tables),
        hidden=recipe.hidden,
        activation=recipe.activation,
        dropout=recipe.dropout,
        batch_normalization=recipe.batch_norm,
        outputs=len(schema.classes or ()) if schema.task == "multiclass" else 1,
        scales=(recipe.frequency_scale,) * periodic,
        frequencies=recipe.frequencies,
        embedding=recipe.embedding,
        members=recipe.members,
        adapters=recipe.adapters,
        link=LINKS[schema.task] if recipe.members else "linear",
    )
