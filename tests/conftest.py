"""Fixtures that several folders share: an empty BentoML store, small tables, and settings of Hypothesis."""

# ruff: noqa: E402 - libraries read the number of threads when they are imported

import os

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
for _variable in THREAD_VARIABLES:  # the processes that tests start inherit these variables
    os.environ.setdefault(_variable, "1")  # test processes share the cores, so more threads would wait for each other

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

# No test depends on the speed of the machine: neither an example nor the generation of data has a time limit.
settings.register_profile("any_speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any_speed")

SLOW = (
    "tests/client_package/",
    "tests/docs/",
    "tests/e2e/",
    "tests/loadtest/",
    "tests/models/explanation/test_explainer.py",
    "tests/models/fast/test_single_row.py",
    "tests/models/network/test_network.py",
    "tests/models/test_column_validation.py",
    "tests/models/test_encoding.py",
    "tests/models/test_keras_export.py",
    "tests/models/test_keras_nets.py",
    "tests/models/test_rows.py",
    "tests/models/test_store.py",
    "tests/recorded/",
    "tests/scoring/",
    "tests/service/server/test_http_protocol.py",
    "tests/service/server/test_startup.py",
    "tests/service/test_asgi.py",
    "tests/service/test_bodies.py",
    "tests/service/test_grpc.py",
    "tests/service/test_imported_models.py",
    "tests/service/test_invocations.py",
    "tests/service/test_native.py",
    "tests/service/test_openapi.py",
    "tests/service/test_protocols_fuzz.py",
    "tests/service/test_registry.py",
    "tests/service/test_streams.py",
    "tests/service/test_version_commands.py",
    "tests/training/test_baselines.py",
    "tests/training/test_dialects.py",
    "tests/training/test_ensemble.py",
    "tests/training/test_error_scale.py",
    "tests/training/test_fit.py",
    "tests/training/test_isolated_cells.py",
    "tests/training/test_main.py",
    "tests/training/test_pipeline.py",
    "tests/training/test_promotion.py",
    "tests/training/test_quality.py",
    "tests/training/test_robust.py",
)
"""Folders and files that `make unit` leaves out: they train, import TensorFlow, start servers or send large bodies."""


SHARED = ("tests/docs/", "tests/loadtest/")
"""Folders whose files share servers and models: with several processes, one of them runs all files of such a folder."""


def has_server(item: pytest.Item) -> bool:
    """Whether a test uses the server of tests/service, which takes seconds to start."""
    called = getattr(item, "callspec", None)
    return "server" in getattr(item, "fixturenames", ()) or (
        called is not None and called.params.get("ask") == "server"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        file = item.path.relative_to(config.rootpath).as_posix()
        if file.startswith(SLOW) or has_server(item):
            item.add_marker(pytest.mark.slow)
    # Fast files run last, so that no process still runs a slow file when the others have finished.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


class SharedFolderScheduling(LoadFileScheduling):  # type: ignore[misc]
    """Runs all tests of a file in order in one process, and all files of a shared folder in one process."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next(filter(file.startswith, SHARED), file)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SharedFolderScheduling:
    """The marker `xdist_group` of pytest-xdist 3.8 has no effect with pytest 9."""
    return SharedFolderScheduling(config, log)


@pytest.fixture
def bentoml_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The models folder of an empty BentoML store."""
    from bentoml._internal.configuration.containers import BentoMLContainer
    from bentoml._internal.models import ModelStore

    monkeypatch.setenv("BENTOML_DO_NOT_TRACK", "True")
    folder = tmp_path / "bentoml" / "models"
    folder.mkdir(parents=True)
    BentoMLContainer.model_store.set(ModelStore(str(folder)))
    yield folder
    BentoMLContainer.model_store.reset()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The arguments of time.sleep calls in the thread of the test, which return at once. Other threads sleep."""
    made: list[float] = []
    sleep, here = time.sleep, threading.get_ident()
    monkeypatch.setattr(time, "sleep", lambda s: made.append(s) if threading.get_ident() == here else sleep(s))
    return made


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[[str, Sequence[Sequence[object]]], Path]:
    """write(name, lines) writes a CSV file, whose first line is the header, and returns its path."""

    def write(name: str, lines: Sequence[Sequence[object]]) -> Path:
        path = tmp_path / name
        path.write_text("".join(",".join(map(str, line)) + "\n" for line in lines), encoding="utf-8")
        return path

    return write


@pytest.fixture
def mixed_table(write_csv: Callable[[str, Sequence[Sequence[object]]], Path]) -> Path:
    """150 rows with every kind of column, unusual names, missing cells, and three targets: y, sold and size."""
    rng = np.random.default_rng(7)
    header: list[object] = ["ID", "sq. metres ($)", "Outcome Type", "since", "garden?", "street", "y", "sold", "size"]
    lines: list[list[object]] = [header]
    for number in range(150):
        metres = round(float(rng.uniform(20, 200)), 1)
        day = f"{rng.integers(2001, 2020)}-0{rng.integers(1, 9)}-1{rng.integers(0, 9)}"
        kind, garden = rng.choice(["flat", "house", "", "hut"]), rng.choice(["true", "false"])
        street = f"street {rng.integers(12)}"
        value = 1000 * metres + (5000 if garden == "true" else 0) + float(rng.normal(0, 500))
        size = "large" if metres > 140 else "small" if metres < 80 else "middling"
        lines.append([f"h{number}", metres, kind, day, garden, street, round(value, 2), value > 110_000, size])
    return write_csv("Odd Homes.csv", lines)
