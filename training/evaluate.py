"""Honest figures: metrics on held-out rows, beside a constant, a linear model and boosted trees on the same split."""

import math
import time
import warnings
from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import metrics
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from models.architecture import Task
from models.encoding.encoder import Encoder
from models.encoding.parts import stable_moments
from models.encoding.target import Target
from models.frame import Frame
from models.schema import FeatureSchema

Metrics = dict[str, float]
Array = npt.NDArray[Any]
MAIN = {"regression": "rmse", "binary": "accuracy", "multiclass": "accuracy"}
LOWER_IS_BETTER = {"rmse", "mae", "log_loss", "calibration_error"}
TREE_SECONDS = 30.0
TREE_STEP = 25
TREE_PATIENCE = 3  # times TREE_STEP trees that lower the validation loss by less than
TREE_GAIN = 1e-3  # this share of it
UNHURRIED_PATIENCE = 60  # rounds without a better validation loss
MAX_TREE_LEVELS = 255
MAX_WORK = 2e8  # multiplications for each step of a linear model, rows * classes for trees: about what 30 s allow
MAX_TREE_WORK = 2e7
MAX_CELLS = 1e8  # of the matrix of a linear model
LARGEST = 1e308


def measure(task: Task, y: Array, answers: Array) -> Metrics:
    """y: (rows,) values or class numbers. answers: (rows, 1) values or (rows, classes) probabilities."""
    return _regression(y, answers[:, 0]) if task == "regression" else _classification(y, answers.astype(np.float64))


def _regression(y: Array, values: Array) -> Metrics:
    with np.errstate(over="ignore"):
        errors = np.abs(np.clip(values - y, -LARGEST, LARGEST))
    largest = float(errors.max()) or 1.0  # squares of errors such as 1e200 overflow, those of their shares do not
    found = {
        "rmse": math.sqrt(np.mean((errors / largest) ** 2)) * largest,
        "mae": float(np.mean(errors / largest)) * largest,
    }
    if y.min() < y.max():
        share = found["rmse"] / stable_moments(y)[1]
        found["r2"] = max(1.0 - share * share, -LARGEST)
    return found


def _classification(y: Array, p: Array) -> Metrics:
    p = p / p.sum(axis=1, keepdims=True)
    best = p.argmax(axis=1)
    classes = np.arange(p.shape[1])
    found = {
        "accuracy": float(np.mean(best == y)),
        "log_loss": float(metrics.log_loss(y, p, labels=classes)),
        "macro_f1": float(metrics.f1_score(y, best, average="macro", labels=np.unique(y), zero_division=0)),
        "calibration_error": calibration_error(y, p),
    }
    if len(np.unique(y)) == p.shape[1]:  # a class without held-out rows has no curve
        scores = p[:, 1] if p.shape[1] == 2 else p
        found["auc"] = float(metrics.roc_auc_score(y, scores, multi_class="ovr", average="macro", labels=classes))
    return found


def calibration_error(y: Array, p: Array, bins: int = 15) -> float:
    """How far the probability of the predicted class is from how often it is right, averaged over rows (ECE)."""
    confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    where = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(right[where == b].mean() - confidence[where == b].mean()) * np.mean(where == b) for b in np.unique(where)
    ]
    return float(sum(gaps))


# Baselines


