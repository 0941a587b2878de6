"""Baselines to compare a network with: a constant, a linear model and boosted trees on the same split."""

import time
import warnings
from collections.abc import Callable
from itertools import islice, pairwise
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from models.architecture import Task
from models.encoding.encoder import Encoder
from models.encoding.target_scaling import TargetScaling
from models.frame import Frame
from models.schema import FeatureSchema
from models.text import counted
from training import catboost_baseline
from training.evaluation import Array, EvaluationMetrics, evaluate
from training.streaming.spilled_frame import SpilledFrame
from training.training_run import Report

TREE_SECONDS = 30.0
TREE_STEP = 25  # number of trees that are added per step
TREE_PATIENCE = 3  # number of steps with a smaller gain after which training stops
TREE_GAIN = 1e-3  # minimum gain of a step, as a fraction of the validation loss
UNLIMITED_PATIENCE = 60  # number of rounds without a smaller validation loss after which training stops
MAX_TREE_LEVELS = 255
MAX_WORK = 2e8  # maximum multiplications per step of a linear model, about 30 s of training
MAX_TREE_WORK = 2e7  # maximum rows * classes of boosted trees, about 30 s of training
MAX_CELLS = 1e8  # maximum size of the matrix of a linear model
MAX_ROWS = 200_000  # maximum number of rows for the baselines, which are fitted in memory
PREDICTED_ROWS = 1 << 16  # number of test rows that are predicted at once


