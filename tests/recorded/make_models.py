"""Trains the small models of `store/` and stores only the files that a server reads. Run this script only if the models
must change: afterwards every response must be recorded again.

    .venv/bin/python tests/recorded/make_models.py
"""

import csv
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[2]
STORE = Path(__file__).resolve().parent / "store"
UNUSED_FILES = ("*.png", "*.keras", "model.yaml")
FAST = ("--framework", "numpy", "--no-baselines")
ENSEMBLE = (*FAST, "--network", "ensemble", "--hidden", "16,16", "--epochs", "4", "--learning-rate", "0.01")
PLAIN = (*FAST, "--hidden", "12", "--epochs", "30", "--learning-rate", "0.01")

Row = dict[str, Any]
Edit = Callable[[dict[str, Any]], None]


class Recipe(NamedTuple):
    """The definition of a model: its table, changes to the inferred schema, and training options."""

    name: str
    target: str
    rows: Sequence[Row]
    options: Sequence[str]
    inspect_options: Sequence[str] = ()
    limits: Mapping[str, Mapping[str, Any]] = {}
    versions: int = 1


def numbers_rows(rng: random.Random) -> list[Row]:
    rows = []
    for _ in range(240):
        row: Row = {name: round(rng.uniform(0, 10 * (place + 1)), 2) for place, name in enumerate("abcdef")}
        row["area"] = round(120 * row["a"] + 3 * row["b"] - 7 * row["c"] + rng.gauss(0, 10), 3)
        rows.append(row)
    return rows


def homes_rows(rng: random.Random) -> list[Row]:
    rows = []
    for number in range(260):
        metres = round(rng.uniform(20, 200), 1)
        garden = rng.random() < 0.5
        row: Row = {
            "ID": f"h{number}",
            "sq. metres ($)": metres,
            "educational-num": rng.randint(0, 16),
            "Outcome Type": rng.choice(["Adoption", "Transfer", "100 %", 'said "no"', "größer, neu"]),
            "class": round(rng.uniform(-5, 5), 2),
            "garden?": str(garden).lower(),
            "renovated": rng.choice(["True", "False"]),
            "2nd": f"{rng.randint(2001, 2019)}-0{rng.randint(1, 9)}-1{rng.randint(0, 9)}",
            "sold on": f"{rng.randint(10, 28)}/0{rng.randint(1, 9)}/{rng.randint(2001, 2019)} 12:30",
            "zone": rng.choice([1, 2, 3]),
            "street": f"street {rng.randint(1, 12)}",
            "price": round(1000 * metres + 5000 * garden + rng.gauss(0, 500), 2),
        }
        for name in ("Outcome Type", "class", "renovated"):
            if rng.random() < 0.1:
                row[name] = ""
        rows.append(row)
    return rows


def income_rows(rng: random.Random) -> list[Row]:
    rows = []
    for _ in range(260):
        age = rng.randint(17, 90)
        job = rng.choice(["Private", "State-gov", "100 %", "self, employed"])
        member = rng.random() < 0.5
        good = age + 20 * member + rng.gauss(0, 5) > 60
        row: Row = {
            "age": age,
            "job": "?" if rng.random() < 0.1 else job,
            "member": str(member).lower(),
            "hours": "-1" if rng.random() < 0.1 else rng.randint(10, 60),
            "income": "100 %s" if good else "<=50K",
        }
        rows.append(row)
    return rows


def stars_rows(rng: random.Random) -> list[Row]:
    rows = []
    for _ in range(240):
        size, kind = round(rng.uniform(0, 9), 2), rng.choice(["inn", "hotel", "hut"])
        stars = 5 if size > 6 and kind == "hotel" else 2 if size > 4 else 1
        rows.append({"size": size, "kind": kind, "stars": stars})
    return rows


def sizes_rows(rng: random.Random) -> list[Row]:
    labels = ["größer", 'say "hi"', "100 %", "a, b; c"]
    rows = []
    for _ in range(240):
        x, y = round(rng.uniform(-1, 1), 3), round(rng.uniform(-1, 1), 3)
        rows.append({"x": x, "y": y, "größe": labels[2 * (x > 0) + (y > 0)]})
    return rows


def flags_rows(rng: random.Random) -> list[Row]:
    rows = []
    for _ in range(200):
        heat = round(rng.uniform(0, 100), 1)
        rows.append({"heat": heat, "on": str(heat > 50).lower()})
    return rows


def single_rows(rng: random.Random) -> list[Row]:
    return [{"x": (x := round(rng.uniform(0, 50), 2)), "y": round(2.5 * x + rng.gauss(0, 1), 3)} for _ in range(200)]


def recipes() -> list[Recipe]:
    rng = random.Random(20)
    homes_limits: dict[str, dict[str, Any]] = {
        "educational-num": {"minimum": 0, "maximum": 120.5},
        "2nd": {"minimum": "1990-01-01"},
        "zone": {"unseen": "error"},
    }
    return [
        Recipe("numbers", "area", numbers_rows(rng), ENSEMBLE),
        Recipe("homes", "price", homes_rows(rng), PLAIN, ("--categorical", "zone"), homes_limits),
        Recipe(
            "income", "income", income_rows(rng), ENSEMBLE, ("--na", "?,-1"), {"age": {"minimum": 0, "maximum": 120}}
        ),
        Recipe("stars", "stars", stars_rows(rng), PLAIN, (), {"kind": {"unseen": "error"}}, versions=2),
        Recipe("sizes", "größe", sizes_rows(rng), ENSEMBLE),
        Recipe("flags", "on", flags_rows(rng), PLAIN),
        Recipe("single", "y", single_rows(rng), PLAIN),
    ]


def write_table(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def run_training(home: Path, *arguments: str) -> None:
    environment = {**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"}
    subprocess.run([sys.executable, "-m", "training", *arguments], cwd=ROOT, env=environment, check=True)


def train(recipe: Recipe, home: Path) -> None:
    table, schema = home / f"{recipe.name}.csv", home / f"{recipe.name}.json"
    write_table(table, recipe.rows)
    source = ("--data", str(table), "--target", recipe.target)
    run_training(home, "inspect", *source, *recipe.inspect_options, "--out", str(schema))
    document = json.loads(schema.read_text(encoding="utf-8"))
    for feature in document["features"]:
        feature |= recipe.limits.get(feature["name"], {})
    schema.write_text(json.dumps(document), encoding="utf-8")
    for version in range(recipe.versions):
        seed = ("--fit-seed", str(version))
        run_training(home, *source, "--schema", str(schema), "--name", recipe.name, *recipe.options, *seed)


def copy_to_store(recipe: Recipe, home: Path) -> None:
    """Copy the files that a server reads to `store/`, without the path of the training folder."""
    ignored = shutil.ignore_patterns(*UNUSED_FILES, "latest")
    shutil.copytree(home / "models" / recipe.name, STORE / recipe.name, ignore=ignored)
    for path in STORE.glob(f"{recipe.name}/*/training.json"):
        path.write_text(path.read_text(encoding="utf-8").replace(f"{home}/", ""), encoding="utf-8")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        for recipe in recipes():
            train(recipe, home)
        shutil.rmtree(STORE, ignore_errors=True)
        for recipe in recipes():
            copy_to_store(recipe, home)


if __name__ == "__main__":
    main()
