"""Reads and writes the files of a version: JSON, .npz and .keras in one folder, without pickle.

Only this module depends on the layout of the files. `read` reads the files that `write` writes; with a new layout it
must still read this layout.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from models import manifest
from models.archives import read_npz
from models.card_page import card_page
from models.checked_folder import checked_folder
from models.encoding.encoder import Encoder
from models.engines import NumpyEngine, TensorFlowEngine
from models.network.network import Network
from models.network.scale_head import NO_LIMITS, ScaleHead
from models.schema import FeatureSchema
from models.tabular_model import Engine, GoldenRows, TabularModel
from models.trusted_keys import TrustedKeysError
from models.version_folder import MANIFEST_FILE, AlteredVersion, read_document

if TYPE_CHECKING:  # imported only for versions with these parts
    from models.drift.reference import DriftReference
    from models.explanation.background import Background
    from models.uncertainty import Uncertainty

BACKGROUND_FILE = "background.json"
REFERENCE_FILE = "reference.json"
UNCERTAINTY_FILE = "uncertainty.json"
SCALE_HEAD_FILE = "scale_head.npz"

EngineChoice = Literal["auto", "numpy", "tensorflow"]


class StoreError(Exception):
    """A version cannot be stored, read or served. The message names the version and the reason."""


class EngineUnavailable(StoreError):  # noqa: N818 - the name describes the error
    """The requested engine cannot run a valid version. `reason` is the reason."""

    def __init__(self, tag: str, reason: str) -> None:
        super().__init__(f"{tag}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class StoredVersion:
    """A version in the store that is not loaded yet."""

    name: str
    version: int
    path: Path

    @property
    def tag(self) -> str:
        return f"{self.name}:{self.version}"


@dataclass(frozen=True)
class TrainedVersion:
    """The result of a training run, which can be stored. At least one of `network` and `keras` is set."""

    schema: FeatureSchema
    encoder: Encoder
    golden_rows: list[dict[str, Any]]
    reason: str  # the reason for the choice of the engine
    network: Network | None = None
    keras: Any = None  # a keras.Model; its type would import TensorFlow
    metrics: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    card: str = ""
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    background: "Background | None" = None
    reference: "DriftReference | None" = None
    uncertainty: "Uncertainty | None" = None
    scale_head: ScaleHead | None = None


def write(folder: Path, trained: TrainedVersion) -> None:
    """Write the files of a version."""
    folder.chmod(0o755)  # BentoML creates a private folder, but a container may read it as another user
    (folder / "features.json").write_text(trained.schema.to_json(), encoding="utf-8")
    (folder / "encoder.json").write_text(trained.encoder.to_json(), encoding="utf-8")
    description: dict[str, Any] = {"format": 1, "reason": trained.reason, "network": None}
    if trained.network is not None:
        description["network"] = trained.network.to_json()
        np.savez(folder / "weights.npz", **trained.network.weights())  # type: ignore[arg-type]  # numpy's stub
    if trained.keras is not None:
        trained.keras.save(folder / "model.keras")
    if trained.background is not None:
        (folder / BACKGROUND_FILE).write_text(trained.background.to_json(), encoding="utf-8")
    if trained.reference is not None:
        (folder / REFERENCE_FILE).write_text(trained.reference.to_json(), encoding="utf-8")
    if trained.uncertainty is not None:
        (folder / UNCERTAINTY_FILE).write_text(trained.uncertainty.to_json(), encoding="utf-8")
    if trained.scale_head is not None:
        np.savez(folder / SCALE_HEAD_FILE, **trained.scale_head.arrays())  # type: ignore[arg-type]  # numpy's stub
    _write_json(folder / "network.json", description)
    _write_json(folder / "metrics.json", trained.metrics)
    _write_json(folder / "training.json", trained.training)
    (folder / "card.md").write_text(trained.card, encoding="utf-8")
    page = card_page(trained.schema.name, trained.card, trained.pictures)
    (folder / "card.html").write_text(page, encoding="utf-8")
    for picture, png in trained.pictures.items():
        (folder / picture).write_bytes(png)
    _write_json(folder / "golden.json", {"rows": trained.golden_rows, "answers": golden_predictions(trained)})
    manifest.write(folder)


def golden_predictions(trained: TrainedVersion) -> list[list[float]]:
    """The predictions of the training framework for the golden rows. Every engine must reproduce them."""
    engine: Engine
    if trained.keras is not None:
        engine = TensorFlowEngine(trained.keras, "training")
    else:
        assert trained.network is not None
        engine = NumpyEngine(trained.network, "training")
    model = TabularModel("0", trained.schema, trained.encoder, engine)
    predictions: list[list[float]] = model.predict_rows(trained.golden_rows).primary.astype(float).tolist()
    return predictions


def read(
    stored: StoredVersion,
    engine: EngineChoice = "auto",
    declared: Engine | None = None,
    trusted_keys: Sequence[Path] = (),
) -> TabularModel:
    """Read a version without checking its golden rows. Raises StoreError if its files were altered.

    declared: replaces the engine, which is then not loaded. trusted_keys: one of them must have signed the version.
    """
    try:
        with checked_folder(stored.path, stored.tag, trusted_keys) as folder:
            model = read_checked(replace(stored, path=folder), engine, declared)
    except (AlteredVersion, TrustedKeysError) as error:
        raise StoreError(describe_refusal(stored, error, trusted=bool(trusted_keys))) from error
    return replace(model, folder=stored.path)  # the folder of the checked copies is removed


def describe_refusal(stored: StoredVersion, error: Exception, *, trusted: bool) -> str:
    """The reason why a version is not read. trusted: whether it must be signed."""
    if trusted:
        return f"{stored.tag} in {stored.path} is not trusted: {error} (TABSERVE_TRUSTED_KEYS)"
    has_manifest = (stored.path / MANIFEST_FILE).is_file()
    hint = f" (to serve it nevertheless, delete its {MANIFEST_FILE})" if has_manifest else ""
    return f"{stored.tag} in {stored.path} is not the version that was stored: {error}{hint}"


def read_checked(stored: StoredVersion, engine: EngineChoice, declared: Engine | None) -> TabularModel:
    """Read a version whose files were checked. Versions that were made by 0.1.0 have no optional files."""
    folder = stored.path
    golden = read_json(folder / "golden.json")
    schema = FeatureSchema.from_json((folder / "features.json").read_bytes())
    if schema.name != stored.name:
        raise ValueError(f"features.json names the model {schema.name!r}")
    encoder = Encoder.from_json((folder / "encoder.json").read_bytes())
    encoder.check(schema)
    background, uncertainty = read_background(folder, schema), read_uncertainty(folder, schema)
    head = read_scale_head(folder / SCALE_HEAD_FILE) if uncertainty is not None else None
    its_engine, scaled_engine = (declared, None) if declared else make_engines(stored, engine, head)
    return TabularModel(
        version=str(stored.version),
        schema=schema,
        encoder=encoder,
        engine=its_engine,
        metrics=read_json(folder / "metrics.json"),
        training=read_json(folder / "training.json"),
        golden=GoldenRows(golden["rows"], golden["answers"]),
        card=(folder / "card.md").read_text(encoding="utf-8"),
        background=background,
        reference=read_reference(folder, schema),
        uncertainty=uncertainty,
        scaled_engine=scaled_engine,
        scale_limits=NO_LIMITS if head is None else head.limits,
    )


def needs_tensorflow(stored: StoredVersion, choice: EngineChoice = "auto") -> bool:
    """Whether loading this version imports TensorFlow. Raises any exception that a damaged file causes."""
    has_network = read_json(stored.path / "network.json")["network"] is not None
    if choice == "tensorflow":
        return not has_network or (stored.path / "model.keras").is_file()
    return choice == "auto" and not has_network


def make_engines(
    stored: StoredVersion, choice: EngineChoice = "auto", head: ScaleHead | None = None
) -> tuple[Engine, Engine | None]:
    """The engine of a version: NumPy if the version has a NumPy network, TensorFlow if it has none or if TensorFlow is
    requested.

    The second engine includes the scale head; None if there is no scale head.
    """
    description = read_json(stored.path / "network.json")
    keras_file = stored.path / "model.keras"
    has_network = description["network"] is not None
    if choice == "numpy" and not has_network:
        reason = f"it has no NumPy network ({description['reason']}); use the TensorFlow engine"
        raise EngineUnavailable(stored.tag, reason)
    if choice == "tensorflow" and has_network and not keras_file.is_file():
        raise EngineUnavailable(stored.tag, "trained by NumPy, has no Keras model")
    if has_network and choice != "tensorflow":
        network = Network.from_json(description["network"], read_npz(stored.path / "weights.npz"))
        numpy_engine = NumpyEngine(network, description["reason"])
        return numpy_engine, None if head is None else numpy_engine.with_scale_head(network, head)
    reason = "requested by TABSERVE_ENGINE" if has_network else description["reason"]
    try:
        keras_engine = TensorFlowEngine.read(keras_file, reason)
    except ImportError as error:
        reason = "needs TensorFlow, which is not installed (the extra 'tensorflow')"
        raise EngineUnavailable(stored.tag, reason) from error
    return keras_engine, None if head is None else keras_engine.with_scale_head(head)


def read_scale_head(path: Path) -> ScaleHead | None:
    if not path.is_file():
        return None
    return ScaleHead.from_arrays(read_npz(path))


def read_background(folder: Path, schema: FeatureSchema) -> "Background | None":
    """The background of a version; None if it has none."""
    if not (folder / BACKGROUND_FILE).is_file():
        return None
    from models.explanation.background import Background

    background = Background.from_json((folder / BACKGROUND_FILE).read_bytes())
    background.check(schema)
    return background


def read_reference(folder: Path, schema: FeatureSchema) -> "DriftReference | None":
    """The reference of a version; None if it has none."""
    if not (folder / REFERENCE_FILE).is_file():
        return None
    from models.drift.reference import DriftReference

    reference = DriftReference.from_json((folder / REFERENCE_FILE).read_bytes())
    reference.check(schema)
    return reference


def read_uncertainty(folder: Path, schema: FeatureSchema) -> "Uncertainty | None":
    """The uncertainty of a version; None if it has none."""
    if not (folder / UNCERTAINTY_FILE).is_file():
        return None
    from models.uncertainty import Uncertainty

    uncertainty = Uncertainty.from_json((folder / UNCERTAINTY_FILE).read_bytes())
    uncertainty.check(schema)
    return uncertainty


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    return json.loads(read_document(path))
