"""Progress of a training run: one line that is rewritten on a terminal, a few lines elsewhere."""

import sys
from typing import TextIO

from models.architecture import Epoch


class Progress:
    """Prints the epochs of one run. On a terminal it rewrites one line; elsewhere it prints about ten of them."""

    def __init__(self, name: str, stream: TextIO | None = None) -> None:
        self.name = name
        self.stream = stream or sys.stdout
        self.interactive = self.stream.isatty()
        self.seconds = 0.0
        self.line_open = False  # whether the rewritten line still needs its end

    def epoch(self, epoch: Epoch) -> None:
        self.seconds += epoch.seconds
        validation = "" if epoch.validation_loss is None else f"  validation {epoch.validation_loss:.4f}"
        line = f"{self.name}  epoch {epoch.number}/{epoch.of}  loss {epoch.loss:.4f}{validation}  {self.seconds:.1f} s"
        if self.interactive:
            self.stream.write(f"\r\x1b[K{line}")
            self.stream.flush()
            self.line_open = True
        elif epoch.number == 1 or epoch.number == epoch.of or epoch.number % max(1, epoch.of // 10) == 0:
            print(line, file=self.stream, flush=True)

    def report(self, text: str) -> None:
        """Print a message on a line of its own."""
        self.end_line()
        print(f"{self.name}  {text}", file=self.stream, flush=True)

    def end_line(self) -> None:
        """End the rewritten line, so that the next output starts on a new one."""
        if self.line_open:
            self.stream.write("\n")
            self.stream.flush()
            self.line_open = False
