"""A canary ends when feedback shows that the challenger is worse; an equal challenger keeps its traffic."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import audit, server_registration, serving_changes
from models.serving_file import ServingFile
from models.serving_state import AutomaticRollback, Traffic
from service.canary_watch import ALPHA, CanaryWatch
from service.confidence_sequence import Moments, moments_of
from service.feedback.live_gauges import LiveGauges
from service.feedback.live_metrics import LiveMetrics, MetricKey
from service.feedback.live_report import CANARY, worse_than_champion
from service.registry import ModelEntry
from service.settings import Settings
from service.store_registration import StoreRegistration
from service.worker_files import WorkerFiles
from tests.service.conftest import HOME, call_asgi
from tests.service.test_follower import Worker, change, folder, versions_folder

__all__ = ["change", "folder", "versions_folder"]
CHAMPION, CHALLENGER = "4", "2"
SHARES: dict[str, int | float] = {"champion": 50, "challenger": 50}
CANARIES, CHECKS, ROWS = 1000, 40, 50
Kind = Callable[[np.random.Generator, int], np.ndarray]


class Canary:
    """A worker with a canary whose challenger has predicted enough rows."""

    def __init__(self, folder: Path, change: Any) -> None:
        self.folder, self._change = folder, change
        self.worker = Worker(Settings(store=folder))
        self.worker.application.context.state.mark_ready()
        self.watch = CanaryWatch(self.worker.follower, WorkerFiles(None))
        change(serving_changes.promote, int(CHAMPION), by_person=True)
        change(serving_changes.set_alias, "challenger", int(CHALLENGER))
        self.split(feedback=True)

    def split(self, *, feedback: bool) -> None:
        traffic = Traffic(shares=SHARES, rollback=AutomaticRollback(after_rows=10, feedback=feedback))
        self._change(serving_changes.set_traffic, traffic)
        self.worker.poll()
        for number in range(60):
            self.send("POST", "/predict/homes", {"rows": [HOME | {"class": number / 1000}]})

    @property
    def entry(self) -> ModelEntry:
        return self.worker.plane.snapshot.entry("homes")

    @property
    def check_continues(self) -> bool:
        """Run a check of the canary. Returns whether the canary still has traffic."""
        self.worker.plane.metrics.flush()
        self.worker.runner.run(self.watch.poll())
        return ServingFile(self.folder).read().model("homes").traffic is not None

    def send(self, method: str, path: str, body: Any = None) -> Any:
        content = b"" if body is None else json.dumps(body).encode()
        reply = self.worker.runner.run(call_asgi(self.worker.application, method, path, content))
        assert reply.status == 200, reply.content
        return reply.body

    def report_truth(self, right: str) -> None:
        """Send feedback in which one version is always right. The other version's errors are below the bound
        on errors.
        """
        model = self.entry.find(right).model
        rows = [HOME | {"class": number / 1000} for number in range(3000)]
        truths = model.predict_rows(rows).primary[:, 0].tolist()
        body = {"rows": [row | {"price": truth} for row, truth in zip(rows, truths, strict=True)]}
        for _ in range(4):
            self.send("POST", "/feedback/homes", body)


@pytest.fixture
def canary(folder: Path, change: Any) -> Iterator[Canary]:
    made = Canary(folder, change)
    yield made
    made.worker.close()


def test_a_challenger_with_larger_errors_is_rolled_back(canary: Canary) -> None:
    assert canary.check_continues
    canary.report_truth(right=CHAMPION)
    assert not canary.check_continues
    last = list(audit.read(canary.folder))[-1]
    assert last["action"] == "automatic_rollback"
    assert last["reason"].startswith("larger errors by feedback: version 2 has a mae that is ")
    assert "on 12000 rows" in last["reason"]


def test_a_restarted_canary_uses_only_feedback_after_its_restart(canary: Canary) -> None:
    assert canary.check_continues
    canary.report_truth(right=CHAMPION)
    assert not canary.check_continues
    for _ in range(2):
        canary.split(feedback=True)
        assert canary.check_continues, "feedback before the start must not count"
        assert canary.check_continues
        canary.report_truth(right=CHAMPION)
        assert not canary.check_continues


def test_a_failure_to_delete_earlier_feedback_ends_no_canary(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> Any:
        raise sqlite3.OperationalError("database or disk is full")

    assert canary.check_continues
    canary.report_truth(right=CHAMPION)
    assert not canary.check_continues
    monkeypatch.setattr(LiveMetrics, "forget", fail)
    canary.split(feedback=True)
    assert canary.check_continues
    assert canary.check_continues
    monkeypatch.undo()
    assert canary.check_continues, "earlier feedback must be deleted later"
    canary.report_truth(right=CHAMPION)
    assert not canary.check_continues


def test_another_worker_continues_with_the_feedback_since_the_start(canary: Canary) -> None:
    assert canary.check_continues
    canary.report_truth(right=CHAMPION)
    canary.watch = CanaryWatch(canary.worker.follower, WorkerFiles(None))  # the watch of a new leader
    canary.split(feedback=True)
    assert not canary.check_continues


def test_a_challenger_with_smaller_errors_keeps_its_traffic(canary: Canary) -> None:
    canary.report_truth(right=CHALLENGER)
    assert canary.check_continues


def test_feedback_does_not_end_a_canary_without_the_feedback_option(canary: Canary) -> None:
    canary.split(feedback=False)
    canary.report_truth(right=CHAMPION)
    assert canary.check_continues
    canary.split(feedback=True)
    assert not canary.check_continues


def test_unreadable_feedback_ends_no_canary(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any) -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    canary.report_truth(right=CHAMPION)
    monkeypatch.setattr(LiveMetrics, "sums", fail)
    assert canary.check_continues
    assert all("live" not in version for version in canary.send("GET", "/models/homes/versions")["versions"])


def test_both_versions_are_listed_with_their_live_metrics(canary: Canary) -> None:
    assert all("live" not in version for version in canary.send("GET", "/models/homes/versions")["versions"])
    canary.report_truth(right=CHAMPION)
    live = {one["version"]: one.get("live") for one in canary.send("GET", "/models/homes/versions")["versions"]}
    assert live.keys() == {"1", "2", "3", "4"}
    assert live["1"] is live["3"] is None
    assert live[CHAMPION]["metric"]["value"] == pytest.approx(0, abs=1e-6)
    assert live[CHALLENGER]["metric"]["low"] < live[CHALLENGER]["metric"]["value"]
    assert live[CHALLENGER]["against_champion"]["status"] == "worse"


def test_the_server_registration_contains_both_live_metrics(canary: Canary, tmp_path: Path) -> None:
    gauges = LiveGauges(canary.worker.plane)
    canary.report_truth(right=CHAMPION)
    canary.worker.runner.run(gauges.update())
    shared, store = tmp_path / "shared", tmp_path / "registered"
    shared.mkdir()
    store.mkdir()
    files = WorkerFiles(shared)
    files.publish(canary.worker.plane.following)
    canary.worker.runner.run(StoreRegistration(files, store, gauges.lines).poll())
    (server,) = server_registration.read(store)
    champion, challenger = sorted(server.feedback, reverse=True)
    assert champion.startswith("homes:4 (champion): mae ")
    assert challenger.startswith("homes:2 (challenger): mae ")
    assert " against version 4: worse" in challenger


def accuracy_differences(share: float, worse: float = 0.0) -> Kind:
    """A generator of differences in label errors. Each version is wrong in a fraction of the hard rows."""

    def draw(rng: np.random.Generator, count: int) -> np.ndarray:
        hard = rng.random(count) < 2 * share
        first, second = hard & (rng.random(count) < 0.5), hard & (rng.random(count) < 0.5 + worse)
        return second.astype(float) - first

    return draw


def error_differences(worse: float = 0.0) -> Kind:
    """A generator of differences in absolute errors, as fractions of the bound on errors."""

    def draw(rng: np.random.Generator, count: int) -> np.ndarray:
        found: np.ndarray = rng.normal(0, 0.02, count) + worse
        return found

    return draw


def is_rolled_back(entry: ModelEntry, rng: np.random.Generator, generate: Kind, checks: int) -> bool:
    key, moments = MetricKey(CHALLENGER, CANARY + entry.canary), Moments()
    for _ in range(checks):
        added = moments_of(((generate(rng, ROWS) + 1) / 2).tolist(), moments)
        moments = Moments(*(one + two for one, two in zip(moments, added, strict=True)))
        if worse_than_champion(entry, {key: moments}, ALPHA):
            return True
    return False


def test_at_most_five_of_a_thousand_canaries_with_equal_versions_are_rolled_back(canary: Canary) -> None:
    rng, kinds = np.random.default_rng(19), [accuracy_differences(0.02), accuracy_differences(0.2), error_differences()]
    ended = sum(is_rolled_back(canary.entry, rng, kinds[number % 3], CHECKS) for number in range(CANARIES))
    assert ended <= 5


@pytest.mark.parametrize("generate", [accuracy_differences(0.1, worse=0.5), error_differences(worse=0.03)])
def test_worse_challengers_are_rolled_back(canary: Canary, generate: Kind) -> None:
    rng = np.random.default_rng(19)
    assert all(is_rolled_back(canary.entry, rng, generate, 200) for _ in range(20))
    assert not any(is_rolled_back(canary.entry, rng, lambda *a: -generate(*a), 40) for _ in range(20))
