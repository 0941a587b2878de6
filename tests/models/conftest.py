"""Tiny networks over a tiny table with every kind of column."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import store
from models.architecture import Architecture
from models.encoding.encoder import Encoder
from models.feature import Feature, Ignored, TrainingRange
from models.network.network import build
from models.schema import FeatureSchema
from models.version_files import StoredVersion, TrainedVersion

Row = dict[str, Any]

FEATURES = [
    Feature(name="age", kind="number", nullable=True, seen=TrainingRange(min=17, max=90), example=38),
    Feature(name="Outcome Type", kind="category", nullable=True, seen=TrainingRange(levels=["Adoption", "Transfer"])),
    Feature(name="member", kind="boolean", nullable=False),
    Feature(name="since", kind="date", nullable=False, seen=TrainingRange(min="2000-01-01", max="2020-12-31")),
    Feature(name="zip", kind="category", nullable=False, seen=TrainingRange(levels=list(range(12)))),
]
CLASSES: dict[str, Any] = {"regression": None, "binary": [False, True], "multiclass": ["a", "b, c", "d"]}


@pytest.fixture(scope="session")
def some_rows() -> Callable[[int], list[Row]]:
    def rows(count: int) -> list[Row]:
        rng = np.random.default_rng(3)
        return [
            {
                "age": None if rng.random() < 0.1 else int(rng.integers(17, 91)),
                "Outcome Type": [None, "Adoption", "Transfer"][rng.integers(3)],
                "member": bool(rng.random() < 0.5),
                "since": f"20{rng.integers(10, 20)}-0{rng.integers(1, 9)}-1{rng.integers(0, 9)}",
                "zip": int(rng.integers(12)),
            }
            for _ in range(count)
        ]

    return rows


@pytest.fixture(scope="session")
def make_trained(some_rows: Callable[[int], list[Row]]) -> Callable[..., TrainedVersion]:
    """make(task, name): a version whose network has random weights; keras=True adds a Keras model with these
    weights.
    """

    def make(
        task: str = "regression", name: str = "homes", *, keras: bool = False, network: bool = True
    ) -> TrainedVersion:
        schema = FeatureSchema(
            name=name,
            task=task,  # type: ignore[arg-type]  # one of the three
            target="price",
            classes=CLASSES[task],
            features=FEATURES,
            ignored=[Ignored(name="id", reason="different in every row")],
        )
        rows, rng = some_rows(300), np.random.default_rng(0)
        target = rng.normal(200_000, 50_000, 300) if task == "regression" else None
        encoder = Encoder.fit(schema, schema.frames.from_rows(rows), target)
        categories = tuple(encoder.tables)
        outputs = 3 if task == "multiclass" else 1
        architecture = Architecture(encoder.width - len(categories), categories, hidden=(8,), outputs=outputs)
        net, model = build(architecture, rng), None
        if keras:
            from models import keras_export, keras_nets

            model = keras_nets.build(architecture)
            net = keras_export.export(model)
        return TrainedVersion(
            schema,
            encoder,
            rows[:6],
            "a test",
            network=net if network else None,
            keras=model,
            metrics={"metric": {"name": "rmse", "value": 0.5}},
            training={"recipe": {"epochs": 1}},
            card="# homes",
            pictures={"learning.png": b"\x89PNG"},
        )

    return make


@pytest.fixture
def stored(bentoml_store: Path, make_trained: Callable[..., TrainedVersion]) -> StoredVersion:
    """A version in a temporary store."""
    return store.save(make_trained())
