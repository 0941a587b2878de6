"""`drift`: compare the rows of a file with the reference of a stored version."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from models import store
from models.formats.errors import EmptyTable, FormatError
from models.formats.table_files import read_file
from models.rows import RowError
from models.tabular_model import TabularModel
from models.text import counted
from models.version_files import StoreError
from models.version_lifecycle import VersionStore
from service.commands.named_version import find_version

Arguments = argparse.Namespace
ALARM = 3  # the exit code
MAX_PRINTED_ERRORS = 3


def drift(arguments: Arguments, versions: VersionStore) -> int:
    """Print the drift statistics of a file's rows and their predictions."""
    model = store.load(find_version(arguments.tag, versions), trusted_keys=store.environment_trusted_keys())
    if model.reference is None:
        raise StoreError(
            f"{model.tag} has no reference.json: it was trained before tabserve stored one; train it again"
        )
    try:
        report, invalid, errors = compare_file(model, arguments.data)
    except (OSError, FormatError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise StoreError(f"{arguments.data} cannot be read: {reason}") from error
    if arguments.json:
        print(json.dumps(report, indent=1, ensure_ascii=False))
    else:
        print_report(report)
    if invalid:
        print(
            f"invalid rows, which a server would refuse, are left out: {invalid:,}; the first errors:",
            file=sys.stderr,
        )
        for row_error in errors[:MAX_PRINTED_ERRORS]:
            print(f"  {row_error.message}", file=sys.stderr)
    return ALARM if report["status"] == "alarm" else 0


def compare_file(model: TabularModel, path: Path) -> tuple[dict[str, object], int, Sequence[RowError]]:
    """The report of a file's rows, the number of invalid rows and their first errors."""
    from models.drift.counter import DriftCounter
    from models.drift.drift_report import drift_report

    assert model.reference is not None
    counter = DriftCounter(model.schema, model.reference, model)
    total, invalid = np.zeros(counter.width, dtype=np.int64), 0
    errors: list[RowError] = []
    for rows in read_file(path, model.schema):
        if valid := len(rows.frame.numbers):
            total += counter.count(rows.frame, model.with_scale.predict(rows.frame), valid)
        invalid += rows.invalid_rows
        errors += rows.errors[: MAX_PRINTED_ERRORS - len(errors)]
    if not counter.read(total).counted and not invalid:
        raise EmptyTable
    counts = counter.read(total)
    head = {"model": model.name, "version": model.version, "rows": counts.counted, "invalid_rows": invalid}
    return head | drift_report(model.schema, model.reference, counts), invalid, errors


def print_report(report: dict[str, Any]) -> None:
    from models.drift.drift_table import drift_table

    rows = counted(report["rows"], "row", spec=",")
    print(f"{rows}, compared with the training of {report['model']}:{report['version']}")
    print(drift_table(report))
