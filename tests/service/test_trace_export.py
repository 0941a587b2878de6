"""The standard variables decide whether traces are exported. An unsupported configuration is reported and does not stop
the start.
"""

import json
from pathlib import Path

import pytest

from service import bentoml_configuration, trace_export

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False),
    ],
)
def test_the_standard_variables_request_traces(environ: dict[str, str], expected: bool) -> None:
    assert trace_export.requested(environ) == expected


def test_an_unsupported_protocol_disables_the_export_with_a_reason() -> None:
    assert trace_export.problem(ENDPOINT) is None
    assert trace_export.problem({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}) is None
    reason = trace_export.problem({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert reason == "OTEL_EXPORTER_OTLP_PROTOCOL='grpc' is not supported, expected http/protobuf"
    assert trace_export.start({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}) is None


def test_bentoml_settings_without_effect_are_reported(tmp_path: Path) -> None:
    path = tmp_path / "bentoml.yaml"
    path.write_text("version: 2\nservices: {tabserve: {tracing: {exporter_type: otlp}}}\n")
    (warning,) = bentoml_configuration.warnings({"BENTOML_CONFIG": str(path)})
    assert warning.startswith("BENTOML_CONFIG: the section 'tracing' has no effect; set OTEL_EXPORTER_OTLP_ENDPOINT")
    overrides = json.dumps({"services": {"tabserve": {"http": {"cors": {"enabled": True}}}}})
    (warning,) = bentoml_configuration.warnings({"BENTOML_CONFIG_OVERRIDES": overrides})
    assert warning.startswith("BENTOML_CONFIG_OVERRIDES: the section 'cors' has no effect")
    (warning,) = bentoml_configuration.warnings({"BENTOML_CONFIG_OPTIONS": "api_server.http.cors.enabled=true a.b=1"})
    assert warning.startswith("BENTOML_CONFIG_OPTIONS: the section 'cors' has no effect")


def test_other_bentoml_settings_cause_no_warning(tmp_path: Path) -> None:
    path = tmp_path / "bentoml.yaml"
    path.write_text("version: 2\nservices: {tabserve: {workers: 2, http: {cors: {enabled: false}}, tracing: {}}}\n")
    for environ in (
        {},
        {"BENTOML_CONFIG": str(path)},
        {"BENTOML_CONFIG": "missing.yaml"},
        {"BENTOML_CONFIG_OVERRIDES": "{"},
    ):
        assert bentoml_configuration.warnings(environ) == []
