"""`serving.json` is changed as a whole, with its audit, by one process at a time, or not at all."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from models import audit, serving_changes, serving_file
from models.serving_file import GenerationMismatch, ReadOnlyStore, ServingChange, ServingFile
from models.serving_state import ChangeRefused, InvalidServingState, ServingStateError

ROOT = Path(__file__).resolve().parents[2]


def promotion(version: int, model: str = "housing") -> ServingChange:
    return ServingChange(
        model, "promote", lambda state: serving_changes.promote(state, version, by_person=True), "test", "a reason"
    )


def entries(folder: Path) -> list[dict[str, Any]]:
    return list(audit.read(folder))


def problems(file: ServingFile) -> list[str]:
    return file.verify().problems


def test_change_is_written_with_its_audit(tmp_path: Path) -> None:
    file = ServingFile(tmp_path)
    assert file.read().generation == 0
    before, after = file.apply(promotion(1))
    assert (before.generation, after.generation) == (0, 1)
    file.apply(promotion(2))
    assert file.read().model("housing").champion == 2
    assert {path.name for path in tmp_path.iterdir()} == {"serving.json", "serving.lock", "audit.jsonl"}
    first, second = entries(tmp_path)
    assert first["prev"] == audit.FIRST_PREVIOUS
    assert second | {"time": "", "prev": "", "state": ""} == {
        "time": "",
        "actor": "test",
        "action": "promote",
        "model": "housing",
        "generation": 2,
        "from": {"champion": 1, "history": []},
        "to": {"champion": 2, "history": [1]},
        "reason": "a reason",
        "manifest": None,
        "state": "",
        "prev": "",
    }
    assert file.verify() == audit.AuditReport(2)


def test_repeated_change_writes_nothing(tmp_path: Path) -> None:
    file = ServingFile(tmp_path)
    file.apply(promotion(1))
    written = file.read_bytes()
    before, after = file.apply(promotion(1))
    assert before == after
    assert (file.read_bytes(), len(entries(tmp_path))) == (written, 1)


def test_lost_update_is_refused(tmp_path: Path) -> None:
    file = ServingFile(tmp_path)
    file.apply(promotion(1), expected=0)
    with pytest.raises(GenerationMismatch, match="the generation is 1, not 0"):
        file.apply(promotion(2), expected=0)
    assert file.read().model("housing").champion == 1


@pytest.mark.parametrize("expected", [None, 0])
def test_concurrent_changes_are_applied_one_after_another(tmp_path: Path, expected: int | None) -> None:
    file, refused = ServingFile(tmp_path), []

    def change(version: int) -> None:
        try:
            file.apply(promotion(version), expected)
        except GenerationMismatch:
            refused.append(version)

    threads = [threading.Thread(target=change, args=(version,)) for version in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    applied = 8 if expected is None else 1
    assert (len(refused), file.read().generation, len(entries(tmp_path))) == (8 - applied, applied, applied)
    assert problems(file) == []


def test_refused_change_leaves_the_state(tmp_path: Path) -> None:
    file = ServingFile(tmp_path)
    with pytest.raises(ChangeRefused):
        file.apply(ServingChange("housing", "rollback", serving_changes.rollback, "test"))
    assert not file.path.exists()
    assert entries(tmp_path) == []


@pytest.mark.parametrize("failing", ["write_durably", "append"])
def test_full_disk_leaves_the_old_state(tmp_path: Path, failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ServingFile(tmp_path)
    file.apply(promotion(1))

    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(serving_file if failing == "write_durably" else audit, failing, fail)
        with pytest.raises(ServingStateError, match="was not changed: No space left on device"):
            file.apply(promotion(2))
    assert file.read().model("housing").champion == 1
    assert file.verify() == audit.AuditReport(1)
    file.apply(promotion(3))
    assert file.verify() == audit.AuditReport(2)


def test_incomplete_line_written_to_a_full_disk_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ServingFile(tmp_path)
    file.apply(promotion(1))
    written = (tmp_path / audit.AUDIT_FILE).read_bytes()
    write = os.write
    calls: list[bytes] = []

    def write_half(descriptor: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[: len(data) // 2])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write_half)
        with pytest.raises(ServingStateError, match="No space left"):
            file.apply(promotion(2))
    assert (tmp_path / audit.AUDIT_FILE).read_bytes() == written


def test_read_only_store_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(ReadOnlyStore, match="cannot be written: Read-only file system"):
        ServingFile(tmp_path).apply(promotion(1))


def test_invalid_file_is_not_replaced(tmp_path: Path) -> None:
    file = ServingFile(tmp_path)
    file.path.write_text('{"generation": -1}')
    with pytest.raises(InvalidServingState, match=r"serving.json is not valid: generation: "):
        file.apply(promotion(1))
    assert file.path.read_text() == '{"generation": -1}'


def test_held_lock_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_file, "LOCK_SECONDS", 0.05)
    file = ServingFile(tmp_path)
    with file.locked(), pytest.raises(ServingStateError, match="another process has held"):
        file.apply(promotion(1))


def test_file_system_without_locks_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(ServingStateError, match=r"serving.lock cannot be locked: No locks available"):
        ServingFile(tmp_path).apply(promotion(1))
    assert not (tmp_path / "serving.json").exists()


STEPS = ["temporary file written", "audit written", "renamed"]
KILLED = """
import os, signal, sys
from pathlib import Path
from models import audit, serving_file
from tests.models.test_serving_file import promotion
module, name = {"temporary file written": (serving_file, "write_durably"), "audit written": (audit, "append"),
    "renamed": (Path, "rename")}[sys.argv[2]]
