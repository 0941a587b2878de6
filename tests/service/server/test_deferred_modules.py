"""BentoML's application is built without loading the deferred modules, which load at their first use."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
DEFER = "from service.server.deferred_modules import MODULES, defer_modules; import sys; defer_modules()\n"
LOADED = "print(*sorted({'circus', 'tornado', 'zmq', 'pyparsing'} & set(sys.modules)))\n"


def run_program(program: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", DEFER + program], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_bentomls_application_loads_no_deferred_module() -> None:
    assert run_program("import _bentoml_impl.server.app\n" + LOADED) == []


@pytest.mark.parametrize(
    ("use", "expected"),
    [
        ("from _bentoml_impl.server.serving import serve_http\ntry: serve_http()\nexcept TypeError: pass\n", "circus"),
        ("from _bentoml_impl.server import serving\nserving.create_dependency_watcher\n", "circus"),
        ("from _bentoml_impl.server import proxy\nproxy.expand_envs\n", "pyparsing"),
    ],
)
def test_a_deferred_module_is_loaded_at_its_first_use(use: str, expected: str) -> None:
    assert expected in run_program(use + LOADED)


def test_deferring_again_keeps_a_loaded_module() -> None:
    program = "from _bentoml_impl.server import serving\nserving.create_dependency_watcher\n"
    program += "real = sys.modules[serving.__name__]; defer_modules()\n"
    program += "print(sys.modules[serving.__name__] is real is not serving)"
    assert run_program(program) == ["True"]
