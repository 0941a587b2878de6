"""What inspect prints and writes."""

from pathlib import Path

import pytest

from models.schema import FeatureSchema
from training import columns, data, inspect
from training.config import DataOptions
from training.errors import UsageError


@pytest.fixture(scope="module")
def penguins() -> columns.Dataset:
    return columns.load(data.bundled_options("penguins"))


def test_every_column_has_a_line_with_kind_and_reason(penguins: columns.Dataset) -> None:
    lines = inspect.report(penguins).splitlines()
    assert lines[0].split() == ["column", "kind", "missing", "distinct", "range", "example", "why"]
    by_column = {line.split()[0]: line for line in lines[2:9]}
    assert list(by_column) == [decision.column for decision in penguins.decisions]
    assert by_column["sex"].split()[1:4] == ["category", "11", "2"]


def test_target_task_and_notices_are_told(penguins: columns.Dataset) -> None:
    text = inspect.report(penguins)
    assert "target  species" in text
    assert "task    multiclass, 3 classes: Adelie, Chinstrap, Gentoo" in text
    assert "- target 'species'" in text


def test_left_out_columns_stand_in_the_report_too(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,a b,y\n" + "".join(f"{row},{row % 7 / 2},{row % 9 / 2}\n" for row in range(60)))
    text = inspect.report(columns.load(DataOptions(data=str(path), target="y")))
    assert "ignored" in text
    assert "counts the rows" in text


def test_the_written_schema_is_read_back_and_gives_the_same_data_set(penguins: columns.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "features.json"
    inspect.write_schema(penguins, str(path))
    assert FeatureSchema.from_json(path.read_bytes()) == penguins.schema
    options = data.bundled_options("penguins", DataOptions(schema=str(path)))
    assert columns.load(options).schema == penguins.schema


def test_a_place_that_cannot_be_written_is_told(penguins: columns.Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        inspect.write_schema(penguins, str(tmp_path / "no" / "features.json"))
