"""Translates a recipe to Keras: loss, targets, optimizer, and a callback for each epoch."""

import math
import time
from typing import Any

import numpy as np

from models.architecture import Epoch, Task
from models.network.network import DivergenceError
from training.encoded_rows import Targets
from training.recipe import Recipe
from training.training_run import OnEpoch


def loss_of(recipe: Recipe, task: Task, reduction: str | None = "sum_over_batch_size") -> Any:
    """The loss of a recipe: the mean over rows or, without a reduction, a number for each row."""
    from keras import losses

    if task == "regression":
        loss = {"mse": losses.MeanSquaredError, "mae": losses.MeanAbsoluteError, "huber": losses.Huber}[recipe.loss]
        return loss(reduction=reduction)
    common = {"from_logits": True, "reduction": reduction}
    if task == "binary":
        return losses.BinaryCrossentropy(label_smoothing=recipe.label_smoothing, **common)
    if recipe.label_smoothing:
        return losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing, **common)
    return losses.SparseCategoricalCrossentropy(**common)


def encode_targets(recipe: Recipe, task: Task, y: Targets, classes: int) -> Targets:
    """The targets (rows,) as the loss expects them: (rows,), or one-hot (rows, classes) for smoothed labels."""
    if task == "multiclass" and recipe.label_smoothing:  # Keras's sparse loss has no label smoothing
        return np.eye(classes, dtype=np.float32)[y]
    return y.astype(np.int32) if task == "multiclass" else y.astype(np.float32)


def optimizer_of(recipe: Recipe, rows: int) -> Any:
    """The optimizer with its learning rate schedule. rows: the number of train rows."""
    import keras

    common = {"learning_rate": _learning_rate(recipe, rows), "global_clipnorm": recipe.clip_norm}
    if recipe.optimizer == "adamw":
        optimizer = keras.optimizers.AdamW(weight_decay=recipe.weight_decay, beta_2=0.99, **common)
        optimizer.exclude_from_weight_decay(var_names=["bias", "beta", "gamma"])
        return optimizer
    if recipe.optimizer in ("sgd", "momentum"):
        return keras.optimizers.SGD(momentum=0.9 if recipe.optimizer == "momentum" else 0.0, **common)
    return {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}[recipe.optimizer](**common)


def _learning_rate(recipe: Recipe, rows: int) -> Any:
    from keras.optimizers import schedules

    steps = math.ceil(rows / recipe.batch_size)  # per epoch
    if recipe.schedule == "cosine":
        warmup = min(steps, 1000)
        total = max(steps * recipe.epochs - warmup, 1)  # CosineDecay counts its steps after the warm-up
        return schedules.CosineDecay(0.0, total, warmup_target=recipe.learning_rate, warmup_steps=warmup)
    if recipe.schedule == "exponential":
        return schedules.ExponentialDecay(recipe.learning_rate, steps, 0.9)
    return recipe.learning_rate


def epoch_callback(recipe: Recipe, history: list[Epoch], on_epoch: OnEpoch) -> Any:
    """A Keras callback that reports each epoch as `Network.fit` does. It raises DivergenceError."""
    import keras

    class EpochCallback(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            loss, validation = float(logs["loss"]), float(logs["val_loss"])
            diverged = next((value for value in (loss, validation) if not math.isfinite(value)), None)
            if diverged is not None:
                raise DivergenceError(epoch + 1, diverged)
            rate = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            seconds = time.perf_counter() - self.started
            history.append(Epoch(epoch + 1, recipe.epochs, loss, validation, rate, seconds))
            on_epoch(history[-1])

    return EpochCallback()
