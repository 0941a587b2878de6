"""All library hooks, by the processes that need them."""

from models import store_library_hooks
from models.library_hook import LibraryHook
from service.server.library_hooks import bentoml_hooks, prometheus_hooks, uvicorn_hooks

EVERYWHERE: tuple[LibraryHook, ...] = (*store_library_hooks.HOOKS, *bentoml_hooks.SERVICE_HOOKS)
SUPERVISOR: tuple[LibraryHook, ...] = bentoml_hooks.SUPERVISOR_HOOKS
WORKER: tuple[LibraryHook, ...] = (*uvicorn_hooks.HOOKS, *prometheus_hooks.HOOKS)
ALL: tuple[LibraryHook, ...] = (*EVERYWHERE, *SUPERVISOR, *WORKER)
LIBRARIES: tuple[str, ...] = tuple(dict.fromkeys(hook.library for hook in ALL))
