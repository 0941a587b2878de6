"""`score_batches`: turns record batches of any size into record batches with one row for each input row."""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models import manifest, store
from models.golden_rows import TOLERANCE, max_distance
from models.version_files import StoredVersion
from scoring.batch_scorer import BLOCK_ROWS, score_batches
from scoring.errors import UnreadableInput, UnusableRequest
from scoring.scoring_options import ScoringOptions
from tests.scoring.tables import ROOT, STORE, numbers_table

VERSION = STORE / "numbers" / "1"
OPTIONS = ScoringOptions(keep=("id",))


def scored(table: pa.Table, rows: int, options: ScoringOptions = OPTIONS) -> pa.Table:
    return pa.Table.from_batches(score_batches(VERSION, table.to_batches(rows), options))


def test_scored_rows_do_not_depend_on_batch_sizes() -> None:
    table = numbers_table(BLOCK_ROWS + 100)
    whole = scored(table, 10**6)
    scale = store.load(StoredVersion("numbers", 1, VERSION)).tolerance()
    assert whole.num_rows == table.num_rows
    assert whole.column("id").equals(table.column("id"))
    for rows in (100, BLOCK_ROWS):
        parts = scored(table, rows)
        for name in ("id", "warnings", "error"):
            assert parts.column(name).combine_chunks().equals(whole.column(name).combine_chunks())
        found, expected = (part.column("value").drop_null().to_numpy() for part in (parts, whole))
        assert max_distance(found, expected, scale) <= TOLERANCE


def test_metadata_of_scored_batches_name_the_version() -> None:
    metadata = scored(numbers_table(10), 10).schema.metadata
    digest = manifest.files_digest(VERSION).encode()
    assert metadata == {b"model": b"numbers", b"version": b"1", b"manifest": digest}


def test_kept_columns_have_their_types() -> None:
    table = numbers_table(3).append_column("nested", pa.array([[1], None, [2, 3]]))
    table = table.append_column("day", pa.array([1, 2, None], pa.date32()))
    kept = scored(table, 2, ScoringOptions(keep=("nested", "day", "id", "a")))
    assert kept.column_names[:4] == ["nested", "day", "id", "a"]
    for name in kept.column_names[:4]:
        assert kept.column(name).combine_chunks().equals(table.column(name).combine_chunks())


def test_unknown_columns_are_ignored_or_reported_for_every_row() -> None:
    table = numbers_table(7).append_column("unknown", pa.array(range(7)))
    assert scored(table, 3).column("error").null_count == 0
    ignored = scored(table, 3, ScoringOptions(keep=("id",), ignore_unknown=True))
    assert ignored.equals(scored(numbers_table(7), 3))


def test_columns_that_cannot_be_scored_are_reported_as_errors() -> None:
    with pytest.raises(UnreadableInput, match="no column 'id'"):
        scored(numbers_table(3).drop(["id"]), 3)
    nested = numbers_table(3).set_column(1, "a", pa.array([[1.0], [2.0], [3.0]]))
    with pytest.raises(UnreadableInput, match="cannot be the values of a feature"):
        scored(nested, 3)
    with pytest.raises(UnusableRequest, match="has no features"):
        list(score_batches(STORE, []))


def test_python_example_of_bulk_scoring_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/bulk-scoring.md").read_text("utf-8"), re.DOTALL)
    pq.write_table(numbers_table(70_000).drop(["id"]), tmp_path / "a.parquet")
    program = program.replace("in/a.parquet", str(tmp_path / "a.parquet"))
    exec(program.replace("/srv/tabserve/models/housing/3", str(VERSION)), {})
    assert sum(map(int, capsys.readouterr().out.split())) == 70_000
