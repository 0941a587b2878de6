"""Errors of a load test that the user can correct."""


class LoadTestUsageError(Exception):
    """The options of a load test cannot be used; the message is one line."""


class LocustError(Exception):
    """Locust failed or sent no requests; the message is one line."""
