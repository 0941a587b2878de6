"""Both clients, tested with a real server: rows in every format get complete predictions in the right order."""

import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tabserve_client import Client, InvalidInput, NotFound, RowsNotValid, ServerError
from tabserve_client.prediction_call import EXPLAINED_ROWS, SMALL_ROWS

SOURCE = Path(__file__).resolve().parents[2] / "clients/python/src"
Row = dict[str, Any]
Rows = Callable[[int], list[Row]]
LARGE = SMALL_ROWS + 50
"""A number of rows that is sent in Arrow, in one request."""
PIECE_ROWS = 300
"""A low number of rows per request, so that small frames need several requests."""


@pytest.fixture(autouse=True)
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tabserve_client.prediction_call.PIECE_ROWS", PIECE_ROWS)


def predictions_are_close(a: list[Any], b: list[Any]) -> bool:
    """Whether predictions are equal within the documented tolerance: results of batches of different sizes differ in
    the last bits.
    """
    return len(a) == len(b) and all(abs(x - y) < 1 for x, y in zip(a, b, strict=True))  # the scale is 50,000


def test_models_and_schema_are_returned(client: Client) -> None:
    assert {model.name for model in client.models()} == {"homes", "income", "house_class"}
    schema = client.schema("house_class")
    assert (schema.task, schema.target, schema.classes) == ("multiclass", "stars", (1, 2, 5))
    assert [feature.name for feature in schema.features] == ["age", "job"]
    assert client.predict("house_class", schema.examples[0]).version == schema.version == "1"


def test_all_input_types_get_the_same_predictions(client: Client, home_rows: Rows) -> None:
    rows = home_rows(LARGE)
    frame = pd.DataFrame(rows)
    expected = client.predict("homes", rows).values
    assert len(set(expected)) == LARGE
    for data in (frame, pa.Table.from_pylist(rows), pa.RecordBatch.from_pylist(rows), iter(rows)):
        assert predictions_are_close(client.predict("homes", data).values, expected)
    assert predictions_are_close(client.predict("homes", frame.iloc[:5]).values, expected[:5])
    assert predictions_are_close(client.predict("homes", rows[3]).values, expected[3:4])


@pytest.mark.parametrize("model", ["homes", "income", "house_class"])
def test_json_and_arrow_responses_have_the_same_fields(client: Client, model: str) -> None:
    rows = [dict(row) for row in client.schema(model).examples] * LARGE
    options: Any = {"interval": [0.5, 0.9]} if model == "homes" else {"label_set": [0.5, 0.9]}
    single: Any = dict.fromkeys(options, 0.9)
    for chosen in (options, single):
        table = client.predict(model, pd.DataFrame(rows), **chosen)
        few = client.predict(model, rows[:3], **chosen)
        assert [rounded(entry) for entry in table.to_list()[:3]] == [rounded(entry) for entry in few.to_list()]
        assert list(table.to_columns()) == list(few.to_columns())
        assert list(table.to_pandas().columns) == list(few.to_pandas().columns) == few.to_arrow().column_names
    if model == "homes":
        interval, value = few[0].interval, few[0].value
        assert interval is not None
        assert value is not None
        assert interval.low < value < interval.high
    else:
        assert few[0].label_set is not None
        assert few[0].label in few[0].label_set.labels
        assert few[0].probabilities[str(few[0].label)] == max(few[0].probabilities.values())


