"""Target leakage is reported, and the bundled tables have no target leakage."""

import pytest

from tests.training.tables import Infer, cycle, has_notice, plain_columns
from training.build_dataset import load_dataset
from training.bundled import BUNDLED, bundled_options


def test_a_feature_that_predicts_the_target_alone_is_reported(infer: Infer) -> None:
    y = plain_columns()["y"]
    assert has_notice(infer(a=y * 3 + 1), "column 'a' alone predicts")
    assert has_notice(infer(y=cycle("p", "q", "r"), a=cycle("u", "v", "w")), "column 'a' alone predicts")
    assert not has_notice(infer(y=cycle("p", "q", "r"), a=cycle("u", "v")), "alone predicts")
    assert not has_notice(infer(a=y + plain_columns()["x"] / 2), "alone predicts")


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_bundled_tables_have_no_target_leakage(name: str) -> None:
    assert not has_notice(load_dataset(bundled_options(name)), "alone predicts")
