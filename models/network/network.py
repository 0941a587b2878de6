"""A network: a sequence of layers, trained on mini-batches by steps against the gradient of the loss."""

from __future__ import annotations  # without it, np.random.Generator would load numpy.random, 2.7 MB per worker

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from models.architecture import TABLE_DEVIATION, Architecture, Epoch
from models.network import ensemble_layers, initializers, layer_types, layers, normalization_layers, tabular_layers
from models.network.activations import Array
from models.network.inference import BLOCK_ROWS, InferenceNetwork
from models.network.layers import Layer
from models.text import counted

if TYPE_CHECKING:  # imported by training only
    from models.network.losses import Loss, Targets
    from models.network.optimizers import Optimizer


class DivergenceError(ArithmeticError):
    """The loss is no longer a finite number: training diverged and needs other settings."""

    def __init__(self, epoch: int, loss: float) -> None:
        super().__init__(
            f"the loss became {loss} in epoch {epoch}. Try a learning rate ten times smaller, clip_norm=1 on the "
            "optimizer, inputs scaled to mean 0 and variance 1, and look for NaN or infinity in x and y"
        )
        self.epoch, self.loss = epoch, loss

    def __reduce__(self) -> tuple[type[Self], tuple[int, float]]:
        """Pickle this error with its arguments; by default pickle would pass the message to `__init__`."""
        return type(self), (self.epoch, self.loss)