class Baselines:
    """What simpler ways reach on the same split. Each is fitted on `train`; the trees stop early by `validation`."""

    def __init__(self, schema: FeatureSchema, frame: Frame, y: Array, parts: tuple[Array, Array, Array]) -> None:
        self.task: Task = schema.task
        self.classes = len(schema.classes or ())
        self.schema, self.frame, self.truth = schema, frame, y
        self.train, self.validation, self.test = parts
        self.scale = Target.fit(y[self.train]) if self.task == "regression" else Target()
        self.y = self.scale.apply(y) if self.task == "regression" else y

    def run(self, tell: Callable[[str], None]) -> dict[str, Metrics]:
        """Metrics on the test part by name. What takes too long is cut short, with a notice to `tell`."""
        found = {"constant": self.constant()}
        if self.task != "regression" and len(np.unique(self.y[self.train])) < 2:
            tell("the training part has one class only: no linear model and no boosted trees to compare with")
            return found
        with warnings.catch_warnings():  # "did not converge", "ill-conditioned": good enough for a baseline
            warnings.simplefilter("ignore")
            return found | {"linear": self.linear(tell), "boosted trees": self.trees(tell)}

    def constant(self) -> Metrics:
        """The mean, or how frequent the classes are."""
        known = self.y[self.train]
        if self.task == "regression":
            answer = np.array([known.mean()])
        else:
            answer = np.bincount(known, minlength=self.classes) / len(known)
        return self._measure(np.tile(answer, (len(self.test), 1)))

    def linear(self, tell: Callable[[str], None]) -> Metrics:
        """Ridge or logistic regression on standardised numbers and one column for each level."""
        x = self._linear_matrix()
        steps = max(1, x.shape[1] // 200) if self.task == "regression" else self.classes
        rows = self._affordable(int(MAX_WORK / (x.shape[1] * steps)), "the linear model", tell)
        if self.task == "regression":
            model = Ridge(alpha=1.0).fit(x[rows], self.y[rows])
            return self._measure(model.predict(x[self.test])[:, None])
        logistic = LogisticRegression(max_iter=200).fit(x[rows], self.y[rows])
        return self._measure(self._all_classes(logistic.classes_, logistic.predict_proba(x[self.test])))

    def _affordable(self, limit: int, who: str, tell: Callable[[str], None]) -> Array:
        """The training rows, or as many of them as the time allows: at least one of each class."""
        if len(self.train) <= limit:
            return self.train
        shuffled = np.random.default_rng(0).permutation(self.train)
        first = np.unique(self.y[shuffled], return_index=True)[1] if self.task != "regression" else np.empty(0, int)
        chosen = np.union1d(first, np.arange(max(limit, 100)))
        tell(f"{who} learned from {len(chosen):,} of {len(self.train):,} rows, to stay within half a minute")
        return np.asarray(shuffled[chosen[chosen < len(shuffled)]])

    def trees(self, tell: Callable[[str], None]) -> Metrics:
        """scikit-learn's histogram gradient boosting, rate .05, stopped by the validation part or after 30 s."""
        x, categorical = self._tree_matrix()
        kind = HistGradientBoostingRegressor if self.task == "regression" else HistGradientBoostingClassifier
        model = kind(
            learning_rate=0.05,
            warm_start=True,
            early_stopping=False,
            categorical_features=categorical,
            random_state=0,
        )
        rows = self._affordable(int(MAX_TREE_WORK / max(self.classes, 1)), "boosted trees", tell)
        step = max(1, TREE_STEP // max(1, self.classes // 10))
        model.max_iter = step
        started, best, best_loss, waited = time.perf_counter(), np.empty(0), np.inf, 0
        while waited < TREE_PATIENCE and model.max_iter <= 2000:
            model.fit(x[rows], self.y[rows])
            loss = self._loss(self.validation, self._tree_answers(model, self.validation, x))
            waited += 1
            if loss < best_loss * (1 - TREE_GAIN):
                waited = 0
            if loss < best_loss:
                best_loss, best = loss, self._tree_answers(model, self.test, x)
            if time.perf_counter() - started > TREE_SECONDS:
                tell(f"boosted trees were stopped after {TREE_SECONDS:.0f} s, with {model.max_iter} rounds")
                break
            model.max_iter += step
        return self._measure(best)

    def trees_unhurried(self) -> Metrics:
        """The same without limits of time or rows: stopped long after the best validation loss; the best round answers.

        Trees for a comparison, not for a user who waits.
        """
        x, categorical = self._tree_matrix()
        kind = HistGradientBoostingRegressor if self.task == "regression" else HistGradientBoostingClassifier
        model = kind(
            learning_rate=0.05,
            max_iter=4000,
            early_stopping=True,
            n_iter_no_change=UNHURRIED_PATIENCE,
            tol=0,
            categorical_features=categorical,
            random_state=0,
        )
        known, chosen_by = self.train, self.validation
        model.fit(x[known], self.y[known], X_val=x[chosen_by], y_val=self.y[chosen_by])
        best = max(1, int(np.argmax(model.validation_score_)))
        if self.task == "regression":
            values = next(islice(model.staged_predict(x[self.test]), best - 1, None))
            return self._measure(values[:, None])
        p = next(islice(model.staged_predict_proba(x[self.test]), best - 1, None))
        return self._measure(self._all_classes(model.classes_, p))

    def _tree_answers(self, model: Any, rows: Array, x: Array) -> Array:
        if self.task == "regression":
            values: Array = model.predict(x[rows])
            return values[:, None]
        return self._all_classes(model.classes_, model.predict_proba(x[rows]))

    def _all_classes(self, present: Array, p: Array) -> Array:
        """Probabilities with a column for every class, also for those without training rows."""
        whole = np.full((len(p), self.classes), 1e-12)
        whole[:, present] = p
        return np.asarray(whole / whole.sum(axis=1, keepdims=True))

    def _loss(self, rows: Array, answers: Array) -> float:
        name = "rmse" if self.task == "regression" else "log_loss"
        return measure(self.task, self.y[rows], answers)[name]

    def _measure(self, answers: Array) -> Metrics:
        if self.task == "regression":
            answers = answers.astype(np.float64) * self.scale.scale + self.scale.mean
        return measure(self.task, self.truth[self.test], answers)

    def _linear_matrix(self) -> Array:
        encoder = Encoder.fit(self.schema, self.frame.take(self.train), bins=0)
        x = encoder.encode(self.frame)
        plain = x.shape[1] - len(encoder.tables)
        levels = [
            np.eye(size, dtype=np.float32)[x[:, plain + j].astype(int)]
            for j, (size, _) in enumerate(encoder.tables)
            if size <= min(1000, MAX_CELLS / len(x))
        ]
        return np.concatenate([x[:, :plain], *levels], axis=1)

    def _tree_matrix(self) -> tuple[Array, list[int]]:
        """Numbers with their gaps, then codes; columns with few enough levels are named as categories."""
        codes = self.frame.codes.astype(float)
        few = [j for j in range(codes.shape[1]) if codes[:, j].max(initial=0) < MAX_TREE_LEVELS]
        codes[codes < 0] = np.nan
        numbers = self.frame.numbers.shape[1]
        return np.concatenate([self.frame.numbers, codes], axis=1), [numbers + j for j in few]
