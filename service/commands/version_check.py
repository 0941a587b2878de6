"""Checks a version in a separate process: manifest, files, golden rows.

A broken version cannot stop the caller, and TensorFlow is loaded only there.
`python -m service.commands.version_check FOLDER MODEL VERSION`; the folder is that of the version.
"""

import os
import subprocess
import sys
from pathlib import Path

from models import store
from models.version_files import StoredVersion, StoreError

CHECK_SECONDS = 120.0
ROOT = Path(__file__).resolve().parents[2]


def check(stored: StoredVersion) -> None:
    """Raises StoreError with the reason why a version cannot be served."""
    command = [sys.executable, "-m", __name__, str(stored.path.resolve()), stored.name, str(stored.version)]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    try:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=CHECK_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise StoreError(f"{stored.tag} was not loaded within {CHECK_SECONDS:g} s") from None
    if done.returncode < 0:
        raise StoreError(f"{stored.tag} stopped the process that loaded it by signal {-done.returncode}")
    if done.returncode:
        reason = done.stdout.strip() or " ".join(done.stderr.split()[-50:])
        raise StoreError(reason or f"{stored.tag} cannot be loaded")


def main(arguments: list[str]) -> int:
    """Load a version; print the reason if it cannot be served."""
    folder, name, version = arguments
    try:
        store.load(StoredVersion(name, int(version), Path(folder)))
    except StoreError as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
