"""The settings of a server: one frozen object, read once from environment variables.

An unknown name or an invalid value prevents the start.
"""

import csv
import importlib.util
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, get_args

from models import trusted_keys as key_files
from models.file_destination import LOCAL_URL, check_destination, is_url
from models.store import versions
from models.store_mirror import DEFAULT_BYTES, open_mirror
from models.text import nearest
from models.trusted_keys import KeyPaths
from models.version_files import EngineChoice

PREFIX = "TABSERVE_"
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "text"]
AdminAccess = Literal["off", "local"]
Switch = Literal["auto", "on", "off"]
MIB = 1024**2
VERTEX = {"AIP_HEALTH_ROUTE": "TABSERVE_HEALTH_ROUTE", "AIP_PREDICT_ROUTE": "TABSERVE_PREDICT_ROUTE"}
"""The variables that Vertex AI sets in its containers, and the settings that they define."""
SAGEMAKER_MODEL = Path("/opt/ml/model")
"""The folder into which SageMaker extracts a model."""
SERVICE_LINK = re.compile(
    r"TABSERVE_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
)
"""Variables that Kubernetes sets in all containers for a Service whose name begins with `tabserve`."""
PAGES = frozenset({"/docs.json", "/drift", "/metrics", "/models"})
"""Paths that no setting may use, because monitoring and clients rely on their responses."""
PROBES = frozenset({"/livez", "/ping", "/readyz"})
"""Paths of probes. A health route may use them, because it is a probe, too; a predict route may not."""
ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
"""An origin in the form that browsers send. It excludes `null`, the origin of any local file or sandboxed page."""
REMOVED = {"TABSERVE_LANE": "the fast path is always on"}
"""Settings of earlier versions: `on` is ignored with a warning, any other value prevents the start."""


class SettingsError(ValueError):
    """An unknown setting or an invalid value. The message is one line and names the setting."""


@dataclass(frozen=True)
class Settings:
    """The settings. Each field is the environment variable `TABSERVE_` + its name in capitals; see docs/settings.md."""

    store: Path | None = None
    """The folder of the local copy of a store at a URL."""
    store_cache: Path | None = None
    store_cache_bytes: int = DEFAULT_BYTES
    state: Path | None = None
    models: tuple[str, ...] = ()
    engine: EngineChoice = "auto"
    workers: int | None = None
    max_rows: int = 10_000
    max_body_bytes: int = 16 * MIB
    max_stream_bytes: int = 1024 * MIB
    max_stream_rows: int = 10_000_000
    memory_bytes: int | None = None
    timeout_s: float = 10.0
    queue_rows: int = 20_000
    max_evaluations: int = 200_000
    log_level: LogLevel = "info"
    log_format: LogFormat = "auto"
    access_log: float = 0.0
    grpc_port: int | None = None
    batching: Switch = "auto"
    start_s: float = 600.0
    drain_s: float = 3.0
    admin: AdminAccess = "local"
    trusted_keys: KeyPaths = ()
    keys_file: Path | None = None
    open_routes: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    default_model: str | None = None
    health_route: str | None = None
    predict_route: str | None = None
    capture: str | None = None
    capture_days: float = 30.0
    capture_share: float = 0.1
    capture_redact: tuple[str, ...] = ()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ, sagemaker_model: Path = SAGEMAKER_MODEL) -> Self:
        """Read the settings, with defaults from Vertex AI's variables and SageMaker's folder. Raises SettingsError."""
        platform = {setting: environ.get(name, "") for name, setting in VERTEX.items()}
        if sagemaker_model.is_dir() and versions(sagemaker_model)[0]:
            platform["TABSERVE_STORE"] = str(sagemaker_model)
        known = {PREFIX + name.upper(): name for name in PARSERS}
        removed_settings(environ)
        values: dict[str, Any] = {}
        for name, text in [*platform.items(), *environ.items()]:
            if not name.startswith(PREFIX) or name in REMOVED or is_service_link(name, text):
                continue
            if name not in known:
                near = nearest(name, known)
                raise SettingsError(f"unknown setting {name}" + (f", did you mean {near}?" if near else ""))
            if text.strip():
                try:
                    values[known[name]] = PARSERS[known[name]](text.strip())
                except ValueError as error:
                    raise SettingsError(f"{name}={text!r}: {error}") from None
        if isinstance(url := values.get("store"), StoreUrl):
            try:
                values["store"] = open_mirror(url, environ).folder
            except ValueError as error:
                raise SettingsError(f"TABSERVE_STORE={url}: {error}") from None
        return cls(**values)


