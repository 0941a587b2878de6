"""All library hooks, by the processes that need them."""

from models import store_hooks
from models.hook import Hook
from service.server.library_hooks import bentoml_hooks, prometheus_hooks, uvicorn_hooks

EVERYWHERE: tuple[Hook, ...] = (*store_hooks.HOOKS, *bentoml_hooks.SERVICE_HOOKS)
SUPERVISOR: tuple[Hook, ...] = bentoml_hooks.SUPERVISOR_HOOKS
WORKER: tuple[Hook, ...] = (*uvicorn_hooks.HOOKS, *prometheus_hooks.HOOKS)
ALL: tuple[Hook, ...] = (*EVERYWHERE, *SUPERVISOR, *WORKER)
LIBRARIES: tuple[str, ...] = tuple(dict.fromkeys(hook.library for hook in ALL))
