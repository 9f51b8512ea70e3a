"""What goes wrong between workers, machines and storages, on trials that only pretend."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from hydra.core.utils import JobStatus
from omegaconf import OmegaConf
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from rich.console import Console

from recexp.errors import RecexpError
from recexp.sweep import claims, crew, lease, marks, rehearsal, show, studies, trial
from recexp.sweep.claims import Claims
from recexp.sweep.lease import JOB_LOCK, Lease
from recexp.sweep.outcome import Outcomes

spec = importlib.util.spec_from_file_location("pretend", Path(__file__).with_name("pretend.py"))
assert spec is not None and spec.loader is not None
pretend = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pretend)


def settings(folder: Path, n_trials: int, **more: Any) -> Any:
    folder.mkdir(exist_ok=True)
    return pretend.settings(folder, f"sqlite:///{folder}/study.db", n_trials, **more)


@pytest.fixture
def claiming() -> Iterator[Callable[[Any], Claims]]:
    """Makes a worker's claims, and lets its lease go at the end."""
    with ExitStack() as leases:

        def make(given: Any) -> Claims:
            own = Lease(given.folder)
            leases.callback(own.release)
            return Claims(pretend.begun(given), given, pretend.space(*pretend.LINES), own)

        yield make


def abandon(study: optuna.Study, number: int, worker: str = marks.NOBODY) -> None:
    for mark, value in ((marks.WORKER, worker), (marks.BEAT, 0), (marks.BEGAN, 0.0)):
        study._storage.set_trial_user_attr(study.get_trials()[number]._trial_id, mark, value)


def leave_run(folder: Path, number: int, **run: Any) -> None:
    (folder / str(number) / "checkpoints").mkdir(parents=True, exist_ok=True)
    (folder / str(number) / "run.json").write_text(json.dumps(run))


def test_a_queued_trial_that_dies_before_it_draws_is_not_lost(tmp_path: Path, claiming: Any) -> None:
    own = claiming(settings(tmp_path / "study", 1))
    own.study.enqueue_trial({"a": 0.25, "b": "y"}, user_attrs={marks.AGAIN_OF: 7})
    own.study.ask()
    abandon(own.study, 0)
    claim = own.next()
    assert claim is not None and claim.overrides == ["a=0.25", "b=y"]
    assert claim.trial.user_attrs[marks.AGAIN_OF] == 0


def test_no_point_of_a_small_space_is_tried_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "TRIES", claims.OWN_TRIES + 1)
    given = settings(tmp_path / "study", 24)
    study = pretend.work(given, pretend.Launcher(given.folder), "a=range(0,1.2,0.1)", "b=choice(x,y)")
    counted = [trial.params for trial in study.get_trials() if marks.counts(trial)]
    assert len({json.dumps(params) for params in counted}) == len(counted) == 24


