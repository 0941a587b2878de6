"""Real tables with added defects become the correct data set."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from models.rows import validate_rows
from models.schema import FeatureSchema
from training.build_dataset import load_dataset
from training.config import DataOptions
from training.splitting import split_rows


def with_defects(frame: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Empty cells, column names with spaces and punctuation, an id column and an empty column."""
    made = frame.astype(object).copy()
    target = made.pop("target")
    made[pd.DataFrame(rng.random(made.shape) < 0.03, index=made.index, columns=made.columns)] = None
    made.columns = pd.Index([f"{name} (no. {index}), raw" for index, name in enumerate(made.columns)])
    made.insert(0, "row id", range(1000, 1000 + len(made)))
    made["nothing"] = None
    return made.assign(**{"what it is": target})


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("load_iris", "multiclass"),
        ("load_wine", "multiclass"),
        ("load_breast_cancer", "binary"),
        ("load_diabetes", "regression"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet"])
def test_real_table_with_defects_becomes_the_correct_data_set(tmp_path: Path, name: str, task: str, kind: str) -> None:
    bunch = getattr(datasets, name)(as_frame=True)
    frame = with_defects(bunch.frame, np.random.default_rng(1))
    path = tmp_path / f"{name}.{kind}"
    if kind == "parquet":
        frame = frame.convert_dtypes()
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False)
    options = DataOptions(data=str(path), target="what it is")
    dataset = load_dataset(options)
    assert dataset.schema.name == name
    assert dataset.schema.task == task
    assert [feature.kind for feature in dataset.schema.features] == ["number"] * len(bunch.feature_names)
    assert all(feature.nullable for feature in dataset.schema.features)
    assert {column.name for column in dataset.schema.ignored} == {"row id", "nothing"}
    assert FeatureSchema.from_json(dataset.schema.to_json()) == dataset.schema
    assert len(split_rows(dataset, options).test) == pytest.approx(0.2 * len(frame), abs=1)
    example = {feature.name: feature.example for feature in dataset.schema.features}
    assert not validate_rows(dataset.schema, [example | {"row id": 7, "nothing": None, "what it is": 1}]).errors