class Baselines:
    """Simpler models on the same split, fitted on the train set. The trees use the validation set for early
    stopping."""

    def __init__(
        self, schema: FeatureSchema, frame: Frame | SpilledFrame, y: Array, sets: tuple[Array, Array, Array]
    ) -> None:
        self.task: Task = schema.task
        self.classes = len(schema.classes or ())
        train, validation, test = sets
        self.train_rows = len(train)  # the baselines may be fitted on fewer rows
        chosen = [_random_rows(train, MAX_ROWS), _random_rows(validation, MAX_ROWS // 5), test]
        rows = np.concatenate(chosen)
        self.schema, self.frame, self.target = schema, frame.take(rows).load(), y[rows]
        bounds = np.cumsum([0, *map(len, chosen)]).tolist()
        self.train, self.validation, self.test = (np.arange(*ends) for ends in pairwise(bounds))
        y = self.target
        self.scale = TargetScaling.fit(y[self.train]) if self.task == "regression" else TargetScaling()
        self.y = self.scale.apply(y) if self.task == "regression" else y

    def run(self, report: Report) -> dict[str, EvaluationMetrics]:
        """Compute the metrics of each baseline on the test set, by name.

        A baseline that takes too long is stopped early, and `report` receives a notice.
        """
        results = {"constant": self.constant()}
        if len(self.train) < self.train_rows:
            report(f"the baselines are fitted on {len(self.train):,} of {self.train_rows:,} rows to limit their time")
        if self.task != "regression" and len(np.unique(self.y[self.train])) < 2:
            report(
                "the train set has only one class, so no linear model and no boosted trees are fitted for comparison"
            )
            return results
        with warnings.catch_warnings():  # warnings about convergence and conditioning do not matter for a baseline
            warnings.simplefilter("ignore")
            results["linear"] = self.linear(report)
            if catboost_baseline.is_installed():
                return results | {"CatBoost": self.catboost(report)}
            return results | {"boosted trees": self.trees(report)}

    def constant(self) -> EvaluationMetrics:
        """Predict the mean of the target, or the frequencies of the classes."""
        y = self.y[self.train]
        regression = self.task == "regression"
        output = np.array([y.mean()]) if regression else np.bincount(y, minlength=self.classes) / len(y)
        return self._evaluate(np.tile(output, (len(self.test), 1)))

    def linear(self, report: Report) -> EvaluationMetrics:
        """Ridge or logistic regression on standardised numbers and one column for each level."""
        encoder = Encoder.fit(self.schema, self.frame.take(self.train), bins=0)
        width = self._linear_matrix(encoder, self.train[:1]).shape[1]
        steps = max(1, width // 200) if self.task == "regression" else self.classes
        rows = self._limit_train_rows(int(MAX_WORK / (width * steps)), "the linear model", report)
        x = self._linear_matrix(encoder, rows)
        if self.task == "regression":
            model = Ridge(alpha=1.0).fit(x, self.y[rows])
            return self._evaluate(
                self._predict_test_rows(lambda part: model.predict(self._linear_matrix(encoder, part))[:, None])
            )
        logistic = LogisticRegression(max_iter=200).fit(x, self.y[rows])
        p = self._predict_test_rows(lambda part: logistic.predict_proba(self._linear_matrix(encoder, part)))
        return self._evaluate(self._all_classes(logistic.classes_, p))

    def _predict_test_rows(self, predict: Callable[[Array], Array]) -> Array:
        """The predictions for the test rows, in parts because the matrix of all rows may be large."""
        parts = [self.test[start : start + PREDICTED_ROWS] for start in range(0, len(self.test), PREDICTED_ROWS)]
        return np.concatenate([predict(part) for part in parts])

    def _limit_train_rows(self, limit: int, model: str, report: Report) -> Array:
        """Return the train rows, or a random sample of about `limit` train rows that contains every class."""
        if len(self.train) <= limit:
            return self.train
        shuffled = np.random.default_rng(0).permutation(self.train)
        first = np.unique(self.y[shuffled], return_index=True)[1] if self.task != "regression" else np.empty(0, int)
        chosen = np.union1d(first, np.arange(max(limit, 100)))
        report(f"{model} learned from {len(chosen):,} of {len(self.train):,} rows, to stay within half a minute")
        return np.asarray(shuffled[chosen[chosen < len(shuffled)]])

    def trees(self, report: Report) -> EvaluationMetrics:
        """scikit-learn's histogram gradient boosting at learning rate 0.05, with early stopping and a limit of 30 s."""
        x, categorical = self._tree_matrix()
        model = self._new_trees(categorical, warm_start=True, early_stopping=False)
        rows = self._limit_train_rows(int(MAX_TREE_WORK / max(self.classes, 1)), "boosted trees", report)
        x[:, np.isnan(x[rows]).all(axis=0)] = 0.0  # scikit-learn cannot bin a column without values
        step = max(1, TREE_STEP // max(1, self.classes // 10))
        model.max_iter = step
        started, best, best_loss, rounds_without_gain = time.perf_counter(), np.empty(0), np.inf, 0
        while rounds_without_gain < TREE_PATIENCE and model.max_iter <= 2000:
            model.fit(x[rows], self.y[rows])
            loss = self._loss(self.validation, self._tree_outputs(model, self.validation, x))
            rounds_without_gain += 1
            if loss < best_loss * (1 - TREE_GAIN):
                rounds_without_gain = 0
            if loss < best_loss:
                best_loss, best = loss, self._tree_outputs(model, self.test, x)
            if time.perf_counter() - started > TREE_SECONDS:
                report(f"boosted trees were stopped after {TREE_SECONDS:.0f} s, with {model.max_iter} rounds")
                break
            model.max_iter += step
        return self._evaluate(best)

    def catboost(self, report: Report) -> EvaluationMetrics:
        """CatBoost with early stopping and a limit of 30 s."""
        x, categorical = self._tree_matrix()
        rows = self._limit_train_rows(int(MAX_TREE_WORK / max(self.classes, 1)), "CatBoost", report)
        validation = x[self.validation], self.y[self.validation]
        model, stopped = catboost_baseline.fit(
            x[rows], self.y[rows], validation, categorical, self.classes, TREE_SECONDS
        )
        if stopped:
            report(f"CatBoost was stopped after {TREE_SECONDS:.0f} s, with {counted(model.tree_count_, 'round')}")
        x_test = catboost_baseline.as_objects(x[self.test], categorical)
        if self.task == "regression":
            return self._evaluate(model.predict(x_test)[:, None])
        return self._evaluate(self._all_classes(model.classes_.astype(int), model.predict_proba(x_test)))

    def trees_unlimited(self) -> EvaluationMetrics:
        """Boosted trees without time and row limits, for comparisons.

        Training stops UNLIMITED_PATIENCE rounds after the smallest validation loss; the model of that round is used.
        """
        x, categorical = self._tree_matrix()
        model = self._new_trees(
            categorical, max_iter=4000, early_stopping=True, n_iter_no_change=UNLIMITED_PATIENCE, tol=0
        )
        train, validation = self.train, self.validation
        model.fit(x[train], self.y[train], X_val=x[validation], y_val=self.y[validation])
        best = max(1, int(np.argmax(model.validation_score_)))
        if self.task == "regression":
            values = next(islice(model.staged_predict(x[self.test]), best - 1, None))
            return self._evaluate(values[:, None])
        p = next(islice(model.staged_predict_proba(x[self.test]), best - 1, None))
        return self._evaluate(self._all_classes(model.classes_, p))

    def _new_trees(self, categorical: list[int], **options: Any) -> Any:
        kind = HistGradientBoostingRegressor if self.task == "regression" else HistGradientBoostingClassifier
        return kind(learning_rate=0.05, categorical_features=categorical, random_state=0, **options)

    def _tree_outputs(self, model: Any, rows: Array, x: Array) -> Array:
        if self.task == "regression":
            values: Array = model.predict(x[rows])
            return values[:, None]
        return self._all_classes(model.classes_, model.predict_proba(x[rows]))

    def _all_classes(self, present: Array, p: Array) -> Array:
        """Probabilities with a column for every class, including those without rows in the train set."""
        whole = np.full((len(p), self.classes), 1e-12)
        whole[:, present] = p
        return np.asarray(whole / whole.sum(axis=1, keepdims=True))

    def _loss(self, rows: Array, outputs: Array) -> float:
        name = "rmse" if self.task == "regression" else "log_loss"
        return evaluate(self.task, self.y[rows], outputs)[name]

    def _evaluate(self, outputs: Array) -> EvaluationMetrics:
        if self.task == "regression":
            outputs = outputs.astype(np.float64) * self.scale.scale + self.scale.mean
        return evaluate(self.task, self.target[self.test], outputs)

    def _linear_matrix(self, encoder: Encoder, rows: Array) -> Array:
        x = encoder.encode(self.frame.take(rows))
        plain = x.shape[1] - len(encoder.tables)
        levels = [
            np.eye(size, dtype=np.float32)[x[:, plain + j].astype(int)]
            for j, (size, _) in enumerate(encoder.tables)
            if size <= min(1000, MAX_CELLS / len(self.target))
        ]
        return np.concatenate([x[:, :plain], *levels], axis=1)

    def _tree_matrix(self) -> tuple[Array, list[int]]:
        """Return a matrix of numbers (NaN if missing) and codes, and the positions of codes with few levels."""
        codes = self.frame.codes.astype(float)
        few = [j for j in range(codes.shape[1]) if codes[:, j].max(initial=0) < MAX_TREE_LEVELS]
        codes[codes < 0] = np.nan
        numbers = self.frame.numbers.shape[1]
        return np.concatenate([self.frame.numbers, codes], axis=1), [numbers + j for j in few]


def _random_rows(rows: Array, limit: int) -> Array:
    """All rows, or a random sample of `limit` rows, in their order."""
    if len(rows) <= limit:
        return rows
    return np.asarray(rows[np.sort(np.random.default_rng(0).permutation(len(rows))[:limit])])
