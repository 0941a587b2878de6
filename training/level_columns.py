"""Fits the level means of categories; the rows to which they are fitted receive out-of-fold means.

A network would rely too much on means that contain the row's own target. For the same reason, a trial does not read the
means of the final fit: those of its train rows would contain the targets of its validation rows. Each trial gets means
that are fitted to its train rows only (`FoldMeans`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.architecture import Task
from models.encoding.column_encodings import CategoryEncoding, Codes
from models.encoding.encoder import Encoder
from models.encoding.level_means import LevelMeans
from models.frame import Frame
from models.schema import FeatureSchema
from training.encoded_rows import EncodedRows, Targets
from training.out_of_fold import FOLDS, assign_folds

MAX_CLASSES = 10  # each class has a column; beyond this number, level means are not fitted
Rows = npt.NDArray[np.intp]
Matrix = npt.NDArray[np.float32]
Groups = npt.NDArray[np.intp]
Target = npt.NDArray[np.float64]


@dataclass(frozen=True)
class FoldMeans:
    """Fits the level means of one fold. All arrays have the pooled rows: the train rows, then the validation rows.

    codes: (rows, categories). counts: the number of levels of each category. target: (rows, outputs), standardised.
    groups: (rows,) rows of a group are in one fold, or None. places: the columns of the means in encoded rows.
    """

    codes: Codes
    counts: tuple[int, ...]
    target: Target
    groups: Groups | None
    places: Rows
    seed: int

    def apply(self, x: Matrix, train: Rows, validation: Rows) -> Matrix:
        """Return a copy of encoded rows with other means for the rows of a fold: train rows have out-of-fold means,
        validation rows the means of all train rows. x: (rows, width), pooled rows and possibly further rows."""
        x = x.copy()
        groups = None if self.groups is None else self.groups[train]
        fold_of = assign_folds(len(train), np.random.default_rng(self.seed), groups)
        of_train, of_validation = list[Matrix](), list[Matrix]()
        for codes, count in zip(self.codes.T, self.counts, strict=True):
            means = LevelMeans.fit(codes[train], self.target[train], count)
            of_train.append(out_of_fold_means(codes[train], self.target[train], count, fold_of))
            of_validation.append(means.table[codes[validation]])
        x[np.ix_(train, self.places)] = np.concatenate(of_train, axis=1)
        x[np.ix_(validation, self.places)] = np.concatenate(of_validation, axis=1)
        return x


@dataclass(frozen=True)
class WithMeans:
    """An encoder with level means, and all rows; the rows to which the means were fitted have out-of-fold means."""

    encoder: Encoder
    encoded: EncodedRows
    of_folds: FoldMeans


def add_level_means(
    encoder: Encoder,
    schema: FeatureSchema,
    frame: Frame,
    y: Targets,
    names: Sequence[str],
    fit_rows: Rows,
    pooled: Rows,
    seed: int,
    groups: npt.NDArray[np.generic] | None = None,
) -> WithMeans:
    """Add the level means of some categories. y: (all rows,) standardised values or class numbers. names: the
    categories. fit_rows: the rows to which the means are fitted. pooled: the train rows, then the validation rows.
    groups: (all rows,) rows of a group are in one fold."""
    columns = [place for place, feature in enumerate(schema.categorical) if feature.name in names]
    counts = tuple(encoder.categories[column].count for column in columns)
    target = standardised_target(schema.task, y, len(schema.classes or ()), fit_rows)
    members = None if groups is None else np.unique(groups, return_inverse=True)[1]
    parts = [*encoder.categories]
    rows = np.sort(fit_rows)
    own_groups = None if members is None else members[rows]
    fold_of = assign_folds(len(rows), np.random.default_rng(seed), own_groups)
    of_rows = []
    for column, count in zip(columns, counts, strict=True):
        part, codes = parts[column], frame.codes[rows, column]
        assert isinstance(part, CategoryEncoding)
        parts[column] = part.model_copy(update={"means": LevelMeans.fit(codes, target[rows], count)})
        of_rows.append(out_of_fold_means(codes, target[rows], count, fold_of))
    with_means = encoder.model_copy(update={"categories": parts})
    x = with_means.encode(frame)
    x[np.ix_(rows, with_means.mean_columns)] = np.concatenate(of_rows, axis=1)
    of_folds = FoldMeans(
        frame.codes[pooled][:, columns],
        counts,
        target[pooled],
        None if members is None else members[pooled],
        with_means.mean_columns,
        seed,
    )
    return WithMeans(with_means, EncodedRows(x, y), of_folds)


def out_of_fold_means(codes: Codes, target: Target, count: int, fold_of: Rows) -> Matrix:
    """(rows, outputs): the level means of each row, fitted to the rows of the other folds. codes, fold_of: (rows,).
    target: (rows, outputs)."""
    means = np.zeros(target.shape, np.float32)
    for fold in range(FOLDS):
        own = fold_of == fold
        means[own] = LevelMeans.fit(codes[~own], target[~own], count).table[codes[own]]
    return means


def standardised_target(task: Task, y: Targets, classes: int, rows: Rows) -> Target:
    """(all rows, outputs): the target with mean 0 and deviation 1 in some rows: the value of a regression, whether a
    row has the second of two classes, or a column for each class."""
    if task == "regression":
        columns = y.astype(np.float64)[:, np.newaxis]
    elif task == "binary":
        columns = (y == 1).astype(np.float64)[:, np.newaxis]
    else:
        columns = np.eye(classes)[y]
    deviation = columns[rows].std(axis=0)
    return np.asarray((columns - columns[rows].mean(axis=0)) / np.where(deviation > 0, deviation, 1.0))
