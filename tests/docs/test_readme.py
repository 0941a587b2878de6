"""The README is correct: its Python runs against a real server, and its commands, links and options exist."""

import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_examples_of_the_readme_run(server: str) -> None:
    program = "\n".join(blocks("python")).replace("http://127.0.0.1:3000", server)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    promised = [line.removeprefix("# ") for line in blocks("python")[-1].splitlines() if line.startswith("# row")]
    assert done.stdout.splitlines() == promised
    assert len(promised) == 3


def test_curl_commands_of_the_readme_get_predictions(server: str) -> None:
    (command,) = [block for block in blocks("console") if block.startswith("curl")]
    done = subprocess.run(
        shlex.split(command.replace("http://127.0.0.1:3000", server)), capture_output=True, timeout=300
    )
    assert done.stdout.startswith(b'{"model":"housing","version":"1","predictions":[{"value":'), done.stdout


def test_the_printed_requests_work_when_pasted(server: str) -> None:
    from service.__main__ import example_requests

    commands = [line for line in example_requests(server).splitlines() if line.startswith("curl")]
    responses = [subprocess.run(["sh", "-c", line], capture_output=True, timeout=300).stdout for line in commands]
    assert b'"predictions":[{"value"' in responses[0]
    assert b'"detail":"2 of 2 rows are not valid"' in responses[1]
    assert b'"models":[{"name":"housing"' in responses[2]


def test_readme_has_at_most_130_lines() -> None:
    assert len(README.splitlines()) <= 130


def test_figures_of_the_readme_agree_with_the_pages() -> None:
    """Each figure of the README is the rounded value of a figure in a page."""
    pages = "".join((ROOT / "docs" / name).read_text("utf-8") for name in ("performance.md", "quality.md"))
    section = README.split("## Quality and speed")[1].split("## Further reading")[0]
    figures = re.findall(r"\|\s*\**(\.?\d[\d,]*)\**\s*(?=\|)", section)
    assert len(figures) == 15
    measured = [float(number.replace(",", "")) for number in re.findall(r"(?<=[| ])\d[\d,]*\.?\d*(?=[ |])", pages)]
    for figure in figures:
        digits = len(figure.partition(".")[2])
        assert float(figure.replace(",", "")) in {round(number, digits) for number in measured}, figure


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"\bmake ([a-z-]+)", README))
    makefile = (ROOT / "Makefile").read_text()
    assert not [target for target in targets if not re.search(rf"^{target}:", makefile, flags=re.MULTILINE)]


def test_every_link_of_the_documents_has_a_target() -> None:
    """Links also work in the checkout, as a code host renders it: no page links to a page that exists only in the built
    site.
    """
    dead = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))]
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not dead


def test_port_in_use_gives_a_one_line_error_that_suggests_another_port() -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "service", "--port", port], cwd=ROOT, capture_output=True, text=True, timeout=300
        )
    assert done.returncode == 2
    assert re.fullmatch(r"error: cannot listen on .*; choose another: --port \d+, make serve PORT=\d+\n", done.stderr)


def test_documented_settings_are_the_settings_of_the_service() -> None:
    from service.settings import PARSERS

    documented = set(re.findall(r"^\| `TABSERVE_([A-Z_]+)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE))
    assert documented == {name.upper() for name in PARSERS}
