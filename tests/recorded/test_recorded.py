"""Every recorded request gets the recorded response. Read the docstring of the package before you record again."""

import json
from collections.abc import Iterator

import pytest

from tests.recorded import client, compare, recording
from tests.recorded.case import Case
from tests.recorded.cases.every import CASES
from tests.recorded.changes import CHANGES
from tests.recorded.client import Answer
from tests.recorded.servers import ROOT, SETTINGS, STORE, Servers, running


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running(ROOT, tmp_path_factory.mktemp("recorded")) as started:
        started.start(list(SETTINGS))
        yield started


@pytest.fixture(scope="session")
def recorded() -> dict[str, Answer]:
    return recording.read(recording.ANSWERS)


@pytest.fixture(scope="session")
def changed() -> dict[str, Answer]:
    return recording.read(recording.CHANGED)


@pytest.fixture(scope="session")
def scales() -> dict[str, float]:
    """The standard deviation of the target of each regression."""
    encoders = {path.parts[-3]: json.loads(path.read_text("utf-8")) for path in STORE.glob("*/1/encoder.json")}
    return {name: float(encoder["target"]["scale"]) for name, encoder in encoders.items() if encoder["target"]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_request_is_answered_as_recorded(
    case: Case,
    servers: Servers,
    recorded: dict[str, Answer],
    changed: dict[str, Answer],
    scales: dict[str, float],
) -> None:
    expected, actual = recorded[case.name], client.send(case, servers[case.server])
    scale = scales.get(case.model or "", 1.0)
    if (pattern := recording.change_of(case.name, CHANGES)) is not None:
        assert compare.differences(expected, actual, scale), f"the change {pattern!r} is no longer a change"
        expected = changed[case.name]
    found = compare.differences(expected, actual, scale)
    assert not found, "\n".join([case.name, *found[:20]])


def test_every_request_is_recorded_and_nothing_else(recorded: dict[str, Answer]) -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert set(names) == set(recorded)


def test_declared_changes_are_changes_of_requests_there_are(
    changed: dict[str, Answer],
) -> None:
    assert recording.wrong_changes(CHANGES, CASES, changed) == []
