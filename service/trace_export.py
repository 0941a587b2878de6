"""Exports spans by OTLP, configured by the standard variables of OpenTelemetry.

The sampler (`OTEL_TRACES_SAMPLER`), the resource, headers, timeouts and batches are those of the SDK. A thread exports
the spans, and drops them when its queue is full: no request waits.
"""

import logging
from collections.abc import Mapping
from typing import Any

from service.version import version

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
EXPORTER, DISABLED = "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"
PROTOCOL = "http/protobuf"  # the default of the standard
FLUSH_MS = 2000  # time for the last spans when the server stops
log = logging.getLogger("tabserve.tracing")


def requested(environ: Mapping[str, str]) -> bool:
    """Whether the variables enable the export of traces, with an endpoint or with the exporter `otlp`."""
    exporter = environ.get(EXPORTER, "").strip().lower()
    if environ.get(DISABLED, "").strip().lower() == "true" or exporter not in ("", "otlp"):
        return False
    return exporter == "otlp" or any(environ.get(name, "").strip() for name in ENDPOINTS)


def problem(environ: Mapping[str, str]) -> str | None:
    """The reason why the requested traces cannot be exported; None if they can."""
    name = next((name for name in PROTOCOLS if environ.get(name, "").strip()), None)
    if name is not None and environ[name].strip() != PROTOCOL:
        return f"{name}={environ[name]!r} is not supported, expected {PROTOCOL}"
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter  # noqa: F401 - needs the extra `tracing`
    except ImportError:
        return "the exporter is not installed; it needs the extra tracing (requirements/serving-tracing.lock)"
    return None


def start(environ: Mapping[str, str]) -> Any:
    """Export the spans of this process. Returns the tracer provider; None if traces are not requested or not
    possible."""
    if not requested(environ):
        return None
    if reason := problem(environ):
        log.warning("traces are not exported", extra={"reason": reason})
        return None
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    own = Resource.create({SERVICE_NAME: "tabserve", SERVICE_VERSION: version()})
    resource = own.merge(OTELResourceDetector().detect())  # the variables take precedence
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)  # a shutdown would wait for the collector
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    log.info("traces are exported", extra={"sampler": provider.sampler.get_description()})
    return provider
