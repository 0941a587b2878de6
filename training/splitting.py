"""Splits the rows of a data set into a train, a validation and a test set."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

from models.text import counted
from training.bundled import BUNDLED
from training.cells import Mask
from training.config import DataOptions
from training.dataset import Dataset
from training.errors import UsageError
from training.isolated_cells import isolated_rows
from training.row_hash import row_hashes
from training.split_rule import SplitMethod, SplitRule, parse_split_rule
from training.test_set import in_test_set, test_set_record

TEST_FRACTION = 0.2
MIN_HASH_ROWS = 1000  # with fewer rows, a stratified test set is better, and too few rows remain to compare versions
MIN_ROWS_TO_STRATIFY = 3  # minimum rows of a class; with fewer, a set could have no row of the class

Indices = npt.NDArray[np.intp]


class Split(NamedTuple):
    """The rows of a `Dataset` in each set; no row is in two of them. `how` describes the split.

    drawn: whether train and validation rows were drawn at random, so that random folds are equally valid.
    """

    train: Indices
    validation: Indices
    test: Indices
    how: str
    notices: list[str]
    drawn: bool
    record: dict[str, Any]  # see `test_set`
    by_time: bool = False  # whether validation and test rows are later than the others


class _Holdout(NamedTuple):
    """Rows, split into two sets."""

    rest: Indices
    held_out: Indices
    notices: list[str]


def split_rows(dataset: Dataset, options: DataOptions) -> Split:
    """Split the rows of a data set by `--split`; the same seed gives the same split. Raises UsageError.

    The test set gets 20 % of all rows, the validation set 20 % of the remaining rows. Rows with isolated cells stay in
    the test set and are excluded from the other two sets.
    """
    rule = _choose_rule(dataset, options)
    _check_classes(dataset)
    official = BUNDLED[options.bundled].test_rows if options.bundled and options.split is None else 0
    first = _hold_out_test_set(dataset, rule.method, options.seed, official)
    second = _hold_out_validation_set(dataset, first.rest, rule.method, options.seed)
    isolated = isolated_rows(dataset)
    train, validation = (rows[~isolated[rows]] for rows in (second.rest, second.held_out))
    test = first.held_out
    for rows, name in ((train, "training"), (validation, "validation"), (test, "test")):
        if not len(rows):
            raise UsageError(f"--split {options.split or 'random'} leaves no rows for the {name} part")
    how = f"official test rows, validation random, seed {options.seed}" if official else _describe(rule, options.seed)
    notices = first.notices + second.notices + _isolated_notices(dataset, isolated, test)
    notices += _duplicate_notices(dataset, train, test)
    if rule.method in ("random", "hash") and not official:
        notices += _date_notices(dataset, rule.method)
    notices += _absent_class_notices(dataset, train)
    drawn = rule.method in ("random", "hash") or (rule.method == "column" and second.notices != [])
    record = test_set_record(rule.method, rule.column, options.seed, how, dataset, np.concatenate([train, validation]))
    return Split(train, validation, test, how, list(dict.fromkeys(notices)), drawn, record, rule.method == "time")


def _choose_rule(dataset: Dataset, options: DataOptions) -> SplitRule:
    """The rule of `--split`. By default, a hash for a user's own table that is large enough to compare versions."""
    large = options.bundled is None and len(dataset.target) >= MIN_HASH_ROWS
    return SplitRule("hash") if options.split is None and large else parse_split_rule(options.split)


def _check_classes(dataset: Dataset) -> None:
    """Raises UsageError if no class has enough rows for all three sets: no model could be evaluated."""
    if dataset.schema.task != "regression" and np.bincount(dataset.target).max() < MIN_ROWS_TO_STRATIFY:
        raise UsageError(
            f"target {dataset.schema.target!r}: none of its {len(dataset.schema.classes or ())} classes has "
            f"{MIN_ROWS_TO_STRATIFY} rows; are they numbers (--task regression, --decimal ,) or names of rows?"
        )


