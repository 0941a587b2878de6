"""The standard variables of OpenTelemetry configure the export of spans, and no request waits for the collector."""

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ROW = {"rows": [{"a": 1.5, "b": 2.5}]}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
Serve = Callable[..., Any]


class Collector:
    """A collector that receives OTLP over HTTP. While `open` is not set, it delays its responses."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.open = threading.Event()
        self.open.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                collector.open.wait(120)
                self.send_response(200 if self.path == "/v1/traces" else 404)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def settings(self) -> dict[str, str]:
        endpoint = f"http://127.0.0.1:{self.server.server_address[1]}"
        return {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}

    @property
    def resources(self) -> list[dict[str, str]]:
        found = [group.resource for request in self.requests for group in request.resource_spans]
        return [{each.key: each.value.string_value for each in resource.attributes} for resource in found]

    @property
    def spans(self) -> list[Any]:
        groups = [group for request in self.requests for group in request.resource_spans]
        return [span for group in groups for scope in group.scope_spans for span in scope.spans]

    def wait_for_spans(self, count: int) -> list[Any]:
        until = time.monotonic() + 300
        while len(self.spans) < count and time.monotonic() < until:
            time.sleep(0.05)
        assert len(self.spans) == count
        return self.spans


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.open.set()
    collector.server.shutdown()
    collector.server.server_close()


def test_requests_are_exported_as_spans_without_waiting_for_the_collector(
    serve: Serve, home: Path, collector: Collector
) -> None:
    server = serve(home, OTEL_SERVICE_NAME="fares", **collector.settings)
    url = f"{server.url}/predict/small"
    assert httpx.post(url, json=ROW, timeout=60).status_code == 200
    (root,) = collector.wait_for_spans(1)
    assert (root.name, root.parent_span_id) == ("POST /predict/small", b"")
    assert 0 < root.start_time_unix_nano <= root.end_time_unix_nano
    assert collector.resources[0]["service.name"] == "fares"

    for flags in ("01", "00"):
        sent = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"}
        assert httpx.post(url, json=ROW, headers=sent, timeout=60).headers["traceparent"] == sent["traceparent"]
    child = collector.wait_for_spans(2)[-1]  # the request with flags 00 is not sampled and has no span
    assert (child.trace_id.hex(), child.parent_span_id.hex()) == (TRACE, PARENT)

    collector.open.clear()  # the collector does not respond during these requests
    with httpx.Client(timeout=60) as client:
        assert {client.post(url, json=ROW).status_code for _ in range(200)} == {200}
    assert not collector.open.is_set()
    collector.open.set()
    collector.wait_for_spans(202)
    assert server.stop() == 0


def test_the_opentelemetry_sampler_is_used_and_ineffective_bentoml_settings_are_reported(
    serve: Serve, home: Path, collector: Collector, tmp_path: Path
) -> None:
    configuration = tmp_path / "bentoml.yaml"
    configuration.write_text(
        "tracing: {exporter_type: otlp, sample_rate: 1.0}\n"
        "services: {tabserve: {http: {cors: {enabled: true, access_control_allow_origins: ['*']}}}}\n"
    )
    settings = {"OTEL_TRACES_SAMPLER": "always_off", "BENTOML_CONFIG": str(configuration), **collector.settings}
    server = serve(home, TABSERVE_LOG_FORMAT="json", **settings)
    assert httpx.post(f"{server.url}/predict/small", json=ROW, timeout=60).status_code == 200
    assert server.stop() == 0
    assert collector.spans == []
    log = server.log.read_text()
    assert (
        log.count("BENTOML_CONFIG: the section 'tracing' has no effect; set OTEL_EXPORTER_OTLP_ENDPOINT instead") == 1
    )
    assert log.count("BENTOML_CONFIG: the section 'cors' has no effect") == 1
