"""Progress of work with a known end: a live line on a terminal, a line every ten seconds elsewhere.

Both show the rate and the time left.
"""

import sys
import time
from typing import TextIO

from tqdm import tqdm

SECONDS = 10.0  # interval between two lines if the output is not a terminal


class WorkProgress:
    """The progress of work with a known size. name: what the work is called. unit: what is counted, such as `rows`."""

    def __init__(self, name: str, total: int, unit: str, stream: TextIO | None = None) -> None:
        self._name, self._total, self._unit = name, total, f" {unit}"
        self._stream = stream or sys.stdout
        self._started = self._printed = time.monotonic()
        self._line: tqdm[None] | None = None
        if self._stream.isatty():
            self._line = tqdm(
                desc=name, total=total, unit=self._unit, unit_scale=True, file=self._stream, ncols=0, leave=False
            )

    def show(self, done: int) -> None:
        now = time.monotonic()
        if self._line is not None:
            self._line.update(min(done, self._total) - self._line.n)
        elif 0 < done < self._total and now - self._printed >= SECONDS:
            self._printed = now
            meter = tqdm.format_meter(
                done, self._total, now - self._started, unit=self._unit, unit_scale=True, prefix=self._name, ncols=0
            )
            print(meter, file=self._stream, flush=True)

    def close(self) -> None:
        """Remove the live line."""
        if self._line is not None:
            self._line.close()
            self._line = None
