"""A trace context is passed to the response and the log, and sampled requests become spans."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from models.tabular_model import TabularModel
from service import tracing
from service.http.asgi import Application
from service.settings import Settings

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        SENT.upper(),
        SENT + "-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"01-{TRACE}-{SPAN}-01-{'more' * 15_000}",
    ],
)
def test_an_invalid_trace_context_is_ignored(parent: str) -> None:
    assert tracing.read({b"traceparent": parent.encode()}) is None


def test_known_fields_of_a_later_trace_context_version_are_read() -> None:
    found = tracing.read({b"traceparent": f"01-{TRACE}-{SPAN}-01-more".encode()})
    assert found is not None
    assert (found.trace_id, found.flags) == (TRACE, 1)


@pytest.fixture
def exported_spans(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


def test_the_trace_context_is_returned_and_logged_and_sampled_requests_become_spans(
    make_app: Callable[..., Application],
    tabular_models: list[TabularModel],
    asgi: Callable[..., Any],
    home_row: dict[str, Any],
    exported_spans: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asgi_app = make_app(tabular_models, Settings(access_log=1.0))
    good, bad = (json.dumps({"rows": rows}).encode() for rows in ([home_row], []))
    monkeypatch.setattr(logging.getLogger("tabserve"), "propagate", True)
    caplog.set_level(logging.INFO, "tabserve")

    async def scenario() -> list[Any]:
        headers = {"traceparent": SENT, "tracestate": "vendor=1", "x-request-id": "mine"}
        unsampled = {"traceparent": SENT[:-1] + "0"}
        return [
            await asgi(asgi_app, "POST", "/predict/homes", body, "", sent)
            for body, sent in ((good, headers), (bad, headers), (good, unsampled), (good, {}))
        ]

    responses = asyncio.run(scenario())
    assert [response.status for response in responses] == [200, 422, 200, 200]
    assert [response.headers.get("traceparent") for response in responses] == [SENT, SENT, SENT[:-1] + "0", None]
    assert responses[0].headers["tracestate"] == "vendor=1"
    assert [getattr(record, "trace_id", None) for record in caplog.records] == [TRACE, TRACE, TRACE, None]
    spans = exported_spans.get_finished_spans()
    assert [span.attributes["http.response.status_code"] for span in spans if span.attributes] == [200, 422]
    for span in spans:
        assert span.context is not None
        assert span.parent is not None
        assert (f"{span.context.trace_id:032x}", f"{span.parent.span_id:016x}") == (TRACE, SPAN)


@pytest.mark.parametrize("path", ["/v2/health/ready", "/v2/models/homes/infer", "/v1/models/homes:predict"])
def test_other_protocols_also_return_the_trace_context_in_errors(send_asgi: Callable[..., Any], path: str) -> None:
    response = send_asgi("GET", path, traceparent=SENT, tracestate="vendor=1")
    assert response.status == (200 if path.endswith("ready") else 405)
    assert (response.headers["traceparent"], response.headers["tracestate"]) == (SENT, "vendor=1")


def test_spans_are_named_after_the_requested_route(
    send_asgi: Callable[..., Any], exported_spans: InMemorySpanExporter
) -> None:
    for method, path in (
        ("POST", "/predict/homes"),
        ("GET", "/v1/models/homes:predict"),
        ("POST", "/v2/models/homes/infer"),
    ):
        send_asgi(method, path, traceparent=SENT)
        assert [span.name for span in exported_spans.get_finished_spans()][-1] == f"{method} {path}"
