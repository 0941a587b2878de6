"""Fixtures: an S3 server, and a local store with three versions of the model `small`."""

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from models.serving_file import SERVING_FILE
from models.version_lifecycle import VersionStore
from tests.cloud.s3_server import BUCKET, S3Server, s3_server
from tests.e2e.conftest import ROOT, environment, serve, train_version

__all__ = ["serve"]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3") / "log") as server:
        yield server


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BENTOML_HOME with small:1 to small:3."""
    folder = tmp_path_factory.mktemp("home")
    for seed in (1, 2, 3):
        train_version(folder, "small", seed)
    return folder


@pytest.fixture
def settings(s3: S3Server, tmp_path: Path) -> dict[str, str]:
    """Environment variables for processes that use a new, empty store in S3."""
    url = f"s3://{BUCKET}/{uuid.uuid4().hex}/models"
    return {**s3.environment, "TABSERVE_STORE": url, "TABSERVE_STORE_CACHE": str(tmp_path / "cache")}


@pytest.fixture
def command(home: Path, settings: dict[str, str]) -> Command:
    """command(*words, **settings) runs `python -m service` with these arguments."""

    def run(*words: str, **more: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "service", *words],
            cwd=ROOT,
            env=environment(home, **settings, **more),
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def remote(settings: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> VersionStore:
    """The empty store in S3, opened by this process."""
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return VersionStore.configured()


@pytest.fixture(scope="session")
def pushed_objects(s3: S3Server, home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The objects of an S3 store to which the command pushed small:1 to small:3."""
    url = f"s3://{BUCKET}/template"
    values = {**s3.environment, "TABSERVE_STORE_CACHE": str(tmp_path_factory.mktemp("cache"))}
    for version in (1, 2, 3):
        words = [sys.executable, "-m", "service", "push", f"small:{version}", "--to", url]
        done = subprocess.run(words, cwd=ROOT, env=environment(home, **values), capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert f"small:{version} is small:{version} in {url}" in done.stdout
    with pytest.MonkeyPatch.context() as patch:
        for name, value in values.items():
            patch.setenv(name, value)
        mirror = VersionStore.at_url(url).mirror
        assert mirror
        objects = mirror.objects
        found = {each.name: objects.get(each.name) for each in objects.list()}
    return {name: one.content for name, one in found.items() if one}


@pytest.fixture
def store(remote: VersionStore, pushed_objects: dict[str, bytes]) -> VersionStore:
    """A store in S3 with small:1 to small:3."""
    assert remote.mirror
    for name, content in pushed_objects.items():
        remote.mirror.objects.put(name, content)
    assert SERVING_FILE not in pushed_objects
    return remote
