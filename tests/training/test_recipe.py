"""Settings without an option depend on the size of the table, and contradictory options are rejected."""

import pytest

from training.config import FitOptions
from training.errors import UsageError
from training.recipe import decide_recipe

SIZES = [(13_209, 8), (13_209, 500), (640_000, 8)]
TUTORIAL = FitOptions(hidden=(32,), activation="relu", epochs=10, batch_size=32, optimizer="adam", loss="mse")


def test_many_columns_get_fewer_frequencies_and_many_rows_fewer_epochs() -> None:
    common, wide, long = (decide_recipe(FitOptions(), "regression", rows, columns) for rows, columns in SIZES)
    assert (common.frequencies, common.embedding, common.epochs) == (16, 8, 49)
    assert (wide.frequencies, wide.embedding) == (4, 2)
    assert long.epochs * 640_000 < 4_000_000
    assert decide_recipe(FitOptions(), "regression", 10**7, 10**5).epochs == 1


def test_options_for_another_network_are_rejected() -> None:
    for options in (FitOptions(bins=8), FitOptions(patience=3), FitOptions(hidden=(8,), members=4)):
        with pytest.raises(UsageError, match="is for --network"):
            decide_recipe(options, "regression", 1000)
    assert decide_recipe(FitOptions(hidden=(32,)), "regression", 1000).network == "plain"
    assert decide_recipe(FitOptions(), "regression", 1000).network == "ensemble"


def test_tutorial_recipe_uses_only_keras_defaults() -> None:
    recipe = decide_recipe(TUTORIAL, "regression", 20_000)
    assert (recipe.hidden, recipe.activation, recipe.epochs, recipe.batch_size) == ((32,), "relu", 10, 32)
    assert (recipe.optimizer, recipe.loss, recipe.learning_rate, recipe.schedule) == (
        "adam",
        "mse",
        0.001,
        "constant",
    )
    assert (recipe.dropout, recipe.batch_norm, recipe.bins, recipe.patience, recipe.clip_norm) == (
        0,
        False,
        0,
        0,
        None,
    )


def test_small_tables_use_folds_unless_a_trial_is_served() -> None:
    found = [decide_recipe(FitOptions(), "regression", 80, fold_rows=rows).folds for rows in (0, 24, 100, 3000, 3001)]
    assert found == [1, 1, 5, 5, 1]
    served = decide_recipe(FitOptions(final="train"), "regression", 80, fold_rows=100)
    assert (served.folds, served.refit) == (1, False)
    plain = decide_recipe(FitOptions(network="plain"), "regression", 80, fold_rows=100)
    assert (plain.folds, plain.refit) == (1, False)
    with pytest.raises(UsageError, match="--final validation is for --network ensemble"):
        decide_recipe(FitOptions(network="plain", final="validation"), "regression", 80)