class Network:
    """A sequence of layers. Not thread-safe, because layers store values for `backward` (see `for_inference`)."""

    def __init__(self, network_layers: Sequence[Layer]) -> None:
        self.layers = list(network_layers)
        self.parameters = self._by_name(lambda layer: layer.parameters)
        self.gradients = self._by_name(lambda layer: layer.gradients)
        self.state = self._by_name(lambda layer: layer.state)
        self.dtype = self._common_dtype()
        self._output_shape: tuple[int, ...] | None = None  # shape of the output of the last `forward`

    @property
    def inputs(self) -> int:
        return layer_types.input_width(self.layers)

    def forward(self, x: npt.ArrayLike, training: bool = False, rng: np.random.Generator | None = None) -> Array:
        """x (batch, inputs) -> (batch, outputs). `training` enables dropout, and normalization by the mean and variance
        of the batch."""
        h = self._matrix(x)
        for layer in self.layers:
            h = layer.forward(h, training, rng)
        self._output_shape = h.shape
        return h

    def backward(self, d_out: Array) -> Array:
        """Compute dL/dx of the last `forward` from dL/d_outputs. Writes the gradients of all parameters into
        `gradients`."""
        if self._output_shape is None:
            raise RuntimeError("backward needs a forward pass before it")
        if np.shape(d_out) != self._output_shape:
            raise ValueError(f"d_out: expected the shape of the outputs, {self._output_shape}, given {np.shape(d_out)}")
        for layer in reversed(self.layers):
            d_out = layer.backward(d_out)
        return d_out

    def predict(self, x: npt.ArrayLike) -> Array:
        """`forward` in blocks of rows."""
        rows = self._matrix(x)
        return np.concatenate([self.forward(rows[i : i + BLOCK_ROWS]) for i in range(0, max(1, len(rows)), BLOCK_ROWS)])

    def evaluate(self, x: npt.ArrayLike, y: Targets, loss: Loss, weights: Array | None = None) -> float:
        """The mean loss over rows, without training."""
        return loss(self.predict(x), y, weights)[0]

    def fit(
        self,
        x: npt.ArrayLike,
        y: Targets,
        *,
        loss: Loss,
        optimizer: Optimizer,
        epochs: int,
        batch_size: int,
        rng: np.random.Generator,
        weights: Array | None = None,
        validation: tuple[npt.ArrayLike, Targets] | Callable[[], float] | None = None,
        patience: int | None = None,
        keep_best: bool = False,
        on_epoch: Callable[[Epoch], None] | None = None,
    ) -> list[Epoch]:
        """Train and return a record of each epoch. `weights` are per row; class weights belong to the loss.

        validation: rows and targets, or a function that returns the validation loss. With `keep_best` or `patience` the
        weights of the epoch with the lowest validation loss are restored at the end. With `patience` training also
        stops after that number of epochs without a lower validation loss. Raises DivergenceError if the loss is not
        finite. The training loss of an ensemble is the mean of its members' losses; the validation loss is that of the
        members' mean.
        """
        x, y = self._matrix(x), np.asarray(y)
        if len(x) != len(y) or len(x) == 0:
            raise ValueError(
                "expected the same number of rows and targets, at least one, "
                f"given {counted(len(x), 'row')} and {counted(len(y), 'target')}"
            )
        if weights is not None and np.shape(weights) != (len(x),):
            raise ValueError(f"weights: expected shape ({len(x)},), one for each row, given {np.shape(weights)}")
        if batch_size < 1:
            raise ValueError(f"batch_size: expected 1 or more, given {batch_size}")
        if patience is not None and validation is None:
            raise ValueError("patience needs validation data: the training loss does not show when to stop")
        keep_best = (keep_best or patience is not None) and validation is not None
        history: list[Epoch] = []
        best = BestWeights(self)
        for number in range(1, epochs + 1):
            started, rate = time.perf_counter(), optimizer.learning_rate
            with np.errstate(over="ignore", invalid="ignore"):  # DivergenceError is more specific than a warning
                mean_loss = self._train_epoch(number, x, y, weights, loss, optimizer, batch_size, rng)
                validation_loss = None if validation is None else self._validation_loss(validation, loss, number)
            history.append(Epoch(number, epochs, mean_loss, validation_loss, rate, time.perf_counter() - started))
            if on_epoch is not None:
                on_epoch(history[-1])
            if keep_best and validation_loss is not None:
                best.update(number, validation_loss)
            if patience is not None and number - best.epoch >= patience:
                break
        if keep_best:
            best.restore()
        return history

    def _validation_loss(
        self, validation: tuple[npt.ArrayLike, Targets] | Callable[[], float], loss: Loss, epoch: int
    ) -> float:
        value = validation() if callable(validation) else self.evaluate(*validation, loss)
        return _check_finite(value, epoch)

    def _train_epoch(
        self,
        epoch: int,
        x: Array,
        y: Targets,
        weights: Array | None,
        loss: Loss,
        optimizer: Optimizer,
        batch_size: int,
        rng: np.random.Generator,
    ) -> float:
        """Train on every row once, in random order. Returns the mean of the batches' losses before each step."""
        total = 0.0
        order = rng.permutation(len(x))
        for start in range(0, len(x), batch_size):
            batch = order[start : start + batch_size]
            outputs = self.forward(x[batch], training=True, rng=rng)
            members = outputs.shape[1] if outputs.ndim == 3 else 1  # the loss compares each member with the target
            value, d_outputs = loss(
                outputs.reshape(-1, outputs.shape[-1]),  # (batch, members, outputs) -> (batch · members, outputs)
                y[batch].repeat(members, axis=0),
                None if weights is None else weights[batch].repeat(members),
            )
            total += _check_finite(value, epoch) * len(batch)
            self.backward(d_outputs.reshape(outputs.shape))
            optimizer.step(self.parameters, self.gradients)
        return total / len(x)

    def for_inference(self) -> InferenceNetwork:
        """A copy for predictions: folded, in float32 and thread-safe."""
        return InferenceNetwork(self.layers)

    def to_json(self) -> dict[str, Any]:
        """The layers and the shapes of their arrays, in readable form. `from_json` needs them and `weights()`."""
        return {"dtype": self.dtype.name, "layers": [_layer_to_json(layer) for layer in self.layers]}

    def weights(self) -> dict[str, Array]:
        """Parameters and state by name (`0.dense.W`), for one .npz file."""
        return {**self.parameters, **self.state}

    @classmethod
    def from_json(cls, spec: Mapping[str, Any], arrays: Mapping[str, Array]) -> Self:
        """The network from the results of `to_json` and `weights`. Raises ValueError for an unknown layer or a wrong
        shape."""
        return cls(
            [_layer_from_json(i, entry, arrays, np.dtype(spec["dtype"])) for i, entry in enumerate(spec["layers"])]
        )

    def _by_name(self, get_arrays: Callable[[Layer], dict[str, Array]]) -> dict[str, Array]:
        return {
            f"{i}.{layer.kind}.{name}": array
            for i, layer in enumerate(self.layers)
            for name, array in get_arrays(layer).items()
        }

    def _common_dtype(self) -> np.dtype[Any]:
        dtypes = {name: array.dtype for name, array in self.weights().items()}
        if len(set(dtypes.values())) > 1:
            raise ValueError(
                f"expected one dtype in all layers, given {', '.join(f'{n}: {d}' for n, d in dtypes.items())}"
            )
        return next(iter(dtypes.values()), np.dtype(np.float32))

    def _matrix(self, x: npt.ArrayLike) -> Array:
        matrix = np.asarray(x, dtype=self.dtype)
        if matrix.ndim != 2:
            raise ValueError(f"expected a matrix (batch, inputs), given shape {matrix.shape}")
        return matrix


