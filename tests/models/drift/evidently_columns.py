"""Prints which columns Evidently reports as drifted, as JSON. Run by the environment of requirements/evidently.lock.

argv: OLD NEW CATEGORIES, two CSV files and the names of the category columns as JSON. All other columns are numbers.
"""

import json
import os
import sys
import time
from typing import Any

import pandas as pd

os.environ["DO_NOT_TRACK"] = "1"  # read when evidently is imported

METHODS = {"default": None, "psi": "psi"}


def main(old: str, new: str, categories: list[str]) -> dict[str, Any]:
    """For each method and column: the name of the test, its value, its threshold and whether the column drifts."""
    found: dict[str, Any] = {}
    for name, method in METHODS.items():
        start = time.process_time()
        columns = run_method(pd.read_csv(old), pd.read_csv(new), categories, method)
        found[name] = {"seconds": time.process_time() - start, "columns": columns}
    return found


def run_method(old: pd.DataFrame, new: pd.DataFrame, categories: list[str], method: str | None) -> dict[str, Any]:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    numbers = [name for name in old.columns if name not in categories]
    definition = DataDefinition(numerical_columns=numbers, categorical_columns=categories)
    before, after = (Dataset.from_pandas(table, data_definition=definition) for table in (old, new))
    report = Report([DataDriftPreset(method=method)]).run(after, before).dict()
    columns = {}
    for metric in report["metrics"]:
        config = metric["config"]
        if "column" in config:
            value, threshold = float(metric["value"]), config["threshold"]
            is_p = config["method"].endswith("p_value")
            drifts = value < threshold if is_p else value >= threshold
            columns[config["column"]] = {"method": config["method"], "value": value, "drifts": drifts}
    return columns


if __name__ == "__main__":
    OLD, NEW, CATEGORIES = sys.argv[1:]
    main(OLD, NEW, json.loads(CATEGORIES))  # the first use imports many modules
    print(json.dumps(main(OLD, NEW, json.loads(CATEGORIES))))
