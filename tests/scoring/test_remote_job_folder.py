"""The folder of a job at a URL lists finished units and refuses another job. `make store-check` runs complete jobs."""

import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from models.file_destination import RemoteFolder
from scoring.errors import OutputFailed, UnusableRequest
from scoring.remote_job_folder import RemoteJobFolder
from scoring.remote_unit_writer import RemoteUnitWriter

IDENTITY = {"format": 1, "model": "numbers:1", "manifest": "0", "options": {"keep": ["id"]}, "inputs": []}


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}/out"


def unit(url: str, name: str, scratch: Path, rows: int) -> dict[str, Any]:
    """Write the file of an empty unit. Returns its manifest entry with this number of rows."""
    scratch.mkdir(exist_ok=True)
    writer = RemoteUnitWriter(scratch, url, name, pa.schema([("value", pa.float64())]))
    return {"unit": name, **writer.commit(), "rows": rows}


def test_unit_counts_if_it_is_listed_and_its_file_exists(url: str, tmp_path: Path) -> None:
    folder = RemoteJobFolder(url)
    folder.claim(IDENTITY)
    folder.recover()
    for number in (1, 2):
        folder.add(unit(url, f"part-00000-0000{number}", tmp_path / "scratch", number))
    # The process of this unit was killed before it listed the unit.
    unit(url, "part-00000-00003", tmp_path / "scratch", 3)
    RemoteFolder(url).write("part-00000-00002.parquet", b"another")

    other = RemoteJobFolder(url)
    other.claim(IDENTITY)
    other.recover()
    assert {name: entry["rows"] for name, entry in other.done.items()} == {"part-00000-00001": 1}
    assert "part-00000-00003.parquet" in RemoteFolder(url).sizes(), "another process may still add this file"
    other.finish({"rows": 1})
    assert {name for name in RemoteFolder(url).sizes() if name.startswith("part-")} == {"part-00000-00001.parquet"}
    manifest = RemoteFolder(url).read("_manifest.jsonl").splitlines()
    assert [json.loads(line)["unit"] for line in manifest] == ["part-00000-00001"]
    assert json.loads(RemoteFolder(url).read("_SUCCESS")) == {"rows": 1}
    other.reopen()
    assert "_SUCCESS" not in RemoteFolder(url).sizes()
    assert list((tmp_path / "scratch").iterdir()) == []


def test_another_job_and_a_folder_with_other_files_are_refused(url: str) -> None:
    RemoteJobFolder(url).claim(IDENTITY)
    RemoteJobFolder(url).claim(IDENTITY)
    with pytest.raises(UnusableRequest, match='its model is "numbers:1", not "numbers:2"'):
        RemoteJobFolder(url).claim({**IDENTITY, "model": "numbers:2"})
    RemoteFolder(f"{url}2").write("notes.txt", b"x")
    with pytest.raises(UnusableRequest, match="is not empty and belongs to no job"):
        RemoteJobFolder(f"{url}2").claim(IDENTITY)


def test_one_of_two_concurrent_starts_claims_the_folder(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RemoteFolder, "create", lambda self, name, content: self.write(name, b'{"model": "other"}'))
    with pytest.raises(UnusableRequest, match="belongs to another job"):
        RemoteJobFolder(url).claim(IDENTITY)


def test_failing_object_store_is_reported(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no response")

    monkeypatch.setattr(RemoteFolder, "sizes", fail)
    with pytest.raises(OutputFailed, match="cannot be written: no response"):
        RemoteJobFolder(url).identity()
    with pytest.raises(UnusableRequest, match="--out nosuch://x/out"), RemoteJobFolder.open_url("nosuch://x/out"):
        pass
