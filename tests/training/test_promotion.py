"""A training run promotes its version unless a person chose the served version or the new version is worse."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from models import audit, serving_changes, store
from models.serving_state import ModelState
from models.version_lifecycle import VersionStore
from tests.signing_keys import write_keys
from training import plots
from training.__main__ import main

SMALL = ("--framework", "numpy", "--network", "plain", "--hidden", "8", "--batch-size", "64", "--no-baselines")
Train = Callable[..., str]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(1200, 2)), columns=["a", "b"])
    frame["y"] = frame["a"] * 3 - frame["b"] + rng.normal(size=1200) * 0.1
    frame.to_csv(tmp_path / "fares.csv", index=False)
    return tmp_path / "fares.csv"


@pytest.fixture
def train(
    table: Path, bentoml_store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Train:
    """train(*flags) returns what a training run prints about the served versions. Plots are left out to save time."""
    monkeypatch.setattr(plots, "draw_plots", lambda *arguments: {})

    def run(*flags: str, epochs: int = 6) -> str:
        capsys.readouterr()
        assert main(["--data", str(table), "--target", "y", "--epochs", str(epochs), *SMALL, *flags]) == 0
        lines = capsys.readouterr().out.splitlines()
        return "\n".join(line for line in lines if line.startswith("fares:") and " is " in line)

    return run


def state() -> ModelState:
    return VersionStore().serving.read().model("fares")


def test_new_version_is_served_until_a_person_chooses_a_version(train: Train) -> None:
    assert train() == ""
    assert (state().champion, state().chosen_by_person) == (1, False)
    assert train() == "fares:2 is the champion instead of fares:1; to undo: tabserve rollback fares"
    versions = VersionStore()
    versions.promote(versions.find("fares", 1), by_person=True)
    versions.change("canary", "fares", lambda state: serving_changes.start_canary(state, 2, 10, None))
    assert train() == (
        "fares:3 is not served: a person chose the served version of fares. To serve it: tabserve promote fares:3"
    )
    assert state().champion == 1
    assert train("--promote").startswith("fares:4 is the champion instead of fares:1")
    assert (state().champion, state().history) == (4, (1, 2, 1))


def test_version_is_promoted_if_it_is_not_worse(train: Train, table: Path) -> None:
    train("--promote-if-better")
    printed = train("--promote-if-better", "--fit-seed", "42")
    assert printed.startswith("fares:2 is the champion: compared with fares:1, not worse on ")
    printed = train("--promote-if-better", epochs=1)
    assert printed.startswith("fares:3 is the challenger: compared with fares:2, not shown to be as good on ")
    assert (state().champion, state().aliases) == (2, {"challenger": 3})
    last = list(audit.read(VersionStore().serving.folder))[-1]
    assert (last["action"], last["to"], last["reason"]) == (
        "alias",
        {"aliases": {"challenger": 3}},
        printed.removeprefix("fares:3 is the challenger: ").removesuffix(". To serve it: tabserve promote fares:3"),
    )
    judge = table.with_name("judge.csv")
    frame = pd.read_csv(table)
    fresh = frame.sample(frac=1, random_state=0).assign(a=frame["a"][::-1].to_numpy())
    fresh.assign(y=fresh["a"] * 3 - fresh["b"]).to_csv(judge, index=False)
    printed = train("--promote-if-better", "--judge-on", str(judge))
    assert printed.startswith("fares:4 is the champion: compared with fares:2, not worse on 1,200 rows")
    printed = train("--promote-if-better", "--split", "random", "--seed", "1")
    assert printed.startswith("fares:5 is the challenger: it was not compared with fares:4: the split was by a hash")


def test_version_that_is_not_promoted_does_not_replace_the_served_version(train: Train) -> None:
    """Without a recorded champion the newest version would be served, so the earlier one must be recorded first."""
    train()
    (VersionStore().serving.path).unlink()
    assert train("--no-promote") == "fares:2 is not served. To serve it: tabserve promote fares:2"
    assert (state().champion, state().history, state().chosen_by_person) == (1, (), False)


def test_challenger_that_receives_requests_is_not_replaced(train: Train) -> None:
    train()
    shutil.copytree(VersionStore().find("fares", 1).path, VersionStore().find("fares", 1).path.with_name("2"))
    versions = VersionStore()
    versions.change("canary", "fares", lambda state: serving_changes.start_canary(state, 2, 10, None))
    printed = train("--promote-if-better", epochs=1)
    assert printed.endswith("The challenger receives requests and was not changed")
    assert (state().champion, state().aliases) == (1, {"challenger": 2})


def test_challenger_of_a_new_canary_is_not_replaced(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    train()
    shutil.copytree(VersionStore().find("fares", 1).path, VersionStore().find("fares", 1).path.with_name("2"))
    change = VersionStore.change

    def start_canary_before_change(versions: VersionStore, action: str, *arguments: Any, **options: Any) -> Any:
        if action == "alias":
            change(versions, "canary", "fares", lambda state: serving_changes.start_canary(state, 2, 10, None))
        return change(versions, action, *arguments, **options)

    monkeypatch.setattr(VersionStore, "change", start_canary_before_change)
    printed = train("--promote-if-better", epochs=1)
    assert printed.endswith("The challenger receives requests and was not changed")
    assert state().aliases == {"challenger": 2}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--judge-on", "x.csv"], "--judge-on needs --promote-if-better"),
        (["--promote", "--no-promote"], "not allowed with argument"),
        (["--promote-if-better", "--judge-on", "x.csv"], "--judge-on is for one model"),
    ],
)
def test_conflicting_promotion_flags_are_refused(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(flags)
    except SystemExit as ended:
        code = ended.code  # type: ignore[assignment]
    assert (code, message in capsys.readouterr().err) == (2, True)


def test_training_signs_the_stored_version(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private, public = write_keys(tmp_path)
    monkeypatch.setenv("TABSERVE_TRUSTED_KEYS", str(public))
    train("--sign", str(private), epochs=1)
    store.load(VersionStore().find("fares", 1), trusted_keys=[public])


def test_training_with_an_untrusted_key_does_not_start(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    private, public = write_keys(tmp_path)
    (tmp_path / "other").mkdir()
    another, _ = write_keys(tmp_path / "other")
    words = ["--data", str(table), "--target", "y"]
    assert main([*words, "--sign", str(table)]) == 2
    assert f"{table} is not a private key in PEM" in capsys.readouterr().err
    monkeypatch.setenv("TABSERVE_TRUSTED_KEYS", str(public))
    for flags in ([], ["--sign", str(another)]):
        assert main([*words, *flags]) == 2
        assert "name the private key with --sign" in capsys.readouterr().err
    monkeypatch.setenv("TABSERVE_TRUSTED_KEYS", str(private))
    assert main([*words, "--sign", str(private)]) == 2
    assert f"{private} is not a public key in PEM" in capsys.readouterr().err
