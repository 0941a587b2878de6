"""The scenarios for Locust, as a shape.

locust -f loadtest/locustfile.py,loadtest/locust_shape.py --scenario spike --users 50
"""

# mypy: allow-untyped-decorators, allow-untyped-calls
# Locust leaves its events and its clock without types.

import math

from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser

from loadtest.scenarios import SCENARIOS

SPAWN_RATE = 100.0


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="steady", help="the shape of the load")
    parser.add_argument("--scenario-seconds", type=float, default=0.0, help="how long (default: the scenario's own)")
    parser.add_argument("--warm-up", type=float, default=0.0, help="seconds at the first level before that")


class LocustShape(LoadTestShape):
    """So many times `--users` as the scenario says."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        assert self.runner is not None
        given = self.runner.environment.parsed_options
        assert given is not None
        scenario = SCENARIOS[given.scenario]
        seconds = given.scenario_seconds or scenario.seconds
        level = scenario.level(max(0.0, self.get_run_time() - given.warm_up), seconds)
        return None if level is None else (max(1, math.ceil(level * (given.num_users or 1))), SPAWN_RATE)
