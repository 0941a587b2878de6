"""The files of a version: JSON, .npz and .keras in one folder, readable by eye, no pickle.

The only module that knows the layout. What `write` writes, `read` reads; a later layout keeps a reader for this one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.encoding.encoder import Encoder
from models.engines import NumpyEngine, TensorFlowEngine
from models.network.network import Network
from models.schema import FeatureSchema
from models.tabular_model import Engine, GoldenRows, TabularModel

EngineChoice = Literal["auto", "numpy", "tensorflow"]


class StoreError(Exception):
    """A version that cannot be stored, read or served; the message names it and the reason."""


class EngineUnavailable(StoreError):  # noqa: N818 - the name says what is wrong
    """A valid version that the requested engine cannot run; `why` is the reason."""

    def __init__(self, tag: str, why: str) -> None:
        super().__init__(f"{tag}: {why}")
        self.why = why


@dataclass(frozen=True)
class StoredVersion:
    """A version in the store, not yet loaded."""

    name: str
    version: int
    path: Path

    @property
    def tag(self) -> str:
        return f"{self.name}:{self.version}"


@dataclass(frozen=True)
class TrainedVersion:
    """The result of a training run, to be stored. At least one of `network` and `keras` is set."""

    schema: FeatureSchema
    encoder: Encoder
    golden_rows: list[dict[str, Any]]
    reason: str  # for the choice of the engine
    network: Network | None = None
    keras: Any = None  # a keras.Model; its type would import TensorFlow
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    card: str = ""
    pictures: Mapping[str, bytes] = field(default_factory=dict)


def write(folder: Path, trained: TrainedVersion) -> None:
    """Write the files of a version."""
    folder.chmod(0o755)  # BentoML creates a private folder; a container reads it as another user
    (folder / "features.json").write_text(trained.schema.to_json(), encoding="utf-8")
    (folder / "encoder.json").write_text(trained.encoder.to_json(), encoding="utf-8")
    description: dict[str, Any] = {"format": 1, "reason": trained.reason, "network": None}
    if trained.network is not None:
        description["network"] = trained.network.to_json()
        np.savez(folder / "weights.npz", **trained.network.weights())  # type: ignore[arg-type]  # numpy's stub
    if trained.keras is not None:
        trained.keras.save(folder / "model.keras")
    _write_json(folder / "network.json", description)
    _write_json(folder / "metrics.json", trained.metrics)
    _write_json(folder / "training.json", trained.training)
    (folder / "card.md").write_text(trained.card, encoding="utf-8")
    for picture, png in trained.pictures.items():
        (folder / picture).write_bytes(png)
    _write_json(folder / "golden.json", {"rows": trained.golden_rows, "answers": golden_answers(trained)})


def golden_answers(trained: TrainedVersion) -> list[list[float]]:
    """The predictions of the training framework for the golden rows. Every engine has to reproduce them."""
    engine: Engine
    if trained.keras is not None:
        engine = TensorFlowEngine(trained.keras, "training")
    else:
        assert trained.network is not None
        engine = NumpyEngine(trained.network, "training")
    model = TabularModel("0", trained.schema, trained.encoder, engine)
    answers: list[list[float]] = model.predict_rows(trained.golden_rows).primary.astype(float).tolist()
    return answers


def read(stored: StoredVersion, engine: EngineChoice = "auto") -> TabularModel:
    """Read a version of format 1, without checking its golden rows."""
    folder = stored.path
    golden = read_json(folder / "golden.json")
    schema = FeatureSchema.from_json((folder / "features.json").read_bytes())
    if schema.name != stored.name:
        raise ValueError(f"features.json names the model {schema.name!r}")
    encoder = Encoder.from_json((folder / "encoder.json").read_bytes())
    encoder.check(schema)
    return TabularModel(
        version=str(stored.version),
        schema=schema,
        encoder=encoder,
        engine=make_engine(stored, engine),
        metrics=read_json(folder / "metrics.json"),
        training=read_json(folder / "training.json"),
        golden=GoldenRows(golden["rows"], golden["answers"]),
        card=(folder / "card.md").read_text(encoding="utf-8"),
    )


def make_engine(stored: StoredVersion, choice: EngineChoice = "auto") -> Engine:
    """The NumPy network if the version has one; TensorFlow if it has none or if it is requested."""
    description = read_json(stored.path / "network.json")
    keras_file = stored.path / "model.keras"
    has_network = description["network"] is not None
    if choice == "numpy" and not has_network:
        why = f"it has no NumPy network ({description['reason']}); use the TensorFlow engine"
        raise EngineUnavailable(stored.tag, why)
    if choice == "tensorflow" and has_network and not keras_file.is_file():
        raise EngineUnavailable(stored.tag, "trained by NumPy, has no Keras model")
    if has_network and choice != "tensorflow":
        with (stored.path / "weights.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            network = Network.from_json(description["network"], dict(arrays))
        return NumpyEngine(network, description["reason"])
    reason = "asked for by TABSERVE_ENGINE" if has_network else description["reason"]
    try:
        return TensorFlowEngine.read(keras_file, reason)
    except ImportError as error:
        why = "needs TensorFlow, which is not installed (the extra 'tensorflow')"
        raise EngineUnavailable(stored.tag, why) from error


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