original = getattr(module, name)
def then_killed(*arguments):
    original(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(module, name, then_killed)
serving_file.ServingFile(Path(sys.argv[1])).apply(promotion(2))
"""


@pytest.mark.parametrize("step", STEPS)
def test_killed_process_leaves_the_old_or_the_new_state(tmp_path: Path, step: str) -> None:
    file = ServingFile(tmp_path)
    file.apply(promotion(1))
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), step], cwd=ROOT, timeout=300)
    assert done.returncode == -signal.SIGKILL
    assert file.read().model("housing").champion == (2 if step == "renamed" else 1)
    report = file.verify()
    assert report.problems == []
    assert bool(report.notes) == (step == "audit written")
    _, after = file.apply(promotion(3))
    assert (after.model("housing").champion, file.verify().notes, problems(file)) == (3, [], [])
    generations = [entry["generation"] for entry in entries(tmp_path) if entry["action"] != audit.NOT_APPLIED]
    assert generations == sorted(set(generations)), "no generation is used twice"


def test_unfinished_line_of_the_audit_is_explained_and_removed(tmp_path: Path) -> None:
    file = ServingFile(tmp_path)
    file.apply(promotion(1))
    with (tmp_path / audit.AUDIT_FILE).open("ab") as written:
        written.write(b'{"time": "20')
    report = file.verify()
    assert (report.problems, len(report.notes)) == ([], 1)
    file.apply(promotion(2))
    assert file.verify() == audit.AuditReport(2)


ALTERED = "line 3 does not continue the line before: line 2 was altered or removed"


def altered(lines: list[bytes], number: int, **values: Any) -> list[bytes]:
    entry = json.loads(lines[number])
    return [*lines[:number], audit.encode(entry | values).rstrip(), *lines[number + 1 :]]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda lines: altered(lines, 1, actor="nobody"), ALTERED),
        (lambda lines: altered(lines, 1, generation=[]), ALTERED),
        (lambda lines: lines[1:], "line 1 does not continue the line before: lines before it were removed"),
        (lambda lines: [lines[0], lines[2]], "line 2 does not continue"),
        (lambda lines: lines[:2], "serving.json has generation 3, but the last audit entry has generation 2"),
        (lambda lines: [], "serving.json has generation 3, but the last audit entry has generation 0"),
        (lambda lines: [*lines[:2], b"{}"], "line 3 is not an entry"),
    ],
)
def test_altered_audit_is_found(tmp_path: Path, change: Any, problem: str) -> None:
    file = ServingFile(tmp_path)
    for version in (1, 2, 3):
        file.apply(promotion(version))
    path = tmp_path / audit.AUDIT_FILE
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))
    assert problems(file)[0].startswith(problem)
    file.apply(promotion(4))
    assert file.read().model("housing").champion == 4, "a damaged audit does not prevent a change"


def test_change_during_the_check_is_not_reported_as_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ServingFile(tmp_path)
    file.apply(promotion(1))
    read = ServingFile.read_bytes

    def read_then_change(self: ServingFile) -> bytes | None:
        content = read(self)
        with monkeypatch.context() as patched:
            patched.setattr(ServingFile, "read_bytes", read)
            file.apply(promotion(2))
        return content

    monkeypatch.setattr(ServingFile, "read_bytes", read_then_change)
    assert problems(file) == []


def test_altered_file_is_found(tmp_path: Path) -> None:
    file = ServingFile(tmp_path)
    file.apply(promotion(1))
    file.path.write_text(file.path.read_text().replace('"champion": 1', '"champion": 9'))
    assert problems(file) == ["serving.json was altered after the change to generation 1"]


def test_last_line_of_a_long_audit_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "TAIL_BYTES", 8)
    file = ServingFile(tmp_path)
    assert audit.last_line(tmp_path) is None
    for version in range(1, 6):
        file.apply(promotion(version))
    assert file.verify() == audit.AuditReport(5)
