import math

import keras
import numpy as np
import pytest
import scipy.special
from hypothesis import given, settings
from hypothesis import strategies as st

from models.network import activations
from models.network.activations import Array
from tests.models.network.gradients import check_gradient

EVERY = [*((name, {}) for name in activations.FUNCTIONS), ("leaky_relu", {"slope": 0.01}), ("elu", {"alpha": 0.5})]
anywhere = st.floats(allow_nan=False, allow_infinity=False, width=32)


@pytest.mark.parametrize(("name", "constants"), EVERY)
def test_gradient_equals_finite_differences(name: str, constants: dict[str, float]) -> None:
    rng = np.random.default_rng(0)
    function = activations.get(name, **constants)
    x = rng.normal(size=(5, 4)) * 3
    x[np.abs(x) < 1e-3] = 0.1  # away from the corners
    c = rng.normal(size=x.shape)
    d_x = function.backward(c, x, function.forward(x))
    check_gradient(d_x, lambda: float((c * function.forward(x)).sum()), x)


@pytest.mark.parametrize("name", activations.FUNCTIONS)
def test_values_equal_those_of_keras(name: str) -> None:
    x = np.random.default_rng(0).normal(size=(50, 4)) * 5
    theirs = keras.activations.get(name)(keras.ops.convert_to_tensor(x)).numpy()
    np.testing.assert_allclose(
        activations.get(name).forward(x), theirs, rtol=1e-6, atol=1e-12
    )  # Keras stores 0.2 and √2 as float32


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [activations.MIN_ZEROS - 1, activations.MIN_ZEROS, len(activations.ZEROS) + 1])
def test_relu_equals_its_definition_for_any_number_of_values(size: int, dtype: type[np.floating]) -> None:
    x = np.random.default_rng(0).normal(size=size).astype(dtype)
    x[[0, -1]] = np.nan
    expected = np.array([max(0.0, value) if value == value else value for value in x.tolist()], dtype)
    for values in (x, np.repeat(x, 2)[::2], x.reshape(1, -1)):
        found = activations.get("relu").forward(values)
        np.testing.assert_array_equal(found, expected.reshape(values.shape))
        assert found.dtype == dtype
    assert activations.get("relu").forward(x, x) is x
    np.testing.assert_array_equal(x, expected)
    assert not activations.ZEROS.any()


@pytest.mark.parametrize("name", activations.FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(values=st.lists(anywhere, min_size=1, max_size=5))
@settings(max_examples=15, deadline=None)
def test_value_and_gradient_are_finite_for_any_finite_number(
    name: str, dtype: type[np.floating], values: list[float]
) -> None:
    x = np.array([values, [1000.0] * len(values), [-1000.0] * len(values), [0.0] * len(values)], dtype)
    function = activations.get(name)
    y = function.forward(x)
    d_x = function.backward(np.ones_like(x), x, y)
    assert np.isfinite(y).all()
    assert np.isfinite(d_x).all()
    assert y.dtype == d_x.dtype == dtype


@pytest.mark.parametrize("name", activations.FUNCTIONS)
def test_result_can_overwrite_the_argument(name: str) -> None:
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    function, original_x = activations.get(name), x.copy()
    expected = function.forward(x)
    np.testing.assert_array_equal(x, original_x)
    assert function.forward(x, x) is x
    np.testing.assert_array_equal(x, expected)


def test_tails_of_activations_are_exact() -> None:
    x = np.array([[-1000.0, -40.0, 40.0, 1000.0]])
    np.testing.assert_allclose(activations.Sigmoid().forward(x), [[0, math.exp(-40), 1, 1]], rtol=1e-14)
    np.testing.assert_allclose(activations.Softplus().forward(x), [[0, math.exp(-40), 40, 1000]], rtol=1e-14)
    np.testing.assert_allclose(activations.ELU().forward(x), [[-1, -1, 40, 1000]], rtol=1e-14)
    np.testing.assert_allclose(activations.Tanh().forward(x), [[-1, -1, 1, 1]], rtol=1e-14)
    np.testing.assert_array_equal(activations.Softmax().forward(x), [[0, 0, 0, 1]])


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-13), (np.float32, 1e-5)])
def test_normal_distribution_function_has_full_relative_precision(dtype: type, tolerance: float) -> None:
    x: Array = np.linspace(-12, 12, 4801).astype(dtype)
    np.testing.assert_allclose(activations.normal_cdf(x), scipy.special.ndtr(x.astype(float)), rtol=tolerance)


def test_unknown_name_is_refused_with_the_known_names() -> None:
    with pytest.raises(ValueError, match=r"'rleu' is unknown, expected one of linear, sigmoid, relu"):
        activations.get("rleu")


@pytest.mark.parametrize(("name", "constants"), EVERY)
def test_function_created_from_its_description_is_the_same(name: str, constants: dict[str, float]) -> None:
    function = activations.get(name, **constants)
    description = activations.describe(function)
    assert activations.get(description.pop("function"), **description) == function
