"""Training: reads a table, infers its columns, splits it, fits and evaluates a network, and stores a version.

`from training import store_keras_model` stores a model that was trained elsewhere. It is imported at its first use, so
that `import training` loads none of the libraries; `__init__.pyi` has its type.
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "store_keras_model":
        return importlib.import_module("training.importing.import_run").store_keras_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
