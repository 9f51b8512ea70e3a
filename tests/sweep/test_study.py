"""Studies of real, small runs: what is left, what is refused, what goes on, what survives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import optuna
import polars as pl
import pytest
from optuna.trial import TrialState

import recexp
from recexp.__main__ import main
from recexp.store import Folder
from recexp.sweep import marks, studies

TINY = [
    "data.num_users=60", "data.num_items=40", "data.num_events=12", "eval.k=[5]", "trainer=cpu", "logger=none",
    "trainer.enable_progress_bar=false", "hydra.sweeper.objectives=[val/ndcg@5]",
]  # fmt: skip
SMALL = [
    "-m", "hydra/sweeper=recexp_optuna", "hydra.sweeper.name=small", *TINY, "trainer.max_epochs=3",
    "optimizer.lr=tag(log,interval(1e-3,1e-1))", "model.embedding_dim=choice(2,4)",
]  # fmt: skip
HERE = ["hydra.sweeper.workers=0"]
STUDY = Path("outputs/studies/small")


def study(path: Path = STUDY) -> optuna.Study:
    return studies.load(f"sqlite:///{path.absolute()}/study.db", path.name)


def timeless(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


def test_what_a_study_leaves_and_that_the_same_command_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    best = recexp.run(*SMALL, *HERE, "hydra.sweeper.n_trials=3")
    assert capsys.readouterr().out.count("embedding_dim=") >= 6  # a line for each trial, and the best of them
    recexp.run(*SMALL, *HERE, "hydra.sweeper.n_trials=4")
    assert "3 of 4 are done" in capsys.readouterr().out
    names = {path.name for path in STUDY.iterdir()}
    assert {"0", "1", "2", "3", "study.db", "study.json", "trials.parquet", "page.html", "best"} <= names
    trials = study().get_trials()
    assert [trial.number for trial in trials] == [0, 1, 2, 3]
    for trial in trials:
        run = Folder(STUDY / str(trial.number))
        assert run.run()["study"] == "small"
        assert run.metrics()["val/ndcg@5"] == trial.value
        assert "hydra" not in run.config() and "sweeps" not in run.config()
    table = pl.read_parquet(STUDY / "trials.parquet")
    assert table["val/ndcg@5"].max() == max(trial.value for trial in trials)
    assert table["state"].to_list() == ["finished"] * 4
    assert "plotly" in (STUDY / "page.html").read_text()
    assert best.metrics["val/ndcg@5"] == max(trial.value for trial in trials[:3])


def test_the_best_trial_is_an_experiment_that_runs_again_digit_for_digit() -> None:
    best = recexp.run(
        *SMALL,
        *HERE,
        "hydra.sweeper.n_trials=2",
        "seed=7",
        "model=two_tower",
        "model.hidden_dims=[]",
        "+trainer.max_steps=20",
    )
    again = recexp.run("--config-dir", str(STUDY / "best"), "experiment=best")
    assert again.config.trainer.max_steps == 20
    assert timeless(again.metrics) == timeless(best.metrics)
    assert again.facts["study"] is None


def test_the_best_trial_is_refitted_with_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    final = "+hydra.sweeper.finalize={refit_best_with_seeds:2}"
    best = recexp.run(*SMALL, *HERE, "hydra.sweeper.n_trials=1", final)
    assert "trial 0, the best one, with 2 seeds, of 2" in capsys.readouterr().out
    one, two = (recexp.load_run(STUDY / "best_with_seeds" / "0" / str(seed)) for seed in (1, 2))
    assert [run.config.seed for run in (one, two)] == [1, 2]
    assert one.config.refit and one.config.optimizer.lr == best.config.optimizer.lr
    assert timeless(one.metrics) != timeless(two.metrics)
    written = (one.path / "run.json").stat().st_mtime_ns
    recexp.run(*SMALL, *HERE, "hydra.sweeper.n_trials=1", final)
    assert (one.path / "run.json").stat().st_mtime_ns == written, "what is there stays"


def test_a_trial_can_be_named_like_any_run() -> None:
    recexp.run(*SMALL, *HERE, "hydra.sweeper.n_trials=1")
    evaluated = recexp.run("task=evaluate", f"run={STUDY}/0", "eval.k=[3]", "logger=none")
    assert "test/ndcg@3" in evaluated.metrics


def refused(capsys: pytest.CaptureFixture[str], *typed: str) -> str:
    sys.argv = ["recexp", *typed]
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr().err


def test_another_space_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    recexp.run(*SMALL, *HERE, "hydra.sweeper.n_trials=1")
    wider = [word.replace("choice(2,4)", "choice(2,4,8)") for word in SMALL]
    said = refused(capsys, *wider, *HERE)
    assert "model.embedding_dim was choice(2,4) and is now choice(2,4,8)" in said
    assert "hydra.sweeper.name=ANOTHER" in said
    assert "trainer.max_epochs was 3 and is now 9" in refused(capsys, *SMALL[:-3], "trainer.max_epochs=9", *SMALL[-2:])
    assert len(study().get_trials()) == 1


def test_folders_without_their_study_are_not_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    (STUDY / "0").mkdir(parents=True)
    assert "their study is gone" in refused(capsys, *SMALL, *HERE)


def test_a_study_needs_m(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Type python -m recexp -m sweeps=mf" in refused(capsys, "sweeps=mf")
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("sweeps=mff", "there is no sweeps 'mff'. Allowed: mf,"),
        ("hydra/sweeper/sampler=tpee", "no option hydra/sweeper/sampler/tpee. Allowed: tpe,"),
        ("hydra.sweeper.sampler._target_=optuna.samplers.TPE", "allowed are optuna.samplers.TPESampler"),
        ("hydra.sweeper.n_trials=0", "must be at least 1"),
        ("hydra.sweeper.n_trials=many", "expected a whole number"),
        ("hydra.sweeper.trial_timeout=0", "above 0, or null"),
        ("hydra.sweeper.objectives=[]", "needs an objective"),
        ("hydra.sweeper.objectives=[test/ndcg@10]", "not tested any more"),
        ("hydra.sweeper.objectives=[val/ndcg@7]", "does not measure it. Allowed: val/ndcg@5"),
        ("hydra.sweeper.objectives=[-time/fitt_s]", "Type hydra.sweeper.objectives=[-time/fit_s]"),
        ("hydra.sweeper.objectives=[val/ndcg@10,-time/fit_s]", "Type hydra/sweeper/pruner=none"),
        ("hydra.sweeper.storage=postgresql+psycopg://me:secret@127.0.0.1:1/x", "cannot be reached"),
        ("hydra.sweeper.storage=nonsense://x", "hydra.sweeper.storage=nonsense://x"),
        ("+hydra.sweeper.finalize={again:3}", "refit_best_with_seeds"),
        ("optimizer.lrr=interval(0,1)", "optimizer has no key 'lrr'"),
        ("model.embedding_dim=interval(8,16)", "Type model.embedding_dim=int(interval(LOW,HIGH))"),
        ("model=popularity", "model has no key 'embedding_dim'"),
        ("task=check", "drop task="),
        ("hydra/sweeper/sampler=grid", "a grid needs its values one by one"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_runs(
    typed: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["-m", "sweeps=mf", typed] if not typed.startswith("sweeps") else ["-m", typed]
    found = refused(capsys, *words)
    assert said in found
    assert "secret" not in found
    assert not Path("outputs").exists()


@pytest.mark.parametrize(
    ("condition", "said"),
    [("modle=mf", "nothing is called modle. Did you mean model=…?"), ("x", "'x' is no condition")],
)
def test_a_condition_that_cannot_hold(condition: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("own/sweeps").mkdir(parents=True)
    when = f"hydra:\n  sweeper:\n    when:\n      {condition}:\n        seed: range(1, 3)\n"
    head = "# @package _global_\ndefaults:\n  - override /hydra/sweeper: recexp_optuna\n"
    Path("own/sweeps/mine.yaml").write_text(head + when)
    assert said in refused(capsys, "--config-dir", "own", "-m", "sweeps=mine")


def test_what_fails_every_trial_alike_ends_the_study(capsys: pytest.CaptureFixture[str]) -> None:
    fewer = [word.replace("num_items=40", "num_items=5") for word in SMALL]
    said = refused(capsys, *fewer, *HERE)
    assert "3 trials failed alike: data.num_items=5 is too few" in said
    assert len(study().get_trials()) == 3


def command(*typed: str) -> list[str]:
    return [sys.executable, "-m", "recexp", *typed]


BAD = """
import time
import torch
from recexp.model.mf import MF

