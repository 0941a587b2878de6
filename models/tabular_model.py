"""A model of a table: schema, encoder and engine."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import orjson

from models.encoding.encoder import Encoder
from models.frame import Frame, Row
from models.network.scale_head import NO_LIMITS, Limits, one_scale, scales
from models.output_columns import OutputSpec
from models.outputs import Outputs
from models.probabilities import Float32Matrix, probabilities
from models.schema import FeatureSchema

if TYPE_CHECKING:  # imported only for versions with these parts
    from models.drift.reference import DriftReference
    from models.explanation.background import Background
    from models.uncertainty import Uncertainty

Prediction = dict[str, Any]
SCALE, GROUP = "scale", "group"  # names in `Outputs.extras`, for intervals and label sets


class Engine(Protocol):
    """Computes the network's outputs for encoded rows. Thread-safe."""

    @property
    def name(self) -> str:
        """`numpy` or `tensorflow`."""
        ...

    @property
    def reason(self) -> str:
        """The reason why this engine was selected, as a sentence."""
        ...

    def outputs(self, x: Float32Matrix) -> Float32Matrix:
        """(rows, width) encoded rows -> (rows, outputs): standardised values or logits."""
        ...


@dataclass(frozen=True)
class GoldenRows:
    """Rows with their predictions in training. A version with different predictions is not served."""

    rows: list[dict[str, Any]]
    predictions: list[list[float]]  # for each row [value], or the probability of each class


@dataclass(frozen=True)
class TabularModel:
    """One version of a model, ready to predict. Immutable and thread-safe."""

    version: str
    schema: FeatureSchema
    encoder: Encoder
    engine: Engine
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    golden: GoldenRows = GoldenRows([], [])
    card: str = ""
    background: "Background | None" = None  # for explanations; None in versions before schema format 2
    reference: "DriftReference | None" = None
    uncertainty: "Uncertainty | None" = None
    scaled_engine: Engine | None = None  # for a regression with uncertainty: its outputs are value and log scale
    scale_limits: Limits = NO_LIMITS  # limits of the scaled engine's log scale
    wants_scale: bool = False  # see `with_scale`
    own_spec: OutputSpec | None = None  # see `with_spec`
    folder: Path | None = None  # the folder of its files; None for a model that exists only in memory

    @property
    def name(self) -> str:
        return self.schema.name

    @property
    def tag(self) -> str:
        return f"{self.name}:{self.version}"

    @cached_property
    def output_spec(self) -> OutputSpec:
        """The output columns."""
        return self.own_spec or OutputSpec.from_schema(self.schema)

    def with_spec(self, spec: OutputSpec) -> "TabularModel":
        """The same model with these output columns."""
        return replace(self, own_spec=spec)

    def predict(self, frame: Frame) -> Outputs:
        """Predict validated rows: values in the target's unit, or probabilities that sum to 1."""
        outputs = self.predict_encoded(self.encoder.encode(frame))
        if not self.wants_scale or self.group_column is None:
            return outputs
        return Outputs(outputs.primary, {**outputs.extras, GROUP: frame.codes[:, self.group_column]})

    @cached_property
    def group_column(self) -> int | None:
        """The column of `Frame.codes` whose levels have their own scores, if any."""
        if self.uncertainty is None or self.uncertainty.category is None:
            return None
        return [feature.name for feature in self.schema.categorical].index(self.uncertainty.category)

    @cached_property
    def with_scale(self) -> "TabularModel":
        """The same model, which also outputs the scale and the group of each row's error, for intervals and label
        sets."""
        if self.scaled_engine is None:
            return replace(self, wants_scale=True)
        return replace(self, engine=self.scaled_engine, wants_scale=True)

    def predict_encoded(self, x: Float32Matrix) -> Outputs:
        """Predict encoded rows (rows, width)."""
        return self.outputs_of(self.engine.outputs(x))

    def outputs_of(self, outputs: Float32Matrix) -> Outputs:
        """Convert outputs of the engine to predictions."""
        if self.schema.task == "regression":
            target = self.encoder.target
            if self.wants_scale and self.scaled_engine is not None:
                return self._with_scales(outputs)
            return Outputs(target.unscale(outputs))
        return Outputs(probabilities(outputs))

    def _with_scales(self, outputs: Float32Matrix) -> Outputs:
        """Convert outputs (rows, 2), value and log scale. A single row is converted in plain Python, which takes half
        the time."""
        target = self.encoder.target
        if len(outputs) == 1:
            value, log_scale = outputs[0].tolist()
            scale = target.scale * one_scale(log_scale, self.scale_limits)
            return Outputs(np.array([[target.unscale_one(value)]]), {SCALE: np.array([scale])})
        return Outputs(target.unscale(outputs[:, :1]), {SCALE: target.scale * scales(outputs[:, 1], self.scale_limits)})

    def predict_rows(self, rows: Sequence[Row]) -> Outputs:
        """Predict rows of JSON values that are known to be valid."""
        return self.predict(self.schema.frames.from_rows(rows))

    def present(self, outputs: Outputs) -> list[Prediction]:
        """The predictions as in the API, one per row, without warnings."""
        predictions: list[Prediction] = orjson.loads(b"[%s]" % b",".join(self.output_spec.json_entries(outputs)))
        return predictions

    def tolerance(self) -> float:
        """The scale for comparing predictions (docs/api.md): the target's standard deviation, or 1 for
        probabilities."""
        return self.encoder.target.scale if self.schema.task == "regression" else 1.0
