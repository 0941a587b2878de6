"""Hooks into BentoML's model store."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.library_hook import LibraryHook, first_problem, is_equal


def bentoml_folder() -> Path:
    """Where BentoML keeps its models; inside a Bento this is the Bento's own folder of models."""
    from bentoml._internal.configuration.containers import BentoMLContainer

    return Path(BentoMLContainer.model_store.get()._path)


def description(tag: str, labels: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
    """The content of `model.yaml`, by which BentoML knows a version."""
    from bentoml import Tag
    from bentoml._internal.models import model

    stream = io.StringIO()
    model.ModelInfo(
        tag=Tag.from_str(tag),
        module="",
        labels=dict(labels),
        options=model.ModelOptions(),
        metadata=dict(metadata),
        context=model.ModelContext(framework_name="", framework_versions={}),
        signatures={},
        api_version="v1",
    ).dump(stream)
    return stream.getvalue()


def _check_folder() -> str | None:
    bentoml_folder()  # raises if it has no such attribute
    return None


def _check_layout() -> str | None:
    import bentoml
    from bentoml._internal.models import model

    return first_problem(
        is_equal("the path of a tag", bentoml.Tag("name", "1").path(), "name/1"),
        is_equal("the name of a model's description", model.MODEL_YAML_FILENAME, "model.yaml"),
    )


def _check_description() -> str | None:
    from bentoml._internal.models import model

    read = model.ModelInfo.from_yaml_file(io.StringIO(description("name:1", {"task": "binary"}, {"target": "y"})))
    return first_problem(
        is_equal("the tag of a description", str(read.tag), "name:1"),
        is_equal("the labels of a description", read.labels, {"task": "binary"}),
    )


STORE_FOLDER = LibraryHook(
    "BentoMLContainer.model_store.get()._path",
    "bentoml",
    "The folder of BentoML's model store is unknown: no model can be stored, listed or served.",
    _check_folder,
)
STORE_LAYOUT = LibraryHook(
    "the layout <name>/<version>/model.yaml",
    "bentoml",
    "Versions in the model store are not found, and a version that was exported and unpacked gets the number 1.",
    _check_layout,
)
STORE_DESCRIPTION = LibraryHook(
    "ModelInfo.dump",
    "bentoml",
    "A version has no model.yaml that BentoML reads: no model can be stored.",
    _check_description,
)
HOOKS = (STORE_FOLDER, STORE_LAYOUT, STORE_DESCRIPTION)