class Bad(MF):
    def __init__(self, how, **settings):
        super().__init__(**settings)
        self.how = how

    def encode_items(self, items):
        if self.how == "raises":
            raise ZeroDivisionError("on purpose")
        if self.how == "hangs":
            while True:
                time.sleep(1)
        if self.how == "grows":
            self.hoard = [torch.ones(2**24) for _ in range(40)]
        if self.how == "dies":
            import os
            os.kill(os.getpid(), 9)
        return super().encode_items(items) * (float("nan") if self.how == "diverges" else 1.0)
"""
BAD_YAML = """
defaults:
  - mf
  - _self_
_target_: bad_package.Bad
how: fine
"""


def test_bad_trials_fail_and_the_others_finish(tmp_path: Path) -> None:
    (tmp_path / "bad_package.py").write_text(BAD)
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "bad.yaml").write_text(BAD_YAML)
    typed = [
        "--config-dir", "own", "-m", "hydra/sweeper=recexp_optuna", "hydra/sweeper/sampler=grid",
        "hydra.sweeper.name=bad", *TINY, "model=bad", "allow=[bad_package]", "trainer.max_epochs=2",
        "model.how=choice(raises,diverges,hangs,grows,dies,fine)", "hydra.sweeper.trial_timeout=25",
        "hydra.sweeper.trial_memory_mb=2000", "hydra.sweeper.max_failures=9",
    ]  # fmt: skip
    ended = subprocess.run(command(*typed), capture_output=True, text=True, timeout=400, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.splitlines()[-1] == "outputs/studies/bad"
    trials = [trial for trial in study(Path("outputs/studies/bad")).get_trials() if marks.counts(trial)]
    reasons = {trial.params["model.how"]: trial.user_attrs.get(marks.REASON) for trial in trials}
    states = {trial.params["model.how"]: trial.state for trial in trials}
    assert states == {
        **dict.fromkeys(["raises", "diverges", "hangs", "grows", "dies"], TrialState.FAIL),
        "fine": TrialState.COMPLETE,
    }
    assert "ZeroDivisionError: on purpose" in reasons["raises"]
    assert "NaN" in reasons["diverges"]
    assert "trial_timeout=25" in reasons["hangs"]
    assert "trial_memory_mb=2000" in reasons["grows"]
    assert "died 2 times (killed" in reasons["dies"]
    for trial in trials:
        run = Folder(Path("outputs/studies/bad") / str(trial.number)).run()
        assert run["status"] == ("finished" if trial.state == TrialState.COMPLETE else "failed")


def begin(typed: Sequence[str]) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command(*typed), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(number: int, process: subprocess.Popen[bytes]) -> None:
    """Until a trial has had its first epoch."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if (STUDY / str(number) / "checkpoints" / "last.ckpt").exists():
            return
        time.sleep(0.02)
    raise AssertionError(f"trial {number} did not begin")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_command_that_is_stopped_goes_on_where_it_was(end: signal.Signals) -> None:
    long = [word.replace("trainer.max_epochs=3", "trainer.max_epochs=25") for word in SMALL]
    typed = [*long, "hydra.sweeper.n_trials=2", "fit.patience=null", "hydra/sweeper/pruner=none"]
    process = begin(typed)
    wait_for(0, process)
    process.send_signal(end)
    assert process.wait(60) == (130 if end == signal.SIGINT else -signal.SIGKILL)
    time.sleep(1.0)  # its worker notices
    assert [trial.state for trial in study().get_trials()] == [TrialState.RUNNING]
    steps = len(study().get_trials()[0].intermediate_values)
    recexp.run(*typed, *HERE)
    first, second = study().get_trials()
    assert (first.state, second.state) == (TrialState.COMPLETE, TrialState.COMPLETE)
    assert len(first.intermediate_values) == 25
    assert 0 < steps < 25
    whole = recexp.run(*TINY[:-1], "trainer.max_epochs=25", "fit.patience=null", *_given(first))
    assert whole.metrics["val/ndcg@5"] == first.value


