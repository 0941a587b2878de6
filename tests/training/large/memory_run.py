"""`python -m tests.training.large.memory_run ARGUMENT...`: a training run with few steps, to measure only memory.

The arguments are those of `python -m training`. The program reads, encodes, shuffles and fetches all rows as in a
training run, but computes only a few steps. Prints the peak memory of the process in each step.
"""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training import __main__ as training
from training import ensemble_keras

PERIOD_S = 0.02
MODULES = {
    *("build_dataset", "splitting", "encoded_rows", "fit", "linear_candidate", "scale_fit", "conformalization"),
    *("baselines", "importance", "drift_reference", "background", "plots"),
}


def resident() -> dict[str, int]:
    """Megabytes of resident memory: in total, without files, and of mapped files such as the libraries."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {name: int(lines[name].split()[0]) * 1024 // 10**6 for name in ("VmRSS", "RssAnon", "RssFile")}


class PeakBySteps:
    """Samples the memory of this process while a function runs."""

    def __init__(self) -> None:
        self._main = threading.get_ident()
        self._ended = threading.Event()
        self.peaks: dict[str, dict[str, int]] = {}

    def watch(self, function: Callable[[], int]) -> int:
        thread = threading.Thread(target=self._sample, daemon=True)
        thread.start()
        try:
            return function()
        finally:
            self._ended.set()
            thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(PERIOD_S):
            found, step = resident(), self._step()
            if found["VmRSS"] > self.peaks.get(step, {"VmRSS": 0})["VmRSS"]:
                self.peaks[step] = found

    def _step(self) -> str:
        """The outermost module on the main thread's stack that is in MODULES, or "other"."""
        frame, step = sys._current_frames().get(self._main), "other"
        while frame is not None:
            module = Path(frame.f_code.co_filename).stem
            step = module if module in MODULES else step
            frame = frame.f_back
        return step


def skip_steps() -> None:
    """Each compiled program learns from its first segment and predicts once; later segments are only fetched."""
    original = ensemble_keras.EnsembleTrainer.__init__

    def init(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        train, losses = self.train_segment, list[Any]()

        def train_segment(*batches: Any) -> Any:
            if not losses:
                losses.append(train(*batches))
            return losses[0]

        predict, outputs = self._outputs, list[Any]()

        def predict_once(rows: Any) -> Any:
            if not outputs:
                outputs.append(predict(rows))
            return outputs[0]

        self.train_segment, self._outputs = train_segment, predict_once

    setattr(ensemble_keras.EnsembleTrainer, "__init__", init)  # noqa: B010 - mypy compares the types of an assignment


def main() -> int:
    skip_steps()
    peaks = PeakBySteps()
    code = peaks.watch(lambda: training.main(sys.argv[1:]))
    for step, peak in peaks.peaks.items():
        print(f"{step:20} {peak['VmRSS']:6} MB, {peak['RssAnon']:6} without files, {peak['RssFile']:5} of files")
    print(f"peak {max(peak['VmRSS'] for peak in peaks.peaks.values())} MB")
    return code


if __name__ == "__main__":
    sys.exit(main())
