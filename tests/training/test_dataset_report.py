"""The report that `inspect` prints, and the schema that it writes."""

from pathlib import Path

import pytest

from models.schema import FeatureSchema
from training import dataset_report
from training.build_dataset import load_dataset
from training.bundled import bundled_options
from training.config import DataOptions
from training.dataset import Dataset
from training.errors import UsageError


@pytest.fixture(scope="module")
def penguins() -> Dataset:
    return load_dataset(bundled_options("penguins"))


def test_every_column_has_a_line_with_kind_and_reason(penguins: Dataset) -> None:
    lines = dataset_report.report(penguins).splitlines()
    assert lines[0].split() == ["column", "kind", "missing", "distinct", "range", "example", "why"]
    by_column = {line.split()[0]: line for line in lines[2:9]}
    assert list(by_column) == [decision.column for decision in penguins.decisions]
    assert by_column["sex"].split()[1:4] == ["category", "11", "2"]


def test_target_task_and_notices_are_reported(penguins: Dataset) -> None:
    text = dataset_report.report(penguins)
    assert "target  species" in text
    assert "task    multiclass, 3 classes: Adelie, Chinstrap, Gentoo" in text
    assert "- target 'species'" in text


def test_ignored_columns_are_in_the_report(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,a b,y\n" + "".join(f"{row},{row % 7 / 2},{row % 9 / 2}\n" for row in range(60)))
    text = dataset_report.report(load_dataset(DataOptions(data=str(path), target="y")))
    assert "ignored" in text
    assert "counts the rows" in text


def test_the_written_schema_is_read_back_and_gives_the_same_data_set(penguins: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "features.json"
    dataset_report.write_schema(penguins, str(path))
    assert FeatureSchema.from_json(path.read_bytes()) == penguins.schema
    options = bundled_options("penguins", DataOptions(schema=str(path)))
    assert load_dataset(options).schema == penguins.schema


def test_a_path_that_cannot_be_written_is_reported(penguins: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        dataset_report.write_schema(penguins, str(tmp_path / "no" / "features.json"))