def rounded(value: Any) -> Any:
    """A copy of the value with all numbers rounded to four significant digits."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def test_explanations_sum_to_the_prediction(client: Client, home_rows: Rows) -> None:
    found = client.explain("homes", pd.DataFrame(home_rows(40)), fast=True)
    assert len(found) == 40
    for prediction in found:
        explanation = prediction.explanation
        assert explanation is not None
        assert explanation.baseline + sum(explanation.contributions.values()) == pytest.approx(
            prediction.value, rel=1e-3
        )
    assert "contribution_class" in found.to_pandas().columns


def test_predictions_keep_the_order_and_index_of_a_large_frame(client: Client, home_rows: Rows) -> None:
    count = 2 * PIECE_ROWS + 7
    frame = pd.DataFrame(home_rows(count))
    frame.index = pd.Index(range(count, 2 * count), name="home")
    found = client.predict("homes", frame).to_pandas()
    assert found.index.equals(frame.index)
    places = [0, PIECE_ROWS - 1, PIECE_ROWS, 2 * PIECE_ROWS, count - 1]
    assert predictions_are_close(list(found["value"].iloc[places]), client.predict("homes", frame.iloc[places]).values)


def test_rows_that_exceed_a_server_limit_are_split(
    client: Client, home_rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """4,096 rows exceed the server's TABSERVE_MAX_BODY_BYTES, explanations of 40 rows its TABSERVE_MAX_EVALUATIONS."""
    monkeypatch.setattr("tabserve_client.prediction_call.PIECE_ROWS", 4096)
    frame = pd.DataFrame(home_rows(4105))
    found = client.predict("homes", frame)
    assert len({name.partition(":")[0] for name in found.ids}) == 3
    assert predictions_are_close(found.values[-9:], client.predict("homes", frame.iloc[-9:]).values)

    monkeypatch.setitem(EXPLAINED_ROWS, "true", 40)
    explained = client.explain("homes", frame.iloc[:40])
    assert len({name.partition(":")[0] for name in explained.ids}) == 2
    assert predictions_are_close(explained.values, found.values[:40])


def test_invalid_rows_are_errors_with_row_and_field(client: Client, home_rows: Rows) -> None:
    rows = home_rows(PIECE_ROWS + 280)
    rows[7]["educational-num"] = 500
    rows[PIECE_ROWS + 250] |= {"educational-num": None, "model_x": None}
    with pytest.raises(RowsNotValid) as refused:
        client.predict("homes", rows)
    assert [(error.row, error.field, error.code) for error in refused.value.errors] == [
        (7, "educational-num", "above_maximum")
    ]
    for data in (rows, pd.DataFrame(rows)):
        found = client.predict("homes", data, on_invalid="skip")
        assert [(error.row, error.field) for error in found.errors] == [
            (7, "educational-num"),
            (PIECE_ROWS + 250, "educational-num"),
            (PIECE_ROWS + 250, "model_x"),
        ]
        assert found.errors[1].message.startswith(f"row {PIECE_ROWS + 250}, feature 'educational-num': ")
        assert (found[7].value, found[8].errors) == (None, ())
        assert found[PIECE_ROWS + 250].errors == tuple(found.errors[1:])
        texts = found.to_pandas()["error"]
        assert texts.iloc[PIECE_ROWS + 250].startswith(f"null_not_allowed: row {PIECE_ROWS + 250}, ")
        assert texts.notna().sum() == 2


def test_the_error_of_the_first_invalid_request_is_raised(client: Client, home_rows: Rows) -> None:
    rows = home_rows(3 * PIECE_ROWS)
    for piece in (1, 2):
        rows[piece * PIECE_ROWS + 5]["2nd"] = "yesterday"
    with pytest.raises(RowsNotValid) as refused:
        client.predict("homes", pd.DataFrame(rows))
    assert [error.row for error in refused.value.errors] == [PIECE_ROWS + 5]


def test_errors_and_warnings_of_arrow_and_json_responses_are_equal(client: Client, home_rows: Rows) -> None:
    rows = home_rows(LARGE)
    for row, text in enumerate(["a; wrong_type: row 3, feature 'x': b", 'it\'s "5; 6"', "é\\'", "; unseen_level: "]):
        rows[row]["Outcome Type"] = text
    rows[9]["2nd"] = "x; wrong_type: row 3, feature 'x': b"
    rows[10] |= {"educational-num": -1, "class": 10**6}
    table = client.predict("homes", pd.DataFrame(rows), on_invalid="skip")
    by_json = client.predict("homes", rows, on_invalid="skip")
    assert table.to_arrow().column("value").null_count == 2
    assert table.errors == by_json.errors
    assert [(one.row, one.field, one.code) for one in table.warnings] == [
        (n, "Outcome Type", "unseen_level") for n in range(4)
    ]
    assert table.warnings == by_json.warnings
    assert table.to_columns()["error"] == by_json.to_columns()["error"]


