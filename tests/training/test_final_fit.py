"""`--final all`: the served network learns from all rows, and the figures are those of the network before this fit."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models import store
from models.version_files import StoredVersion
from training import final_fit, pipeline
from training.config import DataOptions, FitOptions
from training.encoded_rows import EncodedRows
from training.errors import UsageError
from training.final_fit import fit_all_rows, training_rows_of
from training.network_fit import NetworkFit
from training.pipeline import TrainingResult
from training.recipe import decide_recipe
from training.test_set import NotComparable, unseen_rows

ROWS = 150
NETWORK = FitOptions(framework="numpy", network="ensemble", hidden=(8,), epochs=4, dropout=0.0)
Run = Callable[..., tuple[StoredVersion, TrainingResult]]


@pytest.fixture
def run(tmp_path: Path, bentoml_store: Path) -> Run:
    def run(fit_options: FitOptions, *, classes: bool = False) -> tuple[StoredVersion, TrainingResult]:
        rng = np.random.default_rng(0)
        x = rng.normal(size=ROWS)
        y = x + rng.normal(size=ROWS) / 3
        table = {"x": x, "z": rng.normal(size=ROWS), "y": np.where(y > 0, "a", "b") if classes else y}
        table["z"][5] = 1e6  # an isolated value
        pd.DataFrame(table).to_csv(tmp_path / "t.csv", index=False)
        data = DataOptions(data=str(tmp_path / "t.csv"), target="y", split="random")
        return pipeline.run(data, fit_options, baselines=False, report=lambda text: None)

    return run


@pytest.mark.parametrize("classes", [False, True])
def test_figures_are_those_of_the_network_before_the_final_fit(run: Run, classes: bool) -> None:
    _, before = run(NETWORK, classes=classes)
    stored, result = run(replace(NETWORK, final="all"), classes=classes)
    assert result.metrics == before.metrics
    assert result.final is not None
    assert before.fit.network
    assert result.final.fit.network
    served = store.load(stored)
    parameters = before.fit.network.parameters
    assert any(
        not np.array_equal(array, parameters[name]) for name, array in result.final.fit.network.parameters.items()
    )
    final = pipeline.build_model(result.final.fit, served.schema, served.encoder)
    rows = [{"x": 0.5, "z": 0.1}]
    np.testing.assert_array_equal(served.predict_rows(rows).primary, final.predict_rows(rows).primary)
    assert served.uncertainty is not None
    assert "once more on all rows" in (stored.path / "card.md").read_text("utf-8")
    np.testing.assert_array_equal(result.held_out.outputs.primary, before.held_out.outputs.primary)
    learned = training_rows_of(result.final, result.fit.recipe)
    assert sorted(learned.tolist()) == [row for row in range(ROWS) if row != 5]  # row 5 has an isolated value
    record = json.loads((stored.path / "training.json").read_text("utf-8"))["test_set"]
    with pytest.raises(NotComparable, match="--final all"):
        unseen_rows(record, result.split.record, result.dataset)


def test_settings_that_were_searched_get_no_linear_model_in_the_final_fit(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--tune` compares no linear model, so the final fit must not, either."""
    _, result = run(NETWORK)
    trained = NetworkFit(
        result.dataset,
        result.frame,
        result.encoder,
        EncodedRows(np.zeros((ROWS, 1), np.float32), np.zeros(ROWS)),
        replace(result.fit, recipe=replace(result.fit.recipe, compare_linear=True)),
        result.split,
        {"trials": 3},
    )
    monkeypatch.setattr(final_fit, "compare_linear", None)
    assert fit_all_rows(trained, lambda recipe, further: trained, lambda text: None) is trained
    with pytest.raises(TypeError):
        fit_all_rows(replace(trained, search=None), lambda recipe, further: trained, lambda text: None)


def test_a_plain_network_has_no_final_fit() -> None:
    with pytest.raises(UsageError, match="--final all is for --network ensemble"):
        decide_recipe(FitOptions(hidden=(4,), final="all"), "regression", 100)
