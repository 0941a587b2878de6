"""The exchange: the steps of every request, the same over HTTP and gRPC.

    identify ─▶ admit ─▶ the route: read, validate, predict, write ─▶ translate errors ─▶ record
    id, trace   readiness, access, deadline

HTTP and gRPC have subclasses that read requests and send responses.
"""

import asyncio
import itertools
import logging
import os
import random
import re
import time
from collections.abc import Mapping
from urllib.parse import quote

from models.rows import RowError
from models.text import truncate
from service import tracing
from service.access.caller import EVERYBODY, Access, Caller
from service.access_control import AccessControl
from service.data_plane import DataPlane, PredictionContext
from service.errors import (
    DeadlinePassed,
    Forbidden,
    InternalError,
    NotFound,
    NotReady,
    RequestError,
    RequestNotValid,
    RowsNotValid,
)
from service.fair_turns import FairTurns
from service.logs import ACCESS_LOG
from service.recent_ids import RecentIds
from service.request_observer import RequestObserver
from service.served_model import ServedModel
from service.server_state import ServerState
from service.settings import Settings
from service.tracing import TraceContext
from service.version_admin import VersionAdmin

VALID_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
SLOW_S = 1.0  # requests to a model that take longer are logged
DEADLINE_PASSED = DeadlinePassed.status
MAX_LOGGED_PATH = 200
PATH_CHARACTERS = "/:@!$&'()*+,;=~"  # characters that are logged unchanged; other characters could break a log line
log = logging.getLogger("tabserve.exchange")
access_log = logging.getLogger(ACCESS_LOG)


class ServerContext:
    """The objects that all requests of a server share: data plane, settings, state, access control and observer."""

    def __init__(
        self,
        plane: DataPlane,
        settings: Settings,
        access: AccessControl | None = None,
        observer: RequestObserver | None = None,
    ) -> None:
        self.plane = plane
        self.settings = settings
        self.state = ServerState()
        self.admin: VersionAdmin | None = None  # set when the server has started
        self.exports_traces = False  # whether requests without a trace context are sampled, too
        self.access = access or AccessControl(settings.admin)
        self.turns = FairTurns() if self.access.uses_keys else None
        self.observer = observer or RequestObserver()
        self._recent = RecentIds() if settings.capture is not None else None
        self._ids = itertools.count()
        self._id_prefix = os.urandom(6).hex().encode()

    def request_id(self, headers: Mapping[bytes, bytes]) -> bytes:
        """The X-Request-ID of a request, or a new id if it is missing or invalid. With capture, a repeated id is
        replaced."""
        sent = headers.get(b"x-request-id")
        if sent is not None and VALID_ID.fullmatch(sent) and (self._recent is None or self._recent.add(sent)):
            return sent
        return b"%b-%x" % (self._id_prefix, next(self._ids))

    def forget_id(self, request_id: bytes) -> None:
        """Accept this id again, because its request is handled again."""
        if self._recent is not None:
            self._recent.forget(request_id)


