"""Builds a `Dataset` from a table: finds the target, the split key and the type of each column."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import ValidationError

from models.cell_format import PLAIN, CellFormat
from models.feature import Ignored
from models.freed_memory import return_freed_memory
from models.schema import FeatureSchema
from models.text import counted
from models.validation_problem import first_message
from training.cell_formats import ColumnFormat, decide_cell_formats, notice_texts
from training.cells import FactorizedColumn, factorize, may_contain_text
from training.column_options import check_columns, find_target, list_names, missing_tokens
from training.config import DataOptions
from training.dataset import Dataset, MemoryColumns, TextCandidate
from training.edited_schema import load_edited_schema
from training.errors import UsageError
from training.infer_columns import InferredColumn, infer_column
from training.isolated_cells import isolated_cell_notices
from training.leaks import leak_notices
from training.model_names import check_model_name, model_name
from training.raw_table import RawTable
from training.reading import read_table
from training.row_limit import limit_rows
from training.split_rule import check_split_column, parse_split_rule, read_split_key
from training.steps import step
from training.streaming.spilled_columns import SpilledColumns
from training.table_inputs import name_of_tables
from training.target import TargetColumn, read_target
from training.work_progress import WorkProgress

MIN_ROWS = 50


def load_dataset(options: DataOptions) -> Dataset:
    """Read the table that the options name and infer its columns. Raises UsageError."""
    edited = load_edited_schema(options)
    with step("the table cannot be read", options.data):
        table = load_table(options, edited)
    with step("its columns cannot be read", options.data):
        return build_dataset(table, options, edited)


def load_table(options: DataOptions, edited: FeatureSchema | None) -> RawTable:
    """Read the rows that the options name, in the CSV format of an edited schema. Raises UsageError."""
    if edited:
        skip_rows, comment = options.skip_rows or edited.skip_rows or 0, options.comment or edited.comment
        options = replace(options, skip_rows=skip_rows, comment=comment)
    return limit_rows(read_table(options, edited.encoding if edited else None), options)


def build_dataset(table: RawTable, options: DataOptions, edited: FeatureSchema | None) -> Dataset:
    """Infer the columns of a table from its values, the options, and an edited schema, if there is one."""
    target_name = find_target(table, options, edited)
    check_columns(table, options, edited, target_name)
    name = check_model_name(options.name or (edited.name if edited else model_name(name_of_tables(options.data))))
    missing = missing_tokens(options, edited)

    rule = parse_split_rule(options.split)
    check_split_column(table.names, rule, target_name)
    texts = (factorize(table, column, missing) for column in table.names if may_contain_text(table, column))
    used_columns = replace(options, drop=tuple(column for column in options.drop if column != rule.column))
    formats = dict.fromkeys(table.names, ColumnFormat(PLAIN))
    formats |= decide_cell_formats(texts, target_name, table.delimiter, used_columns, edited)

    def read_column(name: str) -> FactorizedColumn:
        return formats[name].apply(factorize(table, name, missing))

    target = read_target(read_column(target_name), options, edited)
    used = np.flatnonzero(target.usable)
    if len(used) < MIN_ROWS:
        rows = counted(len(used), "usable row")
        raise UsageError(f"{rows} (with a target); at least {MIN_ROWS} are needed")

    split_key = None
    if rule.column is not None:
        feature = edited.by_name.get(rule.column) if edited else None
        date_format = options.date_format or (feature.date_format if feature else None)
        split_key = read_split_key(read_column(rule.column), rule.method, date_format)

    def infer(name: str) -> InferredColumn:
        return infer_column(read_column(name), options, edited)

    columns, store, candidates = _infer_columns(
        [column for column in table.names if column != target_name], infer, used, table
    )
    features = _order_features(columns, edited)
    names = [target_name, *(column.decision.column for column in features)]
    cell_notices = notice_texts([notice for name in names for notice in formats[name].notices])
    dataset = Dataset(
        schema=_build_schema(
            name,
            target_name,
            formats[target_name].cells,
            target,
            missing,
            features,
            columns,
            table,
            options,
        ),
        columns=store.ordered([column.decision.column for column in features]),
        target=target.values[used],
        row_numbers=used,
        split_key=None if split_key is None else split_key[used],
        notices=[*table.notices, *cell_notices, *target.notices, *_column_notices(columns)],
        decisions=[column.decision for column in columns],
        fingerprint=table.fingerprint,
        origin=table.origin,
        rows_read=table.rows,
        rows_used=len(used),
        candidates=candidates,
    )
    leaks = leak_notices(dataset, np.random.default_rng(options.seed))
    return replace(dataset, notices=dataset.notices + isolated_cell_notices(dataset) + leaks)


def _infer_columns(
    names: list[str], infer: Callable[[str], InferredColumn], used: npt.NDArray[np.intp], table: RawTable
) -> tuple[list[InferredColumn], MemoryColumns | SpilledColumns, tuple[TextCandidate, ...]]:
    """Return the columns without values, the feature values of the used rows, and the text columns that training
    tries."""
    if not table.spilled:
        inferred = _use_text_if_no_other_feature([infer(name) for name in names])
        values = MemoryColumns((column.decision.column, column.values[used]) for column in inferred if column.feature)
        candidates = tuple(
            TextCandidate(column.candidate, column.values[used]) for column in inferred if column.candidate
        )
        return [column.without_values for column in inferred], values, candidates
    columns, store = [], SpilledColumns()
    progress = WorkProgress("columns", len(names), "columns")
    for number, name in enumerate(names):
        progress.show(number)
        column = _without_text(infer(name))
        if column.feature:
            store.add(name, column.values[used])
        columns.append(column.without_values)
        del column
        return_freed_memory()
        pa.default_memory_pool().release_unused()
    progress.close()
    return columns, store, ()


def _use_text_if_no_other_feature(columns: list[InferredColumn]) -> list[InferredColumn]:
    """Use the text candidates as features, without a trial, if there is no other feature."""
    if any(column.feature for column in columns):
        return columns
    return [replace(column, feature=column.candidate, candidate=None) for column in columns]


def _without_text(column: InferredColumn) -> InferredColumn:
    """Ignore free text, for a table that does not fit into memory. Raises UsageError for a column of --text."""
    if column.feature and column.feature.kind == "text":
        raise UsageError(f"column {column.decision.column!r}: text needs a table that fits into memory (see --rows)")
    decision = column.decision._replace(type="ignored", reason="free text of a large table")
    return replace(column, decision=decision, candidate=None) if column.candidate else column


def _order_features(columns: list[InferredColumn], edited: FeatureSchema | None) -> list[InferredColumn]:
    """Return the features in the order of the table or the edited schema. Raises UsageError if there are none."""
    features = [column for column in columns if column.feature]
    if not features:
        raise UsageError(f"no usable feature: {_describe_ignored(columns) or 'the table has only the target'}")
    if edited is None:
        return features
    position = {feature.name: index for index, feature in enumerate(edited.features)}
    return sorted(features, key=lambda column: position[column.decision.column])


def _build_schema(
    name: str,
    target_name: str,
    target_cells: CellFormat,
    target: TargetColumn,
    missing: list[str],
    features: list[InferredColumn],
    columns: list[InferredColumn],
    table: RawTable,
    options: DataOptions,
) -> FeatureSchema:
    ignored = [column.decision for column in columns if not column.feature]
    used = [column.feature for column in features if column.feature]
    plain = target_cells == PLAIN and all(feature.cells == PLAIN and not feature.nullable for feature in used)
    lines = (table.encoding, table.skip_rows, table.comment, table.footer_lines, table.escape)
    plain = plain and all(part is None for part in lines)
    try:
        return FeatureSchema(
            format=1 if plain else 2,
            name=name,
            task=target.task,
            target=target_name,
            classes=target.classes,
            missing=missing,
            encoding=table.encoding,
            skip_rows=table.skip_rows,
            comment=table.comment,
            footer_lines=table.footer_lines,
            escape=table.escape,
            target_cells=target_cells,
            features=used,
            ignored=[Ignored(name=decision.column, reason=decision.reason) for decision in ignored],
        )
    except ValidationError as error:
        raise UsageError(f"{options.schema or options.data}: {first_message(error)}") from None


def _column_notices(columns: list[InferredColumn]) -> list[str]:
    notices = [notice for column in columns for notice in column.notices]
    if ignored := _describe_ignored(columns):
        notices.append(f"left out: {ignored}")
    return notices


def _describe_ignored(columns: list[InferredColumn]) -> str:
    """The names of the ignored columns, grouped by reason."""
    by_reason: dict[str, list[str]] = {}
    for column in columns:
        if not column.feature and not column.candidate:
            by_reason.setdefault(column.decision.reason, []).append(column.decision.column)
    return "; ".join(f"{list_names(names)} ({reason})" for reason, names in by_reason.items())
