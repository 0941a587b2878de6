"""Captured rows that have feedback are a training table."""

import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from models.capture_format import file_name
from models.feature import Feature, TrainingRange
from models.file_destination import FileDestination, LocalFolder, RemoteFolder
from models.schema import FeatureSchema
from service.capture.capture_database import FeedbackBatch, RowBatch
from service.capture.captured_tables import feedback_as_parquet, rows_as_parquet
from training.build_dataset import load_dataset
from training.captured_data import captured_options, is_captured, read_captured
from training.config import DataOptions
from training.errors import UsageError

NOW = 1_800_000_000.0
FEATURES = [
    Feature(name="metres", kind="number", nullable=False),
    Feature(name="code", kind="category", nullable=False, seen=TrainingRange(levels=[1, 2, 3])),
    Feature(name="town", kind="category", nullable=True, seen=TrainingRange(levels=["A", "B"])),
    Feature(name="garden", kind="boolean", nullable=False),
    Feature(name="built", kind="date", nullable=False, date_format="%d.%m.%Y"),
]
HOMES = FeatureSchema(name="homes", task="regression", target="price", features=FEATURES, format=2)
KINDS = FeatureSchema(name="kinds", task="binary", target="kind", classes=["x", "y"], features=FEATURES, format=2)


def row(number: int, **changed: Any) -> dict[str, Any]:
    day = f"{number % 27 + 1:02}.05.2015"
    known = {"metres": 20.5 + number, "code": number % 3 + 1, "town": "AB"[number % 2], "garden": number % 5 > 1}
    return {**known, "built": day, **changed}


def write_rows(
    folder: FileDestination, schema: FeatureSchema, rows: dict[str, dict[str, Any]], version: str = "1"
) -> None:
    outputs = [[1.5]] if schema.classes is None else [[0.25, 0.75]]
    times = [NOW + place for place in range(len(rows))]
    names = [feature.name for feature in FEATURES]
    values: list[Any] = [[*row.values()] for row in rows.values()]
    batch = RowBatch(names, [*rows], times, "request", values, outputs * len(rows))
    folder.write(file_name(schema.name, version, NOW), rows_as_parquet(version, schema, [batch]))


def write_feedback(
    folder: FileDestination, schema: FeatureSchema, truths: dict[str, Any], seconds: float = NOW
) -> None:
    batch = FeedbackBatch([*truths], [seconds] * len(truths), [*truths.values()])
    folder.write(f"feedback/{file_name(schema.name, None, seconds)}", feedback_as_parquet(schema, [batch]))


def options(folder: Path, **more: Any) -> DataOptions:
    return captured_options(DataOptions(data=str(folder / "*.parquet"), **more))


def test_captured_rows_are_joined_with_their_truth_and_keep_their_types(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    write_rows(folder, HOMES, {f"r{number}:0": row(number) for number in range(100)})
    write_rows(folder, HOMES, {f"s{number}:0": row(number, town="New") for number in range(20)}, version="2")
    write_feedback(folder, HOMES, {f"r{number}:0": number * 2.0 for number in range(80)})
    write_feedback(folder, HOMES, {f"s{number}:0": number * 3.0 for number in range(20)} | {"lost:0": 1.0})
    found = options(tmp_path)
    assert (found.name, found.target) == ("homes", "price")
    table = read_captured(found)
    assert table.names == ["metres", "code", "town", "garden", "built", "price"]
    assert table.rows == 100
    assert table.notices == ["100 of 120 captured rows have feedback, 2 files"]
    dataset = load_dataset(found)
    assert {feature.name: feature.kind for feature in dataset.schema.features} == {
        feature.name: feature.kind for feature in FEATURES
    }
    assert "New" in (dataset.schema.by_name["town"].seen.levels or ())
    pairs = dict(zip(dataset.columns["metres"].tolist(), dataset.target.tolist(), strict=True))
    assert pairs[20.5 + 79] == 158.0


def test_newest_of_several_truths_of_a_row_is_used(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    write_rows(folder, HOMES, {"a:0": row(1), "b:0": row(2)})
    write_feedback(folder, HOMES, {"a:0": 2.0}, NOW + 60)
    write_feedback(folder, HOMES, {"a:0": 1.0, "b:0": 5.0})
    table = read_captured(options(tmp_path))
    assert table.columns[-1].to_pylist() == [2.0, 5.0]


def test_captured_rows_with_the_same_id_are_left_out(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    write_rows(folder, HOMES, {"a:0": row(1), "b:0": row(2)})
    write_rows(folder, HOMES, {"a:0": row(3)})
    write_feedback(folder, HOMES, {"a:0": 1.0, "b:0": 5.0})
    assert read_captured(options(tmp_path)).columns[-1].to_pylist() == [5.0]


def test_captured_classes_are_read_from_an_object_store() -> None:
    folder = RemoteFolder("memory://captured-training")
    write_rows(folder, KINDS, {f"r{number}:0": row(number) for number in range(60)})
    write_feedback(folder, KINDS, {f"r{number}:0": "xy"[number % 2] for number in range(60)})
    data = "memory://captured-training/*.parquet"
    assert is_captured(data)
    dataset = load_dataset(captured_options(DataOptions(data=data)))
    assert (dataset.schema.name, dataset.schema.classes) == ("kinds", ["x", "y"])


def test_captured_folder_with_several_models_requires_a_name(tmp_path: Path) -> None:
    folder = LocalFolder(tmp_path)
    for schema, truth in ((HOMES, 1.0), (KINDS, "x")):
        write_rows(folder, schema, {"a:0": row(1)})
        write_feedback(folder, schema, {"a:0": truth})
    with pytest.raises(UsageError, match="rows of 2 models, homes, kinds: choose one with --name"):
        options(tmp_path)
    assert read_captured(options(tmp_path, name="kinds")).columns[-1].to_pylist() == ["x"]
    with pytest.raises(UsageError, match="has no rows of other; there are homes, kinds"):
        options(tmp_path, name="other")


def test_unusable_captured_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no file matches"):
        options(tmp_path)
    folder = LocalFolder(tmp_path)
    write_rows(folder, HOMES, {"a:0": row(1)})
    with pytest.raises(UsageError, match=r"there is no feedback about homes: no file feedback/homes-\*\.parquet"):
        read_captured(options(tmp_path))
    write_feedback(folder, HOMES, {"b:0": 1.0})
    with pytest.raises(UsageError, match="the only captured row of homes has no feedback"):
        read_captured(options(tmp_path))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UsageError, match=r"broken\.parquet cannot be read as captured rows"):
        options(tmp_path)
    (tmp_path / "broken.parquet").unlink()
    table = pq.read_table(next(tmp_path.glob("*.parquet")))
    pq.write_table(table.replace_schema_metadata({}), tmp_path / "other.parquet")
    with pytest.raises(UsageError, match="it was not captured"):
        options(tmp_path)


def test_file_with_brackets_in_its_name_is_not_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "rows[1].csv").write_text("a,b\n1,2\n")
    assert not is_captured(str(tmp_path / "rows[1].csv"))
    assert not is_captured("-")
    assert not is_captured("rows.csv")


def test_times_are_read_from_the_names_of_captured_files() -> None:
    from models.capture_format import captured_time

    seconds = float(int(time.time()))
    assert captured_time(file_name("homes", "3", seconds)) == seconds
    assert captured_time(file_name("homes", None, seconds)) == seconds
    assert captured_time("homes-3-20261399T000000Z-" + "0" * 32 + ".parquet") is None
    assert captured_time("rows.parquet") is None
