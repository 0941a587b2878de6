"""The gradient check accepts correct gradients and rejects wrong gradients, even if they are small."""

import numpy as np
import pytest

from models.network.activations import Array
from tests.models.network.gradients import check_gradient

X = np.array([0.5, -1.25, 2.0])


def scaled_squares(scale: float, at: Array) -> float:
    """A function f with the gradient 2 · scale · x. Because of the constant term, a small gradient is close to the
    rounding error of f.
    """
    return 1.3 + scale * float((at**2).sum())


@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e-6, 1e-7])
def test_correct_gradient_is_accepted(scale: float) -> None:
    at = X.copy()
    check_gradient(2 * scale * X, lambda: scaled_squares(scale, at), at)
    np.testing.assert_array_equal(at, X)


@pytest.mark.parametrize(("scale", "relative_error"), [(1.0, 1e-4), (1e-3, 1e-4), (1e-6, 1e-3), (1e-7, 0.05)])
def test_wrong_gradient_is_rejected(scale: float, relative_error: float) -> None:
    at = X.copy()
    wrong = 2 * scale * X * np.array([1.0, 1.0 + relative_error, 1.0])
    with pytest.raises(AssertionError, match="step 1e-06"):
        check_gradient(wrong, lambda: scaled_squares(scale, at), at)
