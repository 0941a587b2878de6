"""Jobs: their output, their exit codes, and a restart after an interruption."""

import contextlib
import functools
import gzip
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from models.serving_file import ServingFile
from models.serving_state import ModelState
from models.version_lifecycle import VersionStore
from scoring import scoring_unit
from scoring.batch_scorer import BatchScorer
from scoring.input_file import InputFile
from scoring.input_probe import ProbedInput, probe_all
from scoring.job_folder import JobFolder
from tests.scoring.conftest import Run, output, tree
from tests.scoring.tables import STORE, numbers_table
from tests.signing_keys import write_keys

OUTPUTS = {"_SUCCESS", "_job.json", "_manifest.jsonl", "_errors/part-00000-00000.ndjson", "part-00000-00000.parquet"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_job_writes_a_row_for_each_input_row_and_lists_invalid_rows(
    run: Run, table: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([table], "--max-bad", "20") == 0
    assert tree(out).keys() == OUTPUTS
    scored = output(out)
    assert scored.column_names == ["id", "value", "warnings", "error"]
    assert scored.column("id").to_pylist() == [f"r{number}" for number in range(1000)]
    assert scored.column("error").null_count == 980
    errors = [json.loads(line) for line in (out / "_errors/part-00000-00000.ndjson").read_text().splitlines()]
    assert [line["row"] for line in errors] == list(range(7, 1000, 50))
    assert errors[0] == {
        "input": str(table),
        "row": 7,
        "kept": {"id": "r7"},
        "errors": [
            {
                "field": "c",
                "code": "null_not_allowed",
                "message": "row 7, feature 'c': is null, and it was never missing in training",
            }
        ],
    }
    summary = json.loads((out / "_SUCCESS").read_text())
    assert summary == {
        "model": "numbers:1",
        "inputs": 1,
        "units": 1,
        "rows": 1000,
        "invalid": 20,
        "with_warnings": summary["with_warnings"],
    }
    metadata = pq.read_schema(out / "part-00000-00000.parquet").metadata
    assert (metadata[b"model"], metadata[b"version"], len(metadata[b"manifest"])) == (b"numbers", b"1", 64)
    printed = capsys.readouterr()
    assert "numbers:1: 1,000 rows of 1 input" in printed.out
    assert printed.err == ""


def test_too_many_invalid_rows_give_exit_code_1(
    run: Run, table: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A different limit changes only the exit code; the rows are not scored again."""
    for limit, code in (("1.9%", 1), ("2%", 0), ("19", 1), ("20", 0), ("100%", 0)):
        assert run([table], "--max-bad", limit) == code
        assert (out / "_SUCCESS").exists() == (code == 0)
        assert ("--max-bad" in capsys.readouterr().err) == (code == 1)


def test_text_inputs_in_a_folder_are_scored_in_ranges(
    run: Run, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring_unit, "UNIT_BYTES", 20_000)
    monkeypatch.setattr("scoring.text_ranges.READ_BYTES", 5_000)
    folder = tmp_path / "in" / "day=1"
    folder.mkdir(parents=True)
    rows = numbers_table(2000)
    pa.csv.write_csv(rows, folder / "a.csv", pa.csv.WriteOptions(quoting_style="none"))
    lines = "".join(json.dumps(row) + "\n" for row in rows.to_pylist())
    (folder / "b.jsonl").write_text(lines)
    (folder / "c.ndjson.gz").write_bytes(gzip.compress(lines.encode()))
    (folder / "_hidden.csv").write_text("nothing")
    (folder / "notes.txt").write_text("nothing")
    assert run([tmp_path / "in"], "--max-bad", "2%") == 0
    scored = output(out)
    assert scored.column("id").to_pylist() == 3 * rows.column("id").to_pylist()
    assert len({name for name in tree(out) if name.startswith("part-00000-")}) > 3
    assert len({name for name in tree(out) if name.startswith("part-00001-")}) > 3
    for name in ("warnings", "error"):
        by_input = [scored.column(name).slice(start, 2000) for start in (0, 2000, 4000)]
        assert by_input[0].equals(by_input[1])
        assert by_input[1].equals(by_input[2])


def remove_last_unit(out: Path) -> None:
    """Change the folder as if the job had been killed while it wrote the last of four units."""
    lines = (out / "_manifest.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    (out / "_manifest.jsonl").write_bytes(b"".join(lines[:3]))
    (out / "part-00000-00003.parquet").write_bytes(b"half")
    (out / "_errors" / "part-00000-00003.ndjson").unlink()
    (out / "_temporary").mkdir()
    (out / "_temporary" / "part-00000-00003.1.parquet").write_bytes(b"half")
    (out / "_SUCCESS").unlink()


def truncate_last_line(out: Path) -> None:
    (out / "_manifest.jsonl").write_bytes((out / "_manifest.jsonl").read_bytes()[:-40])


def test_restart_scores_only_missing_and_incomplete_units(
    run: Run, table: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scoring_unit, "UNIT_ROWS", 300)
    assert run([table], "--max-bad", "2%") == 0
    whole, written = tree(out), (out / "part-00000-00000.parquet").stat().st_mtime_ns
    damages: dict[Callable[[Path], object], str] = {
        remove_last_unit: "900",
        truncate_last_line: "900",
        lambda out: (out / "part-00000-00001.parquet").unlink(): "700",
        lambda out: (out / "_errors" / "part-00000-00001.ndjson").write_bytes(b""): "700",
    }
    for damage, earlier in damages.items():
        damage(out)
        capsys.readouterr()
        assert run([table], "--max-bad", "2%") == 0
        assert tree(out) == whole
        assert f"{earlier} of them by an earlier run" in capsys.readouterr().out
    assert (out / "part-00000-00000.parquet").stat().st_mtime_ns == written
    (out / "_manifest.jsonl").unlink()
    assert run([table], "--max-bad", "2%") == 0
    assert tree(out) == whole
    assert "earlier" not in capsys.readouterr().out


def test_a_finished_job_is_not_scored_again(
    run: Run, table: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([table], "--max-bad", "2%") == 0
    before = tree(out)
    monkeypatch.setattr("scoring.worker_pool.WorkerPool._start", lambda _: pytest.fail("a worker was started"))
    assert run([table], "--max-bad", "2%") == 0
    assert tree(out) == before
    assert "1,000 of them by an earlier run" in capsys.readouterr().out


def test_output_folder_belongs_to_one_job(
    run: Run, table: Path, out: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run([table], "--max-bad", "2%") == 0
    before = tree(out)
    assert run([table], "--ignore-unknown") == 2
    assert "its options is" in capsys.readouterr().err
    shutil.copy(table, table.with_name("second.parquet"))
    assert run([table.parent]) == 2
    assert "does not have the input" in capsys.readouterr().err
    os.utime(table)
    assert run([table]) == 2
    assert f"the input {table} has changed since" in capsys.readouterr().err
    assert tree(out) == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    assert run([table], "--out", str(tmp_path / "other")) == 2
    assert "belongs to no job" in capsys.readouterr().err
    assert run([out], "--out", str(out)) == 2
    assert "is in the folder of --out" in capsys.readouterr().err


def test_concurrent_job_on_a_folder_is_refused(
    run: Run, table: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with JobFolder.open(out):
        assert run([table]) == 1
        assert "another job is writing to" in capsys.readouterr().err
        assert tree(out) == {}
    with JobFolder.open(out) as folder:
        assert folder.identity() is None


def test_inputs_without_rows_are_scored(run: Run, tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    empty = numbers_table(0)
    pq.write_table(empty, folder / "a.parquet")
    (folder / "b.csv").write_text("id,a,b,c,d,e,f\n")
    (folder / "c.csv").write_text("")
    (folder / "d.ndjson").write_text("\n")
    with pa.ipc.new_file(folder / "e.arrow", empty.schema) as writer:
        writer.write_table(empty)
    assert run([folder]) == 0
    assert [pq.read_metadata(path).num_rows for path in sorted(out.glob("part-*"))] == [0] * 5
    assert output(out).column_names == ["id", "value", "warnings", "error"]


def test_url_is_accepted_as_input(run: Run, tmp_path: Path, out: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    pa.csv.write_csv(numbers_table(100), folder / "a.csv")
    with serve_files(folder) as url:
        assert run([f"{url}/a.csv"], "--max-bad", "2%") == 0
    assert output(out).num_rows == 100
    assert json.loads((out / "_manifest.jsonl").read_text())["input"] == f"{url}/a.csv"


@contextlib.contextmanager
def serve_files(folder: Path) -> Iterator[str]:
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_unreadable_part_fails_alone_and_is_scored_by_a_restart(
    run: Run, table: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(scoring_unit, "UNIT_ROWS", 300)
    content = table.read_bytes()
    group = pq.read_metadata(table).row_group(1).column(0)
    start = group.dictionary_page_offset or group.data_page_offset
    table.write_bytes(content[:start] + b"\xff" * 60 + content[start + 60 :])
    found = table.stat()
    assert run([table], "--max-bad", "2%") == 1
    assert f"error: {table} cannot be read" in capsys.readouterr().err
    assert {name for name in tree(out) if name.startswith("part")} == {
        f"part-00000-0000{part}.parquet" for part in (0, 2, 3)
    }
    table.write_bytes(content)
    os.utime(table, ns=(found.st_atime_ns, found.st_mtime_ns))
    assert run([table], "--max-bad", "2%") == 0
    assert output(out).num_rows == 1000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.parquet", b"PAR1 nothing", "is not a readable parquet file"),
        ("a.arrow", b"nothing", "is not a readable arrow file"),
        ("a.csv.gz", b"id,a\n", "is not a readable csv file"),
        ("a.csv.zst", b"id,a\n", "is not a readable csv file"),
        ("a.csv", b"id,a,b,c,d,e\n1,2\n", "the column 'f' is missing"),
        ("a.csv", b"id,a,b,c,d,e,f,gg\n", "the model has no column 'gg'"),
        ("a.csv", b"a,b,c,d,e,f\n", "the column 'id', which is to be kept, is missing"),
        ("a.csv", b"id,a,a,b,c,d,e,f\n", "contains 'a' twice"),
        ("a.xlsx", b"", "unknown format"),
        ("a.parquet.gz", b"", "unknown format"),
    ],
)
def test_inputs_that_cannot_be_scored_are_refused_before_anything_is_written(
    name: str, content: bytes, message: str, run: Run, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert run([tmp_path / name]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--interval", ".9"], "without uncertainty"),
        (["--interval", "x"], "is not a level"),
        (["--explain"], "without a background"),
        (["--keep", "value"], "the output has a column with this name"),
    ],
)
def test_options_that_the_model_does_not_support_are_refused(
    options: list[str], message: str, run: Run, table: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([table], *options) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("number", "did you mean 'numbers'"),
        ("numbers:7", "stored versions: 1"),
        ("numbers@nobody", "has no alias 'nobody'"),
        ("numbers:x", "is not a model such as"),
        ("numbers:1@x", "is not a model such as"),
    ],
)
def test_a_version_that_is_not_stored_is_refused(
    model: str, message: str, run: Run, table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([table], model=model) == 2
    assert message in capsys.readouterr().err


def test_each_input_is_probed_once(run: Run, table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probes: list[list[InputFile]] = []

    def record_probe(inputs: list[InputFile], scorer: BatchScorer) -> list[ProbedInput]:
        probes.append(inputs)
        return probe_all(inputs, scorer)

    monkeypatch.setattr("scoring.bulk_job.probe_all", record_probe)
    for run_number in (1, 2):  # the second run continues in the folder of the first
        assert run([table], "--max-bad", "2%") == 0
        assert len(probes) == run_number


def test_input_that_changes_during_a_job_ends_the_job(
    run: Run, table: Path, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def probe_and_change(inputs: list[InputFile], scorer: BatchScorer) -> list[ProbedInput]:
        probed = probe_all(inputs, scorer)
        os.utime(table)
        return probed

    monkeypatch.setattr("scoring.bulk_job.probe_all", probe_and_change)
    assert run([table]) == 1
    assert f"{table} has changed since the job started" in capsys.readouterr().err
    assert not [*out.glob("part-*")]


def test_restart_uses_the_version_that_the_alias_named_at_the_first_start(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from scoring.__main__ import main

    root = tmp_path / "store"
    shutil.copytree(STORE / "stars", root / "stars")
    monkeypatch.setenv("TABSERVE_STORE", str(root))
    path = tmp_path / "stars.csv"
    path.write_text("size,kind\n1.5,inn\n")
    versions = VersionStore(root)
    versions.promote(versions.find("stars", 1), by_person=True)
    words = ["stars@champion", str(path), "--workers", "1", "--out", str(tmp_path / "a")]
    assert main(words) == 0
    versions.promote(versions.find("stars", 2), by_person=True)
    assert ServingFile(root).read().model("stars") != ModelState()
    assert main(words) == 0, "the folder belongs to stars:1"
    assert main([*words[:-1], str(tmp_path / "b")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[0] for line in printed] == ["stars:1", "stars:1", "stars:2"]


def test_version_without_a_trusted_signature_is_refused(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, public = write_keys(tmp_path)
    monkeypatch.setenv("TABSERVE_TRUSTED_KEYS", str(public))
    assert run([table]) == 1
    assert "is not trusted: it is not signed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    monkeypatch.setenv("TABSERVE_TRUSTED_KEYS", str(tmp_path / "none"))
    assert run([table]) == 1
    assert "cannot be read" in capsys.readouterr().err
