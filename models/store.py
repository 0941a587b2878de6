"""How a version lies in BentoML's store: JSON, .npz and .keras in one folder, readable by eye, no pickle.

The only file that knows the layout. What is written here is read by `load`; a later layout keeps a reader for this one.
"""

import json
import logging
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import bentoml
import numpy as np
from bentoml.exceptions import BentoMLException

from models import store_hooks
from models.encoding.encoder import Encoder
from models.engines import NumpyEngine, TensorFlowEngine
from models.network.network import Network
from models.outputs import Array
from models.rows import validate_rows
from models.schema import FeatureSchema
from models.tabular_model import Engine, Golden, TabularModel
from models.text import truncate

EngineChoice = Literal["auto", "numpy", "tensorflow"]
TOLERANCE = 1e-5  # of "equal means", see `furthest`; golden rows are held to ten times of it
GOLDEN_TOLERANCE = 10 * TOLERANCE

log = logging.getLogger(__name__)


class StoreError(Exception):
    """A version that cannot be read or must not be served; the message names it and says why."""


class EngineUnavailable(StoreError):  # noqa: N818 - the name says what is wrong
    """A version that is whole, and that the engine asked for cannot run; `why` says why not."""

    def __init__(self, tag: str, why: str) -> None:
        super().__init__(f"{tag}: {why}")
        self.why = why


@dataclass(frozen=True)
class Stored:
    """A version in the store, not yet loaded."""

    name: str
    version: int
    path: Path

    @property
    def tag(self) -> str:
        return f"{self.name}:{self.version}"


@dataclass(frozen=True)
class Trained:
    """All that a training run leaves to be stored. At least one of `network` and `keras` is there."""

    schema: FeatureSchema
    encoder: Encoder
    golden_rows: list[dict[str, Any]]
    reason: str  # why the engine is what it is
    network: Network | None = None
    keras: Any = None  # a keras.Model; its type would import TensorFlow
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    card: str = ""
    pictures: Mapping[str, bytes] = field(default_factory=dict)


# Looking


def location(store: Path | None = None) -> Path:
    """The folder of models that is looked at: in `store`, or BentoML's own."""
    if store is not None:
        return store / "models" if (store / "models").is_dir() else store
    return store_hooks.bentoml_folder()


def versions(store: Path | None = None) -> tuple[dict[str, list[Stored]], list[str]]:
    """Our models by name, each with its versions newest first, and the tags of models that are not ours."""
    place = location(store)
    if (place / "features.json").is_file():
        alone = unpacked(place)
        return {alone.name: [alone]}, []
    ours: dict[str, list[Stored]] = {}
    others = []
    for folder in sorted(place.glob("*/*/")):
        name, version = folder.parent.name, folder.name
        if version.isdecimal() and (folder / "features.json").is_file():
            ours.setdefault(name, []).append(Stored(name, int(version), folder))
        else:
            others.append(f"{name}:{version}")
    for found in ours.values():
        found.sort(key=lambda stored: -stored.version)
    return ours, others


def unpacked(folder: Path) -> Stored:
    """The one version that was exported and unpacked here, without the folders that name it."""
    try:
        name = str(_read_json(folder / "features.json")["name"])
    except (ValueError, LookupError, TypeError):
        name = folder.name  # whoever loads it is told what is wrong
    description = folder / "model.yaml"  # BentoML's
    text = description.read_text(encoding="utf-8") if description.is_file() else ""
    found = re.search(r"""^version:\s*['"]?(\d+)['"]?\s*$""", text, re.MULTILINE)
    return Stored(name, int(found[1]) if found else 1, folder)


# Writing


def check_writable() -> None:
    """Raises StoreError where no version could be stored: better known before a training than after."""
    folder = location()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryDirectory(dir=folder).cleanup()
    except OSError as error:
        raise StoreError(f"nothing can be stored in {folder}: {error.strerror or error}") from error


