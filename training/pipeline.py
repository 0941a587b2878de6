"""The whole way from a table to a stored version: `run` is the story, the rest are its chapters."""

import hashlib
import json
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from models import store
from models.architecture import Architecture, Link, Task
from models.encoding.encoder import Encoder
from models.engines import NumpyEngine, TensorFlowEngine
from models.frame import Frame
from models.outputs import Array
from models.schema import FeatureSchema
from models.tabular_model import Engine, TabularModel
from models.version_files import Stored, Trained
from training import card, columns, data, examples, fit, inspect
from training.columns import Dataset
from training.config import DataOptions, FitOptions, Recipe, check_ranges, recipe
from training.data import Split
from training.errors import UsageError
from training.evaluate import MAIN, Baselines, Metrics, measure
from training.fit import Fitted, Part
from training.progress import Progress
from training.tune import Search

Tell = Callable[[str], None]
LINKS: dict[Task, Link] = {"regression": "linear", "binary": "sigmoid", "multiclass": "softmax"}


@dataclass(frozen=True)
class Learned:
    """A trained network with what it was made from and how good it is on the held-out rows."""

    dataset: Dataset
    parts: Split
    frame: Frame
    encoder: Encoder
    recipe: Recipe
    fitted: Fitted
    golden: list[dict[str, Any]]
    answers: Array  # on the test rows
    metrics: Metrics
    search: dict[str, Any] | None = None  # what --tune tried and found


def run(
    options: DataOptions,
    fit_options: FitOptions,
    *,
    baselines: bool = True,
    tune: float | None = None,
    tell: Tell = print,
) -> Stored:
    """From a table to a stored version; tune: seconds of search for better settings before.

    Raises UsageError, DivergenceError or StoreError, and then stores nothing.
    """
    store.check_writable()
    learned = learn(options, fit_options, tune=tune, tell=tell)
    compared = compare(learned, tell) if baselines else {}
    stored = store.save(trained(learned, options, compared))
    tell(card.aligned(card.metrics_table(learned.metrics, compared)))
    tell(f"Stored as {stored.tag} in {stored.path}")
    return stored


def learn(options: DataOptions, fit_options: FitOptions, *, tune: float | None = None, tell: Tell) -> Learned:
    """Read, understand, split, encode, fit, measure."""
    check_ranges(fit_options)
    dataset = columns.load(options)
    schema = dataset.schema
    parts = data.split(dataset, options)
    tell(inspect.report(dataset))
    for notice in parts.notices + changes_what_is_served(schema):
        tell(f"note: {notice}")

    frame = schema.frames.from_columns(dataset.columns)
    regression = schema.task == "regression"
    decided = recipe(fit_options, schema.task, len(parts.train), len(schema.numeric))
    known_target = dataset.target[parts.train] if regression else None
    if known_target is not None and known_target.min() == known_target.max():
        raise UsageError(f"target {schema.target!r} is {known_target[0]:g} in all training rows of this split")
    rng = np.random.default_rng(options.seed)
    golden = examples.rows(schema, dataset.columns, parts.test, rng, real=options.real_examples)
    encoder = Encoder.fit(
        schema,
        frame.take(parts.train),
        known_target,
        bins=decided.bins,
        numbers="quantile" if decided.network == "ensemble" else "scaled",
    )
    x, y = encoder.encode(frame), encoder.target.apply(dataset.target) if regression else dataset.target
    train, validation = (Part(x[rows], y[rows]) for rows in (parts.train, parts.validation))
    progress = Progress(schema.name)

    def train_with(decided: Recipe, on_epoch: fit.OnEpoch) -> Fitted:
        network = architecture(decided, schema, encoder)
        return fit.fit(decided, network, schema.task, train, validation, on_epoch, progress.say)

    found = None
    try:
        if tune is not None:
            place = studies() / f"{schema.name}-{fingerprint(dataset, options, decided)}.log"
            decided, found = Search(place, decided, fit_options, train_with, progress).run(tune)
        fitted = train_with(decided, progress.epoch)
    finally:
        progress.done()
    answers = engine_of(fitted, schema, encoder).predict(frame.take(parts.test)).primary
    metrics = measure(schema.task, dataset.target[parts.test], answers)
    return Learned(dataset, parts, frame, encoder, fitted.recipe, fitted, golden, answers, metrics, found)


def studies() -> Path:
    """Where searches are kept so that they can go on: beside the folder of the stored models."""
    return store.location().parent / "studies"


