"""Bulk scoring returns the same predictions, warnings and errors as the HTTP API, for every input format."""

import asyncio
import gzip
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from backports import zstd

from models import store
from models.feature import Feature
from models.golden_rows import TOLERANCE
from models.option_parsing import parse_output_options
from models.schema import FeatureSchema
from models.tabular_model import TabularModel
from scoring.batch_scorer import BLOCK_ROWS, BatchScorer
from scoring.input_list import make_input_file
from scoring.input_probe import probe
from scoring.scoring_options import ScoringOptions
from scoring.scoring_unit import plan
from scoring.unit_reader import score_unit
from service.http.asgi import Application
from service.settings import Settings
from tests.recorded.cases.forms import (
    ARROW,
    CSV,
    NDJSON,
    PARQUET,
    arrow_of,
    csv_of,
    ndjson_of,
    parquet_of,
    table_of,
)
from tests.service.trusted_models import trusted_models

Row = dict[str, Any]
MixedRows = Callable[[FeatureSchema, int], list[Row]]
RECORDED = Path(__file__).resolve().parents[1] / "recorded" / "store"
RECORDED_MODELS = ("homes", "income", "stars", "sizes", "flags", "numbers", "single")
TRUSTED_MODELS = ("homes", "income", "house_class")
SETTINGS = Settings(max_rows=20_000, max_evaluations=200_000)


@dataclass
class Service:
    """An application and its models."""

    models: dict[str, TabularModel]
    app: Application
    asgi: Callable[..., Any]

    def predict(self, name: str, body: bytes, media_type: str, query: str = "") -> pa.Table:
        """The response table of the HTTP API."""
        headers = {"content-type": media_type, "accept": ARROW}
        options = "&".join(filter(None, ["on_invalid=skip", query]))
        reply = asyncio.run(self.asgi(self.app, "POST", f"/predict/{name}", body, options, headers))
        assert reply.status == 200, reply.content
        return pa.ipc.open_stream(reply.content).read_all()


@pytest.fixture(scope="module")
def recorded_service(make_app: Callable[..., Application], asgi: Callable[..., Any]) -> Iterator[Service]:
    found, _ = store.versions(RECORDED)
    models = {name: store.load(versions[0]) for name, versions in found.items()}
    app = make_app([*models.values()], SETTINGS)
    yield Service(models, app, asgi)
    app.plane.close()


@pytest.fixture(scope="module")
def trusted_service(
    tabular_models: list[TabularModel],
    random_rows: Callable[..., list[Row]],
    make_app: Callable[..., Application],
    asgi: Callable[..., Any],
) -> Iterator[Service]:
    models = trusted_models(tabular_models, random_rows)
    app = make_app([*models.values()], SETTINGS)
    yield Service(models, app, asgi)
    app.plane.close()


def score_file(path: Path, model: TabularModel, options: ScoringOptions = ScoringOptions()) -> pa.Table:  # noqa: B008
    """The output table of bulk scoring for a file."""
    scorer = BatchScorer(model, options)
    found = make_input_file(str(path))
    failures: list[tuple[str, str]] = []
    units = [*plan([probe(found, scorer)], scorer.schema, {}, lambda *failed: failures.append(failed))]
    assert not failures
    batches = [step.scored.batch for unit in units for step in score_unit(unit, found, scorer)]
    return pa.Table.from_batches(batches)


def assert_equal(actual: pa.Table, expected: pa.Table, model: TabularModel) -> None:
    """Assert that tables are equal: numbers within the documented tolerance, texts and labels exactly."""
    assert actual.schema.names == expected.schema.names
    assert actual.schema.types == expected.schema.types
    for name in expected.schema.names:
        before, after = (table.column(name).combine_chunks() for table in (expected, actual))
        if not pa.types.is_floating(before.type):
            assert after.equals(before), name
            continue
        assert after.is_null().equals(before.is_null()), name
        wanted, found = (column.drop_null().to_numpy() for column in (before, after))
        scale = np.maximum(np.abs(wanted), model.tolerance())
        assert np.max(np.abs(found - wanted) / scale, initial=0.0) <= TOLERANCE, name


@pytest.fixture
def mixed_rows(random_rows: Callable[..., list[Row]]) -> MixedRows:
    """mixed_rows(schema, count) returns rows, some of which cause warnings or errors in each column."""

    def mixed_rows(schema: FeatureSchema, count: int) -> list[Row]:
        rows: list[Row] = random_rows(schema, count, np.random.default_rng(3))
        for place, feature in enumerate(schema.features):
            for number, value in enumerate(unusual_values(feature)):
                row = rows[(7 * place + 3 * number) % count]
                row[feature.name] = value
        return rows

    return mixed_rows


