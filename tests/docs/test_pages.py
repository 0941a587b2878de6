"""The documentation pages are correct: their Python runs against a server and their commands exist; untested commands
are listed with a reason.
"""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tabserve.commands import COMMANDS
from tabserve.completion import parser_of
from tests.docs.conftest import QUICK, Server, serve

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]
REFERENCE = sorted((DOCS / "reference").glob("*.md"))
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")

NOT_RUN = {
    "docker": "tests/container runs these on a real engine",
    "helm": "needs a cluster; tests/container renders and validates the chart",
    "kubectl": "needs a cluster",
    "openssl": "tests/signing_keys.py creates the same keys",
    "git": "needs the address of a repository, or another commit",
    "cd": "changes the folder",
    "systemctl": "needs systemd",
    "pip": "make wheel-check installs the client",
    "cp": "needs systemd; tests/container checks the unit",
    "mkdir": "a step of an installation under /var/lib",
    "spark-submit": "needs a cluster; make cluster-check runs the engine on a local Spark",
    "ray": "needs a cluster; make cluster-check runs the engine on a one-node Ray",
    "locust": "Locust's own command line",
    "curl": "test_readme.py runs the curl commands of the README",
    ".venv/bin/pip": "needs a machine with a GPU",
}
"""Commands that these tests neither parse nor run, by their first word, and the reason."""
PYTHON_ELSEWHERE = {
    "README.md": "test_readme.py",
    "bulk-scoring.md": "tests/scoring/test_score_batches.py",
    "client.md": "test_client_pages.py",
    "neural-networks-from-scratch.md": "test_book.py",
    "protocols.md": "tests/service/test_streams.py",
    "tutorial.md": "test_the_tutorial_runs",
}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> list[list[str]]:
    """The words of each command in the console blocks of a page, without environment variables."""
    text = "\n".join(block for block in blocks(page, "console") if not block.startswith("curl")).replace("\\\n", " ")
    found = []
    for line in text.splitlines():
        for part in re.split(r"&& ", re.sub(r"(^|\s)# .*|\s{2,}#.*", "", line)):
            words = [word for word in part.split() if not re.fullmatch(r"[A-Z_]+=\S+", word)]
            if words:
                found.append(words)
    return found


COMMAND_LINES = [
    pytest.param(words, id=f"{page.name}: {' '.join(words)[:60]}") for page in PAGES for words in commands(page)
]


@pytest.mark.parametrize("words", COMMAND_LINES)
def test_every_command_exists_with_its_options(words: list[str]) -> None:
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", MAKEFILE, re.MULTILINE)
    elif words[0].endswith("tabserve"):
        check_arguments(words[1], words[2:])
    elif words[0].endswith("python") and words[1] == "-m":
        check_module(words[2], words[3:])
    else:
        assert words[0] in NOT_RUN, f"no test runs this command: {' '.join(words)}"


def check_module(module: str, arguments: list[str]) -> None:
    packages = {command.package for command in COMMANDS.values()}
    if module not in packages:
        assert (ROOT / f"{module.replace('.', '/')}.py").exists() or module == "pytest"
        return
    named = {c.subcommand: name for name, c in COMMANDS.items() if c.package == module}
    subcommand = arguments[0] if arguments and arguments[0] in named else ""
    check_arguments(named[subcommand], arguments[1 if subcommand else 0 :])


def check_arguments(name: str, arguments: list[str]) -> None:
    """Parse the arguments of a command, without the brackets around optional parts and with `x` for `…`."""
    words = shlex.split(" ".join(arguments).replace("[", "").replace("]", "").replace("…", "x"))
    parser_of(name).parse_args(words)


@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.stem)
def test_the_example_of_a_reference_page_runs(page: Path, docs_server: Server, tmp_path: Path) -> None:
    (program,) = blocks(page, "python")
    done = run_python(program, docs_server, tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_tutorial_runs(docs_server: Server, tmp_path: Path) -> None:
    table, *requests = blocks(DOCS / "tutorial.md", "python")
    assert run_python(table, docs_server, tmp_path).returncode == 0
    environment = docs_server.environment | {"BENTOML_HOME": str(tmp_path / "home")}
    for words in commands(DOCS / "tutorial.md"):
        if words[:2] in ([".venv/bin/tabserve", "inspect"], [".venv/bin/tabserve", "train"]):
            fast = (*QUICK, "--epochs", "15") if words[1] == "train" else ()
            command = [sys.executable, "-m", "tabserve", *words[1:], *fast]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, done.stderr
    server = serve(tmp_path / "serve.log", environment)
    done = run_python("\n".join(requests), next(server), tmp_path)
    server.close()  # type: ignore[attr-defined]
    assert done.returncode == 0, done.stderr


def run_python(program: str, server: Server, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", program.replace("http://127.0.0.1:3000", server.url)]
    return subprocess.run(command, cwd=folder, env=server.environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("page", [page for page in PAGES if page not in REFERENCE], ids=lambda page: page.name)
def test_every_page_with_python_has_a_test(page: Path) -> None:
    assert not blocks(page, "python") or page.name in PYTHON_ELSEWHERE


@pytest.mark.parametrize("page", sorted((DOCS / "decisions").glob("0*.md")), ids=lambda page: page.stem)
def test_every_decision_has_a_number_a_date_and_a_status(page: Path) -> None:
    title, empty, facts = page.read_text("utf-8").split("\n")[:3]
    assert title.startswith(f"# {int(page.name[:4])}. ")
    assert empty == ""
    assert re.fullmatch(r"Date: \d{4}-\d{2}-\d{2} · Status: \S.*", facts)


def test_the_site_builds_and_loads_nothing_from_other_hosts(tmp_path: Path) -> None:
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)]
    environment = os.environ | {"BENTOML_DO_NOT_TRACK": "True", "NO_MKDOCS_2_WARNING": "true"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    loaded = re.compile(
        r"""<(?:script|img|iframe|source|link(?! rel="canonical"))\b[^>]*?(?:src|href)="?(?:https?:)?//"""
    )
    assert [page.name for page in pages if loaded.search(page.read_text("utf-8"))] == []
    styles = [path.read_text("utf-8") for path in site.rglob("*.css")]
    assert not [style for style in styles if re.search(r"""(?:url\(|@import )["']?(?:https?:)?//""", style)]
    text = (site / "reference/command-line.html").read_text("utf-8")
    assert all(f"tabserve {name}" in text for name in COMMANDS)
    assert "/predict/homes" in (site / "reference/openapi.html").read_text("utf-8")
