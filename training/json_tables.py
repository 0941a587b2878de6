"""Reads JSON tables: one object per line, an array of objects, or an object of columns, as pandas writes it."""

import json
from collections.abc import Sequence
from typing import Any

from models.text import counted, render, truncate
from training.errors import UsageError
from training.raw_table import RawTable, check_names, column_of_cells

WRAPPERS = ("rows", "data", "records", "instances", "items", "results")  # keys under which an object contains the rows
Columns = dict[str, list[Any]]


def is_json(content: bytes) -> bool:
    return content.lstrip()[:1] in (b"{", b"[")


def read_json(text: str, where: str) -> RawTable:
    """Read a JSON document, or one object per line. Raises UsageError."""
    try:
        content, form = json.loads(text), "JSON"
    except ValueError as error:
        if text.lstrip().startswith("[") or "\n" not in text.strip():
            raise UsageError(f"{where} is not valid JSON: {error}") from None
        content, form = _read_lines(text, where), "NDJSON"
    except RecursionError:
        raise UsageError(f"{where} is JSON that is nested too deeply") from None
    columns = _columns(content, where)
    names = list(columns)
    check_names(names, where)
    rows = len(columns[names[0]]) if names else 0
    if not rows:
        raise UsageError(f"{where} has no rows")
    return RawTable(names, [column_of_cells(cells) for cells in columns.values()], True, rows, [], {"format": form})


def _read_lines(text: str, where: str) -> list[Any]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                rows.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                raise UsageError(f"{where}, line {number}, is not valid JSON: {error}") from None
    return rows


def _columns(content: Any, where: str) -> Columns:
    if isinstance(content, list):
        return _from_records(content, where)
    if isinstance(content, dict):
        if {"columns", "data"} <= content.keys():  # orient="split"
            return _from_split(content["columns"], content["data"], where)
        wrapped = [content[name] for name in WRAPPERS if isinstance(content.get(name), list)]
        if len(wrapped) == 1 and all(isinstance(row, dict) for row in wrapped[0]):
            return _from_records(wrapped[0], where)
        if content and all(isinstance(value, list) for value in content.values()):
            return _from_lists(content, where)
        if content and all(isinstance(value, dict) for value in content.values()):
            return _from_dicts(content, where)
        return _from_records([content], where)
    raise UsageError(f"{where} is not a table: its JSON is {render(content)}")


def _from_records(rows: Sequence[Any], where: str) -> Columns:
    """Read orient="records"; a key that a row lacks is a missing value."""
    names: dict[str, None] = {}
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            hint = "; an array of arrays has no column names: write objects" if isinstance(row, list) else ""
            raise UsageError(f"{where} is not a table: its row {number} is {render(row)}, not an object{hint}")
        names |= dict.fromkeys(row)
    return {name: [row.get(name) for row in rows] for name in names}


def _from_split(names: Any, rows: Any, where: str) -> Columns:
    if not isinstance(names, list) or not isinstance(rows, list):
        raise UsageError(f"{where} is not a table: 'columns' and 'data' must be arrays")
    wrong = next(
        (number for number, row in enumerate(rows, 1) if not isinstance(row, list) or len(row) != len(names)), 0
    )
    if wrong:
        width = counted(len(names), "column")
        raise UsageError(f"{where}: row {wrong} of 'data' does not have a value for each of {width}")
    texts = [str(name) for name in names]
    check_names(texts, where)
    return {name: [row[index] for row in rows] for index, name in enumerate(texts)}


def _from_lists(columns: dict[str, list[Any]], where: str) -> Columns:
    """Read an object with an array for each column."""
    first = next(iter(columns))
    for name, cells in columns.items():
        if len(cells) != len(columns[first]):
            raise UsageError(
                f"{where}: column {truncate(name)!r} has {counted(len(cells), 'value')}, {truncate(first)!r} has "
                f"{len(columns[first])}"
            )
    return columns


def _from_dicts(outer: dict[str, dict[str, Any]], where: str) -> Columns:
    """Read orient="columns", pandas' default, or orient="index", if all keys are row numbers."""
    if all(key.isdigit() for key in outer):
        return _from_records(list(outer.values()), where)
    keys = dict.fromkeys(key for cells in outer.values() for key in cells)
    return {name: [cells.get(key) for key in keys] for name, cells in outer.items()}
