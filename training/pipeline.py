"""Trains and stores a version from a table: `run` calls the steps in order."""

import contextlib
import gc
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from models import store
from models.encoding.encoder import Encoder
from models.engines import NumpyEngine, TensorFlowEngine
from models.explanation.background import Background
from models.frame import Frame
from models.freed_memory import return_freed_memory
from models.network.scale_head import ScaleHead
from models.schema import FeatureSchema
from models.store_repair import repair_store
from models.tabular_model import Engine, TabularModel
from models.text import counted
from models.text_tables import aligned
from models.version_files import StoredVersion, TrainedVersion
from training import (
    card,
    conformalization,
    coverage_report,
    dataset_report,
    examples,
    importance,
    leaks,
    plots,
)
from training.baselines import Baselines
from training.build_dataset import load_dataset
from training.config import DataOptions, FitOptions
from training.conformalization import HeldOutRows
from training.dataset import Dataset
from training.date_trial import fit_with_days
from training.drift_reference import fit_reference
from training.errors import UsageError
from training.evaluation import MAIN_METRIC, METRIC_LABELS, EvaluationMetrics, evaluate, metric_error
from training.final_fit import fit_all_rows, training_rows_of
from training.importance import column_importance
from training.level_trial import fit_with_level_means
from training.log_target_trial import fit_with_logarithm
from training.network_fit import EncodingChoices, NetworkFit, compare_linear, fit_network, recipe_for
from training.option_checks import check_ranges
from training.progress import Progress
from training.provenance import training_record
from training.recipe import Recipe
from training.scale_fit import add_scale
from training.splitting import Split, split_rows
from training.steps import step
from training.streaming.spilled_frame import Indices, SpilledFrame
from training.test_set import without_test_set
from training.text_trial import fit_with_texts
from training.training_run import FitResult, Report

if TYPE_CHECKING:  # the extra `signing` installs cryptography
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    from training.ray_trainer import RayTrainer

TrainingEngine = Literal["local", "ray"]
MANY_ROWS = 100_000
BETTER = 0.02  # a notice names a baseline whose error is smaller by at least this fraction


@dataclass(frozen=True)
class TrainingResult:
    """A trained network with its data, and its metrics on the test set."""

    dataset: Dataset
    split: Split
    frame: Frame | SpilledFrame
    encoder: Encoder
    fit: FitResult
    golden_rows: list[dict[str, Any]]
    held_out: HeldOutRows  # the test set with its predictions
    metrics: EvaluationMetrics
    scale_head: ScaleHead | None = None  # set for a regression
    search: dict[str, Any] | None = None  # the trials of --tune
    final: NetworkFit | None = (
        None  # the served network, if trained on all rows; the other fields describe the network before that
    )


def run(
    options: DataOptions,
    fit_options: FitOptions,
    *,
    baselines: bool = True,
    tune: float | None = None,
    engine: TrainingEngine = "local",
    signing_key: "EllipticCurvePrivateKey | None" = None,
    report: Report = print,
) -> tuple[StoredVersion, TrainingResult]:
    """Train and store a version. Returns the version and the result. tune: seconds to search for better settings first.
    engine: where trials are trained. signing_key: signs the version.

    Raises UsageError, DivergenceError or StoreError, and then stores nothing. Errors of libraries are raised as
    UnexpectedError.
    """
    store.check_writable()
    for repair in repair_store(store.location()):
        report(f"note: {repair}")
    with open_trainer(engine, fit_options, tune) as trainer:
        result = train(options, fit_options, tune=tune, trainer=trainer, report=report)
    with step("the baselines cannot be fitted", options.data):
        baseline_metrics = evaluate_baselines(result, report) if baselines else {}
    notices = better_baseline_notices(result, baseline_metrics)
    with step("the model cannot be described", options.data):
        version = build_version(result, options, baseline_metrics, notices)
    with step("the model cannot be stored", options.data):
        stored = store.save(version, signing_key)
    report(aligned(card.metrics_table(result.metrics, baseline_metrics)))
    for notice in notices:
        report(f"note: {notice}")
    report(f"Stored as {stored.tag} in {stored.path}")
    return stored, result


