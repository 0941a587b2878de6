"""The server returns the response recorded for each request. Before recording again, read the docstring of the
package.
"""

import json
from collections.abc import Iterator

import pytest

from tests.recorded import client, compare, recording
from tests.recorded.case import Case
from tests.recorded.cases.every import CASES
from tests.recorded.changes import CHANGES
from tests.recorded.client import Response
from tests.recorded.servers import ROOT, SETTINGS, STORE, Servers, running_servers


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with running_servers(ROOT, tmp_path_factory.mktemp("recorded")) as started:
        started.start(list(SETTINGS))
        yield started


@pytest.fixture(scope="session")
def recorded() -> dict[str, Response]:
    return recording.read_responses(recording.RECORDED)


@pytest.fixture(scope="session")
def changed() -> dict[str, Response]:
    return recording.read_responses(recording.CHANGED)


@pytest.fixture(scope="session")
def scales() -> dict[str, float]:
    """The standard deviation of the target of each regression model."""
    encoders = {path.parts[-3]: json.loads(path.read_text("utf-8")) for path in STORE.glob("*/1/encoder.json")}
    return {name: float(encoder["target"]["scale"]) for name, encoder in encoders.items() if encoder["target"]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_server_returns_the_recorded_response(
    case: Case,
    servers: Servers,
    recorded: dict[str, Response],
    changed: dict[str, Response],
    scales: dict[str, float],
) -> None:
    expected, actual = recorded[case.name], client.send(case, servers[case.server])
    scale = scales.get(case.model or "", 1.0)
    if (pattern := recording.declared_change(case.name, CHANGES)) is not None:
        assert compare.differences(expected, actual, scale), f"the recorded response is returned; remove {pattern!r}"
        expected = changed[case.name]
    found = compare.differences(expected, actual, scale)
    assert not found, "\n".join([case.name, *found[:20]])


def test_recorded_responses_and_requests_have_the_same_names(recorded: dict[str, Response]) -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
    assert set(names) == set(recorded)


def test_declared_changes_are_valid(
    changed: dict[str, Response],
) -> None:
    assert recording.problems_of_changes(CHANGES, CASES, changed) == []
