"""The scenarios as a Locust load shape.

locust -f loadtest/locustfile.py,loadtest/locust_shape.py --scenario spike --users 50
"""

# Locust has no types for its events and its clock.
# mypy: allow-untyped-decorators, allow-untyped-calls

import math

from locust import LoadTestShape, events
from locust.argument_parser import LocustArgumentParser

from loadtest.scenarios import SCENARIOS

SPAWN_RATE = 100.0


@events.init_command_line_parser.add_listener
def add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument("--scenario", choices=sorted(SCENARIOS), default="steady", help="load over time")
    parser.add_argument(
        "--scenario-seconds", type=float, default=0.0, help="duration in seconds (default: that of the scenario)"
    )
    parser.add_argument("--warm-up", type=float, default=0.0, help="seconds at the first level before the scenario")


class LocustShape(LoadTestShape):
    """The number of users over time: the scenario's level times `--users`."""

    use_common_options = True

    def tick(self) -> tuple[int, float] | None:
        assert self.runner is not None
        options = self.runner.environment.parsed_options
        assert options is not None
        scenario = SCENARIOS[options.scenario]
        seconds = options.scenario_seconds or scenario.seconds
        level = scenario.level(max(0.0, self.get_run_time() - options.warm_up), seconds)
        return None if level is None else (max(1, math.ceil(level * (options.num_users or 1))), SPAWN_RATE)
