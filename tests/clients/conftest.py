"""A server of small models, and the programs that `programs.sh` installs."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from models.feature import Feature, Ignored, TrainingRange
from models.schema import FeatureSchema
from tests.service.conftest import Server, clean_environment, write_version

ROOT = Path(__file__).resolve().parents[2]
PYTHON = ROOT / "build/clients/python/bin"
NODE = ROOT / "build/clients/node"
USE = Path(__file__).resolve().parent / "use"
HOUSING = ("MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude")
ODD_NAMES = ("sq. metres ($)", "sq metres", "class", "2nd", "größe", "self", "%", "model_config", "to_dict")


def number(name: str) -> Feature:
    return Feature(name=name, kind="number", nullable=False, seen=TrainingRange(min=0, max=50), example=8.3)


def category(name: str, *levels: str, nullable: bool) -> Feature:
    seen = TrainingRange(levels=list(levels))
    return Feature(name=name, kind="category", nullable=nullable, seen=seen, example=levels[0])


def schemas() -> list[FeatureSchema]:
    people = [number("age"), category("workclass", "Private", "State-gov", nullable=True), number("hours-per-week")]
    birds = [
        category("island", "Biscoe", "Dream", nullable=False),
        number("bill_length_mm"),
        category("sex", "male", "female", nullable=True),
    ]
    weight = [Ignored(name="fnlwgt", reason="a weight")]
    species: list[bool | int | float | str] = ["Adelie", "Chinstrap", "Gentoo"]
    return [
        FeatureSchema(name="housing", task="regression", target="MedHouseVal", features=[*map(number, HOUSING)]),
        FeatureSchema(
            name="income", task="binary", target="class", classes=["<=50K", ">50K"], features=people, ignored=weight
        ),
        FeatureSchema(name="penguins", task="multiclass", target="species", classes=species, features=birds),
        FeatureSchema(name="odd_names", task="regression", target="y", features=[*map(number, ODD_NAMES)]),
    ]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store, home = tmp_path_factory.mktemp("store"), tmp_path_factory.mktemp("home")
    for schema in schemas():
        write_version(store, schema)
    settings = {"TABSERVE_STORE": str(store), "TABSERVE_WORKERS": "1", "TABSERVE_DRAIN_S": "0"}
    server = Server(clean_environment(home, **settings), home / "log")
    server.start()
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="session")
def document(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The OpenAPI document of the server, as a file."""
    path = tmp_path_factory.mktemp("document") / "docs.json"
    path.write_bytes(httpx.get(f"{server.url}/docs.json", timeout=60).content)
    return path


@pytest.fixture(scope="session")
def row_of(server: Server) -> Callable[[str], dict[str, Any]]:
    """row_of(model): a valid row."""

    def row(model: str) -> dict[str, Any]:
        described = httpx.get(f"{server.url}/models/{model}", timeout=60).json()
        found: dict[str, Any] = described["examples"][0]["row"]
        return found

    return row


@pytest.fixture(scope="session")
def predict(server: Server, row_of: Callable[[str], dict[str, Any]]) -> Callable[[str], Any]:
    """predict(model): the prediction for `row_of(model)` that generated clients have to return."""

    def first_prediction(model: str) -> Any:
        response = httpx.post(f"{server.url}/predict/{model}", json={"rows": [row_of(model)]}, timeout=60)
        assert response.status_code == 200, response.text
        return response.json()["predictions"][0]

    return first_prediction


def run(*command: str | Path, folder: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a program of `programs.sh` in a folder."""
    environment = os.environ | {"PATH": f"{PYTHON}:{os.environ['PATH']}"} | variables
    done = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def run_json(*command: str | Path, folder: Path, **variables: str) -> Any:
    """Like `run`, but returns the JSON in the last line of the output."""
    return json.loads(run(*command, folder=folder, **variables).stdout.splitlines()[-1])
