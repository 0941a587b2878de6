"""Bulk scoring from and to S3 scores each row exactly once even if jobs are killed, and writes the same bytes as on a
local disk.
"""

import json
import os
import random
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.file_destination import RemoteFolder
from tests.child_processes import kill_at_exit
from tests.cloud.s3_server import BUCKET, Fault, S3Server
from tests.scoring.tables import ROOT, STORE, numbers_table

KILLS = 2
ROWS, GROUP = 4000, 500


@pytest.fixture
def folder(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a folder with in/a.parquet and in/b.parquet."""
    for name, value in s3.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TABSERVE_STORE", str(STORE))
    url = f"s3://{BUCKET}/{uuid.uuid4().hex}"
    remote = RemoteFolder(url)
    for name in ("a", "b"):
        sink = pa.BufferOutputStream()
        pq.write_table(numbers_table(ROWS), sink, row_group_size=GROUP)
        remote.write(f"in/{name}.parquet", sink.getvalue().to_pybytes())
    return url


def start_scoring(words: list[str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "scoring", "numbers", *words, "--keep", "id", "--workers", "1", "--max-bad", "50%"]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    with kill_at_exit(process):
        output, _ = process.communicate(timeout=300)
    return process.returncode, output


def finish_both(first: "subprocess.Popen[str]", second: "subprocess.Popen[str]") -> list[tuple[int, str]]:
    with kill_at_exit(first), kill_at_exit(second):
        return [finish(first), finish(second)]


def contents(url: str) -> dict[str, bytes]:
    remote = RemoteFolder(url)
    return {name: remote.read(name) for name in remote.sizes()}


def part_files(files: dict[str, Any]) -> dict[str, Any]:
    return {name: content for name, content in files.items() if "part-" in name}


def test_output_at_a_url_equals_output_in_a_folder_after_kills_and_failures(
    s3: S3Server, folder: str, tmp_path: Path
) -> None:
    began = time.monotonic()
    code, text = finish(start_scoring([f"{folder}/in/", "--out", str(tmp_path / "out")]))
    duration = time.monotonic() - began
    assert code == 0, text
    expected = {
        path.relative_to(tmp_path / "out").as_posix(): path.read_bytes()
        for path in (tmp_path / "out").rglob("*")
        if path.is_file()
    }
    chance, out = random.Random(5), f"{folder}/out"
    for _ in range(KILLS):
        with kill_at_exit(start_scoring([f"{folder}/in/", "--out", out])):
            time.sleep(duration * chance.uniform(0.3, 1.0))
    with s3.failing(Fault("403", "/out/", "PUT")):
        code, text = finish(start_scoring([f"{folder}/in/", "--out", out]))
        assert (code, "Traceback" in text) in ((1, False), (0, False)), text  # 0: the killed jobs had scored all units
    two = finish_both(*(start_scoring([f"{folder}/in/", "--out", out]) for _ in range(2)))
    assert [code for code, _ in two] == [0, 0]
    found = contents(out)
    assert {name: found[name] for name in part_files(expected)} == part_files(expected)
    assert {name for name in part_files(found) if not name.startswith("_units/")} == part_files(expected).keys()
    assert json.loads(found["_SUCCESS"]) == json.loads(expected["_SUCCESS"])
    assert found["_manifest.jsonl"] == expected["_manifest.jsonl"]

    another, inside = (
        start_scoring([f"{folder}/in/a.parquet", "--out", out]),
        start_scoring([f"{folder}/in/", "--out", folder]),
    )
    expected_texts = ("belongs to another job", "is in the folder of --out")
    for (code, text), expected_text in zip(finish_both(another, inside), expected_texts, strict=True):
        assert (code, expected_text in text) == (2, True), text


def test_capture_writes_whole_files_to_a_url(folder: str) -> None:
    from models.file_destination import open_destination

    place = open_destination(f"{folder}/capture")
    place.write("day=2026-11-28/part-1.parquet", os.urandom(2**20))
    assert place.names("day=2026-11-28") == ["day=2026-11-28/part-1.parquet"]
    assert len(place.read("day=2026-11-28/part-1.parquet")) == 2**20
    place.remove("day=2026-11-28/part-1.parquet")
    assert place.names("day=2026-11-28") == []
