"""The scale of errors varies with the row if the errors do, is constant otherwise, and is safe with few rows."""

import numpy as np
import pytest

from models.network.scale_head import ScaleHead, scales
from training.error_scale import RowErrors, fit_scale_head


def errors(rows: int, growth: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random hidden outputs (rows, 32), errors (rows,) and their true log scale."""
    hidden = np.maximum(rng.normal(size=(rows, 32)), 0).astype(np.float32)
    log_scale = growth * (hidden[:, 0] - hidden[:, 1]) - 1
    return hidden, rng.laplace(scale=np.exp(log_scale)), log_scale


def test_scale_of_errors_that_depends_on_the_row_is_found() -> None:
    rng = np.random.default_rng(0)
    hidden, error, _ = errors(2000, 1.0, rng)
    head = fit_scale_head(RowErrors(hidden, error))
    new, _, truth = errors(2000, 1.0, rng)
    found = new @ head.W + head.b
    assert np.corrcoef(found, truth)[0, 1] > 0.95
    assert (found - truth).mean() == pytest.approx(0, abs=0.15)


def test_equal_noise_gets_a_nearly_constant_scale() -> None:
    rng = np.random.default_rng(1)
    hidden, error, truth = errors(2000, 0.0, rng)
    head = fit_scale_head(RowErrors(hidden, error))
    assert np.std(hidden @ head.W + head.b) < 0.1
    assert (hidden @ head.W + head.b).mean() == pytest.approx(truth[0], abs=0.1)


@pytest.mark.parametrize("rows", [1, 5, 49])
def test_few_rows_get_one_scale(rows: int) -> None:
    hidden, error, _ = errors(rows, 1.0, np.random.default_rng(2))
    head = fit_scale_head(RowErrors(hidden, error))
    assert not head.W.any()
    assert np.exp(head.b) == pytest.approx(np.abs(error).mean())


def test_perfect_fit_and_constant_unit_have_a_finite_scale() -> None:
    hidden, error, _ = errors(200, 1.0, np.random.default_rng(3))
    assert np.isfinite(fit_scale_head(RowErrors(hidden, np.zeros(200))).b)
    hidden[:, 3] = 1.0
    head = fit_scale_head(RowErrors(hidden, error))
    assert np.isfinite(head.W).all()
    assert head.W[3] == 0


def test_errors_on_learned_rows_improve_the_scale_of_few_held_out_rows() -> None:
    """There are many errors on learned rows, but they are too small, especially the smallest ones."""
    rng = np.random.default_rng(4)
    hidden, error, _ = errors(300, 1.0, rng)
    many, small, truth = errors(5000, 1.0, rng)
    learned = RowErrors(many, 0.3 * small * np.exp(0.3 * truth))
    new, _, expected = errors(2000, 1.0, rng)

    def distance(head: ScaleHead) -> float:
        return float(np.abs(new @ head.W + head.b - expected).mean())

    alone, helped = fit_scale_head(RowErrors(hidden, error)), fit_scale_head(RowErrors(hidden, error), learned)
    assert distance(helped) < 0.7 * distance(alone)


def test_scale_of_an_outlier_row_is_limited_to_the_range_of_the_others() -> None:
    hidden, error, _ = errors(2000, 1.0, np.random.default_rng(5))
    head = fit_scale_head(RowErrors(hidden, error))
    found = hidden @ head.W + head.b
    low, high = head.limits
    assert found.min() < low < high < found.max()
    assert scales(np.array([1e6, -1e6, found[0]], np.float32), head.limits) == pytest.approx(
        np.exp([high, low, np.clip(found[0], low, high)])
    )
    assert scales(np.array([1e6], np.float32), head.limits) == pytest.approx(np.exp([high]))
