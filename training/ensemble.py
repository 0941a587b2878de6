"""How the ensemble is trained: a fixed number of epochs, each one program.

With Keras an epoch is one program that XLA compiles: `Model.fit` took 4 to 9 times as long for the same network
(docs/decisions/0006-default-network.md). Each member fits the target by itself, and so each member's answer counts as
a row of its own; the validation loss is that of their mean, which is what is served.
"""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from models.architecture import Architecture, Epoch
from models.network import optimizers
from models.network.activations import Array
from models.network.losses import Targets
from models.network.network import DivergenceError
from training.config import Recipe

OnEpoch = Callable[[Epoch], None]
Tell = Callable[[str], None]
BETA_1, BETA_2, EPSILON = 0.9, 0.99, 1e-8


class Tried(NamedTuple):
    """One of the recipes that were tried: how its training went, and the weights it came to."""

    recipe: Recipe
    history: list[Epoch]
    weights: Any

    @property
    def loss(self) -> float:
        return self.history[-1].validation_loss or 0.0


def best(recipe: Recipe, run: Callable[[Recipe], Tried], tell: Tell) -> tuple[Tried, dict[str, float]]:
    """Train with all settings that are to be tried; those of the smallest validation loss, and the losses of all.

    Raises DivergenceError when none of them comes to its end.
    """
    tried: list[Tried] = []
    lost: list[DivergenceError] = []
    for settings in recipe.trials or ({},):
        decided = replace(recipe, trials=(), **settings)
        try:
            tried.append(run(decided))
        except DivergenceError as error:
            lost.append(error)
            tell(f"the training with dropout {decided.dropout:g} was lost in epoch {error.epoch}")
    if not tried:
        raise lost[0]
    kept = min(tried, key=lambda one: one.loss)
    losses = {f"dropout {one.recipe.dropout:g}": one.loss for one in tried}
    if len(tried) > 1:
        told = ", ".join(f"validation {loss:.4f} with {name}" for name, loss in losses.items())
        tell(f"{told}: {kept.recipe.dropout:g} is kept")
    return kept, losses


def tuned(architecture: Architecture, recipe: Recipe) -> Architecture:
    """The same shape with what a recipe says of dropout and frequencies."""
    scales = (recipe.frequency_scale,) * len(architecture.scales)
    return replace(architecture, dropout=recipe.dropout, scales=scales, frequencies=recipe.frequencies)


