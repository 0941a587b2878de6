"""Adds a linear part to a small table's network: a weighted sum of the network's and a linear model's outputs.

The weights have the smallest loss on the validation rows. The linear model reads the same encoded rows, so the sum is
again an ensemble of the same layers: each hidden layer gets a unit for each member and output that carries the linear
model's output (plus a constant, so that ReLU does not cut it off), and the last layer adds it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

from models.architecture import Architecture, Link, Task
from models.encoding.encoder import Encoder
from models.network.activations import Array
from models.network.ensemble_layers import MemberDense, SharedDense, member_mean
from models.network.layers import Layer
from models.network.losses import BinaryCrossEntropy, CategoricalCrossEntropy, Loss
from models.network.network import Network
from models.network.tabular_layers import Tabular
from training import linear_candidate, linear_model
from training.encoded_rows import Targets
from training.linear_model import Array64, LinearModel
from training.streaming.stored_matrix import Matrix
from training.temperature import PRIOR_DEVIATION
from training.training_run import FitResult, HeldOutOutputs, TrainingRun
from training.validation_loss import validation_loss

NAME = "with a linear part"  # label in the losses of the trials
# The maximum number of units added to a hidden layer: one output of four members. 12 cost 13 % more time in batches.
MAX_UNITS = 4
MIN_GAIN = 1e-3  # minimum relative decrease of the validation loss
MIN_FACTOR = 1e-3  # minimum of a member's input factors, by which the linear weights are divided
MAX_SHARE = 2.0
HEADROOM = 2.0  # multiple of the largest linear output; a larger output, far from all training rows, is cut off by ReLU


@dataclass(frozen=True)
class MixtureWeights:
    """outputs = network · outputs of each member + linear · outputs of the linear model."""

    network: float
    linear: float


def add_linear_part(run: TrainingRun, encoder: Encoder, fitted: FitResult) -> FitResult:
    """Add a linear part to the network if the table is small and this lowers the validation loss.

    run: the training run of the network; it has the encoded rows.
    """
    held_out, loss, outputs = fitted.member_outputs, fitted.validation_loss, run.architecture.outputs
    too_wide = run.architecture.members * outputs > MAX_UNITS
    if held_out is None or loss is None or fitted.network is None or too_wide or run.recipe.folds == 1:
        return fitted
    candidate = linear_candidate.best_candidate(run, encoder, loss)
    if candidate is None or candidate.name == "constant":
        return fitted
    y = run.pooled.y[held_out.rows]
    shares = fit_mixture_weights(run.task, held_out.outputs, candidate.outputs, y, run.class_weights)
    mixed = shares.network * held_out.outputs + shares.linear * candidate.outputs[:, np.newaxis]
    mixed_loss = validation_loss(run, y)(mixed.astype(np.float32))
    if not mixed_loss < (1 - MIN_GAIN) * loss:
        return fitted
    columns = linear_model.one_hot_columns(np.asarray(run.final_rows.x), encoder)
    model = linear_candidate.fit_with_penalty(run, columns, candidate.penalty)
    # Both the last layer and the shares contain the temperature.
    served = MixtureWeights(shares.network * fitted.temperature, shares.linear)
    offset = HEADROOM * float(np.abs(model.predict(columns)).max()) + 1.0
    net = with_linear_part(fitted.network, model, served, offset)
    if net is None:
        return fitted
    run.report(
        f"a linear part is added: validation loss {mixed_loss:.6g} instead of {loss:.6g}, "
        f"{shares.network:.2f} · network + {shares.linear:.2f} · linear model"
    )
    return replace(
        fitted,
        network=net,
        keras=None if fitted.keras is None else linear_model.to_keras(net, widen_architecture(run.architecture)),
        parameters=sum(array.size for array in net.parameters.values()),
        recipe=replace(fitted.recipe, linear_part=(shares.network, shares.linear)),
        trial_losses=fitted.trial_losses | {NAME: mixed_loss},
        held_out=None if fitted.held_out is None else HeldOutOutputs(held_out.rows, _float32(mixed.mean(axis=1))),
        mixed_loss=mixed_loss,
    )


def fit_mixture_weights(
    task: Task, members: Matrix, linear: Array64, y: Targets, weights: Sequence[float] | None
) -> MixtureWeights:
    """Fit the shares. members: (rows, members, outputs), linear: (rows, outputs), for rows not used to train them.

    For a regression the shares sum to 1. For a classification they also calibrate, as the temperature does.
    """
    if task == "regression":
        network = members.astype(np.float64).mean(axis=1)
        difference = (network - linear)[:, 0]
        share = float(difference @ (y - linear[:, 0]) / max(float(difference @ difference), 1e-12))
        share = min(max(share, 0.0), 1.0)
        return MixtureWeights(share, 1 - share)
    loss: Loss = (BinaryCrossEntropy if task == "binary" else CategoricalCrossEntropy)(0.0, weights)
    link: Link = "sigmoid" if task == "binary" else "softmax"
    logits = members.astype(np.float64)

    def penalized_loss(point: Any) -> float:
        mixed = np.exp(point[0]) * logits + point[1] * linear[:, np.newaxis]
        value, _ = loss(member_mean(mixed, link, axis=1), y)
        return float(value + (point[0] / PRIOR_DEVIATION) ** 2 / 2 / len(y))

    log_limit = np.log(MAX_SHARE) * 2
    bounds = [(-2 * log_limit, log_limit), (0.0, MAX_SHARE)]
    found = minimize(penalized_loss, np.array([-0.5, 0.5]), bounds=bounds, method="L-BFGS-B").x
    return MixtureWeights(float(np.exp(found[0])), float(found[1]))


def with_linear_part(net: Network, model: LinearModel, shares: MixtureWeights, offset: float) -> Network | None:
    """The combined network; None if a member almost ignores an input that the linear model uses."""
    layers = list(net.layers)
    outputs = len(model.b)
    columns = _input_columns(layers[0], model)
    if isinstance(layers[0], Tabular):
        layers[0] = _widen_tables(layers[0], model)
    first = True
    for i, layer in enumerate(layers):
        if isinstance(layer, SharedDense) and first:
            widened = _widen_first(layer, model, columns, offset)
            if widened is None:
                return None
            layers[i], first = widened, False
        elif isinstance(layer, SharedDense):
            layers[i] = _widen_hidden(layer, len(layer.r) * outputs)
        elif isinstance(layer, MemberDense):
            layers[i] = _widen_last(layer, shares, offset)
    return Network(layers)


def widen_architecture(architecture: Architecture) -> Architecture:
    """The architecture with a linear part."""
    extra = architecture.members * architecture.outputs
    return replace(
        architecture,
        hidden=tuple(units + extra for units in architecture.hidden),
        categories=tuple((rows, units + architecture.outputs) for rows, units in architecture.categories),
    )


class InputColumns(NamedTuple):
    """New positions of the first dense layer's inputs, without the periodic features that follow."""

    numbers: list[int]  # columns of the linear model
    embeddings: list[int]
    effects: list[int]  # effects of the levels in the linear model, for each output


