"""Records in `training.json` which rows a version was not trained on, for later training runs.

With a split by hash, by group or by time, a row stays in the test set when the table grows; with a random split this
is not known.
"""

from collections.abc import Container
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from training.content_hash import Hashes
from training.dataset import Dataset
from training.row_hash import row_hashes

Mask = npt.NDArray[np.bool_]
TEST_FRACTION = 0.2
NO_TEST_SET = "none"


class NotComparable(Exception):  # noqa: N818 - the name describes the error
    """Two versions cannot be compared on rows that neither was trained on; the message has the reason."""


def in_test_set(hashes: Hashes) -> Mask:
    """(n,): whether a row's hash puts it into the test set: a fifth of all rows."""
    return hashes < np.uint64(int(TEST_FRACTION * 2**64))


def test_set_record(
    method: str, column: str | None, seed: int, how: str, dataset: Dataset, fit_rows: npt.NDArray[np.intp]
) -> dict[str, Any]:
    """Return the information about a training run that `unseen_rows` needs. fit_rows: the rows of the train and
    validation sets."""
    record: dict[str, Any] = {
        "method": method,
        "column": column,
        "seed": seed,
        "how": how,
        "table": dataset.fingerprint,
        "rows": len(dataset.target),
        "columns": column_types(dataset),
    }
    if method == "time":
        assert dataset.split_key is not None
        record["learned_until"] = float(np.nanmax(dataset.split_key[fit_rows], initial=-np.finfo(np.float64).max))
    if method == "group":
        assert dataset.split_key is not None
        record["learned_from"] = f"{int(dataset.split_key[fit_rows].min()):016x}"  # too large for a JSON number
    if method == "hash":
        inside = fit_rows[in_test_set(row_hashes(dataset)[fit_rows])]
        record["learned_classes"] = sorted({class_label(dataset, code) for code in dataset.target[inside]})
    return record


def without_test_set(record: dict[str, Any]) -> dict[str, Any]:
    """Return the record of a training run whose served network was trained on all rows."""
    return record | {"method": NO_TEST_SET}


def unseen_rows(current: dict[str, Any] | None, new: dict[str, Any], dataset: Dataset) -> Mask:
    """(n,): the rows that the current version was not trained on; valid only for test rows of the new version.

    current, new: the records of both training runs; the new record belongs to this table. Raises NotComparable.
    """
    if current is None:
        raise NotComparable("the training of the current version did not record its training rows")
    if current["method"] == NO_TEST_SET:
        raise NotComparable("the current version was trained on all rows (--final all)")
    if current | {"how": new["how"]} == new:  # the same split of the same table
        return np.ones(len(dataset.target), np.bool_)
    if current["method"] != new["method"]:
        raise NotComparable(f"the split was {current['how']}; now it is {new['how']}")
    if new["method"] == "hash":
        if current["columns"] != new["columns"]:
            raise NotComparable("the columns of the table or their types have changed")
        unseen = in_test_set(row_hashes(with_split_columns(dataset, new["columns"])))
        known = set(current["learned_classes"])  # the class was too rare at that time to be held out
        return (
            unseen & np.array([class_label(dataset, code) not in known for code in dataset.target]) if known else unseen
        )
    if current["column"] == new["column"] and dataset.split_key is not None:
        if new["method"] == "time":
            return np.asarray(dataset.split_key > current["learned_until"])
        if new["method"] == "group":
            return np.asarray(dataset.split_key < np.uint64(int(current["learned_from"], 16)))
    raise NotComparable(f"with this split ({new['how']}) the rows of the test set differ between training runs")


def with_split_columns(dataset: Dataset, columns: Container[str]) -> Dataset:
    """The data set as it was split: without text columns that training has added since then."""
    if all(name in columns for name in dataset.columns):
        return dataset
    kept = {name: values for name, values in dataset.columns.items() if name in columns}
    return replace(dataset, columns=kept)


def column_types(dataset: Dataset) -> dict[str, str]:
    features = {feature.name: feature.kind for feature in dataset.schema.features}
    return features | {dataset.schema.target: dataset.schema.task}


def class_label(dataset: Dataset, code: Any) -> str:
    """The class of a row; empty in a regression."""
    return "" if dataset.schema.classes is None else str(dataset.schema.classes[int(code)])
