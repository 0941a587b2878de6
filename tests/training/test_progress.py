"""Progress is one live line on a terminal and a few plain lines in a log."""

import io

from models.architecture import Epoch
from training.progress import Progress


class Terminal(io.StringIO):
    """A stream that reports itself as a terminal."""

    def isatty(self) -> bool:
        return True


def epochs(count: int) -> list[Epoch]:
    return [Epoch(number, count, 1 / number, 2 / number, 0.001, 0.5) for number in range(1, count + 1)]


def test_a_log_has_about_ten_plain_lines() -> None:
    log = io.StringIO()
    progress = Progress("fares", log)
    for epoch in epochs(100):
        progress.epoch(epoch)
    progress.end_line()
    lines = log.getvalue().splitlines()
    assert lines[0] == "fares  epoch 1/100  loss 1.0000  validation 2.0000  0.5 s"
    assert lines[-1] == "fares  epoch 100/100  loss 0.0100  validation 0.0200  50.0 s"
    assert len(lines) == 11
    assert "\r" not in log.getvalue()


def test_a_terminal_has_one_live_line_with_rate_and_time_left() -> None:
    terminal = Terminal()
    progress = Progress("fares", terminal)
    for epoch in epochs(4)[:2]:
        progress.epoch(epoch)
    assert progress.line is not None
    progress.line.refresh()
    shown = terminal.getvalue().rpartition("\r")[2]
    assert shown.startswith("fares:  50% 2/4 [")
    assert "<" in shown  # elapsed time < remaining time
    assert "epoch" in shown
    assert "loss 0.5000  validation 1.0000" in shown
    assert "\n" not in terminal.getvalue()


def test_message_and_new_fit_start_on_new_lines() -> None:
    terminal = Terminal()
    progress = Progress("fares", terminal)
    for epoch in [*epochs(2), *epochs(2)]:
        progress.epoch(epoch)
    progress.report("kept the weights of epoch 2")
    first, second, message, _ = (line.rpartition("\r")[2] for line in terminal.getvalue().split("\n"))
    assert "100% 2/2" in first
    assert "100% 2/2" in second
    assert message == "fares  kept the weights of epoch 2"
