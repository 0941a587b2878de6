"""Explanations are computed by a separate process, which may end at any time, or else by the worker."""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import pytest

from models import signature, store, version_files
from models.explanation.background import Background
from models.frame import Frame
from models.optional_columns import DETAILS
from models.output_options import ExtendedModel, OutputOptions, with_options
from models.outputs import Array, Outputs
from models.tabular_model import TabularModel
from models.version_files import StoredVersion
from service import array_messages, explanation_queue
from service.array_messages import ArrayMessage
from service.background_process import LoadedVersions
from service.errors import DeadlinePassed, NotReady, TooManyEvaluations
from service.explanation_queue import ExplanationQueue, describe_extended
from tests.service.conftest import ROOT, random_version, rows_of, schemas
from tests.signing_keys import write_keys

WAIT_S = 300.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a version of `homes` with a background."""
    folder = tmp_path_factory.mktemp("explained") / "homes" / "1"
    folder.mkdir(parents=True)
    schema, rng = schemas()[0], np.random.default_rng(1)
    frame = schema.frames.from_rows(rows_of(schema, 200, rng))
    version_files.write(folder, replace(random_version(schema), background=Background.fit(schema, frame, rng)))
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> ExtendedModel:
    return version_with_explanations(folder)


def version_with_explanations(folder: Path, explain: Literal["full", "fast"] = "full") -> ExtendedModel:
    """The stored version, extended for requests with explanations."""
    stored = StoredVersion("homes", int(folder.name), folder)
    return with_options(store.load(stored), OutputOptions(explain=explain))


@pytest.fixture(scope="module")
def frame(model: ExtendedModel) -> Frame:
    schema = model.model.schema
    return schema.frames.from_rows(rows_of(schema, 40, np.random.default_rng(2)))


class RunningQueue:
    """An explanation queue with its event loop."""

    def __init__(self, trusted_keys: Sequence[Path] = ()) -> None:
        self.queue = ExplanationQueue(1_000_000, trusted_keys)
        self.runner = asyncio.Runner()

    def explain(self, model: ExtendedModel, frame: Frame, timeout_s: float = WAIT_S) -> Outputs:
        outputs = model.model.predict(frame)
        return self.runner.run(self.queue.explain(model, frame, outputs, time.monotonic() + timeout_s))

    @property
    def process(self) -> psutil.Process | None:
        running = self.queue._client._running
        return running and psutil.Process(running.process.pid)

    def process_after_explaining(self, model: ExtendedModel, frame: Frame) -> psutil.Process:
        """Explain rows. Returns the process that explained them."""
        self.explain(model, frame)
        found = self.process
        assert found is not None
        return found

    def close(self) -> None:
        self.queue.close()
        self.runner.close()


@pytest.fixture(scope="module")
def shared_queue() -> Iterator[RunningQueue]:
    """A queue that is shared by tests that do not end its process."""
    one = RunningQueue()
    yield one
    one.close()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def expected_outputs(model: ExtendedModel, frame: Frame) -> Outputs:
    return model.explain(frame).add_to(model.model.predict(frame))


def assert_equal(found: Outputs, other: Outputs) -> None:
    assert found.extras.keys() == other.extras.keys() >= {DETAILS}
    for name, array in found.extras.items():
        np.testing.assert_allclose(array, other.extras[name], rtol=1e-6, atol=1e-6)


def test_full_and_fast_explanations_load_a_version_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[StoredVersion] = []

    def load(stored: StoredVersion, *arguments: Any) -> TabularModel:
        loaded.append(stored)
        return store_load(stored, *arguments)

    store_load = store.load
    monkeypatch.setattr(store, "load", load)
    versions = LoadedVersions()
    fields = describe_extended(version_with_explanations(folder)) | {"trusted_keys": []}
    loaded.clear()
    full, fast = (versions.get(fields).extended(explain) for explain in ("full", "fast"))
    assert [full.options.explain, fast.options.explain] == ["full", "fast"]
    assert versions.get(fields).extended("full") is full, "the explainer is created once"
    assert len(loaded) == 1


def test_the_process_computes_the_same_explanations_as_the_worker(
    shared_queue: RunningQueue, folder: Path, model: ExtendedModel, frame: Frame
) -> None:
    assert_equal(shared_queue.explain(model, frame), expected_outputs(model, frame))
    assert shared_queue.process is not None
    first = shared_queue.process.pid
    fast = version_with_explanations(folder, "fast")
    assert_equal(shared_queue.explain(fast, frame), expected_outputs(fast, frame))
    assert shared_queue.process.pid == first


def test_evaluations_are_counted_before_the_explanation_only_near_the_limit(
    shared_queue: RunningQueue, model: ExtendedModel, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, row, two = shared_queue.queue._client, frame.take(slice(0, 1)), frame.take(slice(0, 2))
    shared_queue.explain(model, row)
    sent: list[str] = []
    exchange = client._exchange

    def record_message(fields: dict[str, Any], arrays: Sequence[Array] = ()) -> ArrayMessage:
        sent.append(fields["work"])
        return exchange(fields, arrays)

    monkeypatch.setattr(client, "_exchange", record_message)
    assert_equal(shared_queue.explain(model, row), expected_outputs(model, row))
    assert sent == ["explain"]
    shared_queue.explain(model, two)
    assert sent == ["explain", "count", "explain"]
    monkeypatch.setattr(shared_queue.queue, "max_evaluations", 10)
    with pytest.raises(TooManyEvaluations):
        shared_queue.explain(model, row)
    assert sent == ["explain", "count", "explain", "count"]
    assert shared_queue.queue.waiting == 0


def test_the_process_loads_a_signed_version(folder: Path, frame: Frame, tmp_path: Path) -> None:
    """The process loads the version from the store, because the worker's checked copy is removed after loading."""
    private, public = write_keys(tmp_path)
    stored = StoredVersion("homes", 1, Path(shutil.copytree(folder, tmp_path / "homes" / "1")))
    signature.sign(stored.path, signature.read_private_key(private), stored.tag)
    model = with_options(store.load(stored, trusted_keys=[public]), OutputOptions(explain="full"))
    with contextlib.closing(RunningQueue([public])) as one:
        assert one.process_after_explaining(model, frame.take(slice(0, 1))).is_running()
        assert one.queue._in_worker == {}


