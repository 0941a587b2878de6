"""Trains the ensemble with Keras: each epoch is one program that XLA compiles.

`Model.fit` took 4 to 9 times as long for the same network (docs/decisions/0006-default-network.md).
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from models.architecture import Architecture, Epoch
from models.network.activations import Array
from models.network.network import DivergenceError
from training.encoded_rows import EncodedMatrix, Targets
from training.ensemble import BETA_1, EPSILON, configure, schedule
from training.folds import Evaluate, Fold, FoldResult
from training.recipe import MAX_FOLD_ROWS, Recipe
from training.tensor_rows import TensorRows
from training.training_run import OnEpoch, OnRows, RowNumbers, TrialResult, best_epoch

FLOAT_BYTES = 4
MAX_SEGMENT_BYTES = 1 << 24  # maximum bytes of encoded rows that are tensors at the same time
MAX_PREDICTED_ROWS = 1 << 14  # maximum rows predicted at once, whose hidden outputs are in memory


class Segments(NamedTuple):
    """The segments of an epoch, which the compiled program runs one by one. steps: the number in each segment."""

    number: int
    steps: int

    @classmethod
    def for_steps(cls, steps: int, step_bytes: int) -> "Segments":
        """The segments of an epoch with at least `steps` steps. step_bytes: the size of a step's rows."""
        number = -(-steps * step_bytes // MAX_SEGMENT_BYTES)
        return cls(number, -(-steps // number))


class EnsembleTrainer:
    """The Keras model of an architecture, with an epoch of its training as one compiled program.

    data: x (rows, inputs), y as the loss expects it, (rows,) or (rows, classes), and row weights (rows,) or None.
    train_rows: the number of train rows in the first fold. loss: returns a number for each row of targets and outputs.
    """

    def __init__(
        self,
        recipe: Recipe,
        architecture: Architecture,
        loss: Callable[[Any, Any], Any],
        data: tuple[EncodedMatrix, Targets, Array | None],
        train_rows: int,
        on_rows: OnRows = lambda done, total: None,
    ) -> None:
        import tensorflow as tf

        from models import keras_nets

        self.recipe, self.architecture, self.loss, self.on_rows = recipe, architecture, loss, on_rows
        self.model = keras_nets.build(replace(architecture, dropout=0.5))  # each run sets its own dropout rate
        self.initial_weights: dict[Architecture, list[Array]] = {}
        self.rows, self.train_rows = len(data[0]), train_rows
        self.batch = min(recipe.batch_size, train_rows)
        self.segments = Segments.for_steps(train_rows // self.batch, self.batch * data[0].shape[1] * FLOAT_BYTES)
        self.data = TensorRows(*data)
        self.step = tf.Variable(0)
        self.dropout, self.weight_decay = tf.Variable(0.0), tf.Variable(0.0)
        self.members = _with_fast_dropout(self.model, self.batch, self.step, self.dropout, recipe.fit_seed)
        self.parameters = [variable.value for variable in self.members.trainable_variables]
        self.decays = [v.name in ("kernel", "W") for v in self.members.trainable_variables]
        self.mean = [tf.Variable(tf.zeros_like(parameter)) for parameter in self.parameters]
        self.square = [tf.Variable(tf.zeros_like(parameter)) for parameter in self.parameters]
        self.train_segment = tf.function(self._train_segment, jit_compile=True, autograph=False)
        members = keras_nets.member_model(self.model)
        self.predict = tf.function(lambda x: members(x, training=False), jit_compile=True, autograph=False)

    def run(
        self, recipe: Recipe, fold: Fold, evaluate: Evaluate, patience: int | None, on_epoch: OnEpoch
    ) -> FoldResult:
        """Train from initial weights; the result has the weights of the best epoch. Raises DivergenceError."""
        weights: Any = None
        history: list[Epoch] = []
        for epoch in self._epochs(recipe, fold.train):
            validation = _check_finite(evaluate(self._outputs(fold.validation)), epoch.number)
            history.append(epoch._replace(validation_loss=validation))
            best = best_epoch(history)
            if best is history[-1]:
                weights = self.model.get_weights()
            on_epoch(history[-1])
            if patience is not None and epoch.number - best.number >= patience:
                break
        return FoldResult(history, weights)

    def _outputs(self, rows: RowNumbers) -> Array:
        """The members' outputs (rows, members, outputs). A program is compiled for each shape, so a small table is
        predicted as a whole, and a large table in blocks of one size."""
        if self.rows <= MAX_FOLD_ROWS:
            return np.asarray(self.predict(self.data.inputs()))[rows]
        if len(rows) <= MAX_PREDICTED_ROWS:
            return np.asarray(self.predict(self.data.inputs(rows)))
        size = MAX_PREDICTED_ROWS
        blocks = [rows[start : start + size] for start in range(0, len(rows), size)]
        blocks[-1] = np.resize(blocks[-1], size)  # fills the last block with repeated rows
        return np.concatenate([np.asarray(self.predict(self.data.inputs(block))) for block in blocks])[: len(rows)]

    def refit(self, trial: TrialResult, on_epoch: OnEpoch) -> Any:
        """The weights after training on all rows with the trial's recipe up to its best epoch. Raises DivergenceError.

        The schedule is stretched, so that it reaches the same point after the same number of passes over the rows.
        """
        stretch = self.rows / self.train_rows
        recipe = replace(trial.recipe, epochs=max(1, round(stretch * trial.recipe.epochs)))
        last = max(1, round(stretch * best_epoch(trial.history).number))
        for epoch in islice(self._epochs(recipe, np.arange(self.rows)), last):
            on_epoch(epoch._replace(of=last))
        return self.model.get_weights()

    def _epochs(self, recipe: Recipe, rows: RowNumbers) -> Iterator[Epoch]:
        """Train from initial weights on these rows; an epoch has as many steps as an epoch of the trials."""
        import tensorflow as tf

        self._reset(recipe)
        epochs, (count, steps) = recipe.epochs, self.segments
        rates = np.array([*map(schedule(recipe, count * steps), range(count * steps * epochs))], np.float32)
        orders = self._orders(np.random.default_rng(recipe.fit_seed), rows)
        for number, epoch_rates in enumerate(rates.reshape(epochs, count, steps), start=1):
            started = time.perf_counter()
            order = next(orders).reshape(count, steps, self.batch)
            losses: list[float] = []
            self._report_rows(0, order)
            for part, part_rates in zip(order, epoch_rates, strict=True):
                batches = self.data.take(part)
                losses.append(_check_finite(self.train_segment(tf.constant(part_rates), *batches), number))
                self._report_rows(len(losses), order)
            loss = sum(losses) / count
            yield Epoch(number, epochs, loss, None, float(epoch_rates[0, 0]), time.perf_counter() - started)

    def _report_rows(self, segments: int, order: RowNumbers) -> None:
        """Report how many of an epoch's segments are done, if there are several."""
        if len(order) > 1:
            self.on_rows(segments * order[0].size, order.size)

    def _orders(self, rng: np.random.Generator, rows: RowNumbers) -> Iterator[RowNumbers]:
        """The row numbers of each epoch, taken from passes over the rows in random order.

        Rows that an epoch does not use come first in the next epoch.
        """
        size = self.segments.number * self.segments.steps * self.batch
        order = np.empty(0, np.intp)
        while True:
            while len(order) < size:
                order = np.concatenate([order, rng.permutation(rows)])
            yield order[:size]
            order = order[size:]

    def _reset(self, recipe: Recipe) -> None:
        """Set the initial weights, which are equal for equal seeds, and clear the optimizer's state."""
        import keras

        from models import keras_nets

        architecture = configure(self.architecture, recipe)
        if architecture not in self.initial_weights:
            keras.utils.set_random_seed(self.recipe.fit_seed)
            self.initial_weights[architecture] = keras_nets.build(architecture).get_weights()
        self.model.set_weights(self.initial_weights[architecture])
        self.step.assign(0)
        self.dropout.assign(recipe.dropout)
        self.weight_decay.assign(recipe.weight_decay)
        for moment in (*self.mean, *self.square):
            moment.assign(moment * 0)

    def _train_segment(self, rates: Any, x: Any, y: Any, weights: Any = None) -> Any:
        """Train one step for each batch of x (steps, batch, inputs). Returns the mean of the losses."""
        import tensorflow as tf

        def step(i: Any, total: Any) -> tuple[Any, Any]:
            loss = self._step(rates[i], x[i], y[i], None if weights is None else weights[i])
            return i + 1, total + loss

        return tf.while_loop(lambda i, total: i < self.segments.steps, step, [0, 0.0])[1] / self.segments.steps

    def _step(self, rate: Any, x: Any, y: Any, weights: Any) -> Any:
        """AdamW with decoupled weight decay, of matrices only (Loshchilov and Hutter 2017, arXiv 1711.05101)."""
        import tensorflow as tf

        t = tf.cast(self.step.assign_add(1), tf.float32)
        with tf.GradientTape() as tape:
            outputs = self.members(x, training=True)  # (batch, members, outputs)
            members, units = outputs.shape[1:]
            each = self.loss(tf.repeat(y, members, axis=0), tf.reshape(outputs, (-1, units)))
            each = tf.reshape(each, (-1, members))
            loss = tf.reduce_mean(each if weights is None else each * weights[:, tf.newaxis])
        gradients = [tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, self.parameters)]
        if self.recipe.clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self.recipe.clip_norm)
        beta_2 = self.recipe.beta_2
        correction_1, correction_2 = 1 - BETA_1**t, 1 - beta_2**t  # both moments start at zero
        for parameter, decays, m, v, g in zip(
            self.parameters, self.decays, self.mean, self.square, gradients, strict=True
        ):
            m.assign(BETA_1 * m + (1 - BETA_1) * g)
            v.assign(beta_2 * v + (1 - beta_2) * g * g)
            step = (m / correction_1) / (tf.sqrt(v / correction_2) + EPSILON)
            parameter.assign(parameter * (1 - rate * self.weight_decay if decays else 1.0) - rate * step)
        return loss


def _with_fast_dropout(model: Any, batch: int, step: Any, rate: Any, seed: int) -> Any:
    """The members of a model for batches of one size, with the same layers except for dropout.

    TensorFlow's random numbers (Philox, Threefry) cost as much as the whole network on a CPU. Here an integer hash
    (lowbias32, https://nullprogram.com/blog/2018/07/31/) of step, layer and position decides which units are dropped.
    """
    import keras
    import tensorflow as tf

    from models import keras_nets

    def as_uint32(number: int) -> Any:
        return tf.constant(number & 0xFFFFFFFF, tf.uint32)

    class HashedDropout(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
        def __init__(self, salt: int) -> None:
            super().__init__()
            self.salt = salt

        def call(self, x: Any) -> Any:
            h = tf.cast(tf.range(math.prod(x.shape)), tf.uint32) * as_uint32(0x9E3779B1)
            h += tf.cast(step, tf.uint32) * as_uint32(0x85EBCA6B) + as_uint32(self.salt * 0xC2B2AE35)
            for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
                h = tf.bitwise.bitwise_xor(h, tf.bitwise.right_shift(h, as_uint32(shift))) * as_uint32(factor)
            kept = tf.cast(tf.bitwise.right_shift(h, as_uint32(8)), tf.int32) >= tf.cast(rate * 2.0**24, tf.int32)
            return tf.where(tf.reshape(kept, x.shape), x / (1 - rate), 0.0)

    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]

    def clone(layer: Any) -> Any:
        return HashedDropout(seed * 64 + dropouts.index(layer)) if layer in dropouts else layer

    matrix = keras.Input(batch_shape=(batch, model.inputs[0].shape[1]))
    return keras.models.clone_model(keras_nets.member_model(model), matrix, clone)


def _check_finite(loss: Any, epoch: int) -> float:
    value = float(loss)
    if not math.isfinite(value):
        raise DivergenceError(epoch, value)
    return value