def save(trained: Trained) -> Stored:
    """Keep a version under the next number; it is checked before it counts, and a failure leaves nothing behind."""
    name = trained.schema.name
    while True:
        stored = Stored(name, version := next_version(name), location() / name / str(version))
        copying = False
        try:
            with bentoml.models.create(
                stored.tag,
                labels={"framework": "keras" if trained.keras is not None else "numpy", "task": trained.schema.task},
                metadata={"target": trained.schema.target},
            ) as model:
                folder = Path(model.path)
                write(folder, trained)
                load(Stored(name, version, folder))
                copying = not stored.path.exists()
        except BentoMLException as error:
            if stored.path.exists():  # another training took the number meanwhile
                continue
            raise StoreError(f"{stored.tag} cannot be stored in {location()}: {error}") from error
        except KeyboardInterrupt:  # after which BentoML leaves what it has copied so far
            if copying and stored.path.exists():
                bentoml.models.delete(stored.tag)
            raise
        return stored


def next_version(name: str) -> int:
    """One more than the highest number in the store, whoever made it."""
    taken = [int(folder.name) for folder in (location() / name).glob("*/") if folder.name.isdecimal()]
    return max(taken, default=0) + 1


def write(folder: Path, trained: Trained) -> None:
    """The files of a version."""
    folder.chmod(0o755)  # BentoML makes it private; a container reads it as another user
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


def golden_answers(trained: Trained) -> list[list[float]]:
    """What the framework that trained the network says of the golden rows: every engine is held to this."""
    engine: Engine
    if trained.keras is not None:
        engine = TensorFlowEngine(trained.keras, "training")
    else:
        assert trained.network is not None
        engine = NumpyEngine(trained.network, "training")
    model = TabularModel("0", trained.schema, trained.encoder, engine)
    answers: list[list[float]] = model.predict_rows(trained.golden_rows).primary.astype(float).tolist()
    return answers


def delete(tag: str) -> None:
    """Take a version, or with a bare name all of them, out of the store. Raises StoreError when there is none."""
    name, colon, version = tag.partition(":")
    found = [stored for stored in versions()[0].get(name, []) if not colon or version == str(stored.version)]
    if not found:
        raise StoreError(f"no model {tag!r} in {location()}")
    for stored in found:
        bentoml.models.delete(stored.tag)


# Reading


def load(stored: Stored, engine: EngineChoice = "auto") -> TabularModel:
    """Read a version, build its engine and hold its golden rows to what training said. Raises StoreError."""
    try:
        model = read(stored, engine)
        check_golden(model)
    except StoreError:
        raise
    except Exception as error:  # what a damaged file makes NumPy, Keras or pydantic raise is theirs to choose
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise StoreError(f"{stored.tag} in {stored.path} cannot be read: {truncate(told, 300)}") from error
    return model


def read(stored: Stored, engine: EngineChoice = "auto") -> TabularModel:
    """Read a version of format 1 without looking at its golden rows."""
    folder = stored.path
    golden = _read_json(folder / "golden.json")
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
        metrics=_read_json(folder / "metrics.json"),
        training=_read_json(folder / "training.json"),
        golden=Golden(golden["rows"], golden["answers"]),
        card=(folder / "card.md").read_text(encoding="utf-8"),
    )


def make_engine(stored: Stored, choice: EngineChoice = "auto") -> Engine:
    """The NumPy network where the version has one, TensorFlow where it has not or where it is asked for."""
    description = _read_json(stored.path / "network.json")
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


def check_golden(model: TabularModel) -> None:
    """Raises StoreError when a version no longer answers as it did at training."""
    if not model.golden.rows:
        raise StoreError(f"{model.tag} has no golden rows")
    validated = validate_rows(model.schema, model.golden.rows)
    if validated.errors:
        raise StoreError(f"{model.tag}: its golden rows are not valid by its schema: {validated.errors[0].message}")
    given = model.predict(validated.frame).primary
    expected = np.array(model.golden.answers)
    if given.shape != expected.shape:
        raise StoreError(f"{model.tag}: answers of shape {given.shape}, at training {expected.shape}")
    distance = furthest(given, expected, model.tolerance())
    if not distance <= GOLDEN_TOLERANCE:
        raise StoreError(
            f"{model.tag} does not answer its golden rows as it did at training (furthest {distance:.2g}, allowed "
            f"{GOLDEN_TOLERANCE:.2g} of the larger of the answer and {model.tolerance():.4g}): it must not be served"
        )


def furthest(given: Array, expected: Array, scale: float) -> float:
    """The largest |a - b| / max(|b|, scale): answers are equal while this is at most TOLERANCE. NaN is never equal."""
    return float(np.max(np.abs(given - expected) / np.maximum(np.abs(expected), scale), initial=0.0))


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