def removed_settings(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Warnings about removed settings. Raises SettingsError for a value that is no longer supported."""
    warnings = []
    for name, text in REMOVED.items():
        value = environ.get(name, "").strip().lower()
        if value and value != "on":
            raise SettingsError(f"{name}={value}: {text}; remove the setting")
        if value:
            warnings.append(f"{name} was removed and has no effect: {text}")
    return tuple(warnings)


def is_service_link(name: str, text: str) -> bool:
    """Whether Kubernetes has set this variable for a Service, such as KServe's `tabserve-predictor`."""
    return bool(SERVICE_LINK.fullmatch(name)) or (name.endswith("_PORT") and "://" in text)


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            raise ValueError("expected a whole number") from None
        if number < low or (high is not None and number > high):
            raise ValueError(f"expected {low} or more" if high is None else f"expected {low} to {high}")
        return number

    return parse


def number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise ValueError("expected a number") from None
        if not low <= value <= high:
            raise ValueError(f"expected {low:g} to {high:g}")
        return value

    return parse


def one_of(choices: Any) -> Callable[[str], Any]:
    words = get_args(choices)

    def parse(text: str) -> Any:
        if text.lower() not in words:
            raise ValueError(f"expected one of {', '.join(words)}")
        return text.lower()

    return parse


def tags(text: str) -> tuple[str, ...]:
    """Parse `housing:3,income`: names with or without a version."""
    listed = tuple(tag.strip() for tag in text.split(",") if tag.strip())
    names = [tag.partition(":")[0] for tag in listed]
    for tag in listed:
        name, colon, version = tag.partition(":")
        if not name or (colon and not version.isdecimal()):
            raise ValueError(f"{tag!r} is not valid, expected name or name:version")
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is named twice; one version of a model is served")
    return listed


class StoreUrl(str):
    """The URL of a store. Its local copy is opened when all settings are known."""


def store_location(text: str) -> Path | StoreUrl:
    """A folder or a URL."""
    return StoreUrl(text) if is_url(text) else folder(text.removeprefix(LOCAL_URL))


def folder(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_dir():
        raise ValueError("no such folder")
    return path


def absolute_path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def open_routes(text: str) -> tuple[str, ...]:
    listed = tuple(path.strip() for path in text.split(",") if path.strip())
    for path in listed:
        if not path.startswith("/") or set(path[:-1] if path.endswith("*") else path) & set("*?# "):
            raise ValueError(f"{path!r} is not valid, expected a path that begins with /, or the start of a path and *")
    return listed


def origins(text: str) -> tuple[str, ...]:
    listed = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    for origin in listed:
        if not ORIGIN.fullmatch(origin):
            raise ValueError(
                f"{origin!r} is not valid, expected an origin in lower case such as https://app.example.com"
            )
    return listed


def route(text: str) -> str:
    if not text.startswith("/") or set(text) & set("?#% "):
        raise ValueError("expected a path that begins with /")
    if text in PAGES:
        raise ValueError("this path is a page of the server, expected another path")
    return text


def predict_route(text: str) -> str:
    if route(text).startswith("/predict/"):
        raise ValueError("paths below /predict/ are reserved, expected another path such as /predict or /invocations")
    if text in PROBES:
        raise ValueError("this path is a probe of the server, expected another path such as /predict or /invocations")
    return text


def optional_port(text: str) -> int | None:
    if text.lower() == "off":
        return None
    port = whole_number(1, 65535)(text)
    if importlib.util.find_spec("grpc") is None or importlib.util.find_spec("grpc_health") is None:
        raise ValueError("gRPC is not installed; it needs the extra grpc (requirements/serving-grpc.lock)")
    return port


def capture_location(text: str) -> str:
    """A folder or a URL."""
    if importlib.util.find_spec("pyarrow") is None:
        raise ValueError("capture needs pyarrow, which is not installed (pip install 'tabserve[arrow]')")
    check_destination(text)
    return text if is_url(text) else str(Path(text.removeprefix(LOCAL_URL)).expanduser())


def column_names(text: str) -> tuple[str, ...]:
    """The names of columns. A name that contains a comma is in double quotes."""
    listed = next(csv.reader([text], skipinitialspace=True), [])
    return tuple(name.strip() for name in listed if name.strip())


PARSERS: dict[str, Callable[[str], Any]] = {
    "store": store_location,
    "store_cache": absolute_path,
    "store_cache_bytes": whole_number(1),
    "state": folder,
    "models": tags,
    "engine": one_of(EngineChoice),
    "workers": whole_number(1, 1024),
    "max_rows": whole_number(1),
    "max_body_bytes": whole_number(1),
    "max_stream_bytes": whole_number(1),
    "max_stream_rows": whole_number(1),
    "memory_bytes": whole_number(1),
    "timeout_s": number(0.001, 86_400),
    "max_evaluations": whole_number(1),
    "queue_rows": whole_number(1),
    "log_level": one_of(LogLevel),
    "log_format": one_of(LogFormat),
    "access_log": number(0, 1),
    "grpc_port": optional_port,
    "batching": one_of(Switch),
    "start_s": number(1, 86_400),
    "drain_s": number(0, 600),
    "admin": one_of(AdminAccess),
    "trusted_keys": key_files.parse,
    "keys_file": absolute_path,
    "open_routes": open_routes,
    "cors_origins": origins,
    "default_model": str,
    "health_route": route,
    "predict_route": predict_route,
    "capture": capture_location,
    "capture_days": number(0.01, 36_500),
    "capture_share": number(0, 1),
    "capture_redact": column_names,
}