def _describe(rule: SplitRule, seed: int) -> str:
    return {
        "random": f"random, seed {seed}",
        "hash": f"by a hash of each row, which stays in its set in every training run; validation random, seed {seed}",
        "time": f"by time: the last 20 % by {rule.column!r} are the test set",
        "group": f"by group: no {rule.column!r} is in two sets; validation random, seed {seed}",
        "column": f"by column {rule.column!r}",
    }[rule.method]


def _hold_out_test_set(dataset: Dataset, method: SplitMethod, seed: int, official: int) -> _Holdout:
    """Hold out the test set. official: number of first rows that are the official test set, or 0."""
    rows = np.arange(len(dataset.target))
    if official:
        return _hold_out(rows, dataset.row_numbers < official)
    if method == "column":
        assert dataset.split_key is not None
        return _hold_out(rows, dataset.split_key == "test")
    if method == "hash":
        return _hold_out_by_hash(dataset, rows)
    if method == "group":
        return _hold_out_groups(dataset.split_key, rows, None)
    return _hold_out_fifth(dataset, rows, method, seed)


def _hold_out_validation_set(dataset: Dataset, rows: Indices, method: SplitMethod, seed: int) -> _Holdout:
    if method != "column":
        return _hold_out_fifth(dataset, rows, "random" if method == "hash" else method, seed)
    assert dataset.split_key is not None
    declared = dataset.split_key[rows] == "validation"
    if declared.any():
        return _hold_out(rows, declared)
    drawn = _hold_out_fifth(dataset, rows, "random", seed)
    notice = "no row is declared validation: a random fifth of the training rows is used"
    return drawn._replace(notices=[*drawn.notices, notice])


def _hold_out(rows: Indices, mask: npt.NDArray[np.bool_]) -> _Holdout:
    return _Holdout(rows[~mask], rows[mask], [])


def _hold_out_by_hash(dataset: Dataset, rows: Indices) -> _Holdout:
    """Hold out the rows selected by their hashes. Rows of a class with too few rows are not held out."""
    held_out = in_test_set(row_hashes(dataset))
    if dataset.schema.task == "regression":
        return _hold_out(rows, held_out)
    counts = np.bincount(dataset.target)
    rare = counts[dataset.target] < MIN_ROWS_TO_STRATIFY
    first = _hold_out(rows, held_out & ~rare)
    return first._replace(notices=_rare_class_notices(counts)) if rare.any() else first


def _rare_class_notices(counts: npt.NDArray[Any]) -> list[str]:
    few = int(((counts > 0) & (counts < MIN_ROWS_TO_STRATIFY)).sum())
    rows = f"with fewer than {MIN_ROWS_TO_STRATIFY} rows"
    classes = counted(few, f"class {rows} is", f"classes {rows} are")
    return [f"{classes} only used for training, not for the test"]


def _hold_out_fifth(dataset: Dataset, rows: Indices, method: SplitMethod, seed: int) -> _Holdout:
    """Hold out a fifth of the rows."""
    if method == "time":
        return _hold_out_latest(dataset.split_key, rows)
    if method == "group":
        return _hold_out_groups(dataset.split_key, rows, seed)
    if dataset.schema.task != "regression":
        return _hold_out_stratified(dataset.target, rows, seed)
    rest, held_out = train_test_split(rows, test_size=TEST_FRACTION, random_state=seed)
    return _Holdout(rest, held_out, [])


