"""Hooks into BentoML's model store."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.library_hook import LibraryHook, equality_problem, first_problem


def bentoml_folder() -> Path:
    """The folder in which BentoML stores models; inside a Bento it is the Bento's folder of models."""
    from bentoml._internal.configuration.containers import BentoMLContainer

    return Path(BentoMLContainer.model_store.get()._path)


def description(tag: str, labels: Mapping[str, str], metadata: Mapping[str, Any]) -> str:
    """The content of `model.yaml`, the description by which BentoML identifies a version."""
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
    bentoml_folder()  # raises an error if there is no such attribute
    return None


def _check_layout() -> str | None:
    import bentoml
    from bentoml._internal.models import model

    return first_problem(
        equality_problem("the path of a tag", bentoml.Tag("name", "1").path(), "name/1"),
        equality_problem("the name of a model's description", model.MODEL_YAML_FILENAME, "model.yaml"),
    )


def _check_description() -> str | None:
    from bentoml._internal.models import model

    read = model.ModelInfo.from_yaml_file(io.StringIO(description("name:1", {"task": "binary"}, {"target": "y"})))
    return first_problem(
        equality_problem("the tag of a description", str(read.tag), "name:1"),
        equality_problem("the labels of a description", read.labels, {"task": "binary"}),
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
