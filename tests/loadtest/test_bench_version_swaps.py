"""The requests of `bench swaps` accept the responses of both versions, and nothing else."""

import json

import pytest

from loadtest.bench.version_swaps import PlanOfTwoVersions
from loadtest.request_mix import MANY_ROWS, RequestMix
from loadtest.request_plan import PlannedRequest, RequestPlan
from loadtest.response_check import MIXED_UP, WRONG

MIX = RequestMix(one=0, many=1, invalid=0, rows=2)
VALUES = (1.25, 2.5)  # what version 1 predicts for the two requests; version 2 predicts twice these values


def response(version: int, value: float) -> bytes:
    return json.dumps({"model": "eight", "version": version, "predictions": [{"value": value}]}).encode()


def plan(version: int, bodies: tuple[str, ...] = ("a", "b")) -> RequestPlan:
    requests = [
        PlannedRequest(
            MANY_ROWS,
            "eight",
            "/predict/eight",
            "application/json",
            body.encode(),
            2,
            200,
            response(version, version * value),
        )
        for body, value in zip(bodies, VALUES, strict=True)
    ]
    return RequestPlan(requests, MIX, [])


@pytest.mark.parametrize(
    ("version", "value", "error"),
    [
        (1, 1.25, None),
        (1, 1.2500001, None),
        (2, 2.5, None),
        (2, 2.5000001, None),
        (2, 1.25, WRONG),
        (1, 2.6, WRONG),
        (1, 2.5, MIXED_UP),
        (2, 5.0, MIXED_UP),
    ],
)
def test_responses_of_both_versions_are_compared(version: int, value: float, error: str | None) -> None:
    both = PlanOfTwoVersions(plan(1), plan(2))
    assert both.error_of(0, 200, response(version, value)) == error


def test_a_status_is_compared() -> None:
    assert PlanOfTwoVersions(plan(1), plan(2)).error_of(0, 503, b"") == "status 503"


def test_plans_with_different_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="different requests"):
        PlanOfTwoVersions(plan(1), plan(2, ("a", "c")))
