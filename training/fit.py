"""Fitting a network: the same recipe by Keras or by the NumPy network, told epoch by epoch."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from models.architecture import Architecture, Epoch, Task
from models.network import losses, network, optimizers
from models.network.network import DivergenceError, Network
from training import ensemble, temperature
from training.config import Recipe

Matrix = npt.NDArray[np.float32]
Targets = npt.NDArray[Any]
OnEpoch = Callable[[Epoch], None]
STEPS_AT_ONCE = 8  # training steps that TensorFlow runs before it comes back to Python


@dataclass(frozen=True)
class Part:
    """Encoded rows with their targets: x (rows, width), y (rows,) standardised values or class numbers."""

    x: Matrix
    y: Targets


@dataclass(frozen=True)
class Fitted:
    """A trained network, and how it went. `network` is None where only TensorFlow can run what Keras trained."""

    network: Network | None
    keras: Any
    reason: str
    history: list[Epoch]
    seconds: float
    parameters: int
    recipe: Recipe
    tried: dict[str, float]  # the validation loss of each choice that was tried
    temperature: float = 1.0  # by which the logits were divided


def fit(
    recipe: Recipe,
    architecture: Architecture,
    task: Task,
    train: Part,
    validation: Part,
    on_epoch: OnEpoch,
    tell: Callable[[str], None] = lambda text: None,
) -> Fitted:
    """Train by the recipe's framework, the ensemble or the plain network. `tell` gets what is chosen on the way.

    Raises DivergenceError when the loss is no longer finite.
    """
    weights = class_weights(train.y, max(architecture.outputs, 2)) if recipe.class_weights == "balanced" else None
    started = time.perf_counter()
    if recipe.network == "ensemble":
        how = _fit_numpy_ensemble if recipe.framework == "numpy" else _fit_keras_ensemble
        fitted = how(recipe, architecture, task, train, validation, weights, on_epoch, tell)
    else:
        plain = _fit_numpy if recipe.framework == "numpy" else _fit_keras
        fitted = plain(recipe, architecture, task, train, validation, weights, on_epoch)
    return replace(fitted, seconds=time.perf_counter() - started)


def class_weights(y: Targets, classes: int) -> list[float]:
    """rows / (classes * rows of the class), so that each class weighs the same in sum; 0 for a class without rows."""
    counts = np.bincount(y.astype(int), minlength=classes)
    return [len(y) / (np.count_nonzero(counts) * count) if count else 0.0 for count in counts.tolist()]


# NumPy


def _fit_numpy(
    recipe: Recipe,
    architecture: Architecture,
    task: Task,
    train: Part,
    validation: Part,
    weights: list[float] | None,
    on_epoch: OnEpoch,
) -> Fitted:
    rng = np.random.default_rng(recipe.fit_seed)
    net = network.build(architecture, rng)
    # One thread: the products of a mini-batch take a fraction of a millisecond, and BLAS threads wait for each other
    # without sleeping after each. Two took 0.93 times as long on two idle cores, and 5.8 times on two busy ones.
    with threadpool_limits(1, "blas"):
        history = net.fit(
            train.x,
            train.y,
            loss=_numpy_loss(recipe, task, weights),
            optimizer=_numpy_optimizer(recipe, len(train.x)),
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            rng=rng,
            validation=(validation.x, validation.y),
            patience=recipe.patience or None,
            on_epoch=on_epoch,
        )
    return _of_numpy(recipe, net, history, {})


def _fit_numpy_ensemble(
    recipe: Recipe,
    architecture: Architecture,
    task: Task,
    train: Part,
    validation: Part,
    weights: list[float] | None,
    on_epoch: OnEpoch,
    tell: Callable[[str], None],
) -> Fitted:
    def run(decided: Recipe) -> ensemble.Tried:
        fitted = _fit_numpy(decided, ensemble.tuned(architecture, decided), task, train, validation, weights, on_epoch)
        return ensemble.Tried(decided, fitted.history, fitted.network)

    kept, tried = ensemble.best(recipe, run, tell)
    net: Network = kept.weights
    *earlier, last, _ = net.layers
    t = _temperature(task, weights, architecture, Network([*earlier, last]).predict(validation.x), validation.y)
    for parameter in last.parameters.values():
        parameter /= t
    return replace(_of_numpy(kept.recipe, net, kept.history, tried), temperature=t)


def _temperature(
    task: Task, weights: list[float] | None, architecture: Architecture, logits: Matrix, y: Targets
) -> float:
    """logits: (rows, members, outputs) for the rows of y. A regression has none."""
    if task == "regression":
        return 1.0
    kind = losses.BinaryCrossEntropy if task == "binary" else losses.CategoricalCrossEntropy
    return temperature.fit(logits, y, architecture.link, kind(0.0, weights))


def _of_numpy(recipe: Recipe, net: Network, history: list[Epoch], tried: dict[str, float]) -> Fitted:
    parameters = sum(array.size for array in net.parameters.values())
    return Fitted(net, None, "trained by the NumPy network itself", history, 0.0, parameters, recipe, tried)


def _numpy_loss(recipe: Recipe, task: Task, weights: list[float] | None) -> losses.Loss:
    if task == "regression":
        return losses.Huber() if recipe.loss == "huber" else losses.SquaredError()
    kind = losses.BinaryCrossEntropy if task == "binary" else losses.CategoricalCrossEntropy
    return kind(recipe.label_smoothing, weights)


def _numpy_optimizer(recipe: Recipe, rows: int) -> optimizers.Optimizer:
    steps = math.ceil(rows / recipe.batch_size)
    rate: float | optimizers.Schedule = recipe.learning_rate
    if recipe.network == "ensemble":
        return ensemble.optimizer(recipe, steps)
    if recipe.schedule == "cosine":
        rate = optimizers.Cosine(recipe.learning_rate, steps * recipe.epochs, warmup=min(steps, 1000))
    elif recipe.schedule == "exponential":
        rate = optimizers.Exponential(recipe.learning_rate, 0.9, steps)
    clip = recipe.clip_norm
    if recipe.optimizer == "adamw":
        return optimizers.AdamW(rate, recipe.weight_decay, beta_2=0.99, clip_norm=clip)
    if recipe.optimizer == "adam":
        return optimizers.Adam(rate, clip_norm=clip)
    return optimizers.SGD(rate, momentum=0.9 if recipe.optimizer == "momentum" else 0.0, clip_norm=clip)


# Keras


def _fit_keras(
    recipe: Recipe,
    architecture: Architecture,
    task: Task,
    train: Part,
    validation: Part,
    weights: list[float] | None,
    on_epoch: OnEpoch,
) -> Fitted:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # what it says while it starts is not for users
    import keras

    from models import keras_nets

    keras.utils.set_random_seed(recipe.fit_seed)
    model = keras_nets.build(architecture)
    model.compile(
        optimizer=_keras_optimizer(recipe, len(train.x)),
        loss="mse" if recipe.loss == "mse" else _keras_loss(recipe, task),  # the tutorial's word
        steps_per_execution=STEPS_AT_ONCE,
    )
    history: list[Epoch] = []
    callbacks = [_reporter(recipe, history, on_epoch)]
    if recipe.patience:
        best = keras.callbacks.EarlyStopping(patience=recipe.patience, restore_best_weights=True)
        callbacks.append(best)
    model.fit(
        train.x,
        _keras_targets(recipe, task, train.y, architecture.outputs),
        validation_data=(validation.x, _keras_targets(recipe, task, validation.y, architecture.outputs)),
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        class_weight=None if weights is None else dict(enumerate(weights)),
        callbacks=callbacks,
        verbose=0,
    )
    return _of_keras(recipe, model, architecture, history, {})


def _fit_keras_ensemble(
    recipe: Recipe,
    architecture: Architecture,
    task: Task,
    train: Part,
    validation: Part,
    weights: list[float] | None,
    on_epoch: OnEpoch,
    tell: Callable[[str], None],
) -> Fitted:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from models import keras_nets

    weight = None if weights is None else np.array(weights, np.float32)[train.y]
    y, known = (_keras_targets(recipe, task, part.y, architecture.outputs) for part in (train, validation))

    @cache
    def trainer(frequencies: int) -> ensemble.Compiled:
        shape = replace(architecture, frequencies=frequencies)
        loss = _keras_loss(recipe, task, reduction=None)
        return ensemble.Compiled(recipe, shape, loss, (train.x, y, weight), (validation.x, known), on_epoch)

    kept, tried = ensemble.best(recipe, lambda decided: trainer(decided.frequencies).run(decided), tell)
    chosen = ensemble.tuned(architecture, kept.recipe)
    model = keras_nets.build(chosen)
    model.set_weights(kept.weights)
    logits = keras_nets.members_of(model).predict(validation.x, batch_size=4096, verbose=0)
    t = _temperature(task, weights, architecture, logits, validation.y)
    model.layers[-2].set_weights([parameter / t for parameter in model.layers[-2].get_weights()])
    return replace(_of_keras(kept.recipe, model, chosen, kept.history, tried), temperature=t)


def _of_keras(
    recipe: Recipe, model: Any, architecture: Architecture, history: list[Epoch], tried: dict[str, float]
) -> Fitted:
    """What is kept of a trained Keras model: the same without what training needed, and our network, if it can."""
    from models import keras_export, keras_nets

    keras_nets.zero_unseen(model)
    model, parameters = _not_compiled(model, architecture), int(model.count_params())
    try:
        network = keras_export.export(model)
        return Fitted(network, model, "exported from Keras", history, 0.0, parameters, recipe, tried)
    except keras_export.CannotExport as why:
        reason = f"the NumPy network cannot express it: {why}"
        return Fitted(None, model, reason, history, 0.0, parameters, recipe, tried)


def _not_compiled(model: Any, architecture: Architecture) -> Any:
    """The same network without its optimizer, whose state is twice as large; a clone of Keras's would keep it."""
    from models import keras_nets

    plain = keras_nets.build(architecture)
    plain.set_weights(model.get_weights())
    return plain