class Exchange:
    """One request. `fail` stores an exception of its route in `failed`.

    protocol: the label in metrics. served: the version for which the request is counted, once known. caller: the
    sender.
    """

    context: ServerContext
    headers: Mapping[bytes, bytes]
    started: float  # a time of `time.monotonic`
    request_id: bytes
    deadline: float = 0.0
    protocol: str
    served: ServedModel | None = None
    trace: TraceContext | None = None
    failed: RequestError | None = None
    admitted = False  # whether access has been checked
    caller: Caller = EVERYBODY
    rows = 0  # rows validated so far

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
    def client(self) -> str:
        """The address of the client, for the access log."""
        raise NotImplementedError

    @property
    def client_seconds(self) -> float:
        """The seconds that the client took to send its request and to receive the response, independently of the model
        version."""
        return 0.0

    @property
    def id_text(self) -> str:
        return self.request_id.decode("latin-1")

    def admit(self, access: Access, model: str | None = None, always: bool = False, probe: bool = False) -> None:
        """Check that the server is ready and the client has access. Raises RequestError.

        access, model: as in `AccessControl`. always: skip the readiness check. probe: whether this is a readiness
        probe, which fails while the server drains.
        """
        context = self.context
        if not always:
            state = context.state
            if not (state.passes_probes if probe else state.admits_requests):
                raise NotReady("the server is shutting down" if state.draining else "the models are not loaded yet")
        if not self.admitted:
            context.access.check(self, access, model)

    def check_model(self, model: str, *, served: bool = True) -> None:
        """Called for a model that the body or a header names. Raises Forbidden.

        served: raises NotFound for a model that is not served. The usual error for such a model lists all models, some
        of which this caller may not see.
        """
        caller = self.caller
        if caller.models is None:
            return
        if model not in caller.models:
            raise Forbidden(f"the key {caller.name!r} may not use the model {truncate(model)!r}")
        if served and model not in self.context.plane.snapshot.names:
            raise NotFound(f"there is no model {truncate(model)!r}")

    def check_all_models(self) -> None:
        """Called before a response with all models. Raises Forbidden if the caller may use only some models."""
        if self.caller.models is not None:
            raise Forbidden(
                f"the key {self.caller.name!r} is limited to some models, and this request is about all models"
            )

    def set_deadline(self) -> None:
        """Set the deadline of the request. Raises RequestNotValid."""
        self.deadline = self.started + self.timeout()

    def timeout(self) -> float:
        """The timeout in seconds: the setting, or a shorter X-Request-Timeout. Raises RequestNotValid."""
        setting = self.context.settings.timeout_s
        text = self.headers.get(b"x-request-timeout")
        if text is None:
            return setting
        try:
            seconds = float(text)
        except ValueError:
            seconds = 0.0
        if not seconds > 0:
            rendered = truncate(text.decode("latin-1"))
            raise unknown_option(f"X-Request-Timeout: {rendered!r} is not a positive number of seconds")
        return min(seconds, setting)

    @property
    def prediction_context(self) -> PredictionContext:
        """The context of this request for the data plane."""
        return PredictionContext(self.deadline, self.id_text, None, self.count_rows, client=self.caller.name)

    def count_rows(self, rows: int) -> None:
        self.rows += rows

    def fail(self, error: BaseException) -> None:
        """Store an exception of the route in `failed`. Raises the exception again if no response can be sent."""
        if isinstance(error, RequestError):
            # the frames of its traceback would keep the body until the next garbage collection
            self.failed = error.with_traceback(None)
        elif isinstance(error, asyncio.CancelledError):
            self.cancelled(error)
        elif isinstance(error, Exception):
            log.error("request failed", extra={"request_id": self.id_text}, exc_info=error)
            self.failed = InternalError()
        else:
            raise error

    def cancelled(self, error: asyncio.CancelledError) -> None:
        """Handle the cancellation of the request. Raises the error again if no response can be sent."""
        self.failed = NotReady("the server is shutting down")

    def record(self, status: int) -> None:
        """Count the finished request, log and trace it if configured, and call the request observer."""
        seconds = time.monotonic() - self.started
        served = self.served
        if served is not None:
            own = seconds - self.client_seconds
            served.counters.request(self.protocol, status, own)
            if status == DEADLINE_PASSED and own < self.context.settings.timeout_s:
                served.counters.short_deadlines += 1
            if self.trace or self.context.exports_traces:
                ended_ns = time.time_ns()
                started_ns = ended_ns - int(seconds * 1e9)
                name = served.name
                tracing.record_span(
                    self.trace, self.method, self.path, name, status, self.id_text, started_ns, ended_ns
                )
        self._log_sampled(status, seconds)
        self.context.observer.observe(self, status, seconds)

    def _log_sampled(self, status: int, seconds: float) -> None:
        """Log the finished request if it belongs to the sample of the access log, or was slow."""
        share = self.context.settings.access_log
        if share and random.random() < share:
            self._log(access_log, status, seconds)
        elif seconds > SLOW_S and self.served is not None:
            self._log(log, status, seconds)

    def _log(self, logger: logging.Logger, status: int, seconds: float) -> None:
        """Write the line of the access log. It has the same fields for every request; model and version may be null."""
        served, failed = self.served, self.failed
        extra = {
            "method": self.method,
            "route": quote(self.path[:MAX_LOGGED_PATH], safe=PATH_CHARACTERS),
            "protocol": self.protocol,
            "model": served.name if served else None,
            "version": served.version if served else None,
            "rows": self.rows or (failed.valid + failed.invalid if isinstance(failed, RowsNotValid) else 0),
            "status": status,
            "milliseconds": round(seconds * 1000, 3),
            "client": self.client,
            "request_id": self.id_text,
        }
        if self.context.access.uses_keys:
            extra["key"] = self.caller.name or None
        if self.trace:
            extra["trace_id"] = self.trace.trace_id
        logger.info("request", extra=extra)


def unknown_option(message: str) -> RequestNotValid:
    """The error for an option or header with an invalid value."""
    return RequestNotValid(message, [RowError(None, None, "unknown_option", message)])