def unusual_values(feature: Feature) -> list[Any]:
    """Values that are out of range or unseen, missing, or of another type."""
    if feature.kind == "number":
        return [feature.seen_range[1] + 1e4, None, "12,5", float("inf"), 10**30]
    if feature.kind == "date":
        return ["2099-01-01", None, "soon", "01/02/2015 10:00"]
    if feature.kind == "boolean":
        return ["yes", None, 2]
    return ["never seen", None, 99]


@pytest.mark.parametrize("name", RECORDED_MODELS)
@pytest.mark.parametrize("suffix", ["ndjson", "ndjson.gz", "csv", "csv.zst"])
def test_text_files_get_the_same_results_as_request_bodies(
    name: str, suffix: str, recorded_service: Service, mixed_rows: MixedRows, tmp_path: Path
) -> None:
    model = recorded_service.models[name]
    rows = mixed_rows(model.schema, 300)
    if suffix.startswith("ndjson"):
        body = ndjson_of([*rows, {**rows[0], "unknown": 1}, {}, [1], 5]) + b'\n{"a": 1,\n \n{"a": 1, "a": 2}\n'
    else:
        body = csv_of(rows) + b"1" + b"," * 40 + b"\n\n" + csv_of(rows[:3], header=False).rstrip(b"\n")
    pack: dict[str, Callable[[bytes], bytes]] = {"gz": gzip.compress, "zst": zstd.compress}
    path = tmp_path / f"table.{suffix}"
    path.write_bytes(pack.get(suffix.rpartition(".")[2], bytes)(body))
    actual = score_file(path, model)
    assert_equal(actual, recorded_service.predict(name, body, NDJSON if suffix.startswith("ndjson") else CSV), model)
    assert actual.column("warnings").null_count < len(actual)
    assert 0 < actual.column("error").null_count < len(actual)


def columns_of(rows: list[Row], schema: FeatureSchema) -> pa.Table:
    """A table of the rows. Values whose type differs from the rest of the column become missing."""
    arrays = {}
    for feature in schema.features:
        values = [row[feature.name] for row in rows]
        kinds = [float if type(value) is int and feature.kind == "number" else type(value) for value in values]
        most = max(set(kinds) - {type(None)}, key=kinds.count)
        arrays[feature.name] = pa.array(
            [most(value) if kind is most else None for value, kind in zip(values, kinds, strict=True)]
        )
    return pa.table(arrays)


@pytest.mark.parametrize("name", RECORDED_MODELS)
@pytest.mark.parametrize("suffix", ["parquet", "arrow", "arrows"])
def test_table_files_get_the_same_results_as_request_bodies(
    name: str, suffix: str, recorded_service: Service, mixed_rows: MixedRows, tmp_path: Path
) -> None:
    model, path = recorded_service.models[name], tmp_path / f"table.{suffix}"
    table = columns_of(mixed_rows(model.schema, 300), model.schema)
    if suffix == "parquet":
        pq.write_table(table, path, row_group_size=70)
    elif suffix == "arrows":
        path.write_bytes(arrow_of(table, 90))
    else:
        with pa.ipc.new_file(path, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table, 90)
    body, media_type = (parquet_of(table), PARQUET) if suffix == "parquet" else (arrow_of(table), ARROW)
    actual = score_file(path, model)
    assert_equal(actual, recorded_service.predict(name, body, media_type), model)
    assert 0 < actual.column("error").null_count < len(actual)


def test_errors_have_row_numbers_of_the_whole_file(
    recorded_service: Service, random_rows: Callable[..., list[Row]], tmp_path: Path
) -> None:
    model = recorded_service.models["numbers"]
    rows = random_rows(model.schema, 2 * BLOCK_ROWS + 700, np.random.default_rng(0))
    for number in (0, BLOCK_ROWS - 1, BLOCK_ROWS, 2 * BLOCK_ROWS + 699):
        rows[number]["c"] = None
    table = table_of(rows)
    pq.write_table(table, tmp_path / "table.parquet", row_group_size=3000)
    actual = score_file(tmp_path / "table.parquet", model)
    assert_equal(actual, recorded_service.predict("numbers", parquet_of(table), PARQUET), model)
    assert actual.column("error").null_count == len(rows) - 4


@pytest.mark.parametrize("name", TRUSTED_MODELS)
@pytest.mark.parametrize("query", ["levels=0.9", "levels=0.5,0.9&explain=true", "explain=fast"])
def test_options_add_the_same_columns_as_in_the_api(
    name: str, query: str, trusted_service: Service, mixed_rows: MixedRows, tmp_path: Path
) -> None:
    model = trusted_service.models[name]
    query = query.replace("levels", "interval" if model.schema.task == "regression" else "set")
    options = parse_output_options(dict(part.split("=") for part in query.split("&")))
    body = ndjson_of(mixed_rows(model.schema, 40))
    (tmp_path / "table.ndjson").write_bytes(body)
    actual = score_file(tmp_path / "table.ndjson", model, ScoringOptions(outputs=options))
    assert_equal(actual, trusted_service.predict(name, body, NDJSON, query), model)
    assert actual.num_columns > 3