def schedule(recipe: Recipe, steps: int) -> optimizers.Cosine:
    """steps: of an epoch. Up in the first twentieth of all, an epoch at most, and down to 0 in half a cosine wave."""
    total = steps * recipe.epochs
    return optimizers.Cosine(recipe.learning_rate, total, warmup=max(1, min(steps, total // 20)))


def optimizer(recipe: Recipe, steps: int) -> optimizers.AdamW:
    """The same as the compiled step's, for the network of models/network."""
    return optimizers.AdamW(
        schedule(recipe, steps), recipe.weight_decay, BETA_1, BETA_2, EPSILON, clip_norm=recipe.clip_norm
    )


# Keras


class Compiled:
    """The Keras model of an architecture with an epoch of its training as one compiled program.

    x (rows, inputs); y as the loss wants it, (rows,) or (rows, classes); weights (rows,) or None, of the training rows.
    `loss` takes targets and outputs and gives a number for each row.
    """

    def __init__(
        self,
        recipe: Recipe,
        architecture: Architecture,
        loss: Callable[[Any, Any], Any],
        train: tuple[Array, Targets, Array | None],
        validation: tuple[Array, Targets],
        on_epoch: OnEpoch,
    ) -> None:
        import tensorflow as tf

        from models import keras_nets

        self.recipe, self.architecture, self.loss, self.on_epoch = recipe, architecture, loss, on_epoch
        self.model = keras_nets.build(replace(architecture, dropout=0.5))  # its rate is given to each run
        self.rows = len(train[0])
        self.batch = min(recipe.batch_size, self.rows)
        self.steps = self.rows // self.batch
        x, y, weights = train
        self.data = [tf.constant(x), tf.constant(y)] + ([] if weights is None else [tf.constant(weights)])
        self.validation = [tf.constant(array) for array in validation]
        self.step = tf.Variable(0)
        self.dropout = tf.Variable(0.0)
        self.members = _with_fast_dropout(self.model, self.batch, self.step, self.dropout, recipe.fit_seed)
        self.parameters = [variable.value for variable in self.members.trainable_variables]
        self.decay = [recipe.weight_decay * (v.name in ("kernel", "W")) for v in self.members.trainable_variables]
        self.mean = [tf.Variable(tf.zeros_like(parameter)) for parameter in self.parameters]
        self.square = [tf.Variable(tf.zeros_like(parameter)) for parameter in self.parameters]
        self.epoch = tf.function(self._epoch, jit_compile=True, autograph=False)
        self.judge = tf.function(self._judge, jit_compile=True, autograph=False)

    def run(self, recipe: Recipe) -> Tried:
        import tensorflow as tf

        self._start(recipe)
        epochs = recipe.epochs
        rates = np.array([*map(schedule(recipe, self.steps), range(self.steps * epochs))], np.float32)
        rng = np.random.default_rng(recipe.fit_seed)
        history: list[Epoch] = []
        for number, own_rates in enumerate(rates.reshape(epochs, self.steps), start=1):
            started = time.perf_counter()
            order = rng.permutation(self.rows)[: self.steps * self.batch].reshape(self.steps, self.batch)
            batches = [tf.gather(array, order) for array in self.data]
            loss = _finite(self.epoch(tf.constant(own_rates), *batches), number)
            validation = _finite(self.judge(*self.validation), number)
            seconds = time.perf_counter() - started
            history.append(Epoch(number, epochs, loss, validation, float(own_rates[0]), seconds))
            self.on_epoch(history[-1])
        return Tried(recipe, history, self.model.get_weights())

    def _start(self, recipe: Recipe) -> None:
        """Fresh weights, the same for the same seed, and an optimizer that remembers nothing."""
        import keras

        from models import keras_nets

        keras.utils.set_random_seed(self.recipe.fit_seed)
        self.model.set_weights(keras_nets.build(tuned(self.architecture, recipe)).get_weights())
        self.step.assign(0)
        self.dropout.assign(recipe.dropout)
        for memory in (*self.mean, *self.square):
            memory.assign(memory * 0)

    def _epoch(self, rates: Any, x: Any, y: Any, weights: Any = None) -> Any:
        """x (steps, batch, inputs): a step with each batch; the mean of their losses."""
        import tensorflow as tf

        def step(i: Any, total: Any) -> tuple[Any, Any]:
            loss = self._step(rates[i], x[i], y[i], None if weights is None else weights[i])
            return i + 1, total + loss

        return tf.while_loop(lambda i, total: i < self.steps, step, [0, 0.0])[1] / self.steps

    def _step(self, rate: Any, x: Any, y: Any, weights: Any) -> Any:
        """AdamW, decoupled: only matrices decay (Loshchilov and Hutter 2017, arXiv 1711.05101)."""
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
        rising_1, rising_2 = 1 - BETA_1**t, 1 - BETA_2**t  # both means start at zero
        for parameter, decay, m, v, g in zip(
            self.parameters, self.decay, self.mean, self.square, gradients, strict=True
        ):
            m.assign(BETA_1 * m + (1 - BETA_1) * g)
            v.assign(BETA_2 * v + (1 - BETA_2) * g * g)
            step = (m / rising_1) / (tf.sqrt(v / rising_2) + EPSILON)
            parameter.assign(parameter * (1 - rate * decay) - rate * step)
        return loss

    def _judge(self, x: Any, y: Any) -> Any:
        import tensorflow as tf

        return tf.reduce_mean(self.loss(y, self.model(x, training=False)))


def _with_fast_dropout(model: Any, batch: int, step: Any, rate: Any, seed: int) -> Any:
    """The members of a model for batches of one size, with the same layers but for dropout.

    TensorFlow's random numbers (Philox, Threefry) cost as much as the whole network on a CPU. What is left out is told
    here by an integer hash (lowbias32, https://nullprogram.com/blog/2018/07/31/) of step, layer and position.
    """
    import keras
    import tensorflow as tf

    from models import keras_nets

    def u32(number: int) -> Any:
        return tf.constant(number & 0xFFFFFFFF, tf.uint32)

    class HashedDropout(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
        def __init__(self, salt: int) -> None:
            super().__init__()
            self.salt = salt

        def call(self, x: Any) -> Any:
            h = tf.cast(tf.range(math.prod(x.shape)), tf.uint32) * u32(0x9E3779B1)
            h += tf.cast(step, tf.uint32) * u32(0x85EBCA6B) + u32(self.salt * 0xC2B2AE35)
            for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B), (16, 1)):
                h = tf.bitwise.bitwise_xor(h, tf.bitwise.right_shift(h, u32(shift))) * u32(factor)
            kept = tf.cast(tf.bitwise.right_shift(h, u32(8)), tf.int32) >= tf.cast(rate * 2.0**24, tf.int32)
            return tf.where(tf.reshape(kept, x.shape), x / (1 - rate), 0.0)

    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]

    def of(layer: Any) -> Any:
        return HashedDropout(seed * 64 + dropouts.index(layer)) if layer in dropouts else layer

    matrix = keras.Input(batch_shape=(batch, model.inputs[0].shape[1]))
    return keras.models.clone_model(keras_nets.members_of(model), matrix, of)


def _finite(loss: Any, epoch: int) -> float:
    value = float(loss)
    if not math.isfinite(value):
        raise DivergenceError(epoch, value)
    return value