def _given(trial: optuna.trial.FrozenTrial) -> list[str]:
    return [f"{name}={value!r}" for name, value in trial.params.items()]


def test_a_pruned_run_keeps_what_it_found(monkeypatch: pytest.MonkeyPatch) -> None:
    pruner = ["hydra/sweeper/pruner=threshold", "hydra.sweeper.pruner.lower=2", "hydra.sweeper.pruner.n_warmup_steps=2"]
    logger = ["logger=wandb"]
    words = [word for word in SMALL if word != "logger=none"]
    with pytest.raises(recexp.RecexpError, match="no trial"):
        recexp.run(*words, *logger, *HERE, *pruner, "hydra.sweeper.n_trials=1")
    (trial,) = study().get_trials()
    run = Folder(STUDY / "0")
    assert trial.state == TrialState.PRUNED
    assert run.run()["status"] == "pruned"
    assert run.run()["reason"] == "pruned after epoch 2"
    assert run.metrics()["val/ndcg@5"] == trial.value
    assert "test/ndcg@5" not in run.metrics()
    summary = next((STUDY / "0" / "wandb").glob("*/files/wandb-summary.json"), None)
    assert summary is None or json.loads(summary.read_text())["val/ndcg@5"] == trial.value


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_other_launchers(launcher: str) -> None:
    pytest.importorskip(
        f"hydra_plugins.hydra_{launcher.split('_')[0]}_launcher", reason="pip install 'recexp[cluster]'"
    )
    ended = subprocess.run(
        command(*SMALL, *HERE, "hydra.sweeper.n_trials=1", f"hydra/launcher={launcher}"),
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (trial,) = study().get_trials()
    assert trial.state == TrialState.COMPLETE
    assert len(trial.intermediate_values) == 3
