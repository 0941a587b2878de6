"""What the tests of training share."""

import pytest


@pytest.fixture
def short_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Boosted trees that are soon content."""
    from training import evaluate

    monkeypatch.setattr(evaluate, "TREE_STEP", 10)
    monkeypatch.setattr(evaluate, "TREE_PATIENCE", 1)
    monkeypatch.setattr(evaluate, "TREE_GAIN", 0.3)
