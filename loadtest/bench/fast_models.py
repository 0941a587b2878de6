"""Small models with random weights for the measurement of fast paths."""

from typing import Any

import numpy as np

from models.architecture import Architecture
from models.encoding.encoder import Encoder
from models.engines import NumpyEngine
from models.feature import Feature, TrainingRange
from models.frame import Frame
from models.network.network import build
from models.schema import FeatureSchema
from models.tabular_model import TabularModel

NUMBERS = tuple("abcdefgh")
LEVELS: list[bool | int | float | str] = ["red", "green", "blue"]
CLASSES: list[bool | int | float | str] = ["setosa", "versicolor", "virginica"]
Row = dict[str, Any]


def regression(categories: int = 0) -> TabularModel:
    """A regression model with 8 numbers between 0 and 1 and with some categories."""
    return _model("numbers", None, categories)


def classification() -> TabularModel:
    """A classification model with three classes and 8 numbers."""
    return _model("classes", CLASSES)


def binary() -> TabularModel:
    """Two classes, 8 numbers."""
    return _model("binary", CLASSES[:2])


def _model(name: str, classes: list[bool | int | float | str] | None, categories: int = 0) -> TabularModel:
    rng = np.random.default_rng(0)
    features = [
        Feature(name=one, kind="number", nullable=False, seen=TrainingRange(min=0.0, max=1.0)) for one in NUMBERS
    ]
    for name_of_category in category_names(categories):
        features.append(
            Feature(name=name_of_category, kind="category", nullable=False, seen=TrainingRange(levels=LEVELS))
        )
    task: Any = "regression" if classes is None else "binary" if len(classes) == 2 else "multiclass"
    schema = FeatureSchema(name=name, task=task, target="y", classes=classes, features=features)
    numbers, codes = rng.uniform(size=(500, len(NUMBERS))), rng.integers(0, len(LEVELS), (500, categories))
    values = numbers.sum(axis=1) if classes is None else None
    encoder = Encoder.fit(schema, Frame(numbers, codes), values, bins=0)
    outputs = len(classes) if task == "multiclass" and classes else 1
    network = build(Architecture(encoder.width, hidden=(32,), outputs=outputs), rng)
    return TabularModel("1", schema, encoder, NumpyEngine(network, ""))


def category_names(categories: int) -> list[str]:
    return [f"color {number}" for number in range(categories)]


def rows_of(count: int, categories: int = 0) -> list[Row]:
    """Valid rows without warnings."""
    rng = np.random.default_rng(1)
    rows: list[Row] = [dict(zip(NUMBERS, row, strict=True)) for row in rng.uniform(0.1, 0.9, (count, 8)).tolist()]
    for number, row in enumerate(rows):
        row |= dict.fromkeys(category_names(categories), LEVELS[number % len(LEVELS)])
    return rows
