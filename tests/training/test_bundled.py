"""The bundled data sets are found by name."""

import pytest

from training.bundled import bundled_options
from training.errors import UsageError


def test_an_unknown_data_set_is_reported_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="did you mean 'housing'"):
        bundled_options("hosing")
