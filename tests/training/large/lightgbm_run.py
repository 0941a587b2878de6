"""LightGBM on a table of `random_table`: `python -m tests.training.large.lightgbm_run FILE SECONDS`.

Prints JSON: the seconds and the error of the training run with early stopping, the error after SECONDS, and the peak
memory. A run that has not stopped early after MAX_TIME_FACTOR times SECONDS is ended.
"""

import json
import resource
import sys
import time
from typing import Any

import numpy as np
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet

from tests.training.large.random_table import TARGET

ROUNDS, PATIENCE = 3000, 50
MAX_TIME_FACTOR = 2.0


def main() -> None:
    import lightgbm

    path, budget = sys.argv[1], float(sys.argv[2])
    started = time.perf_counter()
    table = arrow_parquet.read_table(path) if path.endswith(".parquet") else arrow_csv.read_csv(path)
    frame = table.to_pandas()
    del table
    for name in ("city", "colour"):
        frame[name] = frame[name].astype("category")
    frame["sold"] = frame["sold"].astype("int64")
    y = frame.pop(TARGET).to_numpy()
    part = np.random.default_rng(0).random(len(y))
    train, validation, test = part < 0.64, (part >= 0.64) & (part < 0.8), part >= 0.8
    moments: list[float] = []

    def record_time(environment: Any) -> None:
        moments.append(time.perf_counter() - started)
        if moments[-1] > MAX_TIME_FACTOR * budget:
            raise lightgbm.callback.EarlyStopException(len(moments) - 1, environment.evaluation_result_list)

    model = lightgbm.LGBMRegressor(
        n_estimators=ROUNDS, learning_rate=0.1, num_leaves=100, random_state=0, n_jobs=2, verbose=-1
    )
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    model.fit(frame[train], y[train], eval_set=[(frame[validation], y[validation])], callbacks=[stop, record_time])
    seconds = time.perf_counter() - started
    at_time = int(np.searchsorted(moments, budget))

    def error(rounds: int) -> float:
        return float(np.sqrt(np.mean((model.predict(frame[test], num_iteration=rounds) - y[test]) ** 2)))

    print(
        json.dumps(
            {
                "seconds": seconds,
                "stopped": moments[-1] <= MAX_TIME_FACTOR * budget,
                "rmse": error(model.best_iteration_),
                "rounds": model.best_iteration_,
                "rmse_at_equal_time": error(min(max(at_time, 1), model.best_iteration_)),
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
            }
        )
    )


if __name__ == "__main__":
    main()
