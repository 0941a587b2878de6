"""`--tune`: searches for the most important settings with Optuna, by the loss on the validation set.

The recipe itself is tried first, so the result is at least as good. A search is stored in a file, so that the same
command can continue it. The search has no access to the test set.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from models.architecture import Epoch
from models.network.network import DivergenceError
from models.text import counted
from training.config import FitOptions
from training.errors import UsageError
from training.progress import Progress
from training.pruned_trial import FinishedTrials, PrunedTrial, new_pruner, percent_of
from training.recipe import Recipe
from training.training_run import FitResult, OnEpoch

Train = Callable[[Recipe, OnEpoch], FitResult]


class TrainSeveral(NamedTuple):
    """Trains a number of trials at once, given Optuna's completed trials and the remaining seconds."""

    parallel: int
    train: Callable[[Sequence[Recipe], FinishedTrials, float], Iterator[PrunedTrial]]


WIDTHS = (64, 96, 128, 192, 256)
TUNED = ("learning_rate", "dropout", "weight_decay", "units", "epochs", "frequency_scale", "frequencies")


class Search:
    """A search over the settings of a recipe on one table. Settings that the options supply are not changed."""

    def __init__(
        self,
        file: Path,
        recipe: Recipe,
        options: FitOptions,
        train: Train,
        progress: Progress,
        train_several: TrainSeveral | None = None,
    ) -> None:
        """train_several: trains several trials at once in other processes, in place of `train`."""
        self.file, self.recipe, self.options, self.train, self.progress = file, recipe, options, train, progress
        self.train_several = train_several

    def run(self, seconds: float) -> tuple[Recipe, dict[str, Any]]:
        """Search for about `seconds`, minus the time of one training run. Returns the best recipe, and all trials as
        JSON.

        At least one trial is completed. On KeyboardInterrupt it prints how to continue, and raises it again.
        """
        optuna = _import_optuna()
        study = self._study(optuna)
        started, end = time.monotonic(), time.monotonic() + seconds
        while not _completed_trials(study) or time.monotonic() + _mean_seconds(study) < end:
            try:
                if self.train_several:
                    self._run_several_trials(self.train_several, end, study)
                else:
                    study.optimize(
                        lambda trial: self._run_trial(trial, end, study), n_trials=1, catch=(DivergenceError,)
                    )
            except KeyboardInterrupt:
                self.progress.report(
                    f"search interrupted after {_summary(study)}; the same command continues with {self.file}"
                )
                raise
            left = max(0, round(end - time.monotonic()))
            self.progress.report(f"search: {_summary(study)}, {left // 60}:{left % 60:02} left")
            if not _completed_trials(study) and len(study.trials) >= 10 and time.monotonic() > end:
                raise UsageError("--tune: no trial was completed; try a smaller --learning-rate")
        best = self._apply(study.best_trial.params)
        trials = [_to_json(trial) for trial in study.trials]
        return best, {"seconds": time.monotonic() - started, "best": study.best_trial.params, "trials": trials}

    def _study(self, optuna: Any) -> Any:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(self.file)))
        study = optuna.create_study(
            study_name="recipe",
            storage=storage,
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(seed=self.recipe.fit_seed + _count_trials(storage)),
            pruner=new_pruner(),
        )
        if not study.trials:
            defaults = asdict(self.recipe) | {"units": max(self.recipe.hidden, default=0)}
            for settings in self.recipe.trials or ({},):
                study.enqueue_trial({name: (defaults | settings)[name] for name in TUNED})
        return study

    def _run_trial(self, trial: Any, end: float, study: Any) -> float:
        """Train a trial. Prune it if half of the earlier trials were better at the same point, or if the time is up."""
        optuna = _import_optuna()
        recipe = self._apply(self._suggest(trial))

        def on_epoch(epoch: Epoch) -> None:
            if self.progress.interactive:
                self.progress.epoch(epoch)
            trial.report(epoch.validation_loss, percent_of(epoch))
            if (
                epoch.number < epoch.of
                and _completed_trials(study)
                and (time.monotonic() > end or trial.should_prune())
            ):
                raise optuna.TrialPruned

        loss = self.train(recipe, on_epoch).kept_epoch.validation_loss
        assert loss is not None
        return loss

    def _run_several_trials(self, several: TrainSeveral, end: float, study: Any) -> None:
        """Run as many trials as can be trained at once. All are proposed before the first trial ends."""
        optuna = _import_optuna()
        trials = [study.ask() for _ in range(several.parallel)]
        states = dict.fromkeys(range(len(trials)), optuna.trial.TrialState.FAIL)
        losses: dict[int, float] = {}
        try:
            recipes = [self._apply(self._suggest(trial)) for trial in trials]
            for index, result in enumerate(several.train(recipes, _completed_trials(study), end - time.monotonic())):
                for percent, loss in result.losses.items():
                    trials[index].report(loss, percent)
                if result.loss is not None:
                    losses[index] = result.loss
                elif not result.diverged:
                    states[index] = optuna.trial.TrialState.PRUNED
        finally:
            for index, trial in enumerate(trials):
                if index in losses:
                    study.tell(trial, losses[index])
                else:
                    study.tell(trial, state=states[index])

    def _suggest(self, trial: Any) -> dict[str, Any]:
        """Suggest the settings of a trial that the options do not supply."""
        space: dict[str, Callable[[str], Any]] = {
            "learning_rate": lambda name: trial.suggest_float(name, 1e-3, 4e-2, log=True),
            "dropout": lambda name: trial.suggest_float(name, 0.0, 0.4),
            "weight_decay": lambda name: trial.suggest_float(name, 1e-3, 0.3, log=True),
            "units": lambda name: trial.suggest_categorical(name, WIDTHS),
            "epochs": lambda name: trial.suggest_int(name, max(1, self.recipe.epochs // 5), 2 * self.recipe.epochs),
        }
        if self.recipe.network == "ensemble":
            frequencies = sorted({self.recipe.frequencies, *(one["frequencies"] for one in self.recipe.trials)})
            space["frequency_scale"] = lambda name: trial.suggest_float(name, 0.2, 8.0, log=True)
            space["frequencies"] = lambda name: trial.suggest_categorical(name, frequencies)
        supplied = {name for name, value in vars(self.options).items() if value is not None}
        fixed = {"units" if name == "hidden" else name for name in supplied}
        return {name: suggest(name) for name, suggest in space.items() if name not in fixed}

    def _apply(self, suggested: dict[str, Any]) -> Recipe:
        """The recipe with the suggested settings."""
        settings = dict(suggested)
        if "units" in settings:
            settings["hidden"] = (settings.pop("units"),) * len(self.recipe.hidden)
        if "dropout" in settings:
            settings["trials"] = ()
        return replace(self.recipe, **settings)


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UsageError("--tune needs Optuna, which `make setup` installs") from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _completed_trials(study: Any) -> list[Any]:
    return [trial for trial in study.trials if trial.state.name == "COMPLETE"]


def _mean_seconds(study: Any) -> float:
    """The mean duration of the completed trials."""
    durations = [trial.duration.total_seconds() for trial in _completed_trials(study)]
    return float(sum(durations) / len(durations))


def _count_trials(storage: Any) -> int:
    """The number of trials in a file: a continued search must not draw the same trials again."""
    return sum(storage.get_n_trials(study._study_id) for study in storage.get_all_studies())


def _summary(study: Any) -> str:
    complete, started = _completed_trials(study), [trial for trial in study.trials if trial.state.name != "WAITING"]
    best = f", best validation loss {study.best_value:.4f}" if complete else ""
    return f"{counted(len(started), 'trial')}, {len(complete)} completed{best}"


def _to_json(trial: Any) -> dict[str, Any]:
    seconds = trial.duration.total_seconds() if trial.duration else None
    return {"state": trial.state.name.lower(), "loss": trial.value, "seconds": seconds, "settings": trial.params}
