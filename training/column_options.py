"""Options that name columns, checked against the columns of the table."""

from collections.abc import Sequence

from models.feature import Kind
from models.schema import MISSING_TOKENS, FeatureSchema
from models.text import did_you_mean, truncate
from training.config import DataOptions
from training.csv_format import header_hint
from training.date_formats import check_date_format
from training.errors import UsageError
from training.raw_table import RawTable

TYPE_FLAGS: dict[str, Kind] = {"categorical": "category", "number": "number", "date": "date", "text": "text"}


def find_target(table: RawTable, options: DataOptions, schema: FeatureSchema | None) -> str:
    """The name of the target column. Raises UsageError."""
    if schema and options.target and options.target != schema.target:
        raise UsageError(
            f"--target {truncate(options.target)!r} is not {schema.target!r}, the target in {options.schema}"
        )
    target = options.target or (schema.target if schema else None)
    if not target:
        raise UsageError(f"use --target COLUMN, the column to predict; there are {list_names(table.names)}")
    if target not in table.names:
        hint = did_you_mean(target, table.names) or f"; there are {list_names(table.names)}"
        raise UsageError(f"the table has no column {truncate(target)!r} to predict{hint}{header_hint(table.names)}")
    return target


def check_columns(table: RawTable, options: DataOptions, schema: FeatureSchema | None, target: str) -> None:
    """Raises UsageError for a named column that is not in the table, is the target, or is named by several flags."""
    check_date_format(options.date_format)
    flag_of: dict[str, str] = {}
    for flag in ("drop", *TYPE_FLAGS):
        for column in getattr(options, flag):
            if column not in table.names:
                hint = did_you_mean(column, table.names)
                raise UsageError(f"--{flag}: the table has no column {truncate(column)!r}{hint}")
            if column == target:
                raise UsageError(f"--{flag}: {column!r} is the target" + (" (see --task)" if flag != "drop" else ""))
            if flag_of.setdefault(column, flag) != flag:
                raise UsageError(f"column {column!r} is named by --{flag_of[column]} and by --{flag}")
    for feature in schema.features if schema else []:
        if feature.name not in table.names:
            hint = did_you_mean(feature.name, table.names)
            raise UsageError(f"{options.schema}: the table has no column {truncate(feature.name)!r}{hint}")


def missing_tokens(options: DataOptions, schema: FeatureSchema | None) -> list[str]:
    """The texts of missing cells; an empty cell is always missing."""
    if schema:
        return schema.missing
    return list(MISSING_TOKENS) if options.na is None else list(dict.fromkeys(("", *options.na)))


def list_names(names: Sequence[str], limit: int = 8) -> str:
    """Names in quotes, the first few of a long list."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(repr(truncate(name)) for name in names[:limit]) + more
