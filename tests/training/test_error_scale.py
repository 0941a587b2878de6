"""The scale of errors: found where it follows the row, constant where it does not, and harmless on few rows."""

import numpy as np
import pytest

from training.error_scale import fit_scale_head


def errors(rows: int, growth: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hidden outputs (rows, 32), errors (rows,) and their true log scale."""
    hidden = np.maximum(rng.normal(size=(rows, 32)), 0).astype(np.float32)
    log_scale = growth * (hidden[:, 0] - hidden[:, 1]) - 1
    return hidden, rng.laplace(scale=np.exp(log_scale)), log_scale


def test_a_scale_that_follows_the_row_is_found() -> None:
    rng = np.random.default_rng(0)
    hidden, error, _ = errors(2000, 1.0, rng)
    head = fit_scale_head(hidden, error)
    new, _, truth = errors(2000, 1.0, rng)
    found = new @ head.W + head.b
    assert np.corrcoef(found, truth)[0, 1] > 0.95
    assert (found - truth).mean() == pytest.approx(0, abs=0.15)


def test_equal_noise_gets_a_nearly_constant_scale() -> None:
    rng = np.random.default_rng(1)
    hidden, error, truth = errors(2000, 0.0, rng)
    head = fit_scale_head(hidden, error)
    assert np.std(hidden @ head.W + head.b) < 0.1
    assert (hidden @ head.W + head.b).mean() == pytest.approx(truth[0], abs=0.1)


@pytest.mark.parametrize("rows", [1, 5, 49])
def test_few_rows_get_one_scale(rows: int) -> None:
    hidden, error, _ = errors(rows, 1.0, np.random.default_rng(2))
    head = fit_scale_head(hidden, error)
    assert not head.W.any()
    assert np.exp(head.b) == pytest.approx(np.abs(error).mean())


def test_a_perfect_fit_and_a_constant_unit_do_no_harm() -> None:
    hidden, error, _ = errors(200, 1.0, np.random.default_rng(3))
    assert np.isfinite(fit_scale_head(hidden, np.zeros(200)).b)
    hidden[:, 3] = 1.0
    head = fit_scale_head(hidden, error)
    assert np.isfinite(head.W).all()
    assert head.W[3] == 0
