"""`--tune`: a search with Optuna over the few settings that matter, by the validation part alone.

The recipe itself is tried first, so what is found is at least as good. A study is a file: the same command goes on with
it. The test part is not here at all.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from models.architecture import Epoch
from models.network.network import DivergenceError
from training.config import FitOptions, Recipe
from training.errors import UsageError
from training.fit import Fitted, OnEpoch
from training.progress import Progress

Train = Callable[[Recipe, OnEpoch], Fitted]
WIDTHS = (64, 96, 128, 192, 256)
KNOBS = ("learning_rate", "dropout", "weight_decay", "units", "epochs", "frequency_scale", "frequencies")
HALF = 50  # per cent of a trial's epochs; before them no trial is given up


class Search:
    """Trials of one recipe on one table. What a flag said (`given`) is not searched over."""

    def __init__(self, file: Path, recipe: Recipe, given: FitOptions, train: Train, progress: Progress) -> None:
        self.file, self.recipe, self.given, self.train, self.progress = file, recipe, given, train, progress

    def run(self, seconds: float) -> tuple[Recipe, dict[str, Any]]:
        """Search so long, less what the training after it will take: the best recipe, and all trials as JSON.

        At least one trial is brought to its end. KeyboardInterrupt goes through, once it is said how to go on.
        """
        optuna = _optuna()
        study = self._study(optuna)
        started, end = time.monotonic(), time.monotonic() + seconds
        while not _complete(study) or time.monotonic() + _usual(study) < end:
            try:
                study.optimize(lambda trial: self._try(trial, end, study), n_trials=1, catch=(DivergenceError,))
            except KeyboardInterrupt:
                self.progress.say(f"search interrupted after {_told(study)}; the same command goes on with {self.file}")
                raise
            left = max(0, round(end - time.monotonic()))
            self.progress.say(f"search: {_told(study)}, {left // 60}:{left % 60:02} left")
            if not _complete(study) and len(study.trials) >= 10 and time.monotonic() > end:
                raise UsageError("--tune: no trial came to an end; try a smaller --learning-rate")
        best = self._settings(study.best_trial.params)
        trials = [_as_json(trial) for trial in study.trials]
        return best, {"seconds": time.monotonic() - started, "best": study.best_trial.params, "trials": trials}

    def _study(self, optuna: Any) -> Any:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(self.file)))
        study = optuna.create_study(
            study_name="recipe",
            storage=storage,
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=self.recipe.fit_seed + _tried(storage)),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=HALF),
        )
        if not study.trials:
            usual = asdict(self.recipe) | {"units": max(self.recipe.hidden, default=0)}
            for settings in self.recipe.trials or ({},):
                study.enqueue_trial({name: (usual | settings)[name] for name in KNOBS})
        return study

    def _try(self, trial: Any, end: float, study: Any) -> float:
        """One training; given up where half of the earlier ones were better by then, or when the time is over."""
        optuna = _optuna()
        decided = self._settings(self._suggested(trial))

        def on_epoch(epoch: Epoch) -> None:
            if self.progress.live:
                self.progress.epoch(epoch)
            trial.report(epoch.validation_loss, round(100 * epoch.number / epoch.of))
            if epoch.number < epoch.of and _complete(study) and (time.monotonic() > end or trial.should_prune()):
                raise optuna.TrialPruned

        loss = self.train(decided, on_epoch).history[-1].validation_loss
        assert loss is not None
        return loss

    def _suggested(self, trial: Any) -> dict[str, Any]:
        ensemble = self.recipe.network == "ensemble"
        space: dict[str, Callable[[str], Any]] = {
            "learning_rate": lambda name: trial.suggest_float(name, 1e-3, 4e-2, log=True),
            "dropout": lambda name: trial.suggest_float(name, 0.0, 0.4),
            "weight_decay": lambda name: trial.suggest_float(name, 1e-3, 0.3, log=True),
            "units": lambda name: trial.suggest_categorical(name, WIDTHS),
            "epochs": lambda name: trial.suggest_int(name, max(2, self.recipe.epochs // 3), 2 * self.recipe.epochs),
        }
        if ensemble:
            waves = sorted({self.recipe.frequencies, *(one["frequencies"] for one in self.recipe.trials)})
            space["frequency_scale"] = lambda name: trial.suggest_float(name, 0.2, 8.0, log=True)
            space["frequencies"] = lambda name: trial.suggest_categorical(name, waves)
        fixed = {"units" if name == "hidden" else name for name, value in vars(self.given).items() if value is not None}
        return {name: suggest(name) for name, suggest in space.items() if name not in fixed}

    def _settings(self, suggested: dict[str, Any]) -> Recipe:
        own = dict(suggested)
        if "units" in own:
            own["hidden"] = (own.pop("units"),) * len(self.recipe.hidden)
        if "dropout" in own:
            own["trials"] = ()
        return replace(self.recipe, **own)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UsageError("--tune needs Optuna, which comes with the training lock: make setup") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _complete(study: Any) -> list[Any]:
    return [trial for trial in study.trials if trial.state.name == "COMPLETE"]


def _usual(study: Any) -> float:
    """Seconds that a training takes: the mean of those that came to their end."""
    took = [trial.duration.total_seconds() for trial in _complete(study)]
    return float(sum(took) / len(took))


def _tried(storage: Any) -> int:
    """How many trials a file holds: a search that goes on must not draw the same ones again."""
    return sum(storage.get_n_trials(study._study_id) for study in storage.get_all_studies())


def _told(study: Any) -> str:
    done, begun = _complete(study), [trial for trial in study.trials if trial.state.name != "WAITING"]
    best = f", best validation loss {study.best_value:.4f}" if done else ""
    return f"{len(begun)} trials, {len(done)} to their end{best}"


def _as_json(trial: Any) -> dict[str, Any]:
    seconds = trial.duration.total_seconds() if trial.duration else None
    return {"state": trial.state.name.lower(), "loss": trial.value, "seconds": seconds, "settings": trial.params}
