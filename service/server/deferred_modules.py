"""Modules of BentoML that a worker imports and does not use. They are loaded at their first use.

A worker does not start processes, and this service is not a proxy of another server. The modules for these tasks load
circus, tornado, ZeroMQ and pyparsing.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

MODULES = {
    "_bentoml_impl.server.proxy": "create_proxy_app",
    "_bentoml_impl.server.serving": "serve_http",
}


def defer_modules() -> None:
    """Register a substitute for each module of MODULES that is not loaded."""
    for name, function in MODULES.items():
        if name not in sys.modules:
            sys.modules[name] = _substitute(name, function)


def _substitute(name: str, function: str) -> ModuleType:
    """A module that loads the real module when its function is called, or another attribute is read."""
    module = ModuleType(name, f"Loads the real {name} when it is used.")

    def attribute(wanted: str) -> Any:
        # the import system and tools read these attributes, and do not need the real module
        if wanted.startswith("__"):
            raise AttributeError(wanted)
        return getattr(_load(name, module), wanted)

    def call(*arguments: Any, **options: Any) -> Any:
        return getattr(_load(name, module), function)(*arguments, **options)

    vars(module).update({"__getattr__": attribute, function: call})
    return module


def _load(name: str, substitute: ModuleType) -> ModuleType:
    if sys.modules.get(name) is substitute:
        del sys.modules[name]
    return importlib.import_module(name)
