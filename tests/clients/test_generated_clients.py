"""The clients that five generators create from /docs.json work, and only known operations are missing from them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.conftest import NODE, PYTHON, USE, run, run_json
from tests.service.conftest import Server

MODELS = ("housing", "income", "penguins", "odd_names")
TYPESCRIPT = ("--strict", "--noEmit", "--target", "es2022", "--lib", "es2023,dom,dom.iterable", "--module", "nodenext")
IMPORTS = ("--moduleResolution", "nodenext", "--allowImportingTsExtensions", "--skipLibCheck")
Predict = Callable[[str], Any]


def assert_equal_predictions(found: Any, expected: Any) -> None:
    """Assert that predictions are equal except for the last digits of numbers, which a Python client parses and formats
    again."""
    assert found == pytest.approx(expected) if not isinstance(expected, dict) else found.keys() >= expected.keys()
    if isinstance(expected, dict):
        for key, value in expected.items():
            if isinstance(value, (str, list)):
                assert found[key] == value
            else:
                assert_equal_predictions(found[key], value)


def test_openapi_python_client_predicts(server: Server, document: Path, predict: Predict, tmp_path: Path) -> None:
    output = tmp_path / "tabserve_client"
    command = ("openapi-python-client", "generate", "--meta", "none", "--output-path", output, "--path", document)
    done = run(PYTHON / command[0], *command[1:], folder=tmp_path)
    printed = (done.stdout + done.stderr).splitlines()
    dropped = [line for line in printed if "will not be generated" in line or "removal of" in line]
    assert dropped == ["WARNING parsing POST /predict/{model} within predictions. Endpoint will not be generated."]
    found = run_json(
        PYTHON / "python", USE / "openapi_python_client.py", server.url, folder=tmp_path, PYTHONPATH=str(tmp_path)
    )
    for model in MODELS:
        assert_equal_predictions(found[model], predict(model))
    assert found["infer"] == [pytest.approx(predict("housing")["value"])]


def test_openapi_generator_client_predicts(
    server: Server, document: Path, predict: Predict, row_of: Callable[[str], Any], tmp_path: Path
) -> None:
    run(PYTHON / "openapi-generator-cli", "generate", "-i", document, "-g", "python", "-o", tmp_path, folder=tmp_path)
    found = run_json(
        PYTHON / "python", USE / "openapi_generator_python.py", server.url, folder=tmp_path, PYTHONPATH=str(tmp_path)
    )
    assert found["failures"] == {}
    results = found["results"]
    assert results["default host"] in ("", "http://localhost")
    for model in ("housing", "income", "odd_names"):
        assert_equal_predictions(results[model]["predictions"][0], predict(model))
    assert results["penguins"]["predictions"][0]["probabilities"].keys() == {"Adelie", "Chinstrap", "Gentoo"}
    assert len(results["skip"]["predictions"]) == 2
    assert len(results) > 30


def typescript_project(folder: Path, program: str) -> Path:
    """A folder with a program and the packages that it imports."""
    (folder / "node_modules").symlink_to(NODE / "node_modules")
    shutil.copy(NODE / "package.json", folder)
    shutil.copy(USE / program, folder)
    return folder


def test_openapi_typescript_client_predicts(server: Server, document: Path, predict: Predict, tmp_path: Path) -> None:
    typescript_project(tmp_path, "openapi_fetch.ts")
    run("npx", "openapi-typescript", document, "-o", "schema.d.ts", folder=tmp_path)
    run("npx", "tsc", *TYPESCRIPT, *IMPORTS, "openapi_fetch.ts", folder=tmp_path)
    found = run_json("npx", "tsx", "openapi_fetch.ts", server.url, folder=tmp_path)
    value = predict("housing")["value"]
    assert found["value"] == pytest.approx(value)
    assert json.loads(found["table"])["value"] == pytest.approx(value)
    assert found["v1"]["predictions"] == [pytest.approx(value)]
    assert_equal_predictions(found["probabilities"], predict("income")["probabilities"])
    assert set(found["errors"]) == {1}
    assert {"age", "hours-per-week"} <= set(found["fields"])
    assert found["name"] == "housing"


def test_orval_client_predicts(server: Server, document: Path, predict: Predict, tmp_path: Path) -> None:
    typescript_project(tmp_path, "orval.ts")
    options = {"input": str(document), "output": {"target": "client.ts", "client": "fetch", "baseUrl": server.url}}
    (tmp_path / "orval.config.cjs").write_text(f"module.exports = {{tabserve: {json.dumps(options)}}};")
    run("npx", "orval", "--config", "orval.config.cjs", folder=tmp_path)
    run("npx", "tsc", *TYPESCRIPT, *IMPORTS, "orval.ts", folder=tmp_path)
    found = run_json("npx", "tsx", "orval.ts", server.url, folder=tmp_path)
    value = predict("housing")["value"]
    assert found["value"] == pytest.approx(value)
    assert found["v1"]["predictions"] == [pytest.approx(value)]
    assert found["v2"]["outputs"][0]["data"] == [pytest.approx(value)]
    assert_equal_predictions(found["probabilities"], predict("income")["probabilities"])
    assert sorted(found["names"]) == sorted(MODELS)


def test_postman_requests_succeed(server: Server, document: Path, tmp_path: Path) -> None:
    """Postman's default import: every request that it creates gets status 200, except changes of versions, which
    TABSERVE_ADMIN has to allow."""
    typescript_project(tmp_path, "orval.ts")
    run("npx", "openapi2postmanv2", "-s", document, "-o", "collection.json", folder=tmp_path)
    reports = ("--reporters", "json", "--reporter-json-export", "report.json")
    run("npx", "newman", "run", "collection.json", "--env-var", f"baseUrl={server.url}", *reports, folder=tmp_path)
    executions = json.loads((tmp_path / "report.json").read_text())["run"]["executions"]
    answered = [
        (one["request"]["method"], "/".join(one["request"]["url"]["path"]), one["response"]["code"])
        for one in executions
    ]
    paths = json.loads(document.read_text())["paths"]
    assert len(answered) == sum(len(item) for item in paths.values())
    changes = [one for one in answered if one[0] != "GET" and one[1].startswith("models/")]
    assert [one for one in answered if one[2] != 200 and one not in changes] == []
    assert len(answered) - len(changes) > 30
