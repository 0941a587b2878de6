"""A BentoML service that wraps BentoML's ASGI app in tabserve's ASGI application."""

from collections.abc import Callable
from typing import Any

from service.server.deferred_modules import defer_modules
from service.server.worker import in_worker


def service_class(wrap: Callable[[Any], Any]) -> type[Any]:
    """A class for `bentoml.service`. wrap: returns tabserve's application for BentoML's ASGI app."""
    from _bentoml_sdk import Service  # type: ignore[import-untyped]

    class WrappedService(Service[Any]):  # type: ignore[misc]  # BentoML ships no types for it
        def to_asgi(self, is_main: bool = True) -> Any:
            if in_worker():
                defer_modules()
            app = super().to_asgi(is_main=is_main)
            return wrap(app) if is_main else app

    return WrappedService