def _input_columns(first: Layer, model: LinearModel) -> InputColumns:
    if not isinstance(first, Tabular):
        return InputColumns([*range(len(model.W))], [], [])
    outputs = len(model.b)
    embeddings, effects = list[int](), list[int]()
    end = first.numbers
    for table in first.tables:
        embeddings += range(end, end + table.shape[1])
        effects += range(end + table.shape[1], end + table.shape[1] + outputs)
        end += table.shape[1] + outputs
    return InputColumns([*range(first.numbers)], embeddings, effects)


def _widen_tables(layer: Tabular, model: LinearModel) -> Tabular:
    """Add to each table a column for each output, with the linear model's weights of the levels."""
    tables, start = {}, layer.numbers
    for j, table in enumerate(layer.tables):
        weights = model.W[start : start + len(table) - 1]
        unseen = np.zeros((1, weights.shape[1]))
        tables[f"table_{j}"] = _float32(np.hstack([table, np.vstack([weights, unseen])]))
        start += len(table) - 1
    return Tabular(layer.numbers, **tables)


def _widen_first(layer: SharedDense, model: LinearModel, columns: InputColumns, offset: float) -> SharedDense | None:
    """Add units that carry the linear model, with numbers U + member · outputs + output. The member's factors r are
    divided out."""
    (inputs, units), members, outputs = layer.W.shape, len(layer.r), len(model.b)
    widened = inputs + len(columns.effects)
    periodic = range(sum(map(len, columns)), widened)
    places = np.array([*columns.numbers, *columns.embeddings, *periodic])
    r = np.ones((members, widened))
    r[:, places] = layer.r
    direction = np.zeros((widened, outputs))
    direction[columns.numbers] = model.W[: len(columns.numbers)]
    for position, column in enumerate(columns.effects):
        direction[column, position % outputs] = 1.0
    if (np.abs(r[:, direction.any(axis=1)]) < MIN_FACTOR).any():
        return None
    own = [direction / factors[:, np.newaxis] for factors in r]  # directions of each member
    W = np.zeros((widened, units + members * outputs))
    W[places, :units] = layer.W
    W[:, units:] = np.hstack(own)
    b = np.tile(model.b + offset, (members, members))
    return SharedDense(
        _float32(W),
        _float32(r),
        _with_ones(layer.parameters["s"], members * outputs),
        _float32(np.hstack([layer.parameters["b"], b])),
    )


def _widen_hidden(layer: SharedDense, extra: int) -> SharedDense:
    """Pass the additional units unchanged: ReLU does not change positive values."""
    inputs, units = layer.W.shape
    W = np.zeros((inputs + extra, units + extra))
    W[:inputs, :units] = layer.W
    W[inputs:, units:] = np.eye(extra)
    b = np.hstack([layer.parameters["b"], np.zeros((len(layer.r), extra))])
    return SharedDense(_float32(W), _with_ones(layer.r, extra), _with_ones(layer.parameters["s"], extra), _float32(b))


def _widen_last(layer: MemberDense, shares: MixtureWeights, offset: float) -> MemberDense:
    """Add the additional units of each member to its outputs; the other units contain the factors of other members."""
    members, _, outputs = layer.W.shape
    further = np.zeros((members, members * outputs, outputs))
    for member in range(members):
        further[member, member * outputs : (member + 1) * outputs] = shares.linear * np.eye(outputs)
    W = np.concatenate([shares.network * layer.W, further], axis=1)
    return MemberDense(_float32(W), _float32(shares.network * layer.parameters["b"] - shares.linear * offset))


def _with_ones(factors: Array, extra: int) -> Matrix:
    return _float32(np.hstack([factors, np.ones((len(factors), extra))]))


def _float32(array: Any) -> Matrix:
    return np.asarray(array, np.float32)
