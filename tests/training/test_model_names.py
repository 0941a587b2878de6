"""Names of models."""

import pytest

from training.errors import UsageError
from training.model_names import check_model_name, model_name


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("trips.csv", "trips"),
        ("/tmp/My Trips (2024).csv.gz", "my_trips_2024"),
        ("2024-trips.parquet", "table_2024_trips"),
        ("-", "table"),
        ("x" * 60 + ".csv", "x" * 41),
    ],
)
def test_a_model_is_named_after_its_file(path: str, name: str) -> None:
    assert check_model_name(model_name(path)) == name


def test_an_invalid_model_name_is_rejected_with_a_suggestion() -> None:
    with pytest.raises(UsageError, match="try 'my_model'"):
        check_model_name("My-Model")
