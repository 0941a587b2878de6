"""Capture writes sampled rows to Parquet files, and no request waits for the disk.

This file has more than 400 lines: the tests share an application with capture.
"""

import asyncio
import errno
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from models import capture_format
from models.file_destination import UNFINISHED, LocalFolder, RemoteFolder, open_destination
from models.original_rows import MAX_SAMPLED_ROWS
from models.tabular_model import TabularModel
from service.capture import exporter
from service.capture.capture_database import ROWS, CaptureDatabase, PlannedFile, RowBatch
from service.capture.capture_queue import MAX_WAITING_ROWS
from service.capture.exporter import Exporter
from service.capture.start_check import check_capture
from service.commands import dispatch
from service.http.asgi import Application
from service.recent_ids import RecentIds
from service.settings import Settings, SettingsError
from tests.service.conftest import HOME, Reply, call_asgi

WAIT_S = 300.0


class Service:
    """An application with capture that runs in one event loop."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self.plane = application.plane
        self._runner = asyncio.Runner()

    def post(self, path: str, body: Any, query: str = "", **headers: str) -> Reply:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        reply: Reply = self._runner.run(call_asgi(self.application, "POST", path, content, query, fields))
        return reply

    def stop(self) -> None:
        assert self.plane.capture
        self.plane.capture.stop()

    def close(self) -> None:
        self.plane.close()
        self._runner.close()

    def results(self) -> dict[str, float]:
        """The numbers of rows in the metric, by result."""
        found: dict[str, float] = {}
        for line in self.plane.metrics.page().decode().splitlines():
            if line.startswith("tabserve_capture_rows_total{"):
                result = line.partition('result="')[2].partition('"')[0]
                found[result] = found.get(result, 0) + float(line.rpartition(" ")[2])
        return found


@pytest.fixture
def make_service(
    tabular_models: list[TabularModel], make_app: Callable[..., Application], tmp_path: Path
) -> Iterator[Callable[..., Service]]:
    made: list[Service] = []

    def make(**settings: Any) -> Service:
        defaults: dict[str, Any] = {"capture": str(tmp_path / "captured"), "capture_share": 1.0}
        made.append(Service(make_app(tabular_models, Settings(**(defaults | settings)))))
        return made[-1]

    yield make
    for service in made:
        service.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "captured"


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def read_captured(folder: Path, pattern: str = "*.parquet") -> pa.Table:
    files = sorted(folder.glob(pattern))
    assert files
    return pa.concat_tables([pq.read_table(file) for file in files], promote_options="permissive")


def test_rows_are_written_with_ids_versions_and_predictions(make_service: Any, folder: Path) -> None:
    service = make_service()
    reply = service.post("/predict/homes", {"rows": [HOME, HOME | {"2nd": "2015-06-01"}]}, x_request_id="one")
    service.stop()
    rows = read_captured(folder).to_pylist()
    assert [row["tabserve_id"] for row in rows] == ["one:0", "one:1"]
    assert [row["tabserve_version"] for row in rows] == ["1", "1"]
    predicted = [prediction["value"] for prediction in reply.body["predictions"]]
    assert [row["tabserve_prediction"] for row in rows] == pytest.approx(predicted)
    assert rows[0]["Outcome Type"] == "Adoption"
    assert rows[0]["model_x"] is True
    assert rows[1]["2nd"].isoformat() == "2015-06-01T00:00:00"
    assert abs(rows[0]["tabserve_time"].timestamp() - time.time()) < 600
    assert set(HOME) < set(rows[0])
    assert service.results() == {"captured": 2}


def test_classes_are_written_with_their_probabilities(make_service: Any, folder: Path) -> None:
    service = make_service()
    reply = service.post("/predict/income", {"rows": [{"age": 40, "job": None}]})
    service.stop()
    (row,) = read_captured(folder).to_pylist()
    (prediction,) = reply.body["predictions"]
    assert row["tabserve_prediction"] == prediction["label"]
    for label, probability in prediction["probabilities"].items():
        assert row[f"tabserve_probability_{label}"] == pytest.approx(probability)


@pytest.mark.parametrize("media_type", ["application/x-ndjson", "text/csv"])
def test_unseen_levels_are_captured_as_text(make_service: Any, folder: Path, media_type: str) -> None:
    service = make_service()
    csv = b"age,job\n40,Beekeeper\n41,Private\n"
    lines = b'{"age": 40, "job": "Beekeeper"}\n{"age": 41, "job": "Private"}\n'
    assert service.post("/predict/income", csv if "csv" in media_type else lines, content_type=media_type).status == 200
    service.stop()
    assert read_captured(folder).column("job").to_pylist() == ["Beekeeper", "Private"]


def test_at_most_16_rows_of_a_request_are_captured_evenly_spaced(make_service: Any, folder: Path) -> None:
    service = make_service()
    rows = [{"age": 20 + number % 50, "job": "Private"} for number in range(1000)]
    service.post("/predict/income", {"rows": rows}, x_request_id="many")
    service.stop()
    captured = read_captured(folder)
    numbers = [int(name.rpartition(":")[2]) for name in captured.column("tabserve_id").to_pylist()]
    assert len(numbers) == MAX_SAMPLED_ROWS
    assert numbers[0] == 0
    assert numbers[-1] > 900
    assert captured.column("age").to_pylist() == [rows[number]["age"] for number in numbers]


def test_ids_contain_the_row_number_in_the_request_including_invalid_rows(make_service: Any, folder: Path) -> None:
    service = make_service()
    body = b'{"age": -1000000000000000, "job": 5}\n{"age": 41, "job": "Private"}\n'
    path, media_type = "/predict/income", "application/x-ndjson"
    reply = service.post(path, body, "on_invalid=skip", content_type=media_type, x_request_id="r")
    assert reply.status == 200, reply.content
    service.stop()
    assert read_captured(folder).column("tabserve_id").to_pylist() == ["r:1"]


def test_redacted_columns_are_not_written(make_service: Any, folder: Path) -> None:
    service = make_service(capture_redact=("Outcome Type",))
    assert service.post("/predict/homes", {"rows": [HOME | {"id": "Jane Doe"}]}).status == 200
    service.stop()
    assert {"Outcome Type", "id", "price"}.isdisjoint(read_captured(folder).column_names)
    for file in folder.rglob("*.parquet"):
        assert not any(word in file.read_bytes() for word in (b"Adoption", b"Jane"))


def test_a_fraction_of_the_requests_is_captured(make_service: Any, folder: Path) -> None:
    service = make_service(capture_share=0.25)
    for _ in range(400):
        service.post("/predict/income", {"rows": [{"age": 40, "job": "Private"}]})
    service.stop()
    assert 50 < read_captured(folder).num_rows < 160  # 5.8 standard deviations


def test_a_repeated_request_id_is_replaced_by_a_new_one_in_the_response(make_service: Any, folder: Path) -> None:
    service = make_service()
    row = {"rows": [{"age": 40, "job": "Private"}]}
    sent = [service.post("/predict/income", row, x_request_id="same").headers["x-request-id"] for _ in range(3)]
    assert sent[0] == "same"
    assert len(set(sent)) == 3
    service.stop()
    assert read_captured(folder).column("tabserve_id").to_pylist() == [f"{name}:0" for name in sent]


def test_without_capture_a_repeated_request_id_is_kept(send_asgi: Any) -> None:
    for _ in range(2):
        assert send_asgi("GET", "/livez", x_request_id="same").headers["x-request-id"] == "same"


def test_the_number_of_remembered_ids_is_bounded() -> None:
    recent = RecentIds(kept=10)
    assert all(recent.add(b"%d" % number) for number in range(100))
    assert not recent.add(b"99")
    assert recent.add(b"0")
    assert len(recent._new) + len(recent._old) <= 20


def test_requests_are_answered_while_the_destination_stalls(
    make_service: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalled, released = threading.Event(), threading.Event()
    write = LocalFolder.write

    def stall(self: LocalFolder, name: str, content: bytes) -> None:
        stalled.set()
        assert released.wait(WAIT_S)
        write(self, name, content)

    monkeypatch.setattr(LocalFolder, "write", stall)
    monkeypatch.setattr(exporter, "POLL_S", 0.01)
    monkeypatch.setattr(exporter, "MAX_AGE_S", 0.0)
    service = make_service()
    row = {"rows": [{"age": 40, "job": "Private"}]}
    assert service.post("/predict/income", row).status == 200
    assert stalled.wait(WAIT_S)
    for _ in range(20):
        assert service.post("/predict/income", row).status == 200
    wait_until(lambda: service.results().get("captured") == 21)
    assert not list(folder.glob("*.parquet"))
    released.set()
    service.stop()
    assert read_captured(folder).num_rows == 21


def test_rows_are_dropped_and_counted_while_the_state_stalls(
    make_service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    stalled, released = threading.Event(), threading.Event()
    add_rows = CaptureDatabase.add_rows

    def stall(self: CaptureDatabase, rows: Any) -> None:
        stalled.set()
        assert released.wait(WAIT_S)
        add_rows(self, rows)

    monkeypatch.setattr(CaptureDatabase, "add_rows", stall)
    service = make_service()
    row = {"rows": [{"age": 40, "job": "Private"}]}
    service.post("/predict/income", row)
    assert stalled.wait(WAIT_S)
    queue = service.plane.capture.queue
    served = service.plane.snapshot.find("income")
    outputs = served.model.predict_rows(row["rows"])
    for _ in range(MAX_WAITING_ROWS + 100):
        queue.put_rows(served, row["rows"], outputs, b"a")
    assert service.post("/predict/income", row).status == 200
    assert queue.dropped == 101
    released.set()
    service.stop()
    assert service.results()["queue_full"] == 101


class FullFileSystem(MemoryFileSystem):  # type: ignore[misc]
    """An object store that refuses writes until it has space."""

    protocol = "full"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    has_space = False

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        if not type(self).has_space:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().pipe_file(path, value, mode, **kwargs)


def test_rows_wait_until_the_destination_has_space(make_service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.register_implementation("full", FullFileSystem, clobber=True)
    monkeypatch.setattr(exporter, "POLL_S", 0.01)
    monkeypatch.setattr(exporter, "MAX_AGE_S", 0.0)
    monkeypatch.setattr(exporter, "RETRY_S", 0.01)
    monkeypatch.setattr(FullFileSystem, "has_space", False)
    service = make_service(capture="full://bucket/captured")
    row = {"rows": [{"age": 40, "job": "Private"}]}
    assert service.post("/predict/income", row).status == 200
    wait_until(lambda: bool(service.plane.capture._exporter._failing))
    assert service.post("/predict/income", row).status == 200
    destination = open_destination("full://bucket/captured")
    assert destination.names() == []
    monkeypatch.setattr(FullFileSystem, "has_space", True)
    service.stop()
    files = [pq.read_table(pa.BufferReader(destination.read(name))) for name in destination.names()]
    assert sum(file.num_rows for file in files) == 2


def test_a_full_database_loses_rows_and_counts_them(make_service: Any) -> None:
    service = make_service()
    with service.plane.capture._database._database.reading() as connection:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")
    for _ in range(300):
        assert service.post("/predict/income", {"rows": [{"age": 40, "job": "x" * 2000}]}).status == 200
    service.stop()
    assert service.results()["not_stored"] > 0
    assert sum(service.results().values()) == 300


def test_a_very_large_row_is_dropped(make_service: Any) -> None:
    service = make_service()
    row = {"age": 40, "job": "x" * 100_000}
    assert service.post("/predict/income", {"rows": [row]}).status == 200
    service.stop()
    assert service.results() == {"too_large": 1}


def stored(*numbers: int, age_s: float = 1000) -> RowBatch:
    count, names = len(numbers), [f"r:{number}" for number in numbers]
    rows: list[Any] = [[40, "Private"]] * count
    return RowBatch(["age", "job"], names, [time.time() - age_s] * count, "request", rows, [[0.25, 0.75]] * count)


def test_rows_of_a_killed_worker_are_written_by_its_successor(
    tmp_path: Path, tabular_models: list[TabularModel]
) -> None:
    (income,) = [model for model in tabular_models if model.name == "income"]
    key = (income.name, income.version, income.schema.to_json().encode())
    killed = CaptureDatabase(tmp_path)
    killed.add_rows({key: stored(0, 1, 2, 3, 4)})
    (waiting,) = killed.waiting(ROWS)
    name = capture_format.file_name("income", "1", time.time())
    killed.plan_file(PlannedFile(name, ROWS, waiting.version, waiting.first, waiting.last))
    destination = LocalFolder(tmp_path / "out")
    (tmp_path / "out" / f"{UNFINISHED}{name}").write_bytes(b"half")
    killed.add_rows({key: stored(5)})
    killed.close()

    database = CaptureDatabase(tmp_path)
    worker = Exporter(database, destination, tmp_path, 30)
    worker.start()
    worker.stop()
    assert not list((tmp_path / "out").glob(f"{UNFINISHED}*"))
    files = {path.name: pq.read_table(path).column("tabserve_id").to_pylist() for path in (tmp_path / "out").iterdir()}
    assert files[name] == [f"r:{number}" for number in range(5)]
    assert sorted(name for names in files.values() for name in names) == [f"r:{number}" for number in range(6)]
    assert database.waiting(ROWS) == []


def test_only_one_worker_writes_files(tmp_path: Path, tabular_models: list[TabularModel]) -> None:
    database = CaptureDatabase(tmp_path)
    first, second = (Exporter(database, LocalFolder(tmp_path / "out"), tmp_path, 30) for _ in range(2))
    assert first._try_to_lead(0)
    assert not second._try_to_lead(0)
    first._release()
    assert second._try_to_lead(0)
    second._release()


def test_a_file_has_a_limited_number_of_rows(
    tmp_path: Path, tabular_models: list[TabularModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "MAX_FILE_ROWS", 4)
    (income,) = [model for model in tabular_models if model.name == "income"]
    database = CaptureDatabase(None)
    for start in range(0, 10, 2):
        database.add_rows({("income", "1", income.schema.to_json().encode()): stored(start, start + 1)})
    Exporter(database, LocalFolder(tmp_path), None, 30).export()
    assert sorted(pq.read_table(path).num_rows for path in tmp_path.glob("*.parquet")) == [2, 4, 4]


def test_old_files_and_rows_are_deleted_and_others_are_kept(tmp_path: Path) -> None:
    old, new = (capture_format.file_name("income", "1", time.time() - days * 86400) for days in (31, 29))
    (tmp_path / "feedback").mkdir()
    for name in (old, new, f"feedback/{old}", "mine-20200101T000000Z.parquet", "notes.txt"):
        (tmp_path / name).write_bytes(b"")
    database = CaptureDatabase(None)
    database.add_rows({("income", "1", b"{}"): stored(0, age_s=31 * 86400)})
    database.add_rows({("income", "1", b"{}"): stored(1)})
    Exporter(database, LocalFolder(tmp_path), None, 30)._expire()
    left = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert left == sorted([new, "mine-20200101T000000Z.parquet", "notes.txt"])
    assert database.prune(time.time() - 30 * 86400) == 1
    assert [*database.find("income", ["r:0", "r:1"])] == ["r:1"]


def test_the_database_keeps_a_limited_number_of_rows() -> None:
    database = CaptureDatabase(None)
    for start in range(0, 10, 2):
        database.add_rows({("income", "1", b"{}"): stored(start, start + 1)})
    names = [f"r:{number}" for number in range(10)]
    assert database.find("income", names).keys() == set(names)
    assert database.prune(0, max_rows=5) == 6
    assert database.find("income", names).keys() == {"r:6", "r:7", "r:8", "r:9"}


def test_a_damaged_database_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "capture.sqlite").write_bytes(b"not a database " * 100)
    database = CaptureDatabase(tmp_path)
    database.add_rows({("income", "1", b"{}"): stored(0)})
    assert database.find("income", ["r:0"])
    assert (tmp_path / "capture.sqlite.damaged").exists()


def test_a_file_in_an_object_store_is_read_as_it_was_written() -> None:
    folder = RemoteFolder("memory://bucket/captured")
    folder.write("a.parquet", b"1")
    folder.write("feedback/b.parquet", b"2")
    assert folder.names() == ["a.parquet"]
    assert folder.names("feedback") == ["feedback/b.parquet"]
    assert folder.read("feedback/b.parquet") == b"2"
    folder.remove("a.parquet")
    folder.remove("a.parquet")
    assert folder.names() == []


def test_a_file_url_is_a_local_folder(tmp_path: Path) -> None:
    destination = open_destination(f"file://{tmp_path}/x")
    assert isinstance(destination, LocalFolder)
    assert destination.path == tmp_path / "x"


def test_an_unknown_redacted_column_prevents_the_start(tabular_models: list[TabularModel], tmp_path: Path) -> None:
    settings = Settings(capture=str(tmp_path / "x"), capture_redact=("agee",))
    with pytest.raises(SettingsError, match="no served model has a column 'agee', did you mean 'age'"):
        check_capture(settings, tabular_models)
    check_capture(replace(settings, capture_redact=("age",)), tabular_models)


def test_a_folder_that_cannot_be_created_prevents_the_start(tabular_models: list[TabularModel], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="TABSERVE_CAPTURE"):
        check_capture(Settings(capture=str(tmp_path / "file" / "x")), tabular_models)


@pytest.mark.parametrize(("library", "place"), [("pyarrow", "captured"), ("fsspec", "s3://bucket/captured")])
def test_a_missing_library_prevents_the_start(library: str, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == library else find(name))
    with pytest.raises(SettingsError, match=rf"TABSERVE_CAPTURE=.*{library}, which is not installed \(pip install"):
        Settings.from_environment({"TABSERVE_CAPTURE": place})


def test_an_unknown_kind_of_url_prevents_the_start() -> None:
    with pytest.raises(SettingsError, match="TABSERVE_CAPTURE"):
        Settings.from_environment({"TABSERVE_CAPTURE": "nowhere://bucket"})


def test_rows_are_erased_from_files_feedback_and_database(make_service: Any, folder: Path, tmp_path: Path) -> None:
    service = make_service(state=tmp_path)
    for name, age in (("a", 40), ("b", 41), ("c", 40)):
        service.post("/predict/income", {"rows": [{"age": age, "job": "Private"}]}, x_request_id=name)
    service.plane.capture._recorder.flush()
    for name in "abc":
        truth = {"feedback": [{"id": f"{name}:0", "truth": "<=50K"}]}
        assert service.post("/feedback/income", truth).body["judged"] == 1
    service.stop()
    assert run_erase([str(folder), "--id", "b:0", "--state", str(tmp_path)]) == 0
    assert read_captured(folder).column("tabserve_id").to_pylist() == ["a:0", "c:0"]
    assert read_captured(folder / "feedback").column("tabserve_id").to_pylist() == ["a:0", "c:0"]
    assert service.plane.capture.find("income", ["a:0", "b:0", "c:0"]).keys() == {"a:0", "c:0"}
    assert run_erase([str(folder), "--where", "age=40", "--where", "job=Private", "--state", str(tmp_path)]) == 0
    assert not list(folder.rglob("*.parquet"))
    assert not service.plane.capture.find("income", ["a:0", "b:0", "c:0"])


def run_erase(words: list[str]) -> int:
    return dispatch.run("erase", words, "tabserve")


def test_the_erase_command_prints_the_erased_rows(
    make_service: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = make_service()
    service.post("/predict/income", {"rows": [{"age": 40, "job": "Private"}] * 2}, x_request_id="a")
    service.stop()
    assert run_erase([str(folder), "--where", "age=40"]) == 0
    assert run_erase([str(folder), "--where", "age=40"]) == 0
    assert run_erase([str(folder / "missing"), "--id", "a:0"]) == 1
    out, error = capsys.readouterr()
    assert out.splitlines() == [
        "2 rows and 0 rows of feedback erased in 1 file",
        "0 rows and 0 rows of feedback erased in 0 files",
    ]
    assert error == f"error: {folder / 'missing'}: no such folder\n"


def test_the_id_of_a_request_that_is_processed_again_is_kept() -> None:
    recent = RecentIds()
    assert recent.add(b"a")
    recent.forget(b"a")
    assert recent.add(b"a")
