"""W3C trace context: what a caller sends of it is logged and answered, and a sampled request becomes a span.

https://www.w3.org/TR/trace-context/. Spans go to whatever tracer provider the process has set by OpenTelemetry's API
(`opentelemetry-instrument`, or code); with none set, as by default, nothing is made.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, ProxyTracerProvider, SpanContext, SpanKind, TraceFlags, TraceState

PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
LONGEST_STATE = 512  # bytes that the standard asks to pass on
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
        """For the answer: the same trace."""
        return [(b"traceparent", self.parent), *([(b"tracestate", self.state)] if self.state else [])]


def read(headers: Mapping[bytes, bytes]) -> TraceContext | None:
    """None where there is no trace context, or none by the standard, which says to ignore it then."""
    parent = headers.get(b"traceparent", b"")
    found = PARENT.fullmatch(parent)
    if found is None or (parent.startswith(b"00") and found[4]):
        return None
    state = headers.get(b"tracestate", b"")
    trace_id, span_id = found[1].decode(), found[2].decode()
    return TraceContext(parent, state if len(state) <= LONGEST_STATE else b"", trace_id, span_id, int(found[3], 16))


def record_span(
    of: TraceContext, method: str, route: str, model: str, status: int, request_id: str, started_ns: int, ended_ns: int
) -> None:
    """Make the span of a request that is sampled and done; for others this costs nothing."""
    provider = trace.get_tracer_provider()
    if not of.flags & SAMPLED or isinstance(provider, ProxyTracerProvider):
        return
    state = TraceState.from_header([of.state.decode("latin-1")]) if of.state else None
    remote = SpanContext(int(of.trace_id, 16), int(of.span_id, 16), True, TraceFlags(of.flags), state)
    span = provider.get_tracer("tabserve").start_span(
        f"{method} {route}",
        context=trace.set_span_in_context(NonRecordingSpan(remote)),
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