def _hold_out_stratified(target: npt.NDArray[Any], rows: Indices, seed: int) -> _Holdout:
    """Hold out the same fraction of each class. Rows of a class with too few rows are not held out."""
    labels = target[rows]
    counts = np.bincount(labels)
    rare = counts[labels] < MIN_ROWS_TO_STRATIFY
    common = rows[~rare]
    classes = int((counts >= MIN_ROWS_TO_STRATIFY).sum())
    if not classes or len(common) * TEST_FRACTION < classes:
        rest, held_out = train_test_split(rows, test_size=TEST_FRACTION, random_state=seed)
        return _Holdout(
            rest, held_out, ["the split is not stratified: there are too few rows for the number of classes"]
        )
    rest, held_out = train_test_split(common, test_size=TEST_FRACTION, random_state=seed, stratify=target[common])
    if not rare.any():
        return _Holdout(rest, held_out, [])
    return _Holdout(np.concatenate([rest, rows[rare]]), held_out, _rare_class_notices(counts))


def _hold_out_latest(times: npt.NDArray[Any] | None, rows: Indices) -> _Holdout:
    """Hold out the last fifth by time. Rows without a time count as the oldest."""
    assert times is not None
    moments = times[rows]
    unknown = int(np.isnan(moments).sum())
    order = rows[np.argsort(np.where(np.isnan(moments), -np.inf, moments), kind="stable")]
    border = len(order) - max(1, round(len(order) * TEST_FRACTION))
    counting = counted(unknown, "row without a time counts", "rows without a time count")
    notices = [f"{counting} as the oldest"] if unknown else []
    return _Holdout(order[:border], order[border:], notices)


def _hold_out_groups(groups: npt.NDArray[Any] | None, rows: Indices, seed: int | None) -> _Holdout:
    """Hold out whole groups until a fifth of the rows is reached; at least one group, never all.

    seed: for a random order of the groups. Without a seed the groups are ordered by their hashes, so that every
    training run holds out the same groups.
    """
    assert groups is not None
    distinct, member, sizes = np.unique(groups[rows], return_inverse=True, return_counts=True)
    if len(distinct) < 2:
        raise UsageError("--split group: needs at least 3 groups, one for each part")
    count = len(distinct)
    order = np.arange(count) if seed is None else np.random.default_rng(seed).permutation(count)
    reached = np.cumsum(sizes[order])
    taken = int(np.clip(np.argmin(np.abs(reached - TEST_FRACTION * len(rows))) + 1, 1, count - 1))
    return _hold_out(rows, np.isin(member, order[:taken]))


def _isolated_notices(dataset: Dataset, isolated: Mask, test: Indices) -> list[str]:
    """A notice that isolated cells are in the test set, where they may dominate the metrics."""
    rows = dataset.row_numbers[test[isolated[test]]] + 1
    if not len(rows):
        return []
    listed = ", ".join(map(str, rows[:3].tolist())) + (", …" if len(rows) > 3 else "")
    return [f"the test rows include rows with isolated cells ({listed}), which may dominate the metrics"]


def _duplicate_notices(dataset: Dataset, train: Indices, test: Indices) -> list[str]:
    """A notice that test rows are in the train set too, which makes the test metrics too good."""
    hashes = row_hashes(dataset)
    repeated = int(np.isin(hashes[test], hashes[train]).sum())
    if not repeated:
        return []
    of_rows = f"of {counted(len(test), 'test row')}"
    rows = counted(repeated, f"{of_rows} is", f"{of_rows} are")
    return [f"{rows} also in the train set, equal in every feature and the target"]


def _date_notices(dataset: Dataset, method: SplitMethod) -> list[str]:
    """A notice that a table with dates is not split by time."""
    dates = [feature.name for feature in dataset.schema.features if feature.kind == "date"]
    if not dates:
        return []
    return [
        f"the split is {'random' if method == 'random' else 'by a hash'} although {dates[0]!r} is a date; "
        f"to measure the errors on later rows, train with --split 'time:{dates[0]}'"
    ]


def _absent_class_notices(dataset: Dataset, train: Indices) -> list[str]:
    absent = len(dataset.schema.classes or ()) - len(np.unique(dataset.target[train]))
    if dataset.schema.classes is None or not absent:
        return []
    classes = counted(absent, "class has", "classes have")
    return [f"{classes} no row in the training part and cannot be learned"]