def test_a_call_with_only_invalid_rows_returns_the_usual_columns(client: Client) -> None:
    for count in (3, LARGE):
        found = client.predict("homes", [{}] * count, on_invalid="skip", interval=0.9)
        assert found.values == [None] * count
        assert list(found.to_pandas().columns) == ["value", "low", "high", "warnings", "error"]
        assert found.to_pandas()["value"].dtype == np.float64


def test_a_call_without_rows_returns_the_usual_columns(client: Client, home_rows: Rows) -> None:
    frame = pd.DataFrame(home_rows(3)).iloc[:0]
    found = client.predict("homes", frame, interval=0.9)
    assert (len(found), found.version, found.errors) == (0, "1", [])
    assert list(found.to_pandas().columns) == ["value", "low", "high", "warnings", "error"]
    assert list(client.predict("income", []).to_columns())[:2] == ["label", "probability_<=50K"]
    with pytest.raises(NotFound):
        client.predict("home", [])


CELLS: dict[str, tuple[str, Any]] = {
    "Decimal": ("class", [Decimal("1.5"), Decimal("NaN"), None]),
    "nullable integers": ("class", pd.array([1, None, 2], "Int64")),
    "float32": ("class", np.array([0.1, 2, 3], "f4")),
    "float16": ("class", np.array([0.1, 2, 3], "f2")),
    "times": ("2nd", pd.Series(["2003-04-01", "2004-05-06", "2005-01-01"]).astype("datetime64[ns]").to_numpy()),
    "times with a zone": ("2nd", pd.date_range("2003-04-01", periods=3, tz="Europe/Vienna")),
    "a category": (
        "Outcome Type",
        pd.Categorical(["Adoption", None, "Transfer"], ["Transfer", "Adoption", *map(str, range(500))]),
    ),
    "objects": ("class", pd.Series([np.float64(1), pd.NA, np.int8(3)], dtype=object)),
    "NaN": ("class", [np.nan, 1.0, None]),
    "booleans": ("model_x", np.array([True, False, True])),
    "NumPy text": ("Outcome Type", np.array(["Adoption", "Transfer", "Adoption"])),
}


@pytest.mark.parametrize("name", CELLS)
def test_pandas_values_get_the_same_predictions_in_few_and_many_rows(
    client: Client, home_rows: Rows, name: str
) -> None:
    column, cells = CELLS[name]
    frame = pd.DataFrame(home_rows(3))
    frame[column] = cells
    many = pd.concat([frame] * LARGE, ignore_index=True)
    few = client.predict("homes", frame)
    assert not few.errors
    assert not few.warnings
    assert predictions_are_close(few.values * LARGE, client.predict("homes", many).values)


@pytest.mark.parametrize(
    "cell", [b"x", 1j, {1}, pd.Timedelta(1), object(), 10**5000], ids=lambda cell: type(cell).__name__
)
def test_a_value_that_cannot_be_sent_is_reported_with_row_and_column(
    client: Client, home_rows: Rows, cell: Any
) -> None:
    rows = home_rows(LARGE)
    rows[4]["class"] = cell
    with pytest.raises(InvalidInput) as refused:
        client.predict("homes", rows)
    assert isinstance(cell, int) or (refused.value.row, refused.value.field) == (4, "class")


@pytest.mark.parametrize("cell", [np.inf, "high", [1, np.nan], {"a": 1}, True])
def test_a_value_of_the_wrong_type_is_rejected_by_the_server(client: Client, home_rows: Rows, cell: Any) -> None:
    rows = home_rows(LARGE)
    rows[4]["class"] = cell
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in rows[0]})
    for data in (rows, frame, rows[:5]):
        with pytest.raises(RowsNotValid) as refused:
            client.predict("homes", data)
        assert [(error.row, error.field) for error in refused.value.errors] == [(4, "class")]


def test_missing_and_additional_columns_are_rejected_by_the_server(client: Client, home_rows: Rows) -> None:
    frame = pd.DataFrame(home_rows(LARGE))
    for changed, code in (
        (frame.drop(columns="2nd"), "missing_field"),
        (frame.assign(x=1), "unknown_field"),
        (pd.DataFrame(index=range(3)), "missing_field"),
    ):
        with pytest.raises(RowsNotValid) as refused:
            client.predict("homes", changed)
        assert {error.code for error in refused.value.errors} == {code}
        assert len(refused.value.errors) + refused.value.errors_omitted >= len(changed)
    # `id` is an ignored column, `price` the target
    assert len(client.predict("homes", frame.assign(id=1, price=2.0))) == LARGE