def test_a_killed_process_is_replaced(shared_queue: RunningQueue, model: ExtendedModel, frame: Frame) -> None:
    one = frame.take(slice(0, 1))
    before = shared_queue.process_after_explaining(model, one)
    before.kill()
    assert_equal(shared_queue.explain(model, one), expected_outputs(model, one))
    assert shared_queue.process is not None
    assert shared_queue.process.pid != before.pid
    wait_until(lambda: not before.is_running())


def test_a_killed_process_is_replaced_for_a_version_that_was_not_loaded(
    shared_queue: RunningQueue, model: ExtendedModel, folder: Path, frame: Frame, tmp_path: Path
) -> None:
    one = frame.take(slice(0, 1))
    shared_queue.process_after_explaining(model, one).kill()
    other = version_with_explanations(Path(shutil.copytree(folder, tmp_path / "homes" / "3")))
    assert_equal(shared_queue.explain(other, one), expected_outputs(other, one))
    assert shared_queue.queue._in_worker == {}
    assert shared_queue.process is not None


def test_a_process_killed_during_an_explanation_is_replaced(
    shared_queue: RunningQueue, model: ExtendedModel, frame: Frame
) -> None:
    one = frame.take(slice(0, 1))
    stopped = shared_queue.process_after_explaining(model, one)
    stopped.send_signal(signal.SIGSTOP)  # the process receives the request and cannot reply

    async def explain_and_kill() -> Outputs:
        outputs = model.model.predict(one)
        explanation = asyncio.create_task(shared_queue.queue.explain(model, one, outputs, time.monotonic() + WAIT_S))
        await asyncio.sleep(0.2)
        stopped.kill()
        return await explanation

    assert_equal(shared_queue.runner.run(explain_and_kill()), expected_outputs(model, one))


