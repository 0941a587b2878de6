"""Keras models of others: twelve are served with the answers of `model.predict`, others are refused with the reason.

All imports are in one process: TensorFlow takes seconds to load.
"""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models import store
from service.settings import Settings
from tests import quick_training
from tests.service.imported_models import BAD, GOOD, TABLE, Imported
from training import importance, plots, store_keras_model
from training.errors import UsageError

SERVED = TABLE.head(40)


@pytest.fixture(autouse=True)
def quick_description(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importance on few rows, and no pictures."""
    for name, limit in quick_training.LIMITS.items():
        monkeypatch.setattr(importance, name, limit)
    monkeypatch.setattr(plots, "draw_plots", lambda *arguments: {})


def imported(case: Imported, name: str, table: pd.DataFrame = TABLE, **options: Any) -> Any:
    """The stored version, loaded as a server loads it."""
    sample = table[[*case.columns, case.target]]
    stored = store_keras_model(
        case.model, sample, case.target, name=name, report=lambda text: None, **case.options, **options
    )
    return store.load(stored)


def rows_of(table: pd.DataFrame, columns: list[str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(table[columns].to_json(orient="records"))
    return rows


@pytest.fixture
def served(make_app: Callable[..., Any], asgi: Callable[..., Any]) -> Callable[..., Any]:
    def ask(model: Any, bodies: list[Any]) -> list[Any]:
        """The replies of the data plane to these bodies, over HTTP's application."""
        app = make_app([model], Settings())

        async def all_replies() -> list[Any]:
            return [await asgi(app, "POST", f"/predict/{model.name}", json.dumps(body).encode()) for body in bodies]

        try:
            return asyncio.run(all_replies())
        finally:
            app.plane.close()

    return ask


def numbers_of(predictions: list[dict[str, Any]]) -> Any:
    return np.array(
        [[entry["value"]] if "value" in entry else [*entry["probabilities"].values()] for entry in predictions]
    )


@pytest.mark.parametrize("make", GOOD, ids=lambda make: make.__name__)
def test_an_imported_model_answers_as_the_original_one(
    make: Callable[[], Imported], served: Callable[..., Any], bentoml_store: Path
) -> None:
    case = make()
    model = imported(case, make.__name__)
    assert model.engine.name == case.engine, model.engine.reason
    rows = rows_of(SERVED, case.columns)
    bodies = [rows, *([row] for row in rows[:3])]  # single rows take the fast path
    replies = served(model, [{"rows": body} for body in bodies])
    assert [reply.status for reply in replies] == [200] * 4
    expected = case.answers(SERVED)
    scale = np.maximum(np.abs(expected), model.tolerance())
    for actual, wanted, size in (
        (numbers_of(replies[0].body["predictions"]), expected, scale),
        (numbers_of([reply.body["predictions"][0] for reply in replies[1:]]), expected[:3], scale[:3]),
    ):
        assert actual.shape == wanted.shape
        assert (np.abs(actual - wanted) <= 1e-5 * size).all()
    assert model.uncertainty is not None
    assert model.reference is not None
    assert model.background is not None


@pytest.mark.parametrize("what", BAD)
def test_a_model_that_cannot_be_served_is_refused_with_the_reason(
    what: str, tmp_path: Path, bentoml_store: Path
) -> None:
    case = BAD[what]
    with pytest.raises(UsageError) as refusal:
        store_keras_model(
            case.make(tmp_path),
            TABLE[[*case.columns, case.target]],
            case.target,
            name="refused",
            report=lambda text: None,
        )
    assert case.reason in str(refusal.value)
    assert not store.versions()[0]
