"""`make wheel-check`: checks that the wheel works outside of the checkout.

Builds the wheel, and installs it with the locked packages of training into a separate environment in build/wheel-check.
In an empty folder, `tabserve` then trains a model from a CSV file, serves the model and answers a request. The wheel of
the Python client is installed into another environment, and requests the same prediction.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.ports import free_port  # noqa: E402

WORK = ROOT / "build/wheel-check"
ENVIRONMENT = WORK / ".venv"
PROGRAMS = ENVIRONMENT / "bin"
CLIENT_ENVIRONMENT = WORK / "client"
READY_S = 60
TRAINING = ("--data", "trips.csv", "--target", "fare", "--framework", "numpy", "--hidden", "4", "--epochs", "3")


def main() -> int:
    """Run all steps. Returns exit code 0; a failed step raises an error, which ends the program with code 1."""
    wheel = build(ROOT, "tabserve")
    install(wheel)
    install_client(build(ROOT / "clients/python", "tabserve_client"))
    folder = WORK / "elsewhere"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    write_table(folder / "trips.csv")
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "TABSERVE_STORE")}
    environment |= {"BENTOML_HOME": str(folder / "home"), "BENTOML_DO_NOT_TRACK": "True", "TABSERVE_WORKERS": "1"}
    environment["PATH"] = f"{PROGRAMS}{os.pathsep}{environment['PATH']}"
    step(["tabserve", "--version"], folder, environment)
    step(["tabserve", "train", *TRAINING, "--name", "trips", "--no-baselines"], folder, environment)
    step(["tabserve", "list"], folder, environment)
    response = served_response(folder, environment)
    print(f"{wheel.name}: trained and served outside of the checkout; the response: {response}")
    return 0


def build(project: Path, name: str) -> Path:
    """Build the wheel with pip, as in an installation from source."""
    dist = WORK / "dist" / name
    shutil.rmtree(dist, ignore_errors=True)
    pip(sys.executable, "wheel", "--no-deps", "--wheel-dir", str(dist), str(project))
    (wheel,) = dist.glob(f"{name}-*.whl")
    return wheel


def install(wheel: Path) -> None:
    venv.create(ENVIRONMENT, with_pip=True, clear=True)
    python = str(PROGRAMS / "python")
    pip(python, "install", "--require-hashes", "-r", str(ROOT / "requirements/training.lock"))
    pip(python, "install", "--no-deps", str(wheel))
    pip(python, "check")


def install_client(wheel: Path) -> None:
    """Install the client into an environment with only the wheel and its requirements, in the locked versions."""
    venv.create(CLIENT_ENVIRONMENT, with_pip=True, clear=True)
    locked = (ROOT / "requirements/training.lock").read_text("utf-8")
    versions = re.findall(r"^[A-Za-z0-9][^ ;\\]*==[^ ;\\]+", locked, re.MULTILINE)
    constraints = WORK / "constraints.txt"
    constraints.write_text("\n".join(versions) + "\n", "utf-8")
    python = str(CLIENT_ENVIRONMENT / "bin/python")
    pip(python, "install", "--constraint", str(constraints), str(wheel))
    pip(python, "check")


def pip(python: str, *arguments: str) -> None:
    subprocess.run([python, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments], check=True)


def step(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    program = str(PROGRAMS / command[0])
    subprocess.run([program, *command[1:]], cwd=folder, env=environment, check=True, timeout=120)


def write_table(path: Path) -> None:
    rows = [f"{number % 23 + 0.5},{'abc'[number % 3]},{(number % 23) * 1.7 + number % 3}" for number in range(200)]
    path.write_text("\n".join(["distance,zone,fare", *rows]) + "\n", "utf-8")


def served_response(folder: Path, environment: dict[str, str]) -> str:
    """Start a server and return its response to a request with one row."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = [str(PROGRAMS / "tabserve"), "serve", "--port", str(port)]
    server = subprocess.Popen(command, cwd=folder, env=environment)
    try:
        deadline = time.monotonic() + READY_S
        while not ready(url):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("error: the server of the wheel did not become ready")
            time.sleep(0.2)
        body = json.dumps({"rows": [{"distance": 3.5, "zone": "b"}]}).encode()
        request = urllib.request.Request(f"{url}/predict/trips", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as response:
            content = str(response.read().decode())
        check_client(url, json.loads(content)["predictions"], folder)
        check_page(url)
        return content
    finally:
        server.terminate()
        server.wait(timeout=60)


def check_page(url: str) -> None:
    """Check that the wheel contains the page and the files that the page names."""
    request = urllib.request.Request(f"{url}/", headers={"Accept": "text/html"})
    with urllib.request.urlopen(request, timeout=10) as response:
        addresses = re.findall(r'(?:src|href)="(page/[^"]+)"', response.read().decode())
    if not addresses:
        raise SystemExit("error: the wheel has no page")
    for address in addresses:
        with urllib.request.urlopen(f"{url}/{address}", timeout=10):
            pass


PREDICT = """
import json, sys, tabserve_client
print(json.dumps(tabserve_client.Client(sys.argv[1]).predict("trips", {"distance": 3.5, "zone": "b"}).to_list()))
"""


def check_client(url: str, expected: list[dict[str, float]], folder: Path) -> None:
    """Check that the installed client returns the same prediction."""
    command = [str(CLIENT_ENVIRONMENT / "bin/python"), "-c", PREDICT, url]
    done = subprocess.run(command, cwd=folder, check=True, timeout=120, capture_output=True, text=True)
    if json.loads(done.stdout) != expected:
        raise SystemExit(f"error: the client returned {done.stdout}, expected {expected}")


def ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