def train(
    options: DataOptions,
    fit_options: FitOptions,
    *,
    tune: float | None = None,
    trainer: "RayTrainer | None" = None,
    report: Report,
) -> TrainingResult:
    """Read the table, infer its columns, split, encode, fit, evaluate. trainer: trains several trials at once."""
    check_ranges(fit_options)
    if tune is not None and fit_options.time is not None:
        raise UsageError("--time and --tune exclude each other: both set the time to search for better settings")
    dataset = load_dataset(options)
    schema = dataset.schema
    with step("its rows cannot be split", options.data):
        split = split_rows(dataset, options)
    report(dataset_report.report(dataset))
    for notice in split.notices + replacement_notices(schema) + sampling_notices(dataset.rows_used):
        report(f"note: {notice}")

    recipe = recipe_for(dataset, split, fit_options)
    golden_rows = draw_golden_rows(dataset, split, options)
    progress = Progress(schema.name)

    def fit_recipe(dataset: Dataset, recipe: Recipe) -> NetworkFit:
        return fit_network(dataset, split, options, fit_options, recipe, tune, progress, trainer)

    def fit_again(recipe: Recipe, choices: EncodingChoices, further: Indices | None = None) -> NetworkFit:
        how = fit_options, recipe, None, progress, trainer
        return fit_network(trained.dataset, split, options, *how, choices=choices, further=further)

    def fit_days(recipe: Recipe) -> NetworkFit:
        return fit_again(recipe, replace(trained.choices, days=True))

    def fit_means(recipe: Recipe, level_means: tuple[str, ...]) -> NetworkFit:
        return fit_again(recipe, replace(trained.choices, level_means=level_means))

    def fit_logarithm(recipe: Recipe) -> NetworkFit:
        return fit_again(recipe, replace(trained.choices, log_target=True))

    def fit_final(recipe: Recipe, further: Indices) -> NetworkFit:
        return fit_again(recipe, trained.choices, further)

    final = None
    try:
        trained = fit_with_texts(dataset, recipe, tune, fit_recipe, progress.report)
        if recipe.compare_linear and tune is None:
            trained = fit_with_days(trained, fit_days, progress.report)
            trained = fit_with_level_means(trained, fit_means, progress.report)
            with step("the network cannot be trained", options.data):
                trained = compare_linear(trained, progress.report)
            trained = fit_with_logarithm(trained, fit_logarithm, progress.report)
        if recipe.all_rows:
            final = fit_all_rows(trained, fit_final, progress.report)
    finally:
        progress.end_line()
    gc.collect()  # TensorFlow's functions and their objects refer to each other
    return_freed_memory()
    dataset, schema = trained.dataset, trained.dataset.schema
    if dataset.columns.keys() != golden_rows[0].keys():
        golden_rows = draw_golden_rows(dataset, split, options)
    with step("the network cannot be evaluated", options.data):
        model, head = model_with_scale(trained, recipe, report)
        test_frame = trained.frame.take(split.test).load()
        held_out = conformalization.held_out_rows(model, test_frame, dataset.target[split.test])
        metrics = evaluate(schema.task, held_out.target, held_out.outputs.primary)
        if final is not None:
            model, head = model_with_scale(final, recipe, report)
            held_out = conformalization.with_scale_of(model, held_out)
    return TrainingResult(
        dataset,
        split,
        trained.frame,
        trained.encoder,
        trained.fit,
        golden_rows,
        held_out,
        metrics,
        head,
        trained.search,
        final,
    )


@contextlib.contextmanager
def open_trainer(engine: TrainingEngine, options: FitOptions, tune: float | None) -> "Iterator[RayTrainer | None]":
    """The trainer of `--engine`, None for this process. Raises UsageError."""
    if engine == "local":
        yield None
        return
    from training import ray_trainer

    if options.time is not None:
        raise UsageError(
            "--time tries variations of the best trial so far, one after the other; with --engine ray use --tune"
        )
    if tune is None and (options.network == "plain" or (options.network is None and options.hidden is not None)):
        raise UsageError("--engine ray trains several trials at once, but a plain network has one: add --tune")
    with ray_trainer.ray_cluster() as trainer:
        yield trainer


def model_with_scale(trained: NetworkFit, recipe: Recipe, report: Report) -> tuple[TabularModel, ScaleHead | None]:
    """The model as it will be served; for a regression with the scale of its errors."""
    model = build_model(trained.fit, trained.dataset.schema, trained.encoder)
    if trained.dataset.schema.task != "regression":
        return model, None
    split = trained.split
    pooled = np.concatenate([split.train, split.validation])
    learned = training_rows_of(trained, recipe)
    head, model = add_scale(model, trained.fit, trained.encoded, pooled, split.validation, learned, report)
    return model, head


def draw_golden_rows(dataset: Dataset, split: Split, options: DataOptions) -> list[dict[str, Any]]:
    rng = np.random.default_rng(options.seed)
    return examples.draw_rows(dataset.schema, dataset.columns, split.test, rng, real=options.real_examples)


def sampling_notices(rows: int) -> list[str]:
    """A notice about the steps that use only a sample of many rows. The error scale and the baselines have their own
    notices."""
    if rows <= MANY_ROWS:
        return []
    return [
        f"target leakage is searched for in {leaks.SAMPLE_ROWS:,} of {rows:,} rows, and the importance of columns is "
        f"measured on {importance.MAX_SHUFFLED_ROWS:,} test rows; the network is trained on all training rows"
    ]


