"""Cross-origin requests (CORS), and the security headers of our own pages."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.tabular_model import TabularModel
from service.http.asgi import Application
from service.settings import Settings, SettingsError

APP = "https://app.example.com"
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization, content-type"}


@pytest.fixture
def send(
    make_app: Callable[..., Application], tabular_models: list[TabularModel], asgi: Callable[..., Any]
) -> Callable[..., Any]:
    application = make_app(tabular_models, Settings(cors_origins=(APP, "http://localhost:8080")))

    def send_request(method: str, path: str, **headers: str) -> Any:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return asyncio.run(asgi(application, method, path, b"", "", fields))

    return send_request


def test_every_response_allows_a_configured_origin(send: Callable[..., Any]) -> None:
    for method, path in (("GET", "/models"), ("POST", "/predict/homes"), ("GET", "/nothing"), ("GET", "/livez")):
        reply = send(method, path, origin=APP)
        assert reply.headers["access-control-allow-origin"] == APP, path
        assert "x-request-id" in reply.headers["access-control-expose-headers"]
        assert reply.headers["vary"] == "origin"
        assert "access-control-allow-credentials" not in reply.headers


@pytest.mark.parametrize(
    "origin",
    [
        *(
            "https://app.example.com.evil.net",
            "https://evil.net",
            "http://app.example.com",
            "https://app.example.com:444",
        ),
        *("null", "", "*", "HTTPS://APP.EXAMPLE.COM", "https://app.example.com\r\nset-cookie: a=b"),
    ],
)
def test_responses_do_not_allow_other_origins(send: Callable[..., Any], origin: str) -> None:
    for method, headers in (("GET", {}), ("OPTIONS", PREFLIGHT)):
        reply = send(method, "/models", origin=origin, **headers)
        assert not [name for name in reply.headers if name.startswith("access-control")]
        assert reply.headers["vary"] == "origin"


def test_a_response_without_a_requested_origin_has_only_the_vary_header(send: Callable[..., Any]) -> None:
    reply = send("GET", "/models")
    assert reply.headers["vary"] == "origin"
    assert "access-control-allow-origin" not in reply.headers


def test_a_preflight_is_answered_for_every_path(send: Callable[..., Any]) -> None:
    for path in ("/predict/homes", "/v2/models/homes/infer", "/models/homes/promote", "/nothing", "/"):
        reply = send("OPTIONS", path, origin=APP, **PREFLIGHT)
        assert (reply.status, reply.content) == (204, b"")
        assert reply.headers["access-control-allow-origin"] == APP
        assert "POST" in reply.headers["access-control-allow-methods"]
        assert "authorization" in reply.headers["access-control-allow-headers"]
        assert int(reply.headers["access-control-max-age"]) > 0


def test_an_options_request_without_preflight_headers_is_answered_by_its_route(send: Callable[..., Any]) -> None:
    assert send("OPTIONS", "/predict/homes", origin=APP).headers["allow"] == "POST, OPTIONS"


def test_without_the_setting_responses_have_no_cors_headers(
    make_app: Callable[..., Application], tabular_models: list[TabularModel], asgi: Callable[..., Any]
) -> None:
    application = make_app(tabular_models, Settings())
    reply = asyncio.run(asgi(application, "OPTIONS", "/predict/homes", b"", "", {"origin": APP, **PREFLIGHT}))
    assert (reply.status, "vary" in reply.headers) == (204, False)
    assert reply.headers["allow"] == "POST, OPTIONS"


@pytest.mark.parametrize(
    "text", ["*", "app.example.com", "https://app.example.com/", "https://*.example.com", "null", "https://A.example"]
)
def test_invalid_origins_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is not valid"):
        Settings.from_environment({"TABSERVE_CORS_ORIGINS": text})


def test_origins_and_paths_are_read_from_comma_separated_lists(tmp_path: Path) -> None:
    settings = Settings.from_environment(
        {
            "TABSERVE_CORS_ORIGINS": f"{APP}, http://[::1]:3000",
            "TABSERVE_OPEN_ROUTES": "/invocations, /v2/*",
            "TABSERVE_KEYS_FILE": str(tmp_path / "keys.json"),
        }
    )
    assert settings.cors_origins == (APP, "http://[::1]:3000")
    assert settings.open_routes == ("/invocations", "/v2/*")
    assert settings.keys_file == tmp_path / "keys.json"
    for wrong in ("invocations", "/a*b", "/a?b", "/a b"):
        with pytest.raises(SettingsError, match="is not valid"):
            Settings.from_environment({"TABSERVE_OPEN_ROUTES": wrong})