class BestWeights:
    """A copy of the weights of the best epoch so far."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.epoch, self.loss = 0, math.inf
        self.copy: dict[str, Array] = {}

    def update(self, epoch: int, loss: float) -> None:
        if loss < self.loss:
            self.epoch, self.loss = epoch, loss
            self.copy = {name: array.copy() for name, array in self.network.weights().items()}

    def restore(self) -> None:
        for name, array in self.copy.items():
            self.network.weights()[name][...] = array


def build(architecture: Architecture, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32) -> Network:
    """The network of an architecture with initial weights, from the same distributions as in `keras_nets`."""
    made: list[Layer] = []
    members, width = architecture.members, architecture.embedded_width
    if architecture.categories:
        deviation = TABLE_DEVIATION if members else None
        made.append(tabular_layers.Tabular.new(architecture.numbers, architecture.categories, rng, dtype, deviation))
    if architecture.scales:
        h, e = architecture.frequencies, architecture.embedding
        made.append(tabular_layers.Periodic.new(architecture.scales, h, e, rng, dtype))
        width += len(architecture.scales) * e
    shared = members and architecture.adapters and architecture.hidden
    if members and not shared:
        made.append(ensemble_layers.Members.new(members, width, rng, dtype))
    for index, units in enumerate(architecture.hidden):
        if shared:
            made.append(ensemble_layers.SharedDense.new(members, width, units, rng, index == 0, dtype))
        elif members:
            dense = layers.Dense.new(width, units, rng, initializers.lecun, dtype)
            dense.b[...] = rng.uniform(-(width**-0.5), width**-0.5, units)
            made.append(dense)
        else:
            made.append(layers.Dense.new(width, units, rng, dtype=dtype))
        if architecture.batch_normalization:
            made.append(normalization_layers.BatchNormalization.new(units, dtype))
        made.append(layers.Activation(architecture.activation))
        if architecture.dropout:
            made.append(layers.Dropout(architecture.dropout))
        width = units
    if members:
        made.append(ensemble_layers.MemberDense.new(members, width, architecture.outputs, rng, dtype))
        made.append(ensemble_layers.MemberMean(architecture.link))
    else:
        made.append(layers.Dense.new(width, architecture.outputs, rng, dtype=dtype))
    return Network(made)


def _check_finite(loss: float, epoch: int) -> float:
    if not math.isfinite(loss):
        raise DivergenceError(epoch, loss)
    return loss


def _layer_to_json(layer: Layer) -> dict[str, Any]:
    arrays = {**layer.parameters, **layer.state}
    return {
        "layer": layer.kind,
        **layer.options(),
        **({"arrays": {name: list(array.shape) for name, array in arrays.items()}} if arrays else {}),
    }


def _layer_from_json(i: int, entry: Mapping[str, Any], arrays: Mapping[str, Array], dtype: np.dtype[Any]) -> Layer:
    options = {key: value for key, value in entry.items() if key not in ("layer", "arrays")}
    kind = entry["layer"]
    if kind not in layer_types.LAYERS:
        raise ValueError(f"layer {i}: {kind!r} is unknown, expected one of {', '.join(layer_types.LAYERS)}")
    own: dict[str, Array] = {}
    for name, shape in entry.get("arrays", {}).items():
        full = f"{i}.{kind}.{name}"
        if full not in arrays or arrays[full].shape != tuple(shape):
            given = f"shape {arrays[full].shape}" if full in arrays else "no such array"
            raise ValueError(f"weights {full!r}: expected shape {tuple(shape)}, given {given}")
        own[name] = arrays[full].astype(dtype)
    return layer_types.LAYERS[kind](**own, **options)
