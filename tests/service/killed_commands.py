"""Kills `promote` at random times and checks after each kill that the store has exactly the old or the new state.

`python -m tests.service.killed_commands 50` kills 50 commands; a test kills fewer.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from models import audit
from models.serving_file import ServingFile
from tests.child_processes import kill_at_exit, wait_or_kill

ROOT = Path(__file__).resolve().parents[2]


def kill_commands(root: Path, count: int, chance: random.Random) -> dict[str, int]:
    """Kill promotions of homes:1 and homes:2. Returns the numbers of kills that left the old state, the new state, and
    an audit line without its change.
    """
    file = ServingFile(root)
    began = time.monotonic()
    assert wait_or_kill(start_promotion(root, 1), 300) == 0
    duration = time.monotonic() - began
    found = {"old": 0, "new": 0, "not_applied": 0}
    for _ in range(count):
        old = file.read()
        version = 3 - (old.model("homes").champion or 0)
        with kill_at_exit(start_promotion(root, version)):
            time.sleep(duration * chance.uniform(0.0, 1.1))
        new = file.read()
        assert new == old or (new.generation > old.generation and new.model("homes").champion == version)
        assert file.verify().problems == []
        found["old" if new == old else "new"] += 1
    assert wait_or_kill(start_promotion(root, 3), 300) == 0, "the first change after the kills failed"
    assert file.read().model("homes").champion == 3
    assert file.verify() == audit.AuditReport(file.verify().lines)
    found["not_applied"] = sum(entry["action"] == audit.NOT_APPLIED for entry in audit.read(root))
    return found


def start_promotion(root: Path, version: int) -> "subprocess.Popen[bytes]":
    environment = os.environ | {"TABSERVE_STORE": str(root)}
    words = ["-m", "service", "promote", f"homes:{version}", "--wait", "0"]
    return subprocess.Popen([sys.executable, *words], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)


def main(count: int) -> int:
    import shutil

    from tests.service.conftest import schemas, write_version

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_version(root, next(schema for schema in schemas() if schema.name == "homes"))
        for version in ("2", "3"):
            shutil.copytree(root / "homes/1", root / "homes" / version)
        print(kill_commands(root, count, random.Random(0)))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
