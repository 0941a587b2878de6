"""Metrics on a full disk: time series without space are counted in memory, reported, and written to the file later."""

import errno
import logging
import os
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict

from service import metric_files, worker_records
from service.metric_files import INITIAL_BYTES, RETRY_S, LostSeries, ReservedMetricFile
from service.worker_records import WorkerRecords


class Disk:
    """A simulated disk that refuses to reserve more than `limit` bytes for a file."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.limit = 2**40
        self.now = 0.0
        reserve = worker_records.reserve_space

        def reserve_within_limit(descriptor: int, size: int) -> None:
            if size > self.limit:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            reserve(descriptor, size)

        patch.setattr(metric_files, "reserve_space", reserve_within_limit)

    def clock(self) -> float:
        return self.now


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def records(tmp_path: Path) -> WorkerRecords:
    records = WorkerRecords(tmp_path)
    records.register()
    return records


def read_values(file: Path) -> dict[str, float]:
    """The values in a file, read as for the metrics page."""
    entries = MmapedDict.read_all_values_from_file(str(file))  # type: ignore[no-untyped-call]
    return {key: value for key, value, _, _ in entries}


def test_the_space_of_every_value_is_reserved_before_it_is_written(
    tmp_path: Path, disk: Disk, records: WorkerRecords
) -> None:
    file = tmp_path / "counter_1.db"
    values = ReservedMetricFile(LostSeries(records), str(file))
    for number in range(3000):
        values.write_value(f"key {number:04} ü", float(number), 0.0)
        status = file.stat()
        assert status.st_blocks * 512 >= status.st_size
    assert file.stat().st_size > INITIAL_BYTES
    assert read_values(file) == {f"key {number:04} ü": float(number) for number in range(3000)}
    assert records.lost_series == 0
    values.close()


def test_a_time_series_without_space_is_counted_in_memory_until_space_is_free(
    tmp_path: Path, disk: Disk, records: WorkerRecords, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    file = tmp_path / "counter_1.db"
    lost_series = LostSeries(records, disk.clock)
    values = ReservedMetricFile(lost_series, str(file))
    values.write_value("first", 1.0, 0.0)
    disk.limit = INITIAL_BYTES
    for number in range(1000):
        assert values.read_value(f"key {number:04}") == (0.0, 0.0)
        values.write_value(f"key {number:04}", number + 1.0, 0.0)
    values.write_value("first", 2.0, 0.0)
    lost = records.lost_series
    assert 0 < lost < 1000
    assert len(read_values(file)) == 1001 - lost
    assert read_values(file)["first"] == 2.0
    assert values.read_value("key 0999") == (1000.0, 0.0)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "No space left on device" in caplog.records[0].__dict__["reason"]

    disk.limit = 2**40
    values.write_value("key 0999", 1001.0, 0.0)
    lost_series.retry()
    assert records.lost_series == lost  # too early for another attempt
    disk.now = RETRY_S
    lost_series.retry()
    assert records.lost_series == 0
    expected = {"first": 2.0} | {f"key {number:04}": number + 1.0 for number in range(1000)} | {"key 0999": 1001.0}
    assert read_values(file) == expected
    values.write_value("key 0999", 1002.0, 0.0)
    assert read_values(file) == expected | {"key 0999": 1002.0}
    assert [record.getMessage() for record in caplog.records[1:]] == ["metrics are complete again"]
    values.close()


def test_a_metric_file_without_space_is_not_created(tmp_path: Path, disk: Disk, records: WorkerRecords) -> None:
    """A file without space must not be created, because an empty file breaks the metrics page."""
    disk.limit = 0
    file = tmp_path / "counter_1.db"
    lost_series = LostSeries(records, disk.clock)
    values = ReservedMetricFile(lost_series, str(file))
    values.write_value("key", 3.0, 0.0)
    assert values.read_value("key") == (3.0, 0.0)
    assert [path.name for path in tmp_path.iterdir()] == ["workers"]
    assert records.lost_series == 1
    values.close()
    disk.now = RETRY_S
    lost_series.retry()
    assert records.lost_series == 1
    disk.limit, disk.now = 2**40, 2 * RETRY_S
    lost_series.retry()
    assert read_values(file) == {"key": 3.0}
    assert records.lost_series == 0
    values.close()
