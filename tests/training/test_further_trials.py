"""`--time`: further trials stay within their time and never increase the validation loss."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from models.architecture import Epoch
from models.network.network import DivergenceError
from training import ensemble, further_trials
from training.config import DataOptions, FitOptions
from training.errors import UsageError
from training.further_trials import LOGARITHMIC, MAX_DROPOUT, TimeBudget, draw_settings
from training.pipeline import train
from training.recipe import Recipe, decide_recipe
from training.training_run import TrialResult


def timed_recipe(**options: object) -> Recipe:
    return decide_recipe(FitOptions(time=100.0, **options), "regression", 1000, 8)  # type: ignore[arg-type]


def result(recipe: Recipe, loss: float) -> TrialResult:
    return TrialResult(recipe, [Epoch(1, 1, loss, loss, 0.0, 0.0)], None, np.zeros((1, 1, 1)), np.zeros(1, np.intp))


def test_further_trials_follow_those_of_the_recipe_until_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each trial advances the clock by ten seconds; the final fit takes a little longer than a trial."""
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(further_trials, "time", SimpleNamespace(monotonic=lambda: clock.now))
    recipe, tried, messages = timed_recipe(), list[Recipe](), list[str]()

    def run(trial: Recipe) -> TrialResult:
        clock.now += 10
        tried.append(trial)
        if len(tried) == 6:
            raise DivergenceError(2, float("nan"))
        return result(trial, 1.0 - 0.05 * len(tried))

    best, losses = ensemble.select_trial(recipe, run, messages.append)
    assert len(tried) == 8  # 80 s of trials and a final fit of 12.5 s leave no time for another trial
    assert [trial.dropout for trial in tried[:4]] == [trial["dropout"] for trial in recipe.trials]
    assert best.recipe == tried[-1]
    assert len(losses) == 7
    assert min(losses.values()) == best.loss
    assert any("diverged in epoch 2" in message for message in messages)
    before, clock.now = tried[:], 0.0
    tried.clear()
    ensemble.select_trial(recipe, run, messages.append)
    assert tried == before


def test_a_worse_further_trial_is_not_selected(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = iter([True, True, False])
    monkeypatch.setattr(TimeBudget, "allows_trial", lambda self: next(allowed))
    losses = iter([0.5, 0.4, 0.45, 0.6, 0.9, 0.8])
    best, found = ensemble.select_trial(timed_recipe(), lambda trial: result(trial, next(losses)), lambda text: None)
    assert best.loss == min(found.values()) == 0.4
    assert len(found) == 6


def test_drawn_settings_are_within_their_ranges_and_respect_flags() -> None:
    recipe = timed_recipe()
    rng = np.random.default_rng(0)
    best = replace(recipe, dropout=0.3, epochs=5)
    for number in range(40):
        drawn = draw_settings(recipe, best, number, rng)
        assert set(drawn) == {"dropout", "epochs", "frequencies", "frequency_scale", "learning_rate", "weight_decay"}
        assert 0 <= drawn["dropout"] <= MAX_DROPOUT
        assert drawn["frequencies"] in (16, 32)
        for name, (low, high) in LOGARITHMIC.items():
            unit = recipe.epochs if name == "epochs" else 1
            assert 0.99 * low * unit - 0.5 <= drawn[name] <= 1.01 * high * unit + 0.5
    supplied = timed_recipe(dropout=0.15, learning_rate=0.01)
    assert supplied.trials == ()
    assert not {"dropout", "learning_rate"} & set(draw_settings(supplied, supplied, 0, rng))
    assert decide_recipe(FitOptions(), "regression", 1000).searched == ()


def test_time_option_is_refused_with_a_plain_network_or_a_search() -> None:
    with pytest.raises(UsageError, match="--time 5 is for --network ensemble"):
        decide_recipe(FitOptions(time=5, network="plain"), "regression", 100)
    with pytest.raises(UsageError, match="--time and --tune exclude each other"):
        train(DataOptions(data="t.csv", target="y"), FitOptions(time=5.0), tune=5.0, report=print)
    with pytest.raises(UsageError, match="--time must be above 0"):
        train(DataOptions(data="t.csv", target="y"), FitOptions(time=-1.0), report=print)
