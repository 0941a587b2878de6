"""Progress of a training run: a live line with rate and time left on a terminal, a few lines elsewhere."""

import sys
from typing import TextIO

from tqdm import tqdm

from models.architecture import Epoch
from training.work_progress import WorkProgress


class Progress:
    """Prints the epochs of one run. On a terminal it keeps one line up to date; elsewhere it prints about ten lines."""

    def __init__(self, name: str, stream: TextIO | None = None) -> None:
        self.name = name
        self.stream = stream or sys.stdout
        self.interactive = self.stream.isatty()
        self.seconds = 0.0
        self.line: tqdm[None] | None = None
        self._epoch: WorkProgress | None = None

    def epoch(self, epoch: Epoch) -> None:
        self.seconds += epoch.seconds
        validation = "" if epoch.validation_loss is None else f"  validation {epoch.validation_loss:.4f}"
        losses = f"loss {epoch.loss:.4f}{validation}"
        if self.interactive:
            self._update(epoch, losses)
        elif epoch.number == 1 or epoch.number == epoch.of or epoch.number % max(1, epoch.of // 10) == 0:
            line = f"{self.name}  epoch {epoch.number}/{epoch.of}  {losses}  {self.seconds:.1f} s"
            print(line, file=self.stream, flush=True)

    def rows(self, done: int, total: int) -> None:
        """Show the number of rows of a long epoch that are done, from 0 on."""
        if self._epoch is None:
            self._epoch = WorkProgress(f"{self.name}  epoch", total, "rows", self.stream)
        self._epoch.show(done)
        if done == total:
            self._end_rows()

    def report(self, text: str) -> None:
        """Print a message on a separate line."""
        self.end_line()
        print(f"{self.name}  {text}", file=self.stream, flush=True)

    def end_line(self) -> None:
        """End the live line, so that the next output starts on a new line."""
        if self.line is not None:
            self.line.close()
            self.line = None
        self._end_rows()

    def _end_rows(self) -> None:
        if self._epoch is not None:
            self._epoch.close()
            self._epoch = None

    def _update(self, epoch: Epoch, losses: str) -> None:
        """Show an epoch in the live line; a first epoch starts a new line."""
        if epoch.number == 1:
            self.end_line()
        if self.line is None:
            start = epoch.number - 1
            self.line = tqdm(desc=self.name, total=epoch.of, initial=start, unit="epoch", file=self.stream, ncols=0)
        self.line.set_postfix_str(losses, refresh=False)
        self.line.update()
