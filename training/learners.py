"""Other learners for the development suite, run in the environment of `make learners`, without the project's modules.

`python training/learners.py LEARNER FOLDER` reads FOLDER/table.parquet: the columns, `target` (a number, or the number
of a class) and `part` (0 train, 1 validation, 2 test). It writes the outputs for the test rows to FOLDER/outputs.npy,
(rows, 1) or (rows, classes), and prints the seconds. Trees have the tuned defaults of pytabkit (Holzmüller et al. 2024,
arXiv 2407.04491): 1,000 rounds at most, stopped 300 rounds after their best validation loss.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

ROUNDS, PATIENCE = 1000, 300
Parts = tuple[pd.DataFrame, Any, pd.DataFrame, Any, pd.DataFrame]


def main() -> None:
    """Fit a learner and write its outputs."""
    learner, folder = sys.argv[1], Path(sys.argv[2])
    frame = pd.read_parquet(folder / "table.parquet")
    part, y = frame.pop("part").to_numpy(), frame.pop("target").to_numpy()
    classes = 0 if y.dtype.kind == "f" else int(y.max()) + 1
    train, validation, test = (part == number for number in range(3))
    started = time.perf_counter()
    outputs = LEARNERS[learner](
        (frame[train], y[train], frame[validation], y[validation], frame[test]), categories(frame), classes
    )
    np.save(folder / "outputs.npy", np.asarray(outputs, np.float64).reshape(int(test.sum()), -1))
    print(time.perf_counter() - started)


def categories(frame: pd.DataFrame) -> list[str]:
    return [name for name in frame.columns if frame[name].dtype.kind not in "fiub"]


def catboost(parts: Parts, categorical: list[str], classes: int) -> Any:
    if classes:
        return fit_catboost(
            parts,
            categorical,
            classes,
            learning_rate=0.08,
            depth=7,
            l2_leaf_reg=1e-5,
            bootstrap_type="Bernoulli",
            subsample=0.9,
            one_hot_max_size=15,
        )
    return fit_catboost(
        parts,
        categorical,
        classes,
        learning_rate=0.09,
        depth=9,
        l2_leaf_reg=1e-5,
        leaf_estimation_iterations=20,
        one_hot_max_size=20,
    )


def catboost_default(parts: Parts, categorical: list[str], classes: int) -> Any:
    """CatBoost with its own defaults."""
    return fit_catboost(parts, categorical, classes)


def fit_catboost(parts: Parts, categorical: list[str], classes: int, **settings: Any) -> Any:
    from catboost import CatBoostClassifier, CatBoostRegressor

    x, y, x_validation, y_validation, x_test = (
        part.assign(**{name: part[name].fillna("missing").astype(str) for name in categorical})
        if isinstance(part, pd.DataFrame)
        else part
        for part in parts
    )
    model: Any = (CatBoostClassifier if classes else CatBoostRegressor)(
        iterations=ROUNDS, random_seed=0, verbose=False, thread_count=2, allow_writing_files=False, **settings
    )
    model.fit(
        x,
        y,
        eval_set=(x_validation, y_validation),
        cat_features=categorical,
        early_stopping_rounds=PATIENCE,
        use_best_model=True,
    )
    return all_classes(model.predict_proba(x_test), model.classes_, classes) if classes else model.predict(x_test)


def lightgbm(parts: Parts, categorical: list[str], classes: int) -> Any:
    import lightgbm

    x, y, x_validation, y_validation, x_test = as_categories(parts, categorical)
    common = {"n_estimators": ROUNDS, "subsample_freq": 1, "random_state": 0, "n_jobs": 2, "verbose": -1}
    if classes:
        model: Any = lightgbm.LGBMClassifier(
            learning_rate=0.04, num_leaves=50, min_child_samples=40, subsample=0.75, **common
        )
    else:
        model = lightgbm.LGBMRegressor(learning_rate=0.05, num_leaves=100, min_child_samples=3, subsample=0.7, **common)
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    model.fit(x, y, eval_set=[(x_validation, y_validation)], callbacks=[stop])
    return all_classes(model.predict_proba(x_test), model.classes_, classes) if classes else model.predict(x_test)


def xgboost(parts: Parts, categorical: list[str], classes: int) -> Any:
    import xgboost

    x, y, x_validation, y_validation, x_test = as_categories(parts, categorical)
    common = {
        "n_estimators": ROUNDS,
        "early_stopping_rounds": PATIENCE,
        "enable_categorical": True,
        "tree_method": "hist",
        "random_state": 0,
        "n_jobs": 2,
    }
    if classes:
        model: Any = xgboost.XGBClassifier(
            learning_rate=0.08, max_depth=6, reg_lambda=0, subsample=0.65, colsample_bylevel=0.9, **common
        )
    else:
        model = xgboost.XGBRegressor(learning_rate=0.05, max_depth=9, min_child_weight=2, subsample=0.7, **common)
    model.fit(x, y, eval_set=[(x_validation, y_validation)], verbose=False)
    return all_classes(model.predict_proba(x_test), model.classes_, classes) if classes else model.predict(x_test)


def realmlp(parts: Parts, categorical: list[str], classes: int) -> Any:
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    return fit_pytabkit(RealMLP_TD_Classifier if classes else RealMLP_TD_Regressor, parts, categorical, classes)


def tabm(parts: Parts, categorical: list[str], classes: int) -> Any:
    from pytabkit import TabM_D_Classifier, TabM_D_Regressor

    return fit_pytabkit(TabM_D_Classifier if classes else TabM_D_Regressor, parts, categorical, classes)


def fit_pytabkit(kind: Any, parts: Parts, categorical: list[str], classes: int) -> Any:
    x, y, x_validation, y_validation, x_test = as_categories(parts, categorical)
    numbers = [name for name in x.columns if name not in categorical]
    x, x_validation, x_test = (  # RealMLP does not accept missing numbers: they are replaced by medians
        part.assign(**{name: part[name].fillna(x[name].median()).astype(float) for name in numbers})
        for part in (x, x_validation, x_test)
    )
    model = kind(device="cpu", random_state=0, n_threads=2)
    model.fit(x, y, x_validation, y_validation, cat_col_names=categorical)
    return all_classes(model.predict_proba(x_test), model.classes_, classes) if classes else model.predict(x_test)


def as_categories(parts: Parts, categorical: list[str]) -> Parts:
    """Convert the categorical columns of all parts to the levels of the train rows."""
    x = parts[0]
    levels = {name: sorted(x[name].dropna().unique()) for name in categorical}

    def cast(part: pd.DataFrame) -> pd.DataFrame:
        known = {name: part[name].where(part[name].isin(of_train)) for name, of_train in levels.items()}
        return part.assign(**{name: pd.Categorical(known[name], levels[name]) for name in categorical})

    return cast(x), parts[1], cast(parts[2]), parts[3], cast(parts[4])


def all_classes(p: Any, present: Any, classes: int) -> Any:
    """Probabilities with a column for every class, including classes without train rows."""
    whole = np.full((len(p), classes), 1e-12)
    whole[:, np.asarray(present, int)] = p
    return whole


LEARNERS: dict[str, Callable[[Parts, list[str], int], Any]] = {
    "catboost": catboost,
    "catboost-default": catboost_default,
    "lightgbm": lightgbm,
    "xgboost": xgboost,
    "realmlp": realmlp,
    "tabm": tabm,
}

if __name__ == "__main__":
    main()
