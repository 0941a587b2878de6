"""Training rows have level means that do not depend on their own targets; served rows have the means of all of them."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from models.architecture import Architecture
from models.encoding.encoder import Encoder
from models.encoding.level_means import LevelMeans
from models.feature import MISSING, UNSEEN, Feature, TrainingRange
from models.frame import Frame
from models.schema import FeatureSchema
from training import fit
from training.config import FitOptions, Framework
from training.encoded_rows import EncodedRows
from training.fit_keras import KerasTrials
from training.folds import draw_folds, fold_inputs
from training.level_columns import (
    WithMeans,
    add_level_means,
    out_of_fold_means,
    standardised_target,
)
from training.linear_candidate import best_candidate
from training.out_of_fold import assign_folds
from training.recipe import decide_recipe
from training.training_run import TrainingRun

ROWS, LEVELS = 1000, 100
TRAIN, VALIDATION, TEST = np.split(np.random.default_rng(5).permutation(ROWS), [600, 800])
POOLED = np.concatenate([TRAIN, VALIDATION])
SCHEMA = FeatureSchema(
    name="t",
    task="regression",
    target="y",
    features=[
        Feature(name="x", kind="number", nullable=False),
        Feature(name="few", kind="category", nullable=False, seen=TrainingRange(levels=["a", "b"])),
        Feature(name="shop", kind="category", nullable=True, seen=TrainingRange(levels=list(range(LEVELS)))),
    ],
)


def rows(seed: int = 0) -> tuple[Frame, npt.NDArray[np.float64]]:
    """Rows whose target is noise."""
    rng = np.random.default_rng(seed)
    codes = np.column_stack([rng.integers(0, 2, ROWS), rng.integers(0, LEVELS, ROWS)])
    codes[::50, 1] = MISSING
    return Frame(rng.normal(size=(ROWS, 1)), codes), rng.normal(size=ROWS)


def with_means(y: npt.NDArray[np.float64], groups: npt.NDArray[np.int64] | None = None) -> WithMeans:
    frame, _ = rows()
    encoder = Encoder.fit(SCHEMA, frame.take(POOLED), rows()[1][POOLED], numbers="quantile")
    return add_level_means(encoder, SCHEMA, frame, y, ["shop"], POOLED, POOLED, 0, groups)


def means_of(found: WithMeans) -> npt.NDArray[np.float32]:
    return np.asarray(found.encoded.x)[:, found.encoder.mean_columns[0]]


def test_means_of_noise_are_not_correlated_with_the_own_target() -> None:
    rng = np.random.default_rng(1)
    correlations = []
    for _ in range(20):
        codes, target = rng.integers(0, LEVELS, ROWS), rng.normal(size=(ROWS, 1))
        held_out = out_of_fold_means(codes, target, LEVELS, assign_folds(ROWS, rng))[:, 0]
        own = LevelMeans.fit(codes, target, LEVELS).table[codes, 0]
        correlations.append([np.corrcoef(each, target[:, 0])[0, 1] for each in (held_out, own)])
    held_out, own = np.mean(correlations, axis=0)
    assert abs(held_out) < 0.05
    assert own > 0.2


def test_mean_of_a_training_row_does_not_depend_on_its_own_target() -> None:
    _, y = rows()
    before = means_of(with_means(y))
    fold_of = assign_folds(len(POOLED), np.random.default_rng(0))
    own_fold = np.sort(POOLED)[fold_of == fold_of[7]]
    changed = y.copy()
    changed[own_fold] = changed[own_fold][::-1]  # the mean and the deviation of all rows do not change
    np.testing.assert_array_equal(means_of(with_means(changed))[own_fold], before[own_fold])
    others = np.setdiff1d(POOLED, own_fold)
    assert not np.array_equal(means_of(with_means(changed))[others], before[others])


def test_rows_of_a_group_have_means_without_the_targets_of_the_group() -> None:
    groups = np.random.default_rng(2).integers(0, 50, ROWS)
    _, y = rows()
    before = means_of(with_means(y, groups))
    changed, group = y.copy(), np.intersect1d(np.flatnonzero(groups == groups[POOLED[0]]), POOLED)
    changed[group] = changed[group][::-1]
    np.testing.assert_array_equal(means_of(with_means(changed, groups))[group], before[group])

    places = np.flatnonzero(np.isin(POOLED, group))[:10]  # train rows of the group in a fold
    train = np.arange(600)
    assert len(places) == len(np.intersect1d(places, train)) > 1
    folds = with_means(y, groups).of_folds
    other = folds.target.copy()
    other[places] = other[places][::-1]
    before, after = (
        np.asarray(each.apply(np.zeros((ROWS, 9), np.float32), train, np.arange(600, 800))[places, each.places[0]])
        for each in (folds, replace(folds, target=other))
    )
    np.testing.assert_array_equal(before, after)


def test_test_rows_and_missing_levels_have_the_means_that_are_served() -> None:
    frame, y = rows()
    found = with_means(y)
    x = np.asarray(found.encoded.x)
    np.testing.assert_array_equal(x[TEST], found.encoder.encode(frame.take(TEST)))
    missing = frame.codes[:, 1] == MISSING
    assert not means_of(found)[missing].any()
    unseen = Frame(np.zeros((1, 1)), np.array([[0, UNSEEN]]))
    assert found.encoder.encode(unseen)[0, found.encoder.mean_columns[0]] == 0
    others = np.delete(x, found.encoder.mean_columns, axis=1)
    plain = Encoder.fit(SCHEMA, frame.take(POOLED), y[POOLED], numbers="quantile")
    np.testing.assert_array_equal(others, plain.encode(frame))


def test_means_of_a_fold_do_not_depend_on_its_validation_targets() -> None:
    """Otherwise the validation loss would be too small, even for noise."""
    _, y = rows()
    changed = y.copy()
    changed[VALIDATION] = changed[VALIDATION][::-1]
    train, validation = np.arange(600), np.arange(600, 800)
    by_target = []
    for target in (y, changed):
        found = with_means(target)
        x = np.asarray(found.encoded.take(POOLED).x)
        by_target.append(found.of_folds.apply(x, train, validation))
        others = np.delete(by_target[-1], found.encoder.mean_columns, axis=1)
        np.testing.assert_array_equal(others, np.delete(x, found.encoder.mean_columns, axis=1))
    np.testing.assert_array_equal(by_target[0], by_target[1])
    codes = found.of_folds.codes[:, 0]
    served = LevelMeans.fit(codes[train], found.of_folds.target[train], LEVELS).table[codes[validation], 0]
    np.testing.assert_array_equal(by_target[0][validation, found.encoder.mean_columns[0]], served)


def test_targets_are_standardised_in_the_training_rows() -> None:
    some = np.arange(4)
    y = np.array([1.0, 3.0, 1.0, 3.0, 9.0])
    assert standardised_target("regression", y, 0, some)[:, 0].tolist() == [-1, 1, -1, 1, 7]
    binary = standardised_target("binary", np.array([1, 0, 1, 0, 0]), 2, some)
    assert binary[:, 0].tolist() == [1, -1, 1, -1, -1]
    classes = standardised_target("multiclass", np.array([0, 1, 2, 1, 1]), 4, some)
    assert classes.shape == (5, 4)
    np.testing.assert_allclose(classes[some].mean(axis=0), 0, atol=1e-12)
    assert not classes[:, 3].any()  # a class without rows


def run_of(framework: Framework, found: WithMeans, folds: int) -> TrainingRun:
    options = FitOptions(framework=framework, network="ensemble", hidden=(8,), epochs=2, dropout=0.0)
    recipe = replace(decide_recipe(options, "regression", len(TRAIN)), folds=folds)
    encoder, encoded = found.encoder, found.encoded
    architecture = Architecture(
        encoder.width - len(encoder.tables),
        tuple(encoder.tables),
        hidden=recipe.hidden,
        scales=(1.0,) * encoder.quantile_count,
        members=recipe.members,
        adapters=True,
    )
    parts = encoded.take(TRAIN), encoded.take(VALIDATION)
    further = encoded.take(TEST[:50])
    means = found.of_folds
    return fit.training_run(recipe, architecture, "regression", *parts, further=further, fold_means=means)


@pytest.mark.parametrize(("framework", "folds"), [("numpy", 1), ("numpy", 5), ("keras", 5)])
def test_trials_read_the_means_of_their_fold(framework: Framework, folds: int) -> None:
    """A trial has the same result if the stored means of the pooled rows are other numbers; the final fit has not."""
    _, y = rows()
    found = with_means(y)
    x = np.asarray(found.encoded.x).copy()
    x[:, found.encoder.mean_columns] = np.random.default_rng(0).normal(size=(ROWS, 1))
    other = replace(found, encoded=EncodedRows(x, y))
    first, second = (fit.fit_run(run_of(framework, each, folds)) for each in (found, other))
    assert first.member_outputs is not None
    assert second.member_outputs is not None
    np.testing.assert_array_equal(first.member_outputs.outputs, second.member_outputs.outputs)
    assert first.trial_losses == second.trial_losses
    assert first.network is not None
    assert second.network is not None
    parameters = second.network.parameters
    assert any(not np.array_equal(array, parameters[name]) for name, array in first.network.parameters.items())


def test_rows_without_level_means_are_not_copied_for_a_fold() -> None:
    run = replace(run_of("numpy", with_means(rows()[1]), 5), fold_means=None)
    x = np.asarray(run.pooled.x)
    assert fold_inputs(run, x, draw_folds(run)[0]) is x


def test_linear_candidate_reads_the_means_of_each_fold() -> None:
    """Means that contained the validation targets would predict noise."""
    y = rows()[1]
    found = with_means(y)
    candidate = best_candidate(run_of("numpy", found, 5), found.encoder, 1.0)
    assert candidate is not None
    assert candidate.loss > 0.98 * y[POOLED].var()


def test_keras_restores_the_means_of_all_rows_for_the_final_fit() -> None:
    found = with_means(rows()[1])
    run = run_of("keras", found, 5)
    trials = KerasTrials(run)
    trial = trials.train(run.recipe)
    data = trials.trainer(run.recipe.frequencies).data
    assert not np.array_equal(np.asarray(data.inputs()), trials.rows.x)
    trials.refit(trial)
    np.testing.assert_array_equal(np.asarray(data.inputs()), trials.rows.x)
