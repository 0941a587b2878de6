"""Limits the rows of a table that are used: all, the number of `--rows`, or as many as fit into `--memory`.

Rows are never left out without a notice.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from models.text import counted
from training.config import DataOptions
from training.errors import UsageError
from training.raw_table import RawTable
from training.streaming.part_columns import PartColumns

ALL = "all"
# Bytes for each row, measured by `make large-tables`: the memory of one column while it is read, and that of all rows
# during training (targets, numbers of rows, a part of the test set).
TEXT_ROW_BYTES, TYPED_ROW_BYTES, COLUMN_BYTES = 650, 250, 4
DEFAULT_FRACTION = 0.5  # fraction of the free memory
CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def limit_rows(table: RawTable, options: DataOptions) -> RawTable:
    """The table, or a random sample of its rows (by `--seed`) with a notice. Raises UsageError."""
    wanted = parse_rows(options.rows)
    if wanted is None:
        return table
    if wanted:
        limit, reason = wanted, "set by --rows"
    elif table.spilled:
        limit = affordable_rows(table, options.memory or free_memory())
        reason = f"more do not fit into {'--memory' if options.memory else 'half of the free memory'}; --rows overrides"
    else:
        return table
    if table.rows <= limit:
        return table
    kept = np.sort(np.random.default_rng(options.seed).choice(table.rows, limit, replace=False))
    used = counted(limit, f"of {table.rows:,} rows is used", f"of {table.rows:,} rows are used", spec=",")
    notice = f"{used}, drawn at random by --seed: {reason}"
    columns = (
        table.columns.keep_rows(kept) if isinstance(table.columns, PartColumns) else _take_rows(table.columns, kept)
    )
    return replace(table, columns=columns, rows=limit, notices=[*table.notices, notice])


def parse_rows(text: str | None) -> int | None:
    """The number of `--rows`, 0 if the memory decides, None for all rows. Raises UsageError."""
    if text is None:
        return 0
    if text == ALL:
        return None
    if not text.isdecimal() or not int(text):
        raise UsageError(f"--rows must be a number of rows, or {ALL}, not {text!r}")
    return int(text)


def affordable_rows(table: RawTable, memory: int) -> int:
    """The number of rows for which training needs this memory, in addition to the memory for a small table."""
    row_bytes = (TYPED_ROW_BYTES if table.typed else TEXT_ROW_BYTES) + COLUMN_BYTES * len(table.names)
    return max(memory // row_bytes, 1)


def free_memory() -> int:
    """The default fraction of the free memory of the machine or the container."""
    pages = os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else 0
    free = pages * os.sysconf("SC_PAGE_SIZE") if pages else 1 << 32
    try:
        available = [
            line.split()[1] for line in Path("/proc/meminfo").read_text().splitlines() if "MemAvailable" in line
        ]
        free = int(available[0]) * 1024 if available else free
        limit = CGROUP_LIMIT.read_text().strip()
        free = min(free, int(limit)) if limit.isdecimal() else free
    except OSError:  # not Linux
        pass
    return int(DEFAULT_FRACTION * free)


def _take_rows(columns: Sequence[Any], rows: Any) -> Sequence[Any]:
    return [column.take(pa.array(rows)) for column in columns]