def fingerprint(dataset: Dataset, options: DataOptions, decided: Recipe) -> str:
    """Equal for searches that may be continued: the same data, split and recipe."""
    asked = asdict(options) | {"data": dataset.fingerprint, "name": dataset.schema.name}
    return hashlib.sha256(json.dumps([asked, asdict(decided)], sort_keys=True).encode()).hexdigest()[:12]


def changes_what_is_served(schema: FeatureSchema) -> list[str]:
    """A notice where the newest version of this name answers another question."""
    newest = next(iter(store.versions()[0].get(schema.name, [])), None)
    if newest is None:
        return []
    try:
        told = json.loads((newest.path / "features.json").read_text("utf-8"))
        before, now = (told["target"], told["task"]), (schema.target, schema.task)
    except (OSError, ValueError, KeyError, TypeError):  # a damaged version is told by `list` and when it is served
        return []
    if before == now:
        return []
    was, will = (f"{target!r}" + (f" ({task})" if before[0] == now[0] else "") for target, task in (before, now))
    return [f"{newest.tag} predicted {was}; this version predicts {will} and will be served instead"]


def compare(learned: Learned, tell: Tell) -> dict[str, Metrics]:
    """What simpler ways reach on the same split."""
    parts = learned.parts
    rows = (parts.train, parts.validation, parts.test)
    return Baselines(learned.dataset.schema, learned.frame, learned.dataset.target, rows).run(tell)


def trained(learned: Learned, options: DataOptions, compared: dict[str, Metrics]) -> Trained:
    """All that is stored of a run: with golden rows, card and pictures."""
    dataset, parts, fitted = learned.dataset, learned.parts, learned.fitted
    schema = examples.with_examples(dataset.schema, learned.golden[0])
    facts = told(options, dataset, learned.recipe, fitted) | ({"search": learned.search} if learned.search else {})
    notices = dataset.notices + parts.notices
    return Trained(
        schema=schema,
        encoder=learned.encoder,
        golden_rows=learned.golden,
        reason=fitted.reason,
        network=fitted.network,
        keras=fitted.keras,
        metrics={
            "metric": {"name": MAIN[schema.task], "value": learned.metrics[MAIN[schema.task]]},
            "network": learned.metrics,
            "baselines": compared,
            "split": parts.how,
            "rows": {"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test)},
        },
        training=facts,
        card=card.write(schema, learned.recipe, parts, facts, learned.metrics, compared, notices),
        pictures=card.pictures(schema, fitted.history, dataset.target[parts.test], learned.answers),
    )


def architecture(decided: Recipe, schema: FeatureSchema, encoder: Encoder) -> Architecture:
    """The network for an encoding: logits of the classes, one logit for two of them, or one value."""
    waved = sum(part.kind == "quantile" for part in encoder.numbers)
    return Architecture(
        numbers=encoder.width - len(encoder.tables),
        categories=tuple(encoder.tables),
        hidden=decided.hidden,
        activation=decided.activation,
        dropout=decided.dropout,
        batch_normalization=decided.batch_norm,
        outputs=len(schema.classes or ()) if schema.task == "multiclass" else 1,
        scales=(decided.frequency_scale,) * waved,
        frequencies=decided.frequencies,
        embedding=decided.embedding,
        members=decided.members,
        adapters=decided.adapters,
        link=LINKS[schema.task] if decided.members else "linear",
    )


def engine_of(fitted: Fitted, schema: FeatureSchema, encoder: Encoder) -> TabularModel:
    """The model as it will be served: by NumPy where that can express it."""
    engine: Engine = (
        TensorFlowEngine(fitted.keras, fitted.reason)
        if fitted.network is None
        else NumpyEngine(fitted.network, fitted.reason)
    )
    return TabularModel("0", schema, encoder, engine)


def told(options: DataOptions, dataset: Dataset, decided: Recipe, fitted: Fitted) -> dict[str, Any]:
    """training.json: all that is needed to know where a version came from, and to train it again."""
    data_options = asdict(options) | {"data": Path(options.data).name}
    return {
        "recipe": asdict(decided),
        "options": data_options,
        "data": Path(options.data).name,
        "bundled": options.bundled,
        "fingerprint": dataset.fingerprint,
        "rows_read": dataset.rows_read,
        "rows_used": dataset.rows_used,
        "notices": dataset.notices,
        "parameters": fitted.parameters,
        "tried": fitted.tried,
        "temperature": fitted.temperature,
        "outputs": len(dataset.schema.classes or ()) if dataset.schema.task == "multiclass" else 1,
        "epochs": len(fitted.history),
        "history": [epoch._asdict() for epoch in fitted.history],
        "seconds": fitted.seconds,
        "libraries": {"python": platform.python_version()} | {name: installed(name) for name in ("numpy", "keras")},
    }


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
