"""W3C trace context: a request's trace is logged and returned, and a sampled request is recorded as a span.

https://www.w3.org/TR/trace-context/. Spans go to the tracer provider of the process, which OpenTelemetry's API sets
(`service.trace_export`, `opentelemetry-instrument`, or code). Without a tracer provider, the default, no span is
recorded.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, ProxyTracerProvider, SpanContext, SpanKind, TraceFlags, TraceState

PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
MAX_PARENT_BYTES = 512  # maximum size of a traceparent, which later versions of the standard may extend beyond 55 bytes
MAX_STATE_BYTES = 512  # the size of a tracestate that must be propagated according to the standard
SAMPLED = 1


class TraceContext(NamedTuple):
    """The trace that a request is part of."""

    parent: bytes
    state: bytes
    trace_id: str
    span_id: str
    flags: int

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """The trace headers of the response."""
        return [(b"traceparent", self.parent), *([(b"tracestate", self.state)] if self.state else [])]


def read(headers: Mapping[bytes, bytes]) -> TraceContext | None:
    """The trace context of a request; None if it is missing or invalid."""
    parent = headers.get(b"traceparent", b"")
    found = PARENT.fullmatch(parent)
    if found is None or len(parent) > MAX_PARENT_BYTES or (parent.startswith(b"00") and found[4]):
        return None
    state = headers.get(b"tracestate", b"")
    trace_id, span_id = found[1].decode(), found[2].decode()
    return TraceContext(parent, state if len(state) <= MAX_STATE_BYTES else b"", trace_id, span_id, int(found[3], 16))


def parent_of(context: TraceContext) -> Context:
    """The context of a span whose parent is the client's span."""
    state = TraceState.from_header([context.state.decode("latin-1")]) if context.state else None
    remote = SpanContext(int(context.trace_id, 16), int(context.span_id, 16), True, TraceFlags(context.flags), state)
    return trace.set_span_in_context(NonRecordingSpan(remote))


def record_span(
    context: TraceContext | None,
    method: str,
    route: str,
    model: str,
    status: int,
    request_id: str,
    started_ns: int,
    ended_ns: int,
) -> None:
    """Record the span of a finished request if its trace context selects it. Without a trace context, the provider's
    sampler decides."""
    provider = trace.get_tracer_provider()
    if isinstance(provider, ProxyTracerProvider) or (context is not None and not context.flags & SAMPLED):
        return
    span = provider.get_tracer("tabserve").start_span(
        f"{method} {route}",
        context=Context() if context is None else parent_of(context),
        kind=SpanKind.SERVER,
        attributes={
            "http.request.method": method,
            "http.route": route,
            "http.response.status_code": status,
            "tabserve.model": model,
            "tabserve.request_id": request_id,
        },
        start_time=started_ns,
    )
    if status >= 500:
        span.set_status(trace.Status(trace.StatusCode.ERROR))
    span.end(end_time=ended_ns)
