"""What a training run says while it runs: one line that lives on a terminal, a few lines elsewhere."""

import sys
from typing import TextIO

from models.architecture import Epoch


class Progress:
    """Tells epochs of one run. On a terminal the line is rewritten; in a file or a log each tenth part is told."""

    def __init__(self, name: str, stream: TextIO | None = None) -> None:
        self.name = name
        self.stream = stream or sys.stdout
        self.live = self.stream.isatty()
        self.seconds = 0.0
        self.open = False  # whether the living line waits for its end

    def epoch(self, epoch: Epoch) -> None:
        self.seconds += epoch.seconds
        validation = "" if epoch.validation_loss is None else f"  validation {epoch.validation_loss:.4f}"
        line = f"{self.name}  epoch {epoch.number}/{epoch.of}  loss {epoch.loss:.4f}{validation}  {self.seconds:.1f} s"
        if self.live:
            self.stream.write(f"\r\x1b[K{line}")
            self.stream.flush()
            self.open = True
        elif epoch.number == 1 or epoch.number == epoch.of or epoch.number % max(1, epoch.of // 10) == 0:
            print(line, file=self.stream, flush=True)

    def say(self, text: str) -> None:
        """A line of its own, such as what was chosen."""
        self.done()
        print(f"{self.name}  {text}", file=self.stream, flush=True)

    def done(self) -> None:
        """End the living line, if there is one, so that what is printed next stands below it."""
        if self.open:
            self.stream.write("\n")
            self.stream.flush()
            self.open = False
