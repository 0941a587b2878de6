"""Checks a model file before Keras reads it: only the configuration determines the objects that the file contains.

It accepts some objects that a stored version may not contain (`models.keras_archive`): text lookups and a few
operations, which the import replaces by layers. An error names the refused layer.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from models.archives import UnsafeArchive, check_members, is_plain_name
from models.keras_archive import CONFIG, MAX_CONFIG_BYTES, MEMBERS, is_accepted
from models.text import truncate
from training.errors import UsageError

LOOKUPS = {"StringLookup", "IntegerLookup"}
OPERATIONS = {"Add", "Subtract", "Multiply", "Maximum", "Minimum", "Concatenate"}
OPERATION_MODULES = {"keras.src.ops.numpy", "keras.ops"}
TEXT_LAYERS = {"TextVectorization", "Hashing", "HashedCrossing", "FeatureSpace"}
OTHER_SHAPES = ("LSTM", "GRU", "RNN", "Conv", "Pooling2D", "Pooling3D", "Random", "Center", "Resizing", "Bidirectional")
"""Substrings of the names of layers for sequences and images."""
HDF5 = b"\x89HDF"


class ModelFile(NamedTuple):
    """A model that Keras has loaded."""

    model: Any
    sha256: str
    name: str  # name of the file


def read_model_file(path: Path) -> ModelFile:
    """Check and load a `.keras` file; no code of the file is run. Raises UsageError."""
    check_is_keras(path)
    check_model_file(path)
    import keras

    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # Keras may raise any exception for a damaged file
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{path.name} cannot be read by Keras: {truncate(reason, 300)}") from error
    with path.open("rb") as file:
        return ModelFile(model, hashlib.file_digest(file, "sha256").hexdigest(), path.name)


def check_is_keras(path: Path) -> None:
    """Raises UsageError for other files; the message says how to make a `.keras` file, if possible."""
    if not path.exists():
        raise UsageError(f"{path}: no such file")
    save = "load it in a place where you trust it, and save it with model.save('model.keras')"
    if path.is_dir():
        what = "a SavedModel" if (path / "saved_model.pb").is_file() else "a folder"
        reason = ": its graph is a program, which may read and write files" if what == "a SavedModel" else ""
        raise UsageError(f"{path.name} is {what}, which is not imported{reason}; {save}")
    with path.open("rb") as file:
        head = file.read(4)
    if head == HDF5:
        raise UsageError(f"{path.name} is an HDF5 file, which can contain code and is not imported; {save}")
    if path.suffix == ".onnx":
        raise UsageError(f"{path.name} is an ONNX file, which is not imported; only .keras files are")
    # Keras decides by the file name: it reads model.h5 as HDF5, even if the file is a ZIP archive that the checks
    # accept.
    if head[:2] != b"PK" or path.suffix != ".keras":
        raise UsageError(f"{path.name} is not a .keras file, which model.save('model.keras') of Keras 3 writes")


def check_model_file(path: Path) -> None:
    """Raises UsageError if the file contains an object that may run code."""
    try:
        members = {member.filename: member for member in check_members(path, _is_member_name)}
        if not members.keys() >= MEMBERS:
            raise UsageError(f"{path.name} is not a .keras file of Keras 3: it has no {min(MEMBERS - members.keys())}")
        if members[CONFIG].file_size > MAX_CONFIG_BYTES:
            raise UsageError(f"{path.name}: its {CONFIG} is larger than {MAX_CONFIG_BYTES} bytes")
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read(CONFIG))
        if not isinstance(config, dict):
            raise ValueError
        objects = list(_objects({**config, "compile_config": None}, "the model"))
    except UnsafeArchive as error:
        raise UsageError(f"{error}; it is not imported") from error
    except (ValueError, TypeError, RecursionError, NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path.name}: its {CONFIG} cannot be read") from error
    for where, found in objects:
        if reason := _refusal(where, found):
            raise UsageError(f"{path.name} is not imported: {reason}")


def _is_member_name(name: str) -> bool:
    """Whether a name belongs to a member of a stored model file, or to the vocabulary file of a lookup."""
    parts = name.split("/")
    return all(map(is_plain_name, parts)) and (
        name in MEMBERS or (parts[0] == "assets" and parts[-1] == "vocabulary.txt")
    )


def _objects(value: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """All parts of a configuration from which Keras makes an object, each with the innermost layer around it."""
    if isinstance(value, dict):
        if "class_name" in value or "registered_name" in value:
            where = _layer_name(value) or where
            yield where, value
        for part in value.values():
            yield from _objects(part, where)
    elif isinstance(value, list):
        for part in value:
            yield from _objects(part, where)


def _layer_name(found: dict[str, Any]) -> str:
    config = found.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    name = found.get("name") if name is None else name
    return f"layer {truncate(name)!r}" if isinstance(name, str) and found.get("class_name") != "DTypePolicy" else ""


def _refusal(where: str, found: dict[str, Any]) -> str | None:
    """Why an object is refused, with the layer; None if it is accepted."""
    module, name = found.get("module"), truncate(str(found.get("class_name")))
    if module == "keras.layers" and name in LOOKUPS and found.get("registered_name") in (None, name):
        return _lookup_refusal(where, found)
    is_operation = module in OPERATION_MODULES and name in OPERATIONS and found.get("registered_name") in (None, name)
    if is_accepted(found) or is_operation:
        return None
    if name == "Lambda" or "lambda" in name:
        return f"{where} is a Lambda layer: it contains Python code, which is never run; use layers of Keras instead"
    if name == "function":
        return f"{where} names the function {truncate(str(found.get('config')))!r}, which is never run"
    if name in TEXT_LAYERS:
        return f"{where} is of the class {name}: it takes text that a schema of columns cannot describe"
    if module == "keras.layers" and any(part in name for part in OTHER_SHAPES):
        return f"{where} is of the class {name}, which is for sequences or images, not for rows of a table"
    if isinstance(module, str) and module.startswith("keras.src.ops"):
        return f"{where} is the operation {name}; the supported operations are {', '.join(sorted(OPERATIONS))}"
    if module == "keras.layers" and found.get("registered_name") in (None, name):
        return f"{where} is of the class {name}, which is not one of the layers that run no code of the file"
    registered = truncate(str(found.get("registered_name") or name))
    return f"{where} is of the custom class {registered}: its code is not in the file, and is never run"


def _lookup_refusal(where: str, found: dict[str, Any]) -> str | None:
    config = found.get("config")
    if not isinstance(config, dict) or not isinstance(config.get("vocabulary"), list | None):
        return f"{where} reads its vocabulary from a file; save the model after `adapt`, or pass a list"
    return None