def replacement_notices(schema: FeatureSchema) -> list[str]:
    """A notice if the newest version of this name has another target or task."""
    newest = next(iter(store.versions()[0].get(schema.name, [])), None)
    if newest is None:
        return []
    try:
        stored = json.loads((newest.path / "features.json").read_text("utf-8"))
        before, now = (stored["target"], stored["task"]), (schema.target, schema.task)
    except (OSError, ValueError, KeyError, TypeError):  # `list` and the service report damaged versions
        return []
    if before == now:
        return []
    was, will = (f"{target!r}" + (f" ({task})" if before[0] == now[0] else "") for target, task in (before, now))
    return [f"{newest.tag} predicted {was}; this version predicts {will}"]


def evaluate_baselines(result: TrainingResult, report: Report) -> dict[str, EvaluationMetrics]:
    """The metrics of simpler models on the same split."""
    split, dataset = result.split, result.dataset
    sets = (split.train, split.validation, split.test)
    return Baselines(dataset.schema, result.frame, dataset.target, sets).run(report)


def better_baseline_notices(result: TrainingResult, baselines: dict[str, EvaluationMetrics]) -> list[str]:
    """A notice if a baseline has a clearly smaller error on the test set than the network."""
    metric = MAIN_METRIC[result.dataset.schema.task]
    errors = {name: metric_error(metric, metrics[metric]) for name, metrics in baselines.items()}
    name = min(errors, key=lambda name: errors[name], default="")
    own = metric_error(metric, result.metrics[metric])
    if not name or own == 0 or errors[name] > (1 - BETTER) * own:
        return []
    ours, theirs = (f"{metrics[metric]:.4g}" for metrics in (result.metrics, baselines[name]))
    rows = counted(len(result.split.test), "test row", spec=",")
    return [
        f"the baseline {name!r} is better than this model on the {rows}: "
        f"{METRIC_LABELS[metric]} {theirs} instead of {ours}"
    ]


def build_version(
    result: TrainingResult,
    options: DataOptions,
    baselines: dict[str, EvaluationMetrics],
    notices: list[str],
) -> TrainedVersion:
    """All files of a version, with golden rows, card and plots."""
    dataset, split, fitted = result.dataset, result.split, result.fit
    schema = examples.with_examples(dataset.schema, result.golden_rows[0])
    test_set = split.record if result.final is None else without_test_set(split.record)
    record = training_record(options, dataset, fitted, result.search) | {"test_set": test_set}
    encoder, served = (result.encoder, fitted) if result.final is None else (result.final.encoder, result.final.fit)
    notices = dataset.notices + split.notices + notices
    scores = conformalization.fit_uncertainty(result.held_out)
    coverage = {} if scores is None else coverage_report.report(result.held_out, scores)
    background = Background.fit(schema, result.frame.take(split.train), np.random.default_rng(options.seed))
    importance = column_importance(
        build_model(fitted, schema, result.encoder),
        background,
        result.held_out.frame,
        result.held_out.target,
        np.random.default_rng(options.seed),
    )
    reference = fit_reference(
        schema, result.frame.take(np.concatenate([split.train, split.validation])), result.held_out, result.metrics
    )
    return TrainedVersion(
        schema=schema,
        encoder=encoder,
        golden_rows=result.golden_rows,
        reason=served.reason,
        network=served.network,
        keras=served.keras,
        metrics={
            "metric": {"name": MAIN_METRIC[schema.task], "value": result.metrics[MAIN_METRIC[schema.task]]},
            "network": result.metrics,
            "baselines": baselines,
            "split": split.how,
            "uncertainty": coverage,
            "importance": [asdict(column) for column in importance],
            "rows": {"train": len(split.train), "validation": len(split.validation), "test": len(split.test)},
        },
        background=background,
        reference=reference,
        uncertainty=scores,
        scale_head=None if scores is None else result.scale_head,
        training=record,
        card=card.write_card(
            schema, fitted.recipe, split, record, result.metrics, baselines, notices, coverage, importance
        ),
        pictures=plots.draw_plots(
            schema, fitted.history, result.held_out.target, result.held_out.outputs.primary, coverage, importance
        ),
    )


def build_model(result: FitResult, schema: FeatureSchema, encoder: Encoder) -> TabularModel:
    """The model as it will be served, with the NumPy engine if it supports the network."""
    engine: Engine = (
        TensorFlowEngine(result.keras, result.reason)
        if result.network is None
        else NumpyEngine(result.network, result.reason)
    )
    return TabularModel("0", schema, encoder, engine)
