"""The best trial: which one it is, where it lies, and that it is run again with seeds."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console

from recexp.sweep import finalize, leave, show
from recexp.sweep.lease import is_locked

spec = importlib.util.spec_from_file_location("pretend", Path(__file__).with_name("pretend.py"))
assert spec is not None and spec.loader is not None
pretend = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pretend)


class Runs:
    """In place of the processes: their commands, and what they leave."""

    def __init__(self, folder: Path, succeeds: bool = True) -> None:
        self.folder, self.succeeds = folder, succeeds
        self.commands: list[list[str]] = []

    def __call__(self, command: list[str], stdout: Any, **_: Any) -> Any:
        assert is_locked(self.folder / ".finalize"), "one command of the folder at a time"
        self.commands.append(command)
        if not self.succeeds:
            stdout.write(b"\nrecexp: experiment=best: there is no such thing\n")
            stdout.flush()
            return SimpleNamespace(returncode=2)
        values = [o.value() for o in OverridesParser.create().parse_overrides([c for c in command if "run.dir" in c])]
        Path(values[0]).mkdir(parents=True)
        (Path(values[0]) / "run.json").write_text(json.dumps({"status": "finished"}))
        (Path(values[0]) / "metrics.json").write_text(json.dumps({"val/score": 1.0}))
        return SimpleNamespace(returncode=0)


def finalized(folder: Path, trial: int, runs: Runs, monkeypatch: pytest.MonkeyPatch) -> str:
    folder.mkdir(exist_ok=True)
    given = pretend.settings(folder, f"sqlite:///{folder}/study.db", 1, finalize={"refit_best_with_seeds": 2})
    monkeypatch.setattr(finalize.subprocess, "run", runs)
    console = Console(record=True, width=200)
    finalize.finalize(given, trial, ["allow=[mine]", "seed=7"], console)
    return console.export_text()


def test_another_best_trial_has_runs_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "a study, it's mine"
    runs = Runs(folder)
    monkeypatch.setattr(finalize.sys, "argv", ["recexp", "--config-dir=own", "-m", "sweeps=mf"])
    finalized(folder, 0, runs, monkeypatch)
    finalized(folder, 0, runs, monkeypatch)
    assert len(runs.commands) == 2, "what is there stays"
    said = finalized(folder, 3, runs, monkeypatch)
    assert len(runs.commands) == 4
    assert "trial 3, the best one, with 2 seeds, of 2" in said
    assert (folder / "best_with_seeds" / "3" / "2" / "run.json").exists()
    words = runs.commands[0]
    assert "--config-dir=own" in words and "allow=[mine]" in words and "seed=1" in words and "seed=7" not in words
    (searched,) = OverridesParser.create().parse_overrides([word for word in words if "searchpath" in word])
    assert searched.value() == [f"file://{folder}/best"]


def test_a_refit_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = finalized(tmp_path / "study", 0, Runs(tmp_path / "study", succeeds=False), monkeypatch)
    assert "seed 1: recexp: experiment=best: there is no such thing" in said
    assert "trials.log says more" in said


def test_a_best_trial_that_lies_elsewhere_leaves_no_stale_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = pretend.settings(tmp_path, f"sqlite:///{tmp_path}/study.db", 1)
    study, space = pretend.begun(given), pretend.space(*pretend.LINES)
    trial = study.ask()
    trial.set_user_attr("worker", "elsewhere-1-a")
    study.tell(trial, 1.0)
    leave.write(tmp_path / leave.BEST, "# of another trial")
    monkeypatch.setattr(leave, "page", lambda *_: "")
    assert leave.leave(study, given, space, None) is None  # type: ignore[arg-type]
    assert not (tmp_path / leave.BEST).exists()
    console = Console(record=True, width=200)
    show.summary(study, given, space, console, None)
    assert "is not here but where its worker elsewhere-1-a ran" in console.export_text()


def test_one_of_a_front_is_taken_for_a_reason(tmp_path: Path) -> None:
    given = pretend.settings(tmp_path, f"sqlite:///{tmp_path}/study.db", 1, objectives=["val/score", "-time/fit_s"])
    study = pretend.begun(given)
    for values in ([1.0, 1.0], [3.0, 3.0], [2.0, 2.0], [0.0, 2.0]):
        study.tell(study.ask(), values)
    front = show.best(study, study.get_trials())
    assert [trial.number for trial in front] == [1, 2, 0]
    assert show.which_of_front(given, front) == (
        "trial 1 is the one of the Pareto front that is best in val/score; nobody beats trials 2, 0 either: "
        "study.json has them all"
    )
