"""A schema, an encoder and an engine put together into a model of one table."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import orjson

from models.encoding.encoder import Encoder
from models.frame import Frame, Row
from models.output_columns import OutputSpec
from models.outputs import Outputs
from models.probabilities import Float32Matrix, probabilities
from models.schema import FeatureSchema

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

    def outputs(self, x: Float32Matrix) -> Float32Matrix:
        """(rows, width) encoded rows -> (rows, outputs): standardised values or logits."""
        ...


@dataclass(frozen=True)
class GoldenRows:
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
    golden: GoldenRows = GoldenRows([], [])
    card: str = ""

    @property
    def name(self) -> str:
        return self.schema.name

    @property
    def tag(self) -> str:
        return f"{self.name}:{self.version}"

    @cached_property
    def output_spec(self) -> OutputSpec:
        """The columns of every answer."""
        return OutputSpec.of(self.schema)

    def predict(self, frame: Frame) -> Outputs:
        """Checked rows -> values in the target's unit, or probabilities that sum to 1."""
        outputs = self.engine.outputs(self.encoder.encode(frame))
        if self.schema.task == "regression":
            return Outputs(self.encoder.target.unscale(outputs))
        return Outputs(probabilities(outputs))

    def predict_rows(self, rows: Sequence[Row]) -> Outputs:
        """The same for rows as JSON objects that are known to be valid."""
        return self.predict(self.schema.frames.from_rows(rows))

    def present(self, outputs: Outputs) -> list[Prediction]:
        """The predictions of the API, one per row, without warnings."""
        predictions: list[Prediction] = orjson.loads(b"[%s]" % b",".join(self.output_spec.json_entries(outputs)))
        return predictions

    def tolerance(self) -> float:
        """The scale s of "equal means" (docs/api.md): the target's standard deviation, or 1 for probabilities."""
        return self.encoder.target.scale if self.schema.task == "regression" else 1.0
