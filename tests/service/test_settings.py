"""Settings are read from the environment, and an invalid setting stops the start with one line."""

import sys
from pathlib import Path

import pytest

from service.settings import Settings, SettingsError, removed_settings


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    settings = Settings.from_environment({"PATH": "/bin", "TABSERVE_MODELS": " "})
    assert settings == Settings()
    assert (settings.max_rows, settings.max_body_bytes, settings.max_stream_bytes) == (10_000, 2**24, 2**30)
    assert (settings.timeout_s, settings.queue_rows, settings.engine) == (10, 20_000, "auto")


def test_every_setting_is_read(tmp_path: Path) -> None:
    environment = {
        "TABSERVE_STORE": str(tmp_path),
        "TABSERVE_MODELS": "housing:3, income",
        "TABSERVE_ENGINE": "numpy",
        "TABSERVE_WORKERS": "2",
        "TABSERVE_MAX_ROWS": "5",
        "TABSERVE_MAX_BODY_BYTES": "6",
        "TABSERVE_MAX_STREAM_BYTES": "7",
        "TABSERVE_TIMEOUT_S": "0.5",
        "TABSERVE_QUEUE_ROWS": "8",
        "TABSERVE_LANE": "ON",
        "TABSERVE_LOG_LEVEL": "debug",
        "TABSERVE_LOG_FORMAT": "text",
        "TABSERVE_ACCESS_LOG": "0.25",
        "TABSERVE_GRPC_PORT": "3001",
        "TABSERVE_BATCHING": "on",
        "TABSERVE_START_S": "90",
        "TABSERVE_DRAIN_S": "1",
        "TABSERVE_DEFAULT_MODEL": "housing",
        "TABSERVE_HEALTH_ROUTE": "/health2",
        "TABSERVE_PREDICT_ROUTE": "/score",
    }
    expected = Settings(
        store=tmp_path,
        models=("housing:3", "income"),
        engine="numpy",
        workers=2,
        max_rows=5,
        max_body_bytes=6,
        max_stream_bytes=7,
        timeout_s=0.5,
        queue_rows=8,
        log_level="debug",
        log_format="text",
        access_log=0.25,
        grpc_port=3001,
        batching="on",
        start_s=90,
        drain_s=1,
        default_model="housing",
        health_route="/health2",
        predict_route="/score",
    )
    assert Settings.from_environment(environment) == expected
    assert removed_settings(environment) == ("TABSERVE_LANE was removed and has no effect: the fast path is always on",)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("TABSERVE_WORKER", "2", "did you mean TABSERVE_WORKERS?"),
        ("TABSERVE_XYZZY", "2", "unknown setting"),
        ("TABSERVE_WORKERS", "two", "expected a whole number"),
        ("TABSERVE_WORKERS", "0", "expected 1 to 1024"),
        ("TABSERVE_MAX_ROWS", "-1", "expected 1 or more"),
        ("TABSERVE_TIMEOUT_S", "nan", "expected 0.001 to 86400"),
        ("TABSERVE_TIMEOUT_S", "soon", "expected a number"),
        ("TABSERVE_ENGINE", "jax", "expected one of auto, numpy, tensorflow"),
        ("TABSERVE_LANE", "off", "the fast path is always on; remove the setting"),
        ("TABSERVE_MODELS", "housing:x", "expected name or name:version"),
        ("TABSERVE_MODELS", "housing:1,housing:2", "named twice"),
        ("TABSERVE_STORE", "/no/such/folder", "no such folder"),
        ("TABSERVE_GRPC_PORT", "70000", "expected 1 to 65535"),
    ],
)
def test_an_invalid_setting_is_reported_in_one_line(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_environment({name: value})
    message = str(error.value)
    assert name in message
    assert message in message
    assert "\n" not in message


def test_a_grpc_port_without_the_grpc_extra_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)  # simulates that gRPC is not installed
    with pytest.raises(SettingsError, match="it needs the extra grpc"):
        Settings.from_environment({"TABSERVE_GRPC_PORT": "3001"})
    assert Settings.from_environment({"TABSERVE_GRPC_PORT": "off"}).grpc_port is None


def test_variables_of_kubernetes_services_are_ignored() -> None:
    """The variables of a Service named tabserve, or tabserve-predictor as in KServe, do not prevent the start."""
    address = "tcp://10.0.0.1:9000"
    environment = {
        f"TABSERVE_{service}{name}": text
        for service in ("", "GRPC_", "PREDICTOR_")
        for name, text in {
            "SERVICE_HOST": "10.0.0.1",
            "SERVICE_PORT": "9000",
            "SERVICE_PORT_HTTP1": "9000",
            "PORT": address,
            "PORT_9000_TCP": address,
            "PORT_9000_TCP_PROTO": "tcp",
            "PORT_9000_TCP_PORT": "9000",
            "PORT_9000_TCP_ADDR": "10.0.0.1",
        }.items()
    }
    assert Settings.from_environment(environment) == Settings()
    with pytest.raises(SettingsError, match="unknown setting TABSERVE_PORT"):
        Settings.from_environment({"TABSERVE_PORT": "8080"})
