"""`python -m training.shap_comparison`: compares explanations with those of the package shap on the same models.

`make shap-comparison` installs shap. A model of up to 10 columns is explained by shap.ExactExplainer, others by
shap.PermutationExplainer, both with the version's own background. Times are processor time of this process.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models import store
from models.command_line import CommandParser
from models.explanation.evaluation_counts import MAX_EXACT_COLUMNS, PAIRS
from models.explanation.explainer import Explainer
from models.frame import Frame
from models.freed_memory import keep_freed_memory
from models.tabular_model import TabularModel
from models.text_tables import markdown

PACKAGES = Path(__file__).resolve().parents[1] / "build/shap-comparison"
ROWS = 5
KERAS_ROWS = 2  # fewer rows, because Keras is slow
Matrix = npt.NDArray[np.float64]
Function = Callable[[Matrix], Matrix]


class ShapComparison(NamedTuple):
    """Contributions (rows, columns) and processor seconds per row, of shap and of our code."""

    ours: Matrix
    theirs: Matrix
    our_seconds: float
    their_seconds: float
    keras_seconds: float  # time of shap with `keras.Model.predict`


def as_matrix(frame: Frame) -> Matrix:
    """(rows, columns): numbers, then codes."""
    return np.column_stack([frame.numbers, frame.codes.astype(np.float64)])


def as_frame(model: TabularModel, rows: Matrix) -> Frame:
    numbers = len(model.schema.numeric)
    return Frame(np.ascontiguousarray(rows[:, :numbers]), rows[:, numbers:].astype(np.int64))


def prediction_functions(model: TabularModel, keras_model: Any) -> tuple[Function, Function]:
    """Functions for the value, or the probability of the second class, with the NumPy engine and with Keras."""
    place = 0 if model.schema.task == "regression" else 1

    def by_engine(rows: Matrix) -> Matrix:
        return np.asarray(model.predict(as_frame(model, rows)).primary[:, place], dtype=np.float64)

    def by_keras(rows: Matrix) -> Matrix:
        outputs = keras_model.predict(model.encoder.encode(as_frame(model, rows)), verbose=0)
        if model.schema.task == "regression":
            return np.asarray(model.encoder.target.unscale(outputs)[:, 0], dtype=np.float64)
        return np.asarray(1 / (1 + np.exp(-outputs[:, 0].astype(np.float64))))

    return by_engine, by_keras


def explain_with_shap(function: Function, background: Matrix, rows: Matrix) -> tuple[Matrix, float]:
    """The contributions that shap computes, and the seconds per row."""
    import shap

    masker = shap.maskers.Independent(background, max_samples=len(background))
    columns = rows.shape[1]
    exact = columns <= MAX_EXACT_COLUMNS
    explainer = (shap.ExactExplainer if exact else shap.PermutationExplainer)(function, masker)
    options: dict[str, Any] = {"silent": True}
    if not exact:
        options["max_evals"] = PAIRS * (2 * columns + 1)
    explainer(rows[:1], **options)  # numba compiles in the first call
    started = time.process_time()
    values = np.asarray(explainer(rows, **options).values)
    return values, (time.process_time() - started) / len(rows)


def compare(model: TabularModel, keras_model: Any, frame: Frame) -> ShapComparison:
    assert model.background is not None
    by_engine, by_keras = prediction_functions(model, keras_model)
    explainer = Explainer(model, model.background)
    explainer.explain(frame.take(slice(0, 1)))
    started = time.process_time()
    explanations = explainer.explain(frame)
    our_seconds = (time.process_time() - started) / len(explanations)
    features = [feature.name for feature in model.schema.features]
    order = [features.index(feature.name) for feature in model.schema.in_frame_order]
    # With two classes our code explains the predicted class.
    signs = [-1.0 if explanation.output == 0 else 1.0 for explanation in explanations]
    ours = np.array([explanation.contributions[order] for explanation in explanations]) * np.array(signs)[:, np.newaxis]
    background, rows = as_matrix(model.background.rows), as_matrix(frame)
    theirs, their_seconds = explain_with_shap(by_engine, background, rows)
    _, keras_seconds = explain_with_shap(by_keras, background, rows[:KERAS_ROWS])
    return ShapComparison(ours, theirs, our_seconds, their_seconds, keras_seconds)


def comparison_line(name: str, found: ShapComparison) -> list[str]:
    largest = np.abs(found.theirs).max(axis=1, keepdims=True)
    difference = float((np.abs(found.ours - found.theirs) / largest).mean())
    correlation = min(np.corrcoef(ours, theirs)[0, 1] for ours, theirs in zip(found.ours, found.theirs, strict=True))
    return [
        name,
        "exact" if found.ours.shape[1] <= MAX_EXACT_COLUMNS else f"{PAIRS} pairs",
        f"{difference:.1e}",
        f"{correlation:.4f}",
        f"{1e3 * found.our_seconds:.1f}",
        f"{1e3 * found.their_seconds:.1f} ({found.their_seconds / found.our_seconds:.1f} times)",
        f"{1e3 * found.keras_seconds:,.0f} ({found.keras_seconds / found.our_seconds:.0f} times)",
    ]


def main() -> int:
    parser = CommandParser("python -m training.shap_comparison", description=__doc__)
    parser.add_argument("names", nargs="*", default=["housing", "income"], metavar="NAME", help="stored models")
    sys.path.append(str(PACKAGES))
    keep_freed_memory()  # as in the process that computes explanations; all compared methods benefit
    import keras

    from models import keras_nets  # noqa: F401 - registers the layers that the file names

    lines = [["model", "method", "mean difference", "correlation", "ours, ms", "shap, ms", "shap with Keras, ms"]]
    versions = store.versions()[0]
    for name in parser.parse_args().names:
        stored = versions[name][0]
        model = store.load(stored, "numpy")
        keras_model = keras.saving.load_model(stored.path / "model.keras", compile=False)
        rows = model.schema.frames.from_rows(model.golden.rows[:ROWS])
        lines.append(comparison_line(name, compare(model, keras_model, rows)))
    print(markdown(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