class Measuring(pretend.Launcher):  # type: ignore[misc, name-defined]
    """A launcher whose runs say what they were measured on."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        found: list[Any] = super().launch(job_overrides, initial_job_idx)
        file = self.folder / str(initial_job_idx) / "run.json"
        data = "another" if initial_job_idx == 1 else "one"
        file.write_text(json.dumps({**json.loads(file.read_text()), "data": data, "split": "same"}))
        return found


def test_trials_on_other_data_are_not_mixed_in(tmp_path: Path) -> None:
    given = settings(tmp_path / "study", 3)
    study = pretend.work(given, Measuring(given.folder))
    assert [trial.state.name for trial in study.get_trials()] == ["COMPLETE", "FAIL", "COMPLETE"]
    reason = study.get_trials()[1].user_attrs[marks.REASON]
    assert "the data of trial 0 had the hash one, and this one's has another" in reason


def test_data_that_vary_on_purpose_are_comparable(tmp_path: Path) -> None:
    given = settings(tmp_path / "study", 3)
    pretend.begun(given).set_user_attr(studies.BEGUN_WITH, {"space": {"seed": "range(1,4)"}})
    study = pretend.work(given, Measuring(given.folder))
    assert {trial.state for trial in study.get_trials()} == {TrialState.COMPLETE}


def test_a_key_that_is_added_or_gone_makes_another_study(tmp_path: Path) -> None:
    given = settings(tmp_path / "study", 1)
    one = {"objectives": ["val/score"], "space": {}, "config": {"trainer.max_epochs": 3}}
    more = {**one, "config": {"trainer.max_epochs": 3, "trainer.max_steps": 1}}
    for before, now in ((one, more), (more, one)):
        study: Any = SimpleNamespace(user_attrs={studies.BEGUN_WITH: before})
        rehearsal.refuse_another_study(study, before, given)
        with pytest.raises(RecexpError, match=r"trainer\.max_steps was .* and is now"):
            rehearsal.refuse_another_study(study, now, given)


def test_what_stands_fixed_in_a_space_is_part_of_the_study(tmp_path: Path) -> None:
    config = OmegaConf.create({"trainer": {"max_epochs": 3}, "seed": 1})
    fixed = ["trainer.max_epochs=5", "model=mf", "logger.mode=offline"]
    found = rehearsal.identity(settings(tmp_path / "study", 1), pretend.space(*pretend.LINES), fixed, config)
    assert found["config"] == {"trainer.max_epochs": 5, "seed": 1}


def test_a_lock_is_seen_where_only_writers_can_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock_of_nfs(file: Any, how: int) -> None:
        if "+" not in file.mode:
            raise OSError(9, "Bad file descriptor")

    (tmp_path / "worker").touch()
    monkeypatch.setattr(fcntl, "flock", flock_of_nfs)
    assert not lease.is_locked(tmp_path / "worker")


@pytest.mark.parametrize(("host", "alive"), [("elsewhere", True), (socket.gethostname(), False)])
def test_a_worker_elsewhere_is_not_dead_for_its_lock_alone(
    host: str, alive: bool, tmp_path: Path, claiming: Any
) -> None:
    own = claiming(settings(tmp_path / "study", 1))
    own.study.ask()
    abandon(own.study, 0, f"{host}-12-abc")
    own.study._storage.set_trial_user_attr(own.study.get_trials()[0]._trial_id, marks.BEAT, time.time())
    (own.lease.folder / f"{host}-12-abc").touch()
    for _ in range(2):
        assert own.lease.is_alive(own.study.get_trials()[0], grace=60) == alive


def test_failures_alike_end_a_study_only_where_nothing_ever_finished(tmp_path: Path) -> None:
    given = settings(tmp_path / "study", 9, max_failures=5)
    study = pretend.begun(given)
    lines = show.Lines(study, given, pretend.space(*pretend.LINES), Console(quiet=True))
    outcomes = Outcomes(study, given.folder, given.metrics)
    for _ in range(3):
        study.ask()
        outcomes.fail(study.get_trials()[-1], "RecexpError: no such thing")
    with pytest.raises(RecexpError, match=r"no such thing\. None .*max_failures=5 is not waited"):
        lines.refuse_hopeless(lines.look())
    study.tell(study.ask(), 1.0)
    lines.refuse_hopeless(study.get_trials())


def test_a_death_is_counted_on_what_repeats_the_trial(tmp_path: Path, claiming: Any) -> None:
    own = claiming(settings(tmp_path / "study", 1))
    first = own.next()
    assert first is not None
    abandon(own.study, 0)
    second = own.next()
    assert second is not None and second.trial.number == 1
    own.count_death(own.study.get_trials()[0], "killed")
    assert own.study.get_trials()[1].user_attrs[marks.DEATHS] == 1
    own.study.tell(1, 1.0)
    own.count_death(own.study.get_trials()[0], "killed")  # it ended meanwhile: nothing to count


def test_a_worker_is_known_by_its_token_and_told_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Process:
        pid = 12

        def __init__(self, _: Any, env: Any, **__: Any) -> None:
            self.env, self.told = env, 0

        def terminate(self) -> None:
            self.told += 1

    monkeypatch.setattr(crew.subprocess, "Popen", Process)
    one, two = (crew.Member(tmp_path / "log", cores=1) for _ in range(2))
    monkeypatch.setenv(lease.ROLE, one.process.env[lease.ROLE])  # type: ignore[attr-defined]
    own = Lease(tmp_path)
    own.release()
    taken: Any = SimpleNamespace(user_attrs={marks.WORKER: own.worker})
    assert one.owns(taken) and not two.owns(taken)
    one.ask_to_stop()
    assert one.process.told == 1  # type: ignore[attr-defined]


def test_a_storage_that_is_away_costs_a_run_only_its_pruning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = pretend.begun(settings(tmp_path / "study", 1))
    study.ask()
    job = trial.Trial(study, tmp_path / "study" / "0")
    tell, away = job.storage.set_trial_intermediate_value, [2]

    def unreliable(*given: Any) -> None:
        away[0] -= 1
        if away[0] >= 0:
            raise StorageInternalError("gone")
        tell(*given)

    monkeypatch.setattr(trial, "WAIT", 0.0)
    monkeypatch.setattr(job.storage, "set_trial_intermediate_value", unreliable)
    assert not job.report(1, 0.5)
    assert study.get_trials()[0].intermediate_values == {1: 0.5}
    away[0] = 99
    assert not job.report(2, 0.5)


class Ending(pretend.Launcher):  # type: ignore[misc, name-defined]
    """The first two launches are ended from outside."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        if len(self.launched) >= 2:
            return list(super().launch(job_overrides, initial_job_idx))
        self.launched.append(list(job_overrides[0]))
        reason = "terminated" if len(self.launched) == 1 else "optuna.exceptions.StorageInternalError: gone"
        leave_run(self.folder, initial_job_idx, status="failed", reason=reason)
        return [SimpleNamespace(status=JobStatus.FAILED, _return_value=RuntimeError("ended"))]


