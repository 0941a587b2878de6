"""An edited features.json overrides inference."""

import json
from pathlib import Path
from typing import Any

import pytest

from models.feature import Feature
from tests.training.tables import ROWS, Infer, cycle, has_notice, reason
from training.dataset import Dataset
from training.errors import UsageError


def edited(dataset: Dataset, path: Path, **changes: dict[str, Any]) -> str:
    features = [
        Feature.model_validate(feature.model_dump() | changes.get(feature.name, {}))
        for feature in dataset.schema.features
    ]
    path.write_text(dataset.schema.model_copy(update={"features": features}).to_json())
    return str(path)


def test_an_edited_schema_overrides_inference(infer: Infer, tmp_path: Path) -> None:
    cells = {"a": cycle(1, 2, 3), "b": cycle("p", "q"), "c": cycle(1, 2)}
    path = edited(
        infer(**cells, drop=("c",)),
        tmp_path / "features.json",
        x={"minimum": -1.0, "maximum": 5.0, "nullable": True},
        a={"kind": "category", "seen": {}, "example": None},
        b={"unseen": "error"},
    )
    dataset = infer(**cells, schema=path, target=None)
    by_name = dataset.schema.by_name
    assert (by_name["x"].minimum, by_name["x"].maximum, by_name["x"].nullable) == (-1, 5, True)
    assert by_name["a"].seen.levels == [1, 2, 3]
    assert by_name["b"].unseen == "error"
    assert reason(dataset, "c") == "dropped by --drop"
    assert has_notice(dataset, "outside the declared limits")


@pytest.mark.parametrize(
    ("before", "kind"), [("a", "category"), ("b", "number"), ("c", "category"), ("d", "category"), ("d", "number")]
)
def test_the_type_of_a_column_may_be_edited(infer: Infer, tmp_path: Path, before: str, kind: str) -> None:
    cells = {
        "a": cycle(1, 2, 3), "b": cycle("1", "2", "p"), "c": cycle("2020-01-02", "2021-03-04"),
        "d": cycle("true", "false", "1"),
    }  # fmt: skip
    whole = json.loads(infer(**cells).schema.to_json())
    feature = next(feature for feature in whole["features"] if feature["name"] == before)
    feature["kind"] = kind
    feature.pop("unseen", None)
    path = tmp_path / "features.json"
    path.write_text(json.dumps(whole))
    assert infer(**cells, schema=str(path)).schema.by_name[before].kind == kind


def test_an_unedited_schema_changes_nothing(infer: Infer, tmp_path: Path) -> None:
    cells = {
        "a": cycle("02134", "10001", ""), "b": cycle("01/02/2020", "30/12/2021"), "c": cycle("true", "FALSE"),
        "id": range(ROWS), "y": cycle("u", "v"),
    }  # fmt: skip
    first = infer(**cells)
    again = infer(**cells, schema=edited(first, tmp_path / "features.json"))
    assert again.schema == first.schema
    assert all(again.columns[name].tolist() == first.columns[name].tolist() for name in ("b", "c", "x"))


def test_a_schema_with_columns_that_the_table_lacks_is_rejected(infer: Infer, tmp_path: Path) -> None:
    path = edited(infer(colour=cycle("p", "q")), tmp_path / "features.json")
    with pytest.raises(UsageError, match="no column 'colour', did you mean 'color'"):
        infer(color=cycle("p", "q"), schema=path)


def test_an_invalid_schema_is_rejected_in_one_line(infer: Infer, tmp_path: Path) -> None:
    path = tmp_path / "features.json"
    path.write_text('{"format": 1}')
    with pytest.raises(UsageError, match=r"features\.json: ") as caught:
        infer(schema=str(path))
    assert "\n" not in str(caught.value)


def test_column_flags_with_a_schema_are_rejected(infer: Infer, tmp_path: Path) -> None:
    path = edited(infer(), tmp_path / "features.json")
    with pytest.raises(UsageError, match="--schema replaces --drop"):
        infer(schema=path, drop=("x",))


def test_classes_of_the_schema_must_be_those_of_the_table(infer: Infer, tmp_path: Path) -> None:
    path = edited(infer(y=cycle("u", "v")), tmp_path / "features.json")
    with pytest.raises(UsageError, match="'w' differs"):
        infer(y=cycle("u", "v", "w"), schema=path)


def test_column_that_was_free_text_may_have_another_type_now(infer: Infer, tmp_path: Path) -> None:
    notes = [f"note {row} about the lake and the mill" for row in range(ROWS)]
    path = edited(infer(note=notes, a=cycle(1, 2)), tmp_path / "features.json")
    again = infer(note=notes, a=cycle(1, 2), schema=path, target=None)
    assert [candidate.feature.name for candidate in again.candidates] == ["note"]
    for cells in (cycle("old note", "new note"), cycle(1.5, 2.5), cycle(5)):
        now = infer(note=cells, a=cycle(1, 2), schema=path, target=None)
        assert [feature.name for feature in now.schema.features] == ["x", "a"]
        assert reason(now, "note")
