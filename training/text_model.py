"""Fits the score of a text column: ridge regression of the target on TF-IDF features.

The training rows receive scores of models that were not fitted to them (out of fold): otherwise a network would rely on
the score too much.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import LinearOperator, cg

from models.text_score import BITS, TextScore, text_buckets
from training.out_of_fold import FOLDS, assign_folds

PENALTIES = (0.5, 1.5, 5.0)
ITERATIONS = 50  # iterations of conjugate gradients; more of them change the loss on held-out rows by less than 1 %
MIN_ROWS = 2  # minimum rows with a word or n-gram; rarer words and n-grams have no weight
MAX_ROWS = 50_000  # maximum number of rows that a model is fitted to

Vector = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]


class TextModel(NamedTuple):
    """score = bias + features · weights, where features are TF-IDF with these weights. idf, weights: (buckets,)."""

    bias: float
    weights: Vector
    idf: Vector

    def as_score(self) -> TextScore:
        return TextScore.from_arrays(self.bias, self.weights * self.idf, self.idf)


class TextRows:
    """The words and n-grams of all texts of a column, by row. A missing text has none."""

    def __init__(self, texts: Sequence[str | None] | npt.NDArray[Any]) -> None:
        buckets = [np.empty(0, np.intp) if text is None else text_buckets(text, BITS) for text in texts]
        starts = np.cumsum([0, *map(len, buckets)])
        positions = np.concatenate(buckets) if buckets else np.empty(0, np.intp)
        shape = len(buckets), 1 << BITS
        counts = csr_matrix((np.ones(len(positions), np.float32), positions, starts), shape)
        counts.sum_duplicates()
        self._counts = counts
        self.missing = np.array([text is None for text in texts], dtype=bool)

    def fit(self, rows: Rows, y: Vector, penalty: float) -> TextModel:
        """Fit a model. y: (all rows,) standardised. Rows without a text are left out."""
        rows = rows[~self.missing[rows]]
        counts = self._counts[rows]
        occurs = np.bincount(counts.indices, minlength=counts.shape[1])
        idf = np.log((1 + len(rows)) / (1 + occurs)) + 1
        x = _tf_idf(counts, idf)
        x.data[occurs[x.indices] < MIN_ROWS] = 0.0
        bias = float(y[rows].mean()) if len(rows) else 0.0
        xt = x.T.tocsr()
        gram = LinearOperator((x.shape[1],) * 2, matvec=lambda w: xt @ (x @ w) + penalty * w, dtype=np.float64)
        weights, _ = cg(gram, xt @ (y[rows] - bias), rtol=1e-3, maxiter=ITERATIONS)
        return TextModel(bias, weights, idf)

    def scores(self, model: TextModel, rows: Rows) -> Vector:
        """(rows,): the scores, NaN for a missing text."""
        found = model.bias + _tf_idf(self._counts[rows], model.idf) @ model.weights
        return np.where(self.missing[rows], np.nan, found)


def _tf_idf(counts: csr_matrix, idf: Vector) -> csr_matrix:
    """Rows of count · idf, divided by √(Σ count · idf²), as `TextScore` computes it for each occurrence."""
    length = np.sqrt(np.maximum(counts @ idf**2, 1e-12))
    x = counts.astype(np.float64)
    x.data *= idf[x.indices] / np.repeat(length, np.diff(x.indptr))
    return x


def fit_out_of_fold(
    texts: TextRows, y: Vector, rng: np.random.Generator, groups: npt.NDArray[Any] | None = None
) -> tuple[TextModel, Vector]:
    """Fit a model to all rows, with the penalty that is best on held-out rows. Returns it, and (rows,) out-of-fold
    scores."""
    fold_of = assign_folds(len(y), rng, groups)
    parts = [(np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)) for fold in range(FOLDS)]
    learned, other = parts[0]

    def loss(penalty: float) -> float:
        found = texts.scores(texts.fit(learned, y, penalty), other)
        present = ~np.isnan(found)
        return float(((found - y[other])[present] ** 2).mean()) if present.any() else 0.0

    penalty = min(PENALTIES, key=loss)
    scores = np.full(len(y), np.nan)
    for learned, other in parts:
        scores[other] = texts.scores(texts.fit(learned, y, penalty), other)
    return texts.fit(np.arange(len(y)), y, penalty), scores
