"""What answers: a schema, an encoder and an engine put together into a model of one table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import orjson

from models.encoding import FEW, Encoder
from models.features import FeatureSchema, Frame, Row, Scalar

FloatMatrix = npt.NDArray[np.float32]
Answers = npt.NDArray[Any]  # float64 values or float32 probabilities
Prediction = dict[str, Any]


class Engine(Protocol):
    """Whatever turns encoded rows into the network's outputs. Safe to call from several threads at once."""

    @property
    def name(self) -> str:
        """`numpy` or `tensorflow`."""
        ...

    @property
    def reason(self) -> str:
        """Why this engine and not the other, in a sentence."""
        ...

    def outputs(self, x: FloatMatrix) -> FloatMatrix:
        """(rows, width) encoded rows -> (rows, outputs): standardised values or logits."""
        ...


@dataclass(frozen=True)
class Golden:
    """Rows that a version has to answer as it did at training, or it is not served."""

    rows: list[dict[str, Any]]
    answers: list[list[float]]  # per row [value] or the probability of each class


@dataclass(frozen=True)
class TabularModel:
    """One version of one model, ready to answer. Immutable, and safe to call from several threads at once."""

    version: str
    schema: FeatureSchema
    encoder: Encoder
    engine: Engine
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    golden: Golden = Golden([], [])
    card: str = ""

    @property
    def name(self) -> str:
        return self.schema.name

    @property
    def tag(self) -> str:
        return f"{self.name}:{self.version}"

    def predict(self, frame: Frame) -> Answers:
        """Checked rows -> (rows, 1) values in the target's unit, or (rows, classes) probabilities that sum to 1."""
        outputs = self.engine.outputs(self.encoder.encode(frame))
        if self.schema.task == "regression":
            return self.encoder.target.unscale(outputs)
        return probabilities(outputs)

    def predict_rows(self, rows: Sequence[Row]) -> Answers:
        """The same for rows as JSON objects that are known to be valid."""
        return self.predict(self.schema.frame(rows))

    def present(self, answers: Answers) -> list[Prediction]:
        """The answers of `predict` as the predictions of the API, one per row, without warnings."""
        if self.schema.task == "regression":
            return [{"value": value} for value in short_floats(answers[:, 0])]
        classes = self.schema.classes or []
        keys = [class_key(label) for label in classes]
        best = answers.argmax(axis=1).tolist()
        columns = [short_floats(answers[:, column]) for column in range(len(keys))]
        return [
            {"label": classes[winner], "probabilities": dict(zip(keys, row, strict=True))}
            for winner, row in zip(best, zip(*columns, strict=True), strict=True)
        ]

    def tolerance(self) -> float:
        """The scale s of "equal means" (docs/api.md): the target's standard deviation, or 1 for probabilities."""
        return self.encoder.target.scale if self.schema.task == "regression" else 1.0


def probabilities(logits: FloatMatrix) -> FloatMatrix:
    """(rows, 1) or (rows, classes) logits -> (rows, classes) probabilities; one logit speaks for the second class."""
    if logits.shape[1] == 1:
        if len(logits) == 1:
            second = sigmoid(logits.item())
            return np.array([[1.0 - second, second]], dtype=np.float32)
        if len(logits) <= FEW:
            pairs = [(1.0 - second, second) for second in map(sigmoid, logits.ravel().tolist())]
            return np.array(pairs, dtype=np.float32).reshape(len(logits), 2)
        with np.errstate(over="ignore"):  # exp(-x) = inf gives the right 0
            seconds = 1.0 / (1.0 + np.exp(-logits))
        return np.concatenate([1.0 - seconds, seconds], axis=1)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True), dtype=np.float32)


def sigmoid(logit: float) -> float:
    """1 / (1 + exp(-x)); no power of e that could overflow."""
    if logit >= 0:
        return 1.0 / (1.0 + math.exp(-logit))
    e = math.exp(logit)
    return e / (1.0 + e)


def short_floats(values: npt.NDArray[Any]) -> list[float]:
    """As Python floats with the shortest digits that read back as the same number in the array's own precision."""
    floats: list[float] = orjson.loads(orjson.dumps(np.ascontiguousarray(values), option=orjson.OPT_SERIALIZE_NUMPY))
    return floats


def class_key(label: Scalar) -> str:
    """A class as the key of `probabilities`: its JSON text."""
    if isinstance(label, bool):
        return "true" if label else "false"
    return str(label)
