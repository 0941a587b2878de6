"""Makes the result of a run from its measurements and its conditions."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from loadtest import results, server_under_test
from loadtest.request_plan import RequestPlan
from loadtest.request_records import RequestRecords
from loadtest.results import Result


def result_of(
    records: RequestRecords,
    loop: Any,
    url: str,
    plan: RequestPlan,
    arguments: argparse.Namespace,
    machine: dict[str, str],
    out: Path,
    started: float,
) -> Result:
    monitored = server_under_test.observations(out / "server.jsonl", since=started)
    return Result(
        command="python -m loadtest " + " ".join(arguments.command_line),
        started=datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        url=url,
        machine=machine | {"server": "started for the run" if arguments.url is None else "already running"},
        scenario=arguments.scenario,
        loop=loop,
        load=arguments.rate if loop == "open" else arguments.users,
        mix=dict(vars(plan.mix)),
        models=plan.models,
        slo=arguments.slo,
        server=[entry for entry in monitored if 0 <= entry["time"] <= records.seconds + 2],
        **results.figures(records, loop),
    )
