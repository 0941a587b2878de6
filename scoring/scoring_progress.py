"""Prints the progress of a job on standard error: a live line on a terminal, a line per minute in a log."""

import sys
import time
from typing import TextIO

from models.text import counted

LIVE_SECONDS = 0.5
LOG_SECONDS = 60.0


class ScoringProgress:
    """Counts the rows and bytes of the inputs, and prints the rate and the remaining time.

    total: the bytes of all inputs. skipped: the bytes that an earlier run scored.
    """

    def __init__(self, total: int, skipped: int, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._live = self._stream.isatty()
        self._total = total
        self._start = self._next = time.monotonic()
        self._next += LIVE_SECONDS if self._live else LOG_SECONDS
        self._before = skipped
        self._finished = 0
        self.rows = 0
        self._running: dict[str, tuple[int, float]] = {}

    def update_unit(self, unit: str, rows: int, weight: float) -> None:
        """Update a running unit. rows, weight: the rows and bytes of its finished part."""
        self._running[unit] = (rows, weight)

    def finish_unit(self, unit: str, rows: int, weight: int) -> None:
        self._running.pop(unit, None)
        self.rows += rows
        self._finished += weight

    def drop_unit(self, unit: str) -> None:
        """Remove a failed unit."""
        self._running.pop(unit, None)

    def show(self) -> None:
        """Print the progress if the interval has passed."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (LIVE_SECONDS if self._live else LOG_SECONDS)
        text = self.text(now - self._start)
        print(f"\r{text}\x1b[K" if self._live else text, end="" if self._live else "\n", file=self._stream, flush=True)

    def text(self, seconds: float) -> str:
        rows = self.rows + sum(rows for rows, _ in self._running.values())
        new = self._finished + sum(weight for _, weight in self._running.values())
        line = f"{counted(rows, 'row', spec=',')}, {rows / max(seconds, 1e-9):,.0f} rows/s"
        if not new or not self._total:
            return line
        left = max(self._total - self._before - new, 0) * seconds / new
        return f"{line}, {(self._before + new) / self._total:.0%}, {duration(left)} left"

    def clear(self) -> None:
        """Clear the live line."""
        if self._live:
            print("\r\x1b[K", end="", file=self._stream, flush=True)


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
