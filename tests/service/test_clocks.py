"""Durations and deadlines use the monotonic clock. The wall clock is used only for timestamps."""

import ast
from pathlib import Path

SERVICE = Path(__file__).resolve().parents[2] / "service"
WALL_CLOCK = {"time.time", "time.time_ns", "time.localtime", "datetime.now", "datetime.utcnow"}
ALLOWED_USES = {
    ("server/supervisor.py", "time.time"),  # the age of a folder, whose lock is checked, too
    ("exchange.py", "time.time_ns"),  # the start of a span
    ("access/keys_file.py", "datetime.now"),  # when a key was created or revoked
    ("access/key_ring.py", "time.time"),  # whether a key has expired
    ("commands/parsers.py", "datetime.now"),  # --expires in days
    ("capture/capture_database.py", "time.time"),  # times of captured rows, which outlive the server
    ("capture/capture_queue.py", "time.time"),
    ("capture/exporter.py", "time.time"),
    ("capture/recorder.py", "time.time"),
    ("feedback/feedback_desk.py", "time.time"),  # the days of feedback, which also outlives the server
    ("feedback/live_gauges.py", "time.time"),
    ("feedback/live_metrics.py", "time.time"),
    ("routes/feedback.py", "time.time"),
    ("window_counters.py", "time.time"),  # the days of the counted rows, which outlive the server
}


def wall_clock_uses(path: Path) -> set[str]:
    """The wall clock functions that a module uses."""
    attributes = (node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute))
    return {ast.unparse(attribute) for attribute in attributes} & WALL_CLOCK


def test_the_wall_clock_is_used_only_for_timestamps() -> None:
    found = {
        (str(path.relative_to(SERVICE)), clock) for path in SERVICE.rglob("*.py") for clock in wall_clock_uses(path)
    }
    assert found == ALLOWED_USES


def test_clocks_are_imported_as_modules() -> None:
    """The check for wall clocks finds clocks only as attributes of a module."""
    for path in SERVICE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            assert not (isinstance(node, ast.ImportFrom) and node.module == "time"), path
