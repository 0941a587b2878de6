"""Scores of text columns are fitted out of fold, and are used only if they lower the validation loss."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models import store
from training import pipeline
from training.config import DataOptions, FitOptions
from training.errors import UsageError
from training.pipeline import TrainingResult
from training.text_model import TextRows, fit_out_of_fold

WriteCsv = Callable[[str, dict[str, list[Any]]], Path]
ROWS = 160
WORDS = ["house", "garden", "river", "street", "old", "new", "small", "large", "north", "lake", "bridge", "mill"]
NETWORK = FitOptions(framework="numpy", network="ensemble", hidden=(8,), epochs=8, dropout=0.0)


@pytest.fixture
def write_csv(tmp_path: Path) -> WriteCsv:
    def write(name: str, columns: dict[str, list[Any]]) -> Path:
        pd.DataFrame(columns).to_csv(tmp_path / name, index=False)
        return tmp_path / name

    return write


def titles(rng: np.random.Generator, rows: int = ROWS) -> list[str]:
    return [" ".join(rng.choice(WORDS, 6)) + f" {row}" for row in range(rows)]


def table(*, used: bool) -> dict[str, list[Any]]:
    """A table in which y depends on a number, and on two words if `used` is true."""
    rng = np.random.default_rng(1)
    text, size = titles(rng), rng.normal(size=ROWS)
    by_text = np.array([("lake" in title) - ("mill" in title) for title in text])
    y = size + rng.normal(size=ROWS) / 4 + 3 * by_text * used
    return {"title": [*text[:-4], *[""] * 4], "size": size.tolist(), "y": y.tolist()}


def train(path: Path, fit_options: FitOptions = NETWORK, **options: Any) -> TrainingResult:
    data = DataOptions(**{"data": str(path), "target": "y", "split": "random"} | options)
    return pipeline.train(data, fit_options, report=lambda text: None)


def test_text_is_used_if_it_lowers_the_validation_loss(bentoml_store: Path, write_csv: WriteCsv) -> None:
    path = write_csv("homes.csv", table(used=True))
    data = DataOptions(data=str(path), target="y", split="random")
    stored, result = pipeline.run(data, NETWORK, baselines=False, report=lambda text: None)
    assert result.dataset.schema.by_name["title"].nullable
    assert [notice for notice in result.dataset.notices if notice.startswith("text is used ('title')")]
    assert result.fit.trial_losses["without text"] > 1.5 * (result.fit.validation_loss or 0.0)
    model = store.load(stored)
    rows = [{"size": 0.0, "title": title} for title in ("new lake house", "new mill house", None, "")]
    lake, mill, missing, empty = model.predict_rows(rows).primary[:, 0]
    assert lake > mill + 1
    assert lake > missing > mill
    assert lake > empty > mill
    assert "| title | text | yes |" in (stored.path / "card.md").read_text("utf-8")


def test_text_that_does_not_help_leaves_the_network_unchanged(write_csv: WriteCsv) -> None:
    path = write_csv("homes.csv", table(used=False))
    tried, dropped = train(path), train(path, drop=("title",))
    assert [feature.name for feature in tried.dataset.schema.features] == ["size"]
    assert "does not lower" in tried.dataset.schema.ignored[0].reason
    assert [notice for notice in tried.dataset.notices if notice.startswith("text is left out ('title')")]
    assert "with text" in tried.fit.trial_losses
    assert tried.fit.network
    assert dropped.fit.network
    for name, array in dropped.fit.network.parameters.items():
        np.testing.assert_array_equal(tried.fit.network.parameters[name], array)
    assert tried.golden_rows == dropped.golden_rows


def test_text_is_used_without_a_comparison_if_required(write_csv: WriteCsv) -> None:
    plain = FitOptions(framework="numpy", hidden=(4,), epochs=1)
    result = train(write_csv("homes.csv", table(used=False)), plain, text=("title",))
    assert [feature.kind for feature in result.dataset.schema.features] == ["text", "number"]
    alone = {name: values for name, values in table(used=True).items() if name != "size"}
    assert [feature.kind for feature in train(write_csv("t.csv", alone), plain).dataset.schema.features] == ["text"]


def test_text_that_is_not_tried_is_left_out_with_a_reason(write_csv: WriteCsv) -> None:
    columns = table(used=True)
    plain = FitOptions(framework="numpy", hidden=(4,), epochs=1)
    assert "--text" in train(write_csv("a.csv", columns), plain).dataset.schema.ignored[0].reason
    classes = columns | {"y": ["abc"[int(y > 0) + int(y > 1)] for y in columns["y"]]}
    path = write_csv("b.csv", classes)
    assert "two classes" in train(path, replace(NETWORK, epochs=1)).dataset.schema.ignored[0].reason
    with pytest.raises(UsageError, match="two classes"):
        train(path, plain, text=("title",))


def test_scores_are_out_of_fold() -> None:
    """The target is random, so a score agrees with the target of a row only if the model was trained on that row."""
    rng = np.random.default_rng(0)
    texts, y = titles(rng, 300), rng.normal(size=300)
    rows = TextRows(np.array([*texts[:-1], None], dtype=object))
    model, scores = fit_out_of_fold(rows, y, rng)
    assert np.isnan(scores).tolist() == [False] * 299 + [True]
    assert abs(np.corrcoef(scores[:-1], y[:-1])[0, 1]) < 0.2
    assert np.corrcoef(rows.scores(model, np.arange(299)), y[:-1])[0, 1] > 0.4
    served = model.as_score()
    expected = [served.score(text) for text in texts[:20]]
    np.testing.assert_allclose(rows.scores(model, np.arange(20)), expected, atol=2e-3)


def test_rows_of_a_group_are_in_one_fold() -> None:
    """Each group has one target and its own words, which do not occur outside its fold."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 5)
    y = rng.normal(size=40)[groups]
    rows = TextRows(np.array([f"zq{group} wx{group}" for group in groups.tolist()], dtype=object))
    grouped = fit_out_of_fold(rows, y, rng, groups)[1]
    apart = fit_out_of_fold(rows, y, rng)[1]
    assert np.corrcoef(apart, y)[0, 1] > 0.9
    assert np.corrcoef(grouped, y)[0, 1] < 0.5