def _keras_loss(recipe: Recipe, task: Task, reduction: str | None = "sum_over_batch_size") -> Any:
    """The mean over rows, or one number for each row without a reduction."""
    from keras import losses

    if task == "regression":
        kind = {"mse": losses.MeanSquaredError, "mae": losses.MeanAbsoluteError, "huber": losses.Huber}[recipe.loss]
        return kind(reduction=reduction)
    common = {"from_logits": True, "reduction": reduction}
    if task == "binary":
        return losses.BinaryCrossentropy(label_smoothing=recipe.label_smoothing, **common)
    if recipe.label_smoothing:
        return losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing, **common)
    return losses.SparseCategoricalCrossentropy(**common)


def _keras_targets(recipe: Recipe, task: Task, y: Targets, classes: int) -> Targets:
    if task == "multiclass" and recipe.label_smoothing:  # the sparse loss of Keras has no label smoothing
        return np.eye(classes, dtype=np.float32)[y]
    return y.astype(np.int32) if task == "multiclass" else y.astype(np.float32)


def _keras_optimizer(recipe: Recipe, rows: int) -> Any:
    import keras

    steps = math.ceil(rows / recipe.batch_size)
    rate: Any = recipe.learning_rate
    if recipe.schedule == "cosine":
        warm = min(steps, 1000)
        total = max(steps * recipe.epochs - warm, 1)  # CosineDecay counts its steps after the warm-up
        rate = keras.optimizers.schedules.CosineDecay(0.0, total, warmup_target=recipe.learning_rate, warmup_steps=warm)
    elif recipe.schedule == "exponential":
        rate = keras.optimizers.schedules.ExponentialDecay(recipe.learning_rate, steps, 0.9)
    common = {"learning_rate": rate, "global_clipnorm": recipe.clip_norm}
    if recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(weight_decay=recipe.weight_decay, beta_2=0.99, **common)
        optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
        return optimizer
    if recipe.optimizer in ("sgd", "momentum"):
        return keras.optimizers.SGD(momentum=0.9 if recipe.optimizer == "momentum" else 0.0, **common)
    return {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}[recipe.optimizer](**common)


def _reporter(recipe: Recipe, history: list[Epoch], on_epoch: OnEpoch) -> Any:
    """A Keras callback that tells each epoch as `Network.fit` does and ends a run whose loss is lost."""
    import keras

    class Reporter(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            loss, validation = float(logs["loss"]), float(logs["val_loss"])
            lost = next((value for value in (loss, validation) if not math.isfinite(value)), None)
            if lost is not None:
                raise DivergenceError(epoch + 1, lost)
            rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            seconds = time.perf_counter() - self.started
            history.append(Epoch(epoch + 1, recipe.epochs, loss, validation, rate, seconds))
            on_epoch(history[-1])

    return Reporter()
