"""A small model with a drift reference, rows like its training rows, and rows with another unit."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from models import store, version_files
from models.architecture import Architecture
from models.drift.reference import DriftReference, QualityEstimate
from models.encoding.encoder import Encoder
from models.feature import Feature, TrainingRange
from models.network.network import build
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from models.version_files import TrainedVersion

ZONES = ["north", "south", "west"]
LEARNED, TESTED = 3000, 1000


def schema() -> FeatureSchema:
    return FeatureSchema(
        name="fares",
        task="binary",
        target="paid",
        classes=["no", "yes"],
        features=[
            Feature(name="km", kind="number", nullable=True, seen=TrainingRange(min=-50, max=70)),
            Feature(name="by_card", kind="boolean", nullable=False),
            Feature(name="zone", kind="category", nullable=True, seen=TrainingRange(levels=[*ZONES])),
        ],
    )


def rows_like_training(count: int, seed: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "km": None if rng.random() < 0.02 else round(float(rng.normal(10, 3)), 3),
            "by_card": bool(rng.random() < 0.7),
            "zone": ZONES[rng.choice(3, p=[0.5, 0.3, 0.2])],
        }
        for _ in range(count)
    ]


def in_metres(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same rows with distances in metres instead of kilometres."""
    return [row | {"km": None if row["km"] is None else 1000 * row["km"]} for row in rows]


def trained_version(seed: int = 0) -> TrainedVersion:
    """A version with a network of random weights and with a drift reference."""
    rng, table = np.random.default_rng(seed), schema()
    learned, tested = rows_like_training(LEARNED, seed + 1), rows_like_training(TESTED, seed + 2)
    frame = table.frames.from_rows(learned)
    encoder = Encoder.fit(table, frame, None)
    network = build(
        Architecture(encoder.width - len(encoder.tables), tuple(encoder.tables), hidden=(8,), outputs=1), rng
    )
    version = TrainedVersion(table, encoder, tested[:3], "trained by NumPy", network=network, card="# fares")
    outputs = loaded_model(version).predict_rows(tested)
    estimate = QualityEstimate(metric="accuracy", value=float(outputs.primary.max(axis=1).mean()), measured=0.9)
    reference = DriftReference.fit(table, frame).with_predictions(table, outputs, estimate)
    return dataclasses.replace(version, reference=reference)


def loaded_model(version: TrainedVersion) -> TabularModel:
    from models.engines import NumpyEngine

    assert version.network is not None
    engine = NumpyEngine(version.network, "test")
    return TabularModel("1", version.schema, version.encoder, engine, reference=version.reference)


def write_store(root: Path, *, with_reference: bool = True) -> Path:
    """Write a store folder, for TABSERVE_STORE, with `fares:1`."""
    folder = root / "fares" / "1"
    folder.mkdir(parents=True)
    version = trained_version()
    version_files.write(folder, version if with_reference else dataclasses.replace(version, reference=None))
    return root


def load(root: Path) -> TabularModel:
    return store.load(store.versions(root)[0]["fares"][0])