def test_what_is_ended_from_outside_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "LIVES", 3)
    given = settings(tmp_path / "study", 1)
    launcher = Ending(given.folder)
    study = pretend.work(given, launcher)
    (counted,) = [trial for trial in study.get_trials() if marks.counts(trial)]
    assert counted.state == TrialState.COMPLETE
    assert launcher.launched[0] == launcher.launched[1] == launcher.launched[2]


def test_what_never_gets_anywhere_is_given_up(tmp_path: Path) -> None:
    given = settings(tmp_path / "study", 1)
    study = pretend.work(given, Ending(given.folder))
    (counted,) = [trial for trial in study.get_trials() if marks.counts(trial)]
    assert counted.state == TrialState.FAIL
    assert "died 2 times" in counted.user_attrs[marks.REASON]


def test_a_folder_of_another_run_is_not_gone_on_with(tmp_path: Path) -> None:
    given = settings(tmp_path / "study", 2)
    leave_run(given.folder, 0, status="running", id="foreign")
    before = (given.folder / "0" / "run.json").read_text()
    study = pretend.work(given, pretend.Launcher(given.folder))
    assert "not its own" in study.get_trials()[0].user_attrs[marks.REASON]
    assert sum(map(marks.counts, study.get_trials())) == 2
    assert (given.folder / "0" / "run.json").read_text() == before


def test_a_trial_whose_job_still_runs_is_left_alone(tmp_path: Path, claiming: Any) -> None:
    own = claiming(settings(tmp_path / "study", 1))
    assert own.next() is not None
    abandon(own.study, 0)
    leave_run(own.settings.folder, 0, status="running")
    (own.settings.folder / "0" / "checkpoints" / "last.ckpt").touch()
    job = trial.Trial(own.study, own.settings.folder / "0")
    with job.at_work():
        assert own.next() is None
        with pytest.raises(RuntimeError, match="another job"), job.at_work():
            pass
    assert not (own.settings.folder / "0" / JOB_LOCK).exists()
    adopted = own.next()
    assert adopted is not None and adopted.trial.number == 0
    assert own.study.get_trials()[0].user_attrs[marks.BEAT] > 0, "those elsewhere see that it goes on"


def test_a_trial_that_had_just_finished_is_not_failed(tmp_path: Path, claiming: Any) -> None:
    own = claiming(settings(tmp_path / "study", 1))
    assert own.next() is not None
    leave_run(own.settings.folder, 0, status="finished")
    (own.settings.folder / "0" / "metrics.json").write_text(json.dumps({"val/score": 1.0}))
    own.outcomes.fail(own.study.get_trials()[0], "too long")
    assert own.study.get_trials()[0].state == TrialState.COMPLETE
    assert json.loads((own.settings.folder / "0" / "run.json").read_text())["status"] == "finished"


def test_the_sampler_knows_the_brackets_of_hyperband(tmp_path: Path, claiming: Any) -> None:
    pruner = {"_target_": "optuna.pruners.HyperbandPruner", "min_resource": 1, "max_resource": 9}
    given = settings(tmp_path / "study", 3, pruner=pruner, sampler={"_target_": "optuna.samplers.TPESampler"})
    own = claiming(given)
    assert own.next() is not None
    hyperband: Any = own.study.pruner
    assert {hyperband._get_bracket_id(own.study, SimpleNamespace(number=number)) for number in range(40)} == {0, 1, 2}


def test_a_journal_at_an_absolute_path_is_found_again(tmp_path: Path) -> None:
    given = settings(tmp_path / "study", 1)
    given = pretend.settings(given.folder, f"journal://{given.folder}/study.journal", 1)
    os.chdir(tmp_path)
    assert not studies.exists(given)
    pretend.begun(given)
    assert (given.folder / "study.journal").exists()
    assert studies.exists(given)
