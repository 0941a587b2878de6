"""Hooks into BentoML's model store."""

from pathlib import Path

from models.library_hook import LibraryHook, first_problem, is_equal


def bentoml_folder() -> Path:
    """Where BentoML keeps its models; inside a Bento this is the Bento's own folder of models."""
    from bentoml._internal.configuration.containers import BentoMLContainer

    return Path(BentoMLContainer.model_store.get()._path)


def _check_folder() -> str | None:
    bentoml_folder()  # raises where it has no such attribute
    return None


def _check_layout() -> str | None:
    import bentoml
    from bentoml._internal.models import model

    return first_problem(
        is_equal("the path of a tag", bentoml.Tag("name", "1").path(), "name/1"),
        is_equal("the name of a model's description", model.MODEL_YAML_FILENAME, "model.yaml"),
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
HOOKS = (STORE_FOLDER, STORE_LAYOUT)