def test_a_process_that_ends_at_every_attempt_causes_a_503(
    shared_queue: RunningQueue, model: ExtendedModel, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = frame.take(slice(0, 1))
    shared_queue.explain(model, one)
    exchange = shared_queue.queue._client._exchange

    def kill_before_exchange(fields: dict[str, object], *arrays: object) -> object:
        if fields["work"] != "load" and (process := shared_queue.process) is not None:
            process.kill()
            process.wait()
        return exchange(fields, *arrays)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(shared_queue.queue._client, "_exchange", kill_before_exchange)
        with pytest.raises(NotReady):
            shared_queue.explain(model, one)
    assert_equal(shared_queue.explain(model, one), expected_outputs(model, one))


def test_the_deadline_applies_while_the_process_does_not_respond(
    shared_queue: RunningQueue, model: ExtendedModel, frame: Frame
) -> None:
    one = frame.take(slice(0, 1))
    stopped = shared_queue.process_after_explaining(model, one)
    stopped.send_signal(signal.SIGSTOP)
    with pytest.raises(DeadlinePassed):
        shared_queue.explain(model, one, timeout_s=0.2)
    stopped.send_signal(signal.SIGCONT)
    assert_equal(shared_queue.explain(model, one), expected_outputs(model, one))
    assert shared_queue.process == stopped
    assert shared_queue.queue.waiting == 0


def test_the_worker_explains_versions_that_the_process_cannot_load(
    shared_queue: RunningQueue, model: ExtendedModel, folder: Path, frame: Frame, tmp_path: Path
) -> None:
    one = frame.take(slice(0, 1))
    copied = Path(shutil.copytree(folder, tmp_path / "homes" / "2"))
    lost = version_with_explanations(copied)
    shutil.rmtree(copied)
    assert_equal(shared_queue.explain(lost, one), expected_outputs(lost, one))
    assert [*shared_queue.queue._in_worker] == ["homes:2"]
    stored = store.load(StoredVersion("homes", 1, folder))
    in_memory = with_options(replace(stored, folder=None), OutputOptions(explain="full"))
    assert_equal(shared_queue.explain(in_memory, one), expected_outputs(in_memory, one))


def test_the_process_starts_at_the_first_request_and_ends_when_idle(
    model: ExtendedModel, frame: Frame, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(RunningQueue()) as one:
        assert one.process is None
        started = one.process_after_explaining(model, frame.take(slice(0, 1)))
        monkeypatch.setattr(explanation_queue, "IDLE_S", 0.0)
        one.explain(model, frame.take(slice(0, 1)))
        one.runner.run(asyncio.sleep(0.01))  # lets the idle timer expire
        wait_until(lambda: one.process is None)
        wait_until(lambda: not started.is_running())


def test_closing_the_queue_ends_the_process(model: ExtendedModel, frame: Frame) -> None:
    with contextlib.closing(RunningQueue()) as one:
        started = one.process_after_explaining(model, frame.take(slice(0, 1)))
    wait_until(lambda: not started.is_running())


WORKER = """
import os, signal, sys
from pathlib import Path
from models import store
from models.output_options import OutputOptions, with_options
from models.version_files import StoredVersion
from service.background_client import BackgroundClient
from service.explanation_queue import describe_extended

model = with_options(store.load(StoredVersion("homes", 1, Path(sys.argv[1]))), OutputOptions(explain="full"))
client = BackgroundClient("explanation")
client._load(describe_extended(model) | {"trusted_keys": []})
print(client._running.process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_process_ends_with_its_worker(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    pid = int(done.stdout)
    wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def test_a_message_is_received_unchanged_and_an_incomplete_message_is_an_error() -> None:
    one, other = socket.socketpair()
    with one, other:
        arrays = [np.arange(6.0).reshape(2, 3)[:, ::2], np.empty((3, 0), dtype=np.int64), np.array(2.5)]
        array_messages.send(one, {"work": "count", "name": "ä"}, arrays)
        message = array_messages.receive(other)
        assert message.fields == {"work": "count", "name": "ä"}
        for array, sent in zip(message.arrays, arrays, strict=True):
            np.testing.assert_array_equal(array, sent)
            assert (array.dtype, array.shape) == (sent.dtype, sent.shape)
        os.write(one.fileno(), array_messages.LENGTH.pack(100) + b"{")
        one.close()
        with pytest.raises(ConnectionError):
            array_messages.receive(other)
