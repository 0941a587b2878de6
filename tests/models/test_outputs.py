"""Outputs are split, concatenated and checked with all their arrays, and the columns of a spec have different names."""

import json

import numpy as np
import pytest

from models.fast.json_entries import fastest_entries
from models.feature import Feature
from models.output_columns import OutputColumn, OutputSpec, OutputTensor, type_of_labels
from models.outputs import NO_EXTRAS, NO_OUTPUTS, Outputs
from models.schema import FeatureSchema

FEATURES = [Feature(name="x", kind="number", nullable=False)]
REGRESSION = FeatureSchema(name="homes", task="regression", target="price", features=FEATURES)
BINARY = FeatureSchema(name="income", task="binary", target="income", classes=["<=50K", "100 %, s"], features=FEATURES)
LOW = OutputTensor("low", "float64", lambda outputs: outputs.primary[:, 0] - 1, ("interval_low",))
HIGH = OutputTensor("high", "float64", lambda outputs: outputs.primary[:, 0] + 1, ("interval_high",))
INTERVAL = OutputColumn("interval", (LOW, HIGH), b'{"level":0.9,"low":%s,"high":%s}', {"type": "object"})


def outputs(rows: int) -> Outputs:
    numbers = np.arange(rows, dtype=np.float64)
    return Outputs(numbers[:, None], {"spread": numbers / 4, "counts": np.arange(2 * rows).reshape(rows, 2)})


def listed(found: Outputs) -> list[object]:
    return [found.primary.tolist(), *(array.tolist() for array in found.extras.values())]


def test_split_and_concatenate_restore_the_outputs() -> None:
    whole = outputs(7)
    parts = whole.split([3, 0, 4])
    assert [*map(len, parts)] == [3, 0, 4]
    assert listed(parts[2].take(np.array([0, 3]))) == [[[3.0], [6.0]], [0.75, 1.5], [[6, 7], [12, 13]]]
    assert listed(Outputs.concatenate(parts)) == listed(whole)


def test_outputs_without_extras_share_one_empty_mapping() -> None:
    plain = Outputs(np.zeros((4, 1)))
    for found in (plain, plain.take(slice(2)), *plain.split([1, 3]), Outputs.concatenate([plain, plain])):
        assert found.extras is NO_EXTRAS


@pytest.mark.parametrize("rows", [1, 100])
def test_non_finite_number_is_found_in_every_array(rows: int) -> None:
    assert outputs(rows).all_finite()
    for name in ("primary", "spread"):
        spoiled = outputs(rows)
        (spoiled.primary if name == "primary" else spoiled.extras[name])[-1] = np.nan
        assert not spoiled.all_finite()


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [
        (["a", "b"], "text"),
        ([False, True], "bool"),
        ([1, 2, 5], "int64"),
        ([1, 2.5], "float64"),
        ([1, 2**63], "float64"),
    ],
)
def test_labels_have_their_common_type(labels: list[object], dtype: str) -> None:
    assert type_of_labels(labels) == dtype  # type: ignore[arg-type]


def test_output_spec_has_the_columns_of_each_task() -> None:
    value, classes = OutputSpec.from_schema(REGRESSION), OutputSpec.from_schema(BINARY)
    assert (value.common, value.column_names) == ("value", ["value"])
    assert (classes.common, [*classes.by_name]) == ("classes", ["label", "probabilities"])
    assert classes.column_names == ["label", "probability_<=50K", "probability_100 %, s"]
    assert classes.by_name["probabilities"].row_shape == (2,)
    assert value.with_columns().common is None


def test_object_of_several_tensors_has_one_key() -> None:
    spec = OutputSpec.from_schema(REGRESSION).with_columns(INTERVAL)
    [entry] = spec.json_entries(Outputs(np.array([[2.5]])))
    assert json.loads(entry) == {"value": 2.5, "interval": {"level": 0.9, "low": 1.5, "high": 3.5}}
    assert spec.column_names == ["value", "interval_low", "interval_high"]


@pytest.mark.parametrize("schema", [REGRESSION, BINARY])
def test_zero_rows_have_no_entries(schema: FeatureSchema) -> None:
    extra = OutputColumn.mapping("parts", "int64", lambda outputs: outputs.extras["parts"], "abc", "abc")
    spec = OutputSpec.from_schema(schema).with_columns(extra)
    assert spec.json_entries(NO_OUTPUTS) == []
    assert [tensor.array(NO_OUTPUTS).shape for tensor in spec.tensors][-1] == (0, 3)
    assert {tensor.json_array(NO_OUTPUTS) for tensor in spec.tensors} == {b""}


def test_outputs_with_equal_names_are_refused() -> None:
    spec = OutputSpec.from_schema(BINARY)
    twice = OutputColumn.scalar("label", "float64", lambda outputs: outputs.primary[:, 0])
    column = OutputColumn.mapping("more", "float64", lambda outputs: outputs.primary, ["a"], ["probability_<=50K"])
    for extra in (twice, column):
        with pytest.raises(ValueError, match="two outputs have the same name"):
            spec.with_columns(extra)


def test_text_output_requires_categories_and_a_matrix_has_no_categories() -> None:
    with pytest.raises(ValueError, match="text needs categories"):
        OutputColumn.scalar("reason", "text", lambda outputs: outputs.extras["reason"])
    with pytest.raises(ValueError, match="a matrix has no categories"):
        OutputTensor("best", "text", lambda outputs: outputs.primary, ("a", "b"), matrix=True, categories=("x", "y"))


@pytest.mark.parametrize("rows", [0, 1, 30])
@pytest.mark.parametrize("schema", [REGRESSION, BINARY])
def test_lines_are_the_texts_of_the_rows_with_their_ends(schema: FeatureSchema, rows: int) -> None:
    found = Outputs(np.random.default_rng(0).random((rows, len(schema.classes or "1"))))
    spec = OutputSpec.from_schema(schema)
    for tensor in spec.tensors:
        texts = tensor.texts(found, tensor.json_categories)
        assert tensor.lines(found, tensor.json_categories, b",,\n") == b"".join(text + b",,\n" for text in texts)
    entries = fastest_entries(spec)
    assert entries.joined(found, b"\n") == b"\n".join(entries(found)) == b"\n".join(spec.json_entries(found))