def test_unsupported_input_is_refused(client: Client, home_rows: Rows) -> None:
    frame = pd.DataFrame(home_rows(3))
    twice = pd.concat([frame, frame["class"]], axis=1)
    levels = frame.set_axis(pd.MultiIndex.from_product([["a"], frame.columns]), axis=1)
    table = pa.table([pa.array([1]), pa.array([2])], names=["class", "class"])
    for data in (twice, levels, table, "rows", b"rows", 5, None, [[1, 2]], [{1: 2}], ["x"]):
        with pytest.raises(InvalidInput):
            client.predict("homes", data)


def test_options_are_checked_before_a_request_is_sent(client: Client, home_rows: Rows) -> None:
    row = home_rows(1)[0]
    wrong: list[dict[str, Any]] = [
        {"interval": "wide"},
        {"interval": True},
        {"explain": "yes"},
        {"on_invalid": "ignore"},
        {"version": 1, "alias": "champion"},
        {"levels": 0.9},
    ]
    for options in wrong:
        with pytest.raises(InvalidInput):
            client.predict("homes", row, **options)
    for model in ("", ".."):
        with pytest.raises(InvalidInput):
            client.predict(model, row)


def test_server_errors_are_raised_as_specific_exceptions(client: Client, home_rows: Rows) -> None:
    row = home_rows(1)[0]
    with pytest.raises(NotFound, match="did you mean 'homes'"):
        client.predict("home", row)
    with pytest.raises(NotFound, match="no version"):
        client.predict("homes", row, version=7)
    with pytest.raises(NotFound):
        client.predict("a/b?c#d%", row)
    with pytest.raises(ServerError) as refused:
        client.predict("homes", row, label_set=0.9)
    assert refused.value.status == 422
    assert refused.value.request_id
    assert client.predict("homes", row, version="1").version == "1"


def test_feedback_is_accepted_by_rows_and_by_ids(client: Client, home_rows: Rows) -> None:
    rows = [{**row, "price": 1.0} for row in home_rows(1200)]  # two requests
    assert client.feedback("homes", pd.DataFrame(rows)).judged == 1200
    found = client.predict("homes", rows[:2])
    with pytest.raises(RowsNotValid) as refused:  # capture is off on this server
        client.feedback("homes", ids=found.ids, truths=[1.0, 2.0])
    assert {error.code for error in refused.value.errors} == {"capture_off"}
    for arguments in ({}, {"rows": rows, "ids": []}, {"ids": ["a"]}, {"ids": ["a"], "truths": []}):
        with pytest.raises(InvalidInput):
            client.feedback("homes", **arguments)


def test_predictions_are_a_sequence(client: Client, home_rows: Rows) -> None:
    found = client.predict("homes", home_rows(4))
    assert [prediction.row for prediction in found] == [0, 1, 2, 3]
    assert found[-1].row == 3
    assert [prediction.row for prediction in found[1:3]] == [1, 2]
    assert len(set(found.ids)) == 4
    assert found.ids[2] == found[2].id
    assert "4 rows, 0 errors" in repr(found)
    assert "1 row, 0 errors" in repr(client.predict("homes", home_rows(1)))
    with pytest.raises(IndexError):
        found[4]


WITHOUT_EXTRAS = """
import sys
for name in ("pandas", "polars", "pyarrow", "numpy"):
    sys.modules[name] = None  # an import fails
import importlib.util
import tabserve_client.sources as sources
sources.has_pyarrow = lambda: False
from tabserve_client import Client
print(len(Client(sys.argv[1]).predict("homes", [{"a": 1}] * 150, on_invalid="skip").errors) > 150)
"""


def test_rows_are_scored_without_optional_packages(server: Any) -> None:
    command = [sys.executable, "-c", WITHOUT_EXTRAS, server.url]
    done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True, timeout=300)
    assert done.stdout == "True\n", done.stderr
