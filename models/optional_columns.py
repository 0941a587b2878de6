"""The optional output columns, which a request may select: intervals, label sets and explanations."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.json_text import dumps, template_json
from models.output_columns import OutputColumn, OutputTensor, mapping_schema
from models.outputs import Array, Outputs
from models.schema import FeatureSchema
from models.tabular_model import GROUP, SCALE, TabularModel
from models.text import class_key

BASELINE, CONTRIBUTIONS, DETAILS = "baseline", "contributions", "explanation_details"  # names in `Outputs.extras`
EVALUATIONS = 2  # the position of the evaluations in the details


def rounded(values: Array, scale: float) -> Array:
    """Round numbers to a ten-millionth of the scale; further digits are beyond the precision of float32 networks."""
    digits = 7 - math.floor(math.log10(scale))
    return np.round(values, digits) if abs(digits) < 100 else values


def interval_column(model: TabularModel, levels: tuple[float, ...]) -> OutputColumn:
    """The column `interval` for one level; a list `intervals` for several levels."""
    tensors: list[OutputTensor] = []
    templates = []
    for level in levels:
        low, high = ("low", "high") if len(levels) == 1 else (f"low_{level:g}", f"high_{level:g}")
        tensors.append(OutputTensor(low, "float64", _bound(model, level, -1.0), (low,)))
        tensors.append(OutputTensor(high, "float64", _bound(model, level, 1.0), (high,)))
        templates.append(b'{"level":%s,"low":%%s,"high":%%s}' % dumps(level))
    one = {
        "title": "Interval",
        "type": "object",
        "properties": {name: {"title": name.title(), "type": "number"} for name in ("level", "low", "high")},
        "required": ["level", "low", "high"],
    }
    if len(levels) == 1:
        return OutputColumn("interval", tuple(tensors), templates[0], one)
    schema = {"title": "Intervals", "type": "array", "items": one}
    return OutputColumn("intervals", tuple(tensors), b"[%s]" % b",".join(templates), schema)


def _bound(model: TabularModel, level: float, sign: float) -> Any:
    uncertainty, target = model.uncertainty, model.encoder.target
    assert uncertainty is not None
    quantiles = uncertainty.quantiles_at(level)

    def bound(outputs: Outputs) -> Array:
        groups = outputs.extras.get(GROUP)
        quantile = quantiles.everyone if groups is None else quantiles.for_groups(groups.tolist())
        ends: Array = outputs.primary[:, 0] + sign * quantile * outputs.extras[SCALE]
        ends = rounded(ends, target.scale)
        return ends if target.low is None else np.clip(ends, target.low, target.high)

    return bound


@dataclass(frozen=True, eq=False)
class SetColumn(OutputColumn):
    """A column of label sets: in JSON the labels of each set, in tables a column for each label."""

    levels: tuple[float, ...] = ()
    labels: tuple[bytes, ...] = ()  # as JSON

    def json_values(self, outputs: Outputs) -> list[bytes]:
        if not len(outputs):
            return []
        by_level = [
            self._sets(level, tensor.array(outputs)) for level, tensor in zip(self.levels, self.tensors, strict=True)
        ]
        if len(by_level) == 1:
            return by_level[0]
        return [b"[%s]" % b",".join(sets) for sets in zip(*by_level, strict=True)]

    def _sets(self, level: float, members: Array) -> list[bytes]:
        head = b'{"level":%s,"labels":[' % dumps(level)
        return [
            head + b",".join(label for label, member in zip(self.labels, row, strict=True) if member) + b"]}"
            for row in members.tolist()
        ]


def _members(quantiles: npt.NDArray[np.float64]) -> Callable[[Outputs], Array]:
    from models.uncertainty import label_sets

    return lambda outputs: label_sets(outputs.primary, quantiles)


def set_column(model: TabularModel, levels: tuple[float, ...]) -> OutputColumn:
    """The column `set` for one level; a list `sets` for several levels."""
    classes, uncertainty = model.schema.classes or [], model.uncertainty
    assert uncertainty is not None
    tensors = []
    for level in levels:
        name = "set" if len(levels) == 1 else f"set_{level:g}"
        quantiles = uncertainty.quantiles_at(level).for_groups(range(len(classes)))
        names = tuple(f"{name}_{class_key(label)}" for label in classes)
        tensors.append(OutputTensor(name, "bool", _members(quantiles), names, matrix=True))
    one = {
        "title": "Set",
        "type": "object",
        "properties": {
            "level": {"title": "Level", "type": "number"},
            "labels": {"title": "Labels", "type": "array", "items": {"enum": list(classes)}},
        },
        "required": ["level", "labels"],
    }
    several = len(levels) > 1
    schema = {"title": "Sets", "type": "array", "items": one} if several else one
    labels = tuple(map(dumps, classes))
    return SetColumn("sets" if several else "set", tuple(tensors), b"%s", schema, levels, labels)


@dataclass(frozen=True, eq=False)
class ExplanationColumn(OutputColumn):
    """A column of explanations: in JSON an object, in tables the baseline and a column for each contribution."""

    outputs_names: tuple[bytes, ...] = ()  # names of outputs as JSON; the last is for a regression
    contribution_template: bytes = b""

    @classmethod
    def from_schema(cls, schema: FeatureSchema) -> "ExplanationColumn":
        names = [feature.name for feature in schema.features]
        tensors = (
            OutputTensor(BASELINE, "float64", lambda outputs: outputs.extras[BASELINE], (BASELINE,)),
            OutputTensor(
                CONTRIBUTIONS,
                "float64",
                lambda outputs: outputs.extras[CONTRIBUTIONS],
                tuple(f"contribution_{name}" for name in names),
                matrix=True,
            ),
        )
        explained = [*(schema.classes or []), "value"]
        template = b"{%s}" % b",".join(template_json(name) + b":%s" for name in names)
        return cls("explanation", tensors, b"%s", _explanation_schema(names), tuple(map(dumps, explained)), template)

    def json_values(self, outputs: Outputs) -> list[bytes]:
        if not len(outputs):
            return []
        baselines = self.tensors[0].json_texts(outputs)
        contributions = self.tensors[1].json_cells(outputs)
        return [
            self._entry(baseline, cells, details)
            for baseline, cells, details in zip(baselines, contributions, outputs.extras[DETAILS].tolist(), strict=True)
        ]

    def _entry(self, baseline: bytes, cells: tuple[bytes, ...], details: list[float]) -> bytes:
        output, exact, evaluations, error = details
        head = b'{"output":%s,"baseline":%s,"contributions":%s,"exact":%s,"evaluations":%d' % (
            self.outputs_names[int(output)],
            baseline,
            self.contribution_template % cells,
            b"true" if exact else b"false",
            int(evaluations),
        )
        return head + (b"}" if exact else b',"error":%s}' % dumps(error))


def _explanation_schema(names: Sequence[str]) -> dict[str, Any]:
    number = {"type": "number"}
    return {
        "title": "Explanation",
        "type": "object",
        "properties": {
            "output": {"title": "Output", "type": ["string", "number", "boolean"]},
            "baseline": {"title": "Baseline", **number},
            "contributions": mapping_schema("Contributions", names, "number"),
            "exact": {"title": "Exact", "type": "boolean"},
            "evaluations": {"title": "Evaluations", "type": "integer"},
            "error": {"title": "Error", **number},
        },
        "required": ["output", "baseline", "contributions", "exact", "evaluations"],
    }
