"""A `.keras` file that could run code, or read other files, is refused before Keras reads it."""

import base64
import json
import marshal
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import CodeType
from typing import Any

import numpy as np
import pytest

from models import keras_archive, store, version_files
from models.archives import UnsafeArchive
from models.keras_archive import check_keras_archive
from models.version_files import StoredVersion, StoreError, TrainedVersion

Make = Callable[..., TrainedVersion]
Config = dict[str, Any]


def dense(**changes: Any) -> Config:
    return {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}, "registered_name": None} | changes


def function(module: str, name: str, **more: Any) -> Config:
    return {"module": module, "class_name": "function", "config": name, "registered_name": name} | more


HOSTILE: dict[str, Config] = {
    "a Lambda layer": dense(
        class_name="Lambda", config={"function": {"class_name": "__lambda__", "config": {"value": ["4wE="]}}}
    ),
    "a lambda as an activation": dense(config={"units": 1, "activation": {"class_name": "__lambda__", "config": {}}}),
    "a function of the operating system": dense(config={"activation": function("os", "system")}),
    "a function of Keras that models do not contain": dense(
        config={"activation": function("keras.config", "enable_unsafe_deserialization")}
    ),
    "a function under the name of our layer": dense(
        config={"activation": function("keras.utils", "get_file", registered_name="tabserve>Columns")}
    ),
    "a class of another module": dense(module="subprocess", class_name="Popen", config={"args": ["touch", "ran"]}),
    "a class of another module of Keras": dense(module="keras.src.utils.file_utils", class_name="get_file"),
    "a registered object of another library": dense(registered_name="other>Dense"),
    "a layer that reads a SavedModel": dense(class_name="TFSMLayer", config={"filepath": "/tmp/model"}),
    "a layer that unpickles": dense(class_name="TorchModuleWrapper", config={"module": "gASV"}),
    "a layer that reads a file": dense(class_name="StringLookup", config={"vocabulary": "/etc/passwd"}),
    "a type without a module": {"class_name": "Dense", "config": {}},
    "a type that is not a string": dense(class_name=["Dense"]),
    "a name only": {"registered_name": "x"},
    "a typespec": {"class_name": "__typespec__", "config": [], "spec_name": "x", "module": "os"},
}
"""Layers of hostile models."""


def model_config(layer: Any) -> Config:
    config = {"name": "model", "layers": [dense(), {"module": "keras.layers", "class_name": "Dense", "config": layer}]}
    return {"module": "keras", "class_name": "Sequential", "config": config, "registered_name": None}


def write_archive(path: Path, config: Any, **members: bytes) -> Path:
    content = config if isinstance(config, bytes) else json.dumps(config).encode()
    files = {"metadata.json": b"{}", "config.json": content, "model.weights.h5": b""} | members
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_objects_are_refused_at_any_depth(tmp_path: Path, what: str) -> None:
    layer = HOSTILE[what]
    deep = dense(config={"units": [{"x": [dense(config=layer)]}]})
    for config in (model_config(layer), model_config(deep), layer, {**model_config({}), "build_config": layer}):
        with pytest.raises(UnsafeArchive, match=r"model.keras is not loaded: it has the object"):
            check_keras_archive(write_archive(tmp_path / "model.keras", config))


@pytest.mark.parametrize(
    ("config", "members", "message"),
    [
        (b"[]", {}, "config.json cannot be read"),
        (b"{", {}, "config.json cannot be read"),
        (b'{"a":' * 10**5, {}, "config.json cannot be read"),
        (b" " * (keras_archive.MAX_CONFIG_BYTES + 1), {}, "is larger than 16777216 bytes"),
        ({}, {"assets/vocabulary.txt": b""}, "has a member with the name"),
        ({}, {"assets": b""}, "has members other than config.json, metadata.json, model.weights.h5"),
        ({}, {"../../evil.py": b""}, "has a member with the name"),
    ],
    ids=["list", "cut", "deep", "large", "asset", "member", "path"],
)
def test_archives_with_invalid_members_are_refused(
    tmp_path: Path, config: Any, members: dict[str, bytes], message: str
) -> None:
    with pytest.raises(UnsafeArchive, match=message):
        check_keras_archive(write_archive(tmp_path / "model.keras", config, **members))


def test_objects_of_the_compile_config_are_not_checked(tmp_path: Path) -> None:
    """Keras loads the model without its compile_config, so the names in it are harmless."""
    config = {**model_config({"units": 1}), "compile_config": {"loss": function("builtins", "own_loss")}}
    check_keras_archive(write_archive(tmp_path / "model.keras", config))


def lambda_layer(marker: Path) -> Config:
    """A Lambda layer as Keras writes it; calling the layer makes a folder."""
    code = compile(f"lambda x: __import__('os').makedirs({str(marker)!r}, exist_ok=True) or x", "file", "eval")
    (function_code,) = (constant for constant in code.co_consts if isinstance(constant, CodeType))
    value = {"code": base64.b64encode(marshal.dumps(function_code)).decode(), "defaults": None, "closure": None}
    config = {"function": {"class_name": "__lambda__", "config": value}, "output_shape": [4]}
    return dense(class_name="Lambda", config=config, build_config={"input_shape": [None, 4]})


def hostile_model(marker: Path) -> Config:
    inputs = dense(class_name="InputLayer", config={"batch_shape": [None, 4], "dtype": "float32", "name": "x"})
    return model_config({}) | {"config": {"name": "model", "layers": [inputs, lambda_layer(marker)]}}


def test_a_version_with_a_lambda_layer_runs_no_code(stored: StoredVersion, tmp_path: Path) -> None:
    description = json.loads((stored.path / "network.json").read_text())
    (stored.path / "network.json").write_text(json.dumps({**description, "network": None}))
    write_archive(stored.path / "model.keras", hostile_model(tmp_path / "ran"))
    (stored.path / "manifest.json").unlink()
    with pytest.raises(StoreError, match=r"model.keras is not loaded: it has the object keras.layers / Lambda"):
        store.load(stored)
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_hostile_file_runs_code_without_the_check(tmp_path: Path) -> None:
    import keras

    path = write_archive(tmp_path / "model.keras", hostile_model(tmp_path / "ran"))
    with pytest.raises(UnsafeArchive):
        check_keras_archive(path)
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    keras.saving.deserialize_keras_object(config, safe_mode=False)(np.zeros((1, 4), np.float32))
    assert (tmp_path / "ran").is_dir()


@pytest.mark.slow
def test_the_layers_of_the_project_are_accepted(tmp_path: Path, make_trained: Make) -> None:
    """The accepted layers are all layers that training builds, by their registered names."""
    from keras.saving import get_custom_objects

    from models import keras_nets  # noqa: F401 - registers them

    assert {name for name in get_custom_objects() if name.startswith("tabserve>")} == set(keras_archive.OUR_LAYERS)
    version_files.write(tmp_path, make_trained(keras=True))
    check_keras_archive(tmp_path / "model.keras")
