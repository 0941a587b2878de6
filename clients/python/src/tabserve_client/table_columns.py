"""Converts predictions between the two forms of the server: JSON entries and columns of a table."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from tabserve_client.options import OutputOptions
from tabserve_client.row_issues import RowError, RowWarning, joined, warnings_in

Entry = dict[str, Any] | None
Label = bool | int | float | str


def class_key(label: Label) -> str:
    """A label as text, as in the server's column names and keys."""
    if isinstance(label, bool):
        return "true" if label else "false"
    return str(label)


def names_of_levels(levels: Sequence[float], *names: str) -> Iterator[tuple[float, list[str]]]:
    """The names of columns for each level; without the level if there is only one level."""
    for level in levels:
        yield level, list(names) if len(levels) == 1 else [f"{name}_{level:g}" for name in names]


# Columns to entries


def entries_of(table: Any, options: OutputOptions, first_row: int) -> list[Entry]:
    """The entries of an Arrow table; None for a row with an error."""
    columns: dict[str, list[Any]] = {name: table.column(name).to_pylist() for name in table.column_names}
    parts = [*value_parts(columns), *interval_parts(columns, options), *set_parts(columns, table, options)]
    entries: list[Entry] = [dict(zip(dict(parts), row, strict=True)) for row in zip(*dict(parts).values(), strict=True)]
    for row, (warning, error) in enumerate(zip(columns["warnings"], columns["error"], strict=True)):
        entry = entries[row]
        if error is not None:
            entries[row] = None
        elif warning is not None and entry is not None:
            entry["warnings"] = [
                {"field": found.field, "code": found.code, "message": found.message}
                for found in warnings_in(warning, first_row + row)
            ]
    return entries


def value_parts(columns: Mapping[str, list[Any]]) -> Iterator[tuple[str, Iterable[Any]]]:
    if "value" in columns:
        yield "value", columns["value"]
        return
    yield "label", columns["label"]
    prefix = "probability_"
    keys = [name.removeprefix(prefix) for name in columns if name.startswith(prefix)]
    rows = zip(*(columns[prefix + key] for key in keys), strict=True)
    yield "probabilities", [dict(zip(keys, row, strict=True)) for row in rows]


def interval_parts(columns: Mapping[str, list[Any]], options: OutputOptions) -> Iterator[tuple[str, Iterable[Any]]]:
    by_level = [
        [
            {"level": level, "low": low, "high": high}
            for low, high in zip(columns[names[0]], columns[names[1]], strict=True)
        ]
        for level, names in names_of_levels(options.intervals, "low", "high")
    ]
    yield from one_or_all(by_level, "interval", "intervals")


def set_parts(
    columns: Mapping[str, list[Any]], table: Any, options: OutputOptions
) -> Iterator[tuple[str, Iterable[Any]]]:
    if not options.sets:
        return
    keys = [name.removeprefix("probability_") for name in columns if name.startswith("probability_")]
    labels = [label_of(key, str(table.schema.field("label").type)) for key in keys]
    by_level = []
    for level, (name,) in names_of_levels(options.sets, "set"):
        members = zip(*(columns[f"{name}_{key}"] for key in keys), strict=True)
        by_level.append(
            [
                {"level": level, "labels": [label for label, member in zip(labels, row, strict=True) if member]}
                for row in members
            ]
        )
    yield from one_or_all(by_level, "set", "sets")


def one_or_all(by_level: Sequence[list[Any]], one: str, several: str) -> Iterator[tuple[str, Iterable[Any]]]:
    if len(by_level) == 1:
        yield one, by_level[0]
    elif by_level:
        yield several, [list(row) for row in zip(*by_level, strict=True)]


def label_of(key: str, kind: str) -> Label:
    """The label for a key. kind: the type of the column `label`."""
    if kind == "bool":
        return key == "true"
    if kind in ("int64", "double"):
        return int(key) if key.lstrip("-").isdigit() else float(key)
    return key


# Entries to columns


def columns_of(
    entries: Sequence[Entry], warnings: Sequence[RowWarning], errors: Sequence[RowError], empty: Sequence[str]
) -> dict[str, list[Any]]:
    """The columns of a table, by name. empty: the names of the columns if no row has a prediction."""
    first = next((entry for entry in entries if entry is not None), None)
    columns: dict[str, list[Any]] = {}
    if first is None:
        columns = {name: [None] * len(entries) for name in empty}
    else:
        keys = list(first.get("probabilities", ()))
        blank = dict.fromkeys(row_columns(first, keys))
        rows = [blank if entry is None else row_columns(entry, keys) for entry in entries]
        columns = {name: [row[name] for row in rows] for name in blank}
    columns["warnings"] = issue_texts(len(entries), warnings)
    columns["error"] = issue_texts(len(entries), errors)
    return columns


def issue_texts(count: int, issues: Sequence[RowError | RowWarning]) -> list[str | None]:
    """The text of the errors or warnings of each row."""
    by_row: dict[int, list[RowError | RowWarning]] = {}
    for issue in issues:
        if issue.row is not None:
            by_row.setdefault(issue.row, []).append(issue)
    found: list[str | None] = [None] * count
    for row, of_row in by_row.items():
        found[row] = joined(of_row)
    return found


def row_columns(entry: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """The columns of one prediction. keys: the keys of the probabilities."""
    found = {name: entry[name] for name in ("value", "label") if name in entry}
    found |= {f"probability_{key}": entry["probabilities"][key] for key in keys}
    intervals = entry.get("intervals") or ([entry["interval"]] if "interval" in entry else [])
    for one, (_, (low, high)) in zip(intervals, names_of_levels(levels_of(intervals), "low", "high"), strict=True):
        found |= {low: one["low"], high: one["high"]}
    sets = entry.get("sets") or ([entry["set"]] if "set" in entry else [])
    for one, (_, (name,)) in zip(sets, names_of_levels(levels_of(sets), "set"), strict=True):
        members = {*map(class_key, one["labels"])}
        found |= {f"{name}_{key}": key in members for key in keys}
    if "explanation" in entry:
        explanation = entry["explanation"]
        found["baseline"] = explanation["baseline"]
        found |= {f"contribution_{name}": value for name, value in explanation["contributions"].items()}
    return found


def levels_of(parts: Sequence[Mapping[str, Any]]) -> list[float]:
    return [part["level"] for part in parts]


def empty_columns(classes: Sequence[Label] | None, features: Sequence[str], options: OutputOptions) -> list[str]:
    """The names of the server's prediction columns. classes: None for a regression."""
    keys = [] if classes is None else [*map(class_key, classes)]
    names = ["value"] if classes is None else ["label", *(f"probability_{key}" for key in keys)]
    for _, ends in names_of_levels(options.intervals, "low", "high"):
        names += ends
    for _, (name,) in names_of_levels(options.sets, "set"):
        names += [f"{name}_{key}" for key in keys]
    if options.explain:
        names += ["baseline", *(f"contribution_{name}" for name in features)]
    return names
