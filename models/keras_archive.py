"""Checks a `.keras` file before Keras reads it: it may contain only layers that run no code of the file and read no
files.

Keras builds a model from `config.json` by looking up the classes and functions that the file names. Its safe mode
refuses objects that are known to be dangerous. This module accepts only the classes listed below: no Lambda layer, no
custom object, no layer that reads other files, no function.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from models.archives import UnsafeArchive, check_members

CONFIG = "config.json"
MEMBERS = {CONFIG, "metadata.json", "model.weights.h5"}
MAX_CONFIG_BYTES = 16 * 1024**2
OUR_LAYERS = {
    "tabserve>Columns": {"Columns", "ColumnSlice"},
    "tabserve>LogProbabilities": {"LogProbabilities"},
    "tabserve>MemberDense": {"MemberDense"},
    "tabserve>MemberMean": {"MemberMean"},
    "tabserve>Members": {"Members"},
    "tabserve>Periodic": {"Periodic"},
    "tabserve>SharedDense": {"SharedDense"},
}
"""The registered names of the layers in `models.keras_nets`, and the present and earlier names of their classes."""
# fmt: off
LAYERS = {
    "InputLayer", "Dense", "EinsumDense", "Embedding", "Activation", "ReLU", "LeakyReLU", "PReLU", "ELU",
    "Softmax", "Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise", "SpatialDropout1D",
    "BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization", "UnitNormalization",
    "Normalization", "Rescaling", "CategoryEncoding", "Discretization", "Reshape", "Flatten", "RepeatVector",
    "Permute", "Concatenate", "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Dot", "Identity",
    "Masking", "ActivityRegularization", "MultiHeadAttention", "Attention", "Conv1D", "GlobalAveragePooling1D",
    "GlobalMaxPooling1D", "AveragePooling1D", "MaxPooling1D",
}
INITIALIZERS = {
    "Zeros", "Ones", "Constant", "Identity", "RandomNormal", "RandomUniform", "TruncatedNormal",
    "VarianceScaling", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform",
    "Orthogonal", "OrthogonalInitializer",
}
# fmt: on
ACCEPTED = {
    "keras": {"Sequential", "Functional", "Model", "DTypePolicy"},
    "keras.models": {"Sequential", "Functional", "Model"},
    "keras.src.models.functional": {"Functional"},
    "keras.src.models.sequential": {"Sequential"},
    "keras.layers": LAYERS,
    "keras.initializers": INITIALIZERS,
    "keras.regularizers": {"L1", "L2", "L1L2", "OrthogonalRegularizer"},
    "keras.constraints": {"MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"},
}
"""The accepted classes, by module."""


def check_keras_archive(path: Path) -> None:
    """Raises UnsafeArchive if Keras must not read this file."""
    members = {member.filename: member for member in check_members(path)}
    if members.keys() != MEMBERS:
        raise UnsafeArchive(f"{path.name} has members other than {', '.join(sorted(MEMBERS))}")
    if members[CONFIG].file_size > MAX_CONFIG_BYTES:
        raise UnsafeArchive(f"{path.name}: its {CONFIG} is larger than {MAX_CONFIG_BYTES} bytes")
    try:
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read(CONFIG))
        objects = list(keras_objects({**config, "compile_config": None}))  # `compile=False` ignores it
    except (ValueError, TypeError, RecursionError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        raise UnsafeArchive(f"{path.name}: its {CONFIG} cannot be read") from error
    for found in objects:
        if not is_accepted(found):
            named = [str(found.get(key)) for key in ("module", "class_name", "registered_name")]
            raise UnsafeArchive(
                f"{path.name} is not loaded: it has the object {' / '.join(named)[:200]}, which is not one "
                "of the layers that run no code of the file"
            )


def keras_objects(value: Any) -> Iterator[dict[str, Any]]:
    """All parts of a configuration from which Keras makes an object, including objects inside other objects."""
    if isinstance(value, dict):
        if "class_name" in value or "registered_name" in value:
            yield value
        for part in value.values():
            yield from keras_objects(part)
    elif isinstance(value, list):
        for part in value:
            yield from keras_objects(part)


def is_accepted(found: dict[str, Any]) -> bool:
    """Whether an object is a layer of this project or an accepted class of Keras."""
    module, name, registered = found.get("module"), found.get("class_name"), found.get("registered_name")
    if not all(value is None or isinstance(value, str) for value in (module, name, registered)):
        return False
    if name == "__keras_tensor__" or name in OUR_LAYERS.get(str(registered), ()):
        return True
    return registered in (None, name) and name in ACCEPTED.get(str(module), ())
