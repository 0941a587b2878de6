"""Options that name columns are checked against the table."""

from typing import Any

import pytest

from tests.training.tables import Infer, cycle
from training.errors import UsageError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"drop": ("colr",)}, "--drop: the table has no column 'colr', did you mean 'colour'"),
        ({"number": ("colour",)}, "no cell is a number"),
        ({"date": ("colour",)}, "no cell is a date"),
        ({"categorical": ("y",)}, "is the target"),
        ({"drop": ("x",), "number": ("x",)}, "named by --drop and by --number"),
        ({"name": "My Model"}, "try 'my_model'"),
        ({"target": "Y1"}, "no column 'Y1' to predict"),
        ({"target": None}, "use --target"),
        ({"drop": ("x", "colour")}, "no usable feature"),
        ({"target": "colour", "task": "regression"}, "does not contain numbers"),
        ({"schema": "nowhere.json"}, "cannot be read"),
    ],
)
def test_invalid_column_options_are_rejected(infer: Infer, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        infer(colour=cycle("red", "blue"), **options)


def test_an_unknown_target_is_reported_with_the_nearest_name(infer: Infer) -> None:
    with pytest.raises(UsageError, match="did you mean 'price'"):
        infer(price=cycle(1, 2), target="prise")
