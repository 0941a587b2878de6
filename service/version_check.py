"""Checks a version in a child process, so that a damaged or hostile version cannot end the caller.

The child is `python -m service.version_check NAME VERSION FOLDER ENGINE PRIORITY KEYS`. It loads the version, predicts
its golden rows and prints the result as one line of JSON. The caller does not load TensorFlow.
"""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from models import version_files
from models.engines import DeclaredEngine
from models.tabular_model import TabularModel
from models.text import truncate
from models.version_files import EngineChoice, EngineUnavailable, StoredVersion, StoreError
from service import model_selection
from service.settings import Settings

TIMEOUT_S = 300.0
PRIORITY = 5  # increment of nice(1) for the child process of a serving worker
ROOT = Path(__file__).resolve().parents[1]


def load_with_check(stored: StoredVersion, settings: Settings) -> TabularModel:
    """Load a version. If it needs TensorFlow, a child process checks it first. Raises StoreError."""
    if needs_tensorflow(stored, settings):
        check_in_child(stored, settings.engine, PRIORITY, trusted_keys=settings.trusted_keys)
    return model_selection.load_version(stored, settings)


def describe(stored: StoredVersion, settings: Settings) -> TabularModel:
    """Load a version for a process that does not predict. Only a child loads TensorFlow. Raises StoreError."""
    if not needs_tensorflow(stored, settings):
        return model_selection.load_version(stored, settings)
    engine = check_in_child(stored, settings.engine, trusted_keys=settings.trusted_keys)
    declared = DeclaredEngine(engine["name"], engine["reason"])
    return version_files.read(stored, settings.engine, declared, settings.trusted_keys)


def needs_tensorflow(stored: StoredVersion, settings: Settings) -> bool:
    try:
        return version_files.needs_tensorflow(stored, settings.engine)
    except Exception:  # loading the version reports the damaged file
        return False


def check_in_child(
    stored: StoredVersion,
    engine: EngineChoice = "auto",
    priority: int = 0,
    timeout_s: float = TIMEOUT_S,
    trusted_keys: Sequence[Path] = (),
) -> dict[str, str]:
    """The name of a version's engine, and the reason for this engine. Raises StoreError.

    priority: the priority of the child. trusted_keys: public keys; the version must be signed with one of them.
    """
    folder = str(stored.path.resolve())  # the child has a different working directory
    command = [sys.executable, "-m", "service.version_check", stored.name, str(stored.version), folder]
    try:
        done = subprocess.run(
            [*command, engine, str(priority), json.dumps([str(path) for path in trusted_keys])],
            cwd=ROOT,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise StoreError(f"{stored.tag} was not loaded within {timeout_s:g} s") from None
    result = parse_result(done.stdout)
    if result is None:
        reason = f"exit code {done.returncode}" if done.returncode >= 0 else f"signal {-done.returncode}"
        last = truncate(" ".join(done.stderr.split())[-300:], 300)
        raise StoreError(f"{stored.tag}: the process that checked it ended with {reason}: {last}")
    if (why := result.get("unavailable")) is not None:
        raise EngineUnavailable(stored.tag, why)
    if (error := result.get("error")) is not None:
        raise StoreError(error)
    found: dict[str, str] = result["engine"]
    return found


def parse_result(text: str) -> dict[str, Any] | None:
    """The child's result, on its last line of output; None if there is none."""
    try:
        result = json.loads(text.strip().rpartition("\n")[2])
    except ValueError:
        return None
    return result if isinstance(result, dict) else None


def check(stored: StoredVersion, settings: Settings) -> dict[str, Any]:
    """The result that the child prints."""
    try:
        model = model_selection.load_version(stored, settings)
    except EngineUnavailable as error:
        return {"unavailable": error.reason}
    except StoreError as error:
        return {"error": str(error)}
    return {"engine": {"name": model.engine.name, "reason": model.engine.reason}}


def main(words: Sequence[str]) -> int:
    name, version, folder, engine, priority, keys = words
    os.nice(int(priority))
    logging.basicConfig(level=logging.ERROR)
    choice: EngineChoice = next(one for one in get_args(EngineChoice) if one == engine)
    settings = Settings(engine=choice, trusted_keys=tuple(Path(path) for path in json.loads(keys)))
    print(json.dumps(check(StoredVersion(name, int(version), Path(folder)), settings)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
