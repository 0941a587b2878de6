"""README, licence, workflows and other project files agree with each other and with the Makefile."""

import ipaddress
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
PATTERNS = set(re.findall(r"^([a-z][a-z-]*%):", MAKEFILE, re.MULTILINE))  # .PHONY cannot contain pattern targets
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PAGES = ["README.md", "CONTRIBUTING.md", "SECURITY.md", ".github/PULL_REQUEST_TEMPLATE.md"]


def test_make_help_describes_every_target() -> None:
    command = ["make", "--no-print-directory", "help"]  # --no-print-directory, because the tests may run under make
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    described = {line.split()[0]: line.split(maxsplit=1)[1] for line in done.stdout.splitlines()}
    assert set(described) == TARGETS | PATTERNS
    (phony,) = re.findall(r"^\.PHONY: (.*?)\n\n", MAKEFILE, re.MULTILINE | re.DOTALL)
    assert set(phony.replace("\\", " ").split()) == TARGETS


@pytest.mark.parametrize("page", [*PAGES, *(str(path.relative_to(ROOT)) for path in WORKFLOWS)])
def test_make_targets_that_a_file_names_exist(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"(?:`|run: |^)make ([a-z][a-z-]*)", text, re.MULTILINE))
    assert named <= TARGETS


def test_compose_proxy_forwards_the_client_address() -> None:
    replica = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text("utf-8"))["x-replica"]
    assert ipaddress.ip_address("172.30.117.11") in ipaddress.ip_network(replica["environment"]["FORWARDED_ALLOW_IPS"])
    configuration = (ROOT / "deploy/compose/nginx.conf").read_text("utf-8")
    assert "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;" in configuration
    assert "proxy_set_header X-Forwarded-Proto $scheme;" in configuration


def test_deployments_have_the_version_of_pyproject() -> None:
    version = PROJECT["project"]["version"]
    chart = yaml.safe_load((ROOT / "deploy/helm/tabserve/Chart.yaml").read_text("utf-8"))
    assert chart["appVersion"] == version
    assert chart["version"] == version.replace(".dev", "-dev")  # Helm requires SemVer
    assert f"image: tabserve:{version}\n" in (ROOT / "deploy/kserve.yaml").read_text("utf-8")


def test_every_package_of_the_wheel_is_typed() -> None:
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert [package for package in packages if not (ROOT / package / "py.typed").is_file()] == []


def test_workflows_test_all_supported_python_versions() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text("utf-8"))["jobs"]
    tested = jobs["test"]["strategy"]["matrix"]["python"]
    classifiers = PROJECT["project"]["classifiers"]
    assert tested == re.findall(r"Python :: (3\.\d+)", "\n".join(classifiers))
    assert PROJECT["project"]["requires-python"] == f">={tested[0]},<3.{int(tested[-1].removeprefix('3.')) + 1}"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_have_time_limits_and_read_only_permissions(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text("utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    assert all("timeout-minutes" in job for job in workflow["jobs"].values())


@pytest.mark.skipif(not shutil.which("actionlint"), reason="actionlint is not installed; the workflow `test` runs it")
def test_actionlint_accepts_the_workflows() -> None:
    subprocess.run(["actionlint", *map(str, WORKFLOWS)], cwd=ROOT, check=True, timeout=300)


def test_pre_commit_runs_the_steps_of_make_lint() -> None:
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    hooks = [hook["entry"].removesuffix(" --force-exclude") for hook in repository["hooks"]]
    (lint,) = re.findall(r"^lint:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    steps = [
        line.strip().removesuffix(" .").replace(" --check", "").replace("$(PY)", ".venv/bin/python")
        for line in lint.splitlines()
    ]
    assert hooks == steps


def test_the_changelog_has_the_format_of_keep_a_changelog() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines()
    versions = [line for line in lines if line.startswith("## ")]
    assert versions[0].startswith("## [Unreleased]")
    assert all(re.fullmatch(r"## \[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", line) for line in versions[1:])
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert {line.removeprefix("### ") for line in lines if line.startswith("### ")} <= kinds
