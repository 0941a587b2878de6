"""Conformal scores: ranks, levels, groups, label sets, and the coverage of new synthetic rows."""

import numpy as np
import pytest

from models.schema import SchemaError
from models.uncertainty import LevelError, Scores, Uncertainty, fit, label_sets


def test_few_scores_are_stored_exactly_and_have_conformal_ranks() -> None:
    scores = Scores.fit(np.arange(9, 0, -1).astype(float))
    assert (scores.count, scores.values) == (9, [1, 2, 3, 4, 5, 6, 7, 8, 9])
    assert scores.quantile(0.5) == 5  # ceil(10 · 0.5)
    assert scores.quantile(0.41) == 5
    assert scores.quantile(0.9) == 9
    assert scores.largest_level == 0.9
    with pytest.raises(LevelError, match=r"the largest level is 0\.9"):
        scores.quantile(0.91)


def test_many_scores_are_interpolated_and_the_largest_are_exact() -> None:
    values = np.random.default_rng(0).exponential(size=20_000)
    scores = Scores.fit(values)
    assert len(scores.values) <= 200
    assert len(scores.model_dump_json()) < 4096
    ordered = np.sort(values)
    for level in (0.05, 0.5, 0.8, 0.9, 0.95):
        found = np.searchsorted(ordered, scores.quantile(level)) / len(values)
        assert found == pytest.approx(level, abs=0.002)
    assert scores.quantile(0.999) == pytest.approx(ordered[int(np.ceil(20_001 * 0.999)) - 1], rel=1e-5)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.9, 0.95])
def test_new_rows_are_covered_with_the_stated_probability(level: float) -> None:
    rng = np.random.default_rng(1)
    covered = [np.mean(rng.gamma(2.0, size=2000) <= fit(rng.gamma(2.0, size=300)).quantile(level)) for _ in range(300)]
    assert np.mean(covered) == pytest.approx(level, abs=0.005)


def test_large_groups_have_separate_scores_and_other_groups_use_the_common_scores() -> None:
    rng = np.random.default_rng(2)
    groups = rng.choice([0, 1, 2, -1], p=[0.45, 0.45, 0.02, 0.08], size=3000)
    scores = rng.exponential(np.where(groups == 1, 5.0, 1.0))
    fitted = fit(scores, groups, "category", "region")
    assert sorted(fitted.groups) == [0, 1]  # 2 is too small, -1 is an unseen level
    narrow, wide, *others = fitted.quantiles_at(0.9).for_groups([0, 1, 2, -1, 77])
    assert wide > 4 * narrow
    assert others == [fitted.everyone.quantile(0.9)] * 3
    again = Uncertainty.from_json(fitted.to_json())
    assert again == fitted


def test_classes_have_separate_scores_only_if_all_classes_are_large() -> None:
    scores = np.random.default_rng(3).random(300)
    assert fit(scores, np.arange(300) % 3, "class").by == "none" or len(fit(scores, np.arange(300) % 3).groups) == 3
    small = np.where(np.arange(300) < 99, 0, 1)
    assert fit(scores, small, "class").groups == {}
    assert sorted(fit(scores, np.where(np.arange(300) < 100, 0, 1), "class").groups) == [0, 1]


def test_label_sets_contain_likely_labels_and_always_the_most_likely_label() -> None:
    probabilities = np.array([[0.6, 0.3, 0.1], [0.34, 0.33, 0.33], [0.01, 0.98, 0.01]], dtype=np.float32)
    sets = label_sets(probabilities, np.array([0.5, 0.7, 0.7]))
    assert sets.tolist() == [[True, True, False], [True, True, True], [False, True, False]]
    assert label_sets(probabilities, np.zeros(3)).tolist() == np.eye(3, dtype=bool)[[0, 0, 1]].tolist()


@pytest.mark.parametrize("text", ["{}", "[]", '{"format": 2}', '{"format":1,"everyone":{"count":0}}', "\x00"])
def test_invalid_uncertainty_file_is_reported(text: str) -> None:
    with pytest.raises(SchemaError):
        Uncertainty.from_json(text)
