"""A schema, an encoder and an engine put together into a model of one table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from models.encoding.encoder import Encoder
from models.frame import Frame, Row
from models.outputs import Answers, FloatMatrix, Prediction, probabilities, short_floats
from models.schema import FeatureSchema
from models.text import class_key


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
        return self.predict(self.schema.frames.from_rows(rows))

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
