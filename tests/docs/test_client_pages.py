"""The examples of the Python client run: those of its README and of its how-to guide."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.conftest import Server
from tests.docs.test_pages import ROOT, blocks

SOURCE = ROOT / "clients/python/src"


@pytest.mark.parametrize("page", ["clients/python/README.md", "docs/client.md"])
def test_the_examples_of_a_page_run(page: str, docs_server: Server, tmp_path: Path) -> None:
    program = "\n".join(blocks(ROOT / page, "python")).replace("http://127.0.0.1:3000", docs_server.url)
    environment = docs_server.environment | {"PYTHONPATH": f"{SOURCE}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
