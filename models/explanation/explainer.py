"""Explains predictions: how much each column moved a prediction away from the background's mean prediction.

The contributions are Shapley values of a game whose players are the columns: a coalition's payoff is the prediction for
a masked row, which has the coalition's columns of the explained row and the other columns of a background row. They are
averaged over the background rows, so they sum to the prediction minus the mean prediction for the background. Masked
rows are combined from encoded rows, since each encoded column comes from one column of the table.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.engines import NumpyEngine
from models.explanation.background import Background
from models.explanation.coalitions import (
    Mask,
    Payoffs,
    all_coalitions,
    exact_values,
    paired_orders,
    partial_coalitions,
    sampled_values,
)
from models.explanation.evaluation_counts import MAX_EXACT_COLUMNS, PAIRS, coalition_count
from models.frame import Frame
from models.network.inference import InferenceNetwork
from models.tabular_model import TabularModel

BLOCK_ROWS = 4096  # masked rows that are evaluated at once

Matrix = npt.NDArray[np.float32]
Row = npt.NDArray[np.float64]


class Explanation(NamedTuple):
    """The explanation of one row's prediction.

    output: the position of the explained class, None for a regression. contributions: (columns,) in the order of the
    schema's features, in the unit of the prediction; they sum to the prediction minus the baseline. evaluations: the
    number of rows that the engine predicted. error: the largest standard error of a contribution, 0 if it is exact.
    """

    output: int | None
    baseline: float
    contributions: Row
    exact: bool
    evaluations: int
    error: float


@dataclass(frozen=True)
class Game:
    """The game between a row and one background row: the columns in which they differ, and the coalitions to evaluate.

    `orders` is None if all coalitions are evaluated.
    """

    columns: npt.NDArray[np.intp]
    orders: npt.NDArray[np.intp] | None
    mask: Mask  # (coalitions, columns)

    def sums(self, start: Matrix, changes: Matrix) -> Matrix:
        """(coalitions, units): `start` (units,) plus the changes (columns, units) of each coalition's columns.

        If all coalitions are evaluated, the sum of a coalition with a column is the sum without it plus the column's
        change. That takes half the time of the matrix product.
        """
        if self.orders is not None:
            found: Matrix = self.mask.astype(np.float32).dot(changes)
            found += start
            return found
        found = np.empty((len(self.mask), len(start)), np.float32)
        found[0] = start
        for column, change in enumerate(changes):
            half = 1 << column
            np.add(found[:half], change, out=found[half : 2 * half])
        return found

    def values(self, payoffs: Payoffs, empty: float, full: float) -> Payoffs:
        """(samples, columns): one exact sample, or one for each pair of orders."""
        if self.orders is None:
            return exact_values(len(self.columns), payoffs)[np.newaxis]
        return sampled_values(self.orders, payoffs, empty, full)


class Explainer:
    """Explains the predictions of one model. Immutable, and safe to call from several threads at once."""

    def __init__(self, model: TabularModel, background: Background, *, typical: bool = False) -> None:
        """typical: compare with the typical row only instead of all background rows, at a sixteenth of the cost."""
        self.model = model
        frame = background.typical if typical else background.rows
        self._background = model.encoder.encode(frame)
        self._sources = model.encoder.sources
        self._column_count = len(model.schema.features)

    @cached_property
    def _feature_positions(self) -> list[int]:
        """For each column of the frame, its position among the schema's features."""
        position = {feature.name: place for place, feature in enumerate(self.model.schema.features)}
        return [position[feature.name] for feature in self.model.schema.in_frame_order]

    @cached_property
    def _background_outputs(self) -> Row:
        """(background rows, outputs): the predictions for the background rows."""
        return np.asarray(self.model.predict_encoded(self._background).primary, dtype=np.float64)

    def count_evaluations(self, frame: Frame) -> int:
        """The number of rows that the engine will predict to explain these rows."""
        x = self.model.encoder.encode(frame)
        coalitions = sum(
            coalition_count(count, exact=is_exact(differing))
            for differing in map(self._differing, x)
            for count in differing.sum(axis=1).tolist()
        )
        return coalitions + len(x) + len(self._background)

    def explain(self, frame: Frame) -> list[Explanation]:
        """The explanation of each row's value, or of the probability of its most probable class."""
        x = self.model.encoder.encode(frame)
        predictions = np.asarray(self.model.predict_encoded(x).primary, dtype=np.float64)
        seeds = [_seed(frame, row) for row in range(len(x))]
        return [self._explain(*row) for row in zip(x, predictions, seeds, strict=True)]

    def _differing(self, x: Matrix) -> npt.NDArray[np.bool_]:
        """(background rows, columns): whether the row differs from a background row in a column."""
        differing = np.zeros((len(self._background), self._column_count), dtype=bool)
        rows, encoded = np.nonzero(self._background != x)
        differing[rows, self._sources[encoded]] = True
        return differing

    def _explain(self, x: Matrix, prediction: Row, seed: int) -> Explanation:
        regression = self.model.schema.task == "regression"
        place = 0 if regression else int(prediction.argmax())
        rng = np.random.default_rng(seed)
        differing = self._differing(x)
        exact = is_exact(differing)
        games = [_make_game(np.flatnonzero(columns), rng, exact=exact) for columns in differing]
        payoffs = self._payoffs(x, games, place)
        empty, full = self._background_outputs[:, place], float(prediction[place])
        contributions, variance = np.zeros(self._column_count), np.zeros(self._column_count)
        for number, (game, of_game) in enumerate(zip(games, payoffs, strict=True)):
            samples = game.values(of_game, float(empty[number]), full)
            contributions[game.columns] += samples.mean(axis=0)
            if len(samples) > 1:
                variance[game.columns] += samples.var(axis=0, ddof=1) / len(samples)
        by_feature = np.zeros(self._column_count)
        by_feature[self._feature_positions] = contributions / len(games)
        return Explanation(
            None if regression else place,
            float(empty.mean()),
            by_feature,
            all(game.orders is None for game in games),
            sum(len(game.mask) for game in games) + 1 + len(games),
            float(np.sqrt(variance.max(initial=0.0))) / len(games),
        )

    def _payoffs(self, x: Matrix, games: Sequence[Game], place: int) -> list[Payoffs]:
        """The predictions for the masked rows of each game."""
        if self._network is not None:
            outputs = self._outputs_from_sums(self._network, x, games)
        else:
            outputs = map(self.model.engine.outputs, _larger_blocks(self._masked_rows(x, games)))
        blocks = [*outputs]
        if not blocks:
            return [np.empty(0) for _ in games]
        payoffs = np.asarray(self.model.outputs_of(np.concatenate(blocks)).primary[:, place], dtype=np.float64)
        ends = np.cumsum([len(game.mask) for game in games])
        return np.split(payoffs, ends[:-1])

    @cached_property
    def _network(self) -> InferenceNetwork | None:
        """The NumPy network if its first step is a sum over the columns, else None."""
        engine = self.model.engine
        return engine.network if isinstance(engine, NumpyEngine) and engine.network.sums_inputs else None

    @cached_property
    def _background_sums(self) -> Matrix:
        assert self._network is not None
        return self._network.input_sums(self._background)

    def _outputs_from_sums(self, network: InferenceNetwork, x: Matrix, games: Sequence[Game]) -> Iterator[Matrix]:
        """The outputs for the rows of each game's coalitions.

        The first step of the network is a sum with a term for each column. So the sum of a masked row is the sum of the
        background row plus the change of each column of the coalition. Periodic features, embeddings and the first
        layer, which take 80 % of the time (`housing`), are then not computed for every masked row.
        """
        ends = np.cumsum([len(game.columns) for game in games])
        players = np.concatenate([game.columns for game in games])
        of_player = np.repeat(np.arange(len(games)), np.diff(ends, prepend=0))
        joined = self._sources == players[:, np.newaxis]  # (players of all games, encoded columns)
        changes = network.input_sums(np.where(joined, x, self._background[of_player]))
        changes -= self._background_sums[of_player]
        for sums, of_game, game in zip(self._background_sums, np.split(changes, ends[:-1]), games, strict=True):
            yield network.forward_from_sums(game.sums(sums, of_game))

    def _masked_rows(self, x: Matrix, games: Sequence[Game]) -> Iterator[Matrix]:
        """The rows of each game's coalitions, at most BLOCK_ROWS at once."""
        for background, game in zip(self._background, games, strict=True):
            place = np.full(self._column_count, -1)
            place[game.columns] = np.arange(len(game.columns))
            joins = place[self._sources]  # the player of each encoded column
            changing = joins >= 0
            for start in range(0, len(game.mask), BLOCK_ROWS):
                mask = game.mask[start : start + BLOCK_ROWS]
                rows = np.tile(background, (len(mask), 1))
                rows[:, changing] = np.where(mask[:, joins[changing]], x[changing], background[changing])
                yield rows


def is_exact(differing: npt.NDArray[np.bool_]) -> bool:
    """Whether few enough columns differ from the background that all coalitions are evaluated."""
    return int(differing.any(axis=0).sum()) <= MAX_EXACT_COLUMNS


def _make_game(columns: npt.NDArray[np.intp], rng: "np.random.Generator", *, exact: bool) -> Game:
    players = len(columns)
    if coalition_count(players, exact=exact) == 1 << players:
        return Game(columns, None, all_coalitions(players))
    orders = paired_orders(players, PAIRS, rng)
    return Game(columns, orders, partial_coalitions(orders))


def _larger_blocks(parts: Iterator[Matrix]) -> Iterator[Matrix]:
    """The same rows in fewer, larger blocks."""
    waiting: list[Matrix] = []
    for part in parts:
        if waiting and sum(map(len, waiting)) + len(part) > BLOCK_ROWS:
            yield np.concatenate(waiting)
            waiting = []
        waiting.append(part)
    if waiting:
        yield np.concatenate(waiting)


def _seed(frame: Frame, row: int) -> int:
    """A random seed from the values of a row, so that the same row always gets the same explanation."""
    content = (frame.numbers[row] + 0.0).tobytes() + frame.codes[row].tobytes()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")
