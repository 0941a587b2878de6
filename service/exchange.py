"""The life of one request, whatever it came by.

    identify ─▶ admit ─▶ (read, validate, predict, write: the route) ─▶ translate what was raised ─▶ record
    id, trace   readiness, access, deadline

HTTP and gRPC differ in how a request is read and answered; everything else about it is written here once.
"""

import asyncio
import itertools
import logging
import os
import random
import re
import time
from collections.abc import Mapping

from models.rows import RowError
from models.text import truncate
from service import tracing
from service.data_plane import DataPlane, PredictionContext
from service.errors import InternalError, NotReady, RequestError, RequestNotValid
from service.request_hooks import RequestHooks
from service.served_model import ServedModel
from service.server_state import ServerState
from service.settings import Settings
from service.tracing import TraceContext

VALID_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
SLOW_S = 1.0  # a request that takes longer is logged
log = logging.getLogger("tabserve.exchange")


class ServerContext:
    """What the requests of a server share."""

    def __init__(self, plane: DataPlane, settings: Settings, hooks: RequestHooks | None = None) -> None:
        self.plane = plane
        self.settings = settings
        self.state = ServerState()
        self.hooks = hooks or RequestHooks()
        self._ids = itertools.count()
        self._id_prefix = os.urandom(6).hex()

    def request_id(self, headers: Mapping[bytes, bytes]) -> bytes:
        """The id that a request came with, or a new one."""
        sent = headers.get(b"x-request-id")
        if sent is not None and VALID_ID.fullmatch(sent):
            return sent
        return f"{self._id_prefix}-{next(self._ids):x}".encode()


class Exchange:
    """One request. Whatever its route raises becomes `failed`, by `fail`.

    protocol: the label of its metrics. served: the version that it is counted for, once that is known.
    """

    context: ServerContext
    headers: Mapping[bytes, bytes]
    started: float  # on the clock of time.monotonic
    request_id: bytes
    deadline: float = 0.0
    protocol: str
    served: ServedModel | None = None
    trace: TraceContext | None = None
    failed: RequestError | None = None

    def __init__(self, context: ServerContext, headers: Mapping[bytes, bytes], started: float, protocol: str) -> None:
        self.context = context
        self.headers = headers
        self.started = started
        self.protocol = protocol
        self.request_id = context.request_id(headers)
        if b"traceparent" in headers:
            self.trace = tracing.read(headers)

    @property
    def method(self) -> str:
        raise NotImplementedError

    @property
    def path(self) -> str:
        raise NotImplementedError

    @property
    def id_text(self) -> str:
        return self.request_id.decode("latin-1")

    def admit(self, always: bool = False, probe: bool = False) -> None:
        """Check whether the request may be answered now, and to its sender. Raises RequestError.

        always: whether it is answered although models are loading or the server stops. probe: whether it asks if
        requests should be sent here.
        """
        context = self.context
        if not always:
            state = context.state
            if not (state.passes_probes if probe else state.admits_requests):
                raise NotReady("the server stops" if state.draining else "the models are not loaded yet")
        context.hooks.check_access(self)

    def set_deadline(self) -> None:
        """By when the request has to be answered. Raises RequestNotValid."""
        self.deadline = self.started + self.timeout()

    def timeout(self) -> float:
        """Seconds; X-Request-Timeout may shorten the setting, never lengthen it. Raises RequestNotValid."""
        setting = self.context.settings.timeout_s
        text = self.headers.get(b"x-request-timeout")
        if text is None:
            return setting
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not seconds > 0:
            shown = truncate(text.decode("latin-1"))
            raise unknown_option(f"X-Request-Timeout: {shown!r} is not a number of seconds above 0")
        return min(seconds, setting)

    @property
    def prediction_context(self) -> PredictionContext:
        """What the data plane needs to know of this request."""
        return PredictionContext(self.deadline, self.id_text)

    def fail(self, error: BaseException) -> None:
        """Translate what the route raised to `failed`. Raises what is not to be answered."""
        if isinstance(error, RequestError):
            self.failed = error
        elif isinstance(error, asyncio.CancelledError):
            self.cancelled(error)
        elif isinstance(error, Exception):
            log.error("request failed", extra={"request_id": self.id_text}, exc_info=error)
            self.failed = InternalError()
        else:
            raise error

    def cancelled(self, error: asyncio.CancelledError) -> None:
        """The server gives up the request. Raises the error where nobody is to be answered."""
        self.failed = NotReady("the server stops")

    def record(self, status: int) -> None:
        """Count the request that was answered, log and trace it where that is wanted, let it be observed."""
        seconds = time.monotonic() - self.started
        served, settings = self.served, self.context.settings
        if served is not None:
            served.counters.request(self.protocol, status, seconds)
            if seconds > SLOW_S or (settings.access_log and random.random() < settings.access_log):
                self._log(served, status, seconds)
            if self.trace:
                ended_ns = time.time_ns()
                started_ns = ended_ns - int(seconds * 1e9)
                name = served.name
                tracing.record_span(
                    self.trace, self.method, self.path, name, status, self.id_text, started_ns, ended_ns
                )
        self.context.hooks.observe(self, status, seconds)

    def _log(self, served: ServedModel, status: int, seconds: float) -> None:
        extra = {
            "model": served.name,
            "protocol": self.protocol,
            "status": status,
            "seconds": round(seconds, 6),
            "request_id": self.id_text,
        }
        if self.trace:
            extra["trace_id"] = self.trace.trace_id
        log.info("request", extra=extra)


def unknown_option(message: str) -> RequestNotValid:
    return RequestNotValid(message, [RowError(None, None, "unknown_option", message)])
