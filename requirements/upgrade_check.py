"""`make upgrade-check`: reports whether the newest versions of the hooked libraries break a hook or a test.

Creates a separate environment in build/upgrade-check and installs the development lock. Then installs the newest
version of each library that service.server.library_hooks names, regardless of the bounds in pyproject.toml, checks the
hooks, runs the tests that depend on them (--full: all tests), and prints a table.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements/development.lock"
ENVIRONMENT = ROOT / "build/upgrade-check/.venv"
PYTHON = str(ENVIRONMENT / "bin/python")
TESTS = ("tests/models/test_library_hook.py", "tests/models/test_store.py", "tests/service/server", "tests/e2e")
TESTS_S = 3600


def main() -> int:
    """Returns exit code 1 if the newest versions break a hook or a test."""
    parser = argparse.ArgumentParser("requirements/upgrade_check.py", description=__doc__)
    parser.add_argument("--full", action="store_true", help="run all tests")
    arguments = parser.parse_args()
    try:
        hooks, newest = upgrade()
    except subprocess.CalledProcessError as error:
        print(f"error: failed: {' '.join(error.cmd)}", file=sys.stderr)
        return 2
    passed = tests_pass(() if arguments.full else TESTS)
    for line in table(hooks, locked_versions(), newest):
        print(line)
    print(f"tests: {'passed' if passed else 'FAILED'}")
    return int(not passed or any(hook["problem"] for hook in hooks))


def upgrade() -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The state of all hooks with the newest libraries, and the versions of these libraries."""
    if not Path(PYTHON).exists():
        venv.create(ENVIRONMENT, with_pip=True)
    pip("--require-hashes", "-r", str(LOCK))
    libraries = sorted({hook["library"] for hook in read_hooks()})
    pip("--upgrade", *libraries)
    program = f"import importlib.metadata as m; print(*map(m.version, {libraries!r}))"
    versions = subprocess.run([PYTHON, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    return read_hooks(), dict(zip(libraries, versions, strict=True))


def pip(*arguments: str) -> None:
    command = [PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, cwd=ROOT, check=True)


def read_hooks() -> list[dict[str, Any]]:
    done = subprocess.run(
        [PYTHON, "-m", "service.server.library_hooks", "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if not done.stdout:  # the program failed before it printed the list of hooks
        raise subprocess.CalledProcessError(done.returncode, done.args)
    return [json.loads(line) for line in done.stdout.splitlines()]


def tests_pass(paths: tuple[str, ...]) -> bool:
    environment = os.environ | {"BENTOML_DO_NOT_TRACK": "True"}
    done = subprocess.run(
        [PYTHON, "-m", "pytest", "-q", *paths], cwd=ROOT, env=environment, check=False, timeout=TESTS_S
    )
    return done.returncode == 0


def locked_versions() -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK.read_text(), re.MULTILINE))


def table(hooks: list[dict[str, Any]], locked: dict[str, str], newest: dict[str, str]) -> list[str]:
    """A line for each library, followed by a line for each of its broken hooks."""
    lines = [f"{'library':<18} {'locked':<12} {'newest':<12} hooks that would break"]
    for library, version in newest.items():
        mine = [hook for hook in hooks if hook["library"] == library]
        broken = [hook for hook in mine if hook["problem"]]
        lines.append(f"{library:<18} {locked[library]:<12} {version:<12} {len(broken)} of {len(mine)}")
        for hook in broken:
            lines += [f"    {hook['name']}: {hook['problem']}", f"        {hook['breaks']}"]
    return lines


if __name__ == "__main__":
    sys.exit(main())
