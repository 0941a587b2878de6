"""Training: reads a table, infers its columns, splits it, fits and evaluates a network, and stores a version.

`from training import store_keras_model` imports the function that stores a Keras model trained elsewhere. Its module is
loaded on first use, so `import training` loads no large library. `__init__.pyi` declares the function's type.
"""

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name == "store_keras_model":
        return importlib.import_module("training.importing.import_run").store_keras_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
