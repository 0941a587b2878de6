"""Loops as users write them: read Parquet in chunks, predict, write the predictions.

`python -m loadtest.bench.bulk_loops keras|mlflow|lightgbm [--batch N] VERSION INPUTS ROWS`. Keras and MLflow run the
network of the version on the encoded columns, LightGBM trees of about the same accuracy on the raw columns.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from models.encoding.encoder import Encoder
from models.frame import Frame
from models.schema import FeatureSchema

MISSING = 3
TABLE = Path(__file__).resolve().parents[2] / "training" / "datasets" / "california_housing.csv.gz"
ROUNDS = 1000
Predict = Callable[[Any], Any]
"""A pandas DataFrame -> (rows,) values."""


def main() -> int:
    """Run one loop. The last line of the output contains the duration and the CPU time in seconds, without imports and
    loading, and a note.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("loop", choices=LOOPS)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("version", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("rows", type=int)
    arguments = parser.parse_args()
    try:
        predict, note = LOOPS[arguments.loop](arguments.version, arguments.batch)
    except ModuleNotFoundError as error:
        print(f"0 0 {error.name} is not installed")
        return MISSING
    started, cpu_started = time.monotonic(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        score(predict, arguments.inputs, arguments.rows, Path(folder) / "out.parquet")
    print(f"\n{time.monotonic() - started} {time.process_time() - cpu_started} {note}")
    return 0


def score(predict: Predict, inputs: Path, rows: int, out: Path) -> None:
    with pq.ParquetWriter(out, pa.schema([("value", pa.float64())])) as writer:
        for chunk in chunks(inputs, rows):
            values = np.asarray(predict(chunk), dtype=np.float64).ravel()
            writer.write_table(pa.table({"value": values}))


def chunks(inputs: Path, rows: int) -> Iterator[Any]:
    """The row groups of the files as DataFrames."""
    for path in sorted(inputs.iterdir()):
        file = pq.ParquetFile(path)
        for group in range(file.num_row_groups):
            if rows <= 0:
                return
            frame = file.read_row_group(group).to_pandas()[:rows]
            rows -= len(frame)
            yield frame


def encoder_of(version: Path) -> Callable[[Any], Any]:
    """A DataFrame -> the inputs of the network. All columns are numbers."""
    schema = FeatureSchema.from_json((version / "features.json").read_bytes())
    encoder = Encoder.from_json((version / "encoder.json").read_bytes())
    names = [feature.name for feature in schema.numeric]

    def encode(frame: Any) -> Any:
        numbers = np.asfortranarray(frame[names].to_numpy(np.float64))
        return encoder.encode(Frame(numbers, np.empty((len(frame), 0), np.int64)))

    return encode


def load_keras(version: Path) -> Any:
    import keras

    from models import keras_nets  # noqa: F401 - registers our layers, which the file contains

    return keras.saving.load_model(version / "model.keras", compile=False)


def keras_loop(version: Path, batch: int) -> tuple[Predict, str]:
    encode, model = encoder_of(version), load_keras(version)
    return lambda frame: model.predict(encode(frame), batch_size=batch, verbose=0), "Model.predict"


def mlflow_loop(version: Path, batch: int) -> tuple[Predict, str]:
    import mlflow

    encode = encoder_of(version)
    with tempfile.TemporaryDirectory() as folder:
        mlflow.tensorflow.save_model(load_keras(version), f"{folder}/model")
        model = mlflow.pyfunc.load_model(f"{folder}/model")
    return lambda frame: model.predict(type(frame)(encode(frame))), "pyfunc of the flavor tensorflow"


def lightgbm_loop(version: Path, batch: int) -> tuple[Predict, str]:
    import lightgbm

    schema = FeatureSchema.from_json((version / "features.json").read_bytes())
    names = [feature.name for feature in schema.features]
    table = pa.csv.read_csv(TABLE).to_pandas()
    test = np.arange(len(table)) % 5 == 0
    trees = lightgbm.LGBMRegressor(n_estimators=ROUNDS, learning_rate=0.05, verbose=-1)
    trees.fit(table[names][~test], table[schema.target][~test])
    error = trees.predict(table[names][test]) - table[schema.target][test]
    return lambda frame: trees.predict(frame[names]), f"{ROUNDS} trees, RMSE {np.sqrt(np.mean(error**2)):.3f}"


LOOPS: dict[str, Callable[[Path, int], tuple[Predict, str]]] = {
    "keras": keras_loop,
    "mlflow": mlflow_loop,
    "lightgbm": lightgbm_loop,
}


if __name__ == "__main__":
    sys.exit(main())
