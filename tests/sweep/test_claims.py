"""Workers and samplers, on trials that only pretend."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.trial import TrialState

from recexp import config
from recexp.errors import RecexpError
from recexp.sweep import marks, studies
from recexp.sweep.claims import Claims
from recexp.sweep.lease import Lease

spec = importlib.util.spec_from_file_location("pretend", Path(__file__).with_name("pretend.py"))
assert spec is not None and spec.loader is not None
pretend = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pretend)

SAMPLERS = ["tpe", "random", "grid", "cmaes", "nsga2", "nsga3", "gp", "qmc", "brute_force"]
PRUNERS = [path.stem for path in sorted((config.folder() / "hydra/sweeper/pruner").glob("*.yaml"))]


def option(group: str, name: str) -> dict[str, Any]:
    node = OmegaConf.load(config.folder() / "hydra" / "sweeper" / group / f"{name}.yaml")
    values = OmegaConf.create({"hydra": {"sweeper": {"seed": 1}}, "trainer": {"max_epochs": 9}, "node": node})
    plain = OmegaConf.to_container(values.node, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def settings(folder: Path, n_trials: int, **more: Any) -> Any:
    folder.mkdir(exist_ok=True)
    return pretend.settings(folder, f"sqlite:///{folder}/study.db", n_trials, **more)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_works_stops_and_goes_on(name: str, tmp_path: Path) -> None:
    pytest.importorskip("cmaes")
    discrete = name in ("grid", "brute_force")
    lines = ["a=range(0,1,0.125)", "b=choice(x,y)"] if discrete else ["a=interval(0,1)", "b=choice(x,y)"]
    for n_trials in (8, 14):
        given = settings(tmp_path / "study", n_trials, sampler=option("sampler", name))
        launcher = pretend.Launcher(given.folder)
        study = pretend.work(given, launcher, *lines)
    trials = [trial for trial in study.get_trials() if marks.counts(trial)]
    assert len(trials) == 14
    assert len(launcher.launched) == 6
    assert len({json.dumps(trial.params) for trial in trials}) == 14
    assert study.best_value == pytest.approx(max(-((trial.params["a"] - 0.3) ** 2) for trial in trials))


def test_a_small_space_is_tried_once(tmp_path: Path) -> None:
    given = settings(tmp_path / "study", 50, sampler=option("sampler", "tpe"))
    study = pretend.work(given, pretend.Launcher(given.folder), "a=range(0,1,0.25)", "b=choice(x,y)")
    counted = [trial for trial in study.get_trials() if marks.counts(trial)]
    assert len({json.dumps(trial.params) for trial in counted}) == len(counted) == 8


def test_several_objectives_give_a_pareto_front(tmp_path: Path) -> None:
    more = {"objectives": ["val/score", "-time/fit_s"], "sampler": option("sampler", "nsga2")}
    given = settings(tmp_path / "study", 20, **more)
    measured = {"metrics": lambda values: {"val/score": float(values["a"]), "time/fit_s": float(values["a"]) ** 2}}
    study = pretend.work(given, pretend.Launcher(given.folder, **measured))
    assert len(study.best_trials) == 20  # the better the slower: nobody beats anybody
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]


@pytest.mark.parametrize("name", PRUNERS)
def test_every_pruner_is_made(name: str) -> None:
    node = option("pruner", name) | ({"lower": 0.1} if name == "threshold" else {})
    assert isinstance(studies.made(node, "pruners"), optuna.pruners.BasePruner)


def test_a_metric_that_is_not_finite_or_missing_fails_the_trial(tmp_path: Path) -> None:
    given = settings(tmp_path / "study", 3)
    found = iter([{"val/score": float("nan")}, {"val/other": 1.0}, {"val/score": 1.0}])
    study = pretend.work(given, pretend.Launcher(given.folder, metrics=lambda _: next(found)))
    reasons = [trial.user_attrs.get(marks.REASON) for trial in study.get_trials()]
    assert reasons == ["val/score is nan", "it measured no val/score, but val/other", None]
    assert [trial.state for trial in study.get_trials()] == [TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]


def test_too_many_failures_end_the_study(tmp_path: Path) -> None:
    given = settings(tmp_path / "study", 10, max_failures=1)
    study = pretend.work(given, pretend.Launcher(given.folder, metrics=lambda _: {}))
    assert len(study.get_trials()) == 2


def abandoned(given: Any) -> optuna.Study:
    """A study whose first trial was running when its machine died."""
    study, lease = pretend.begun(given), Lease(given.folder)
    claim = Claims(study, given, pretend.space(*pretend.LINES), lease).next()
    assert claim is not None and claim.trial.number == 0
    lease.release()
    study._storage.set_trial_user_attr(claim.trial._trial_id, marks.BEGAN, 0.0)
    return study


def test_an_abandoned_trial_is_queued_again(tmp_path: Path) -> None:
    given = settings(tmp_path / "study", 3)
    study = abandoned(given)
    before = study.get_trials()[0].params
    pretend.work(given, pretend.Launcher(given.folder))
    first, second, *_ = study.get_trials()
    assert marks.STALE in first.user_attrs
    assert second.user_attrs[marks.AGAIN_OF] == 0
    assert second.params == before
    assert sum(map(marks.counts, study.get_trials())) == 3


def test_an_abandoned_trial_that_had_finished_is_not_run_again(tmp_path: Path) -> None:
    given = settings(tmp_path / "study", 1)
    study = abandoned(given)
    pretend.Launcher(given.folder).launch([["a=0.3"]], 0)
    launcher = pretend.Launcher(given.folder)
    pretend.work(given, launcher)
    assert launcher.launched == []
    assert study.best_value == 0.0


def test_an_abandoned_trial_with_a_checkpoint_goes_on_in_its_folder(tmp_path: Path) -> None:
    given = settings(tmp_path / "study", 1)
    study = abandoned(given)
    (given.folder / "0" / "checkpoints").mkdir(parents=True)
    (given.folder / "0" / "checkpoints" / "last.ckpt").touch()
    lease = Lease(given.folder)
    claim = Claims(study, given, pretend.space(*pretend.LINES), lease).next()
    assert claim is not None and claim.trial.number == 0
    assert claim.overrides == [f"a={study.get_trials()[0].params['a']!r}", f"b={study.get_trials()[0].params['b']}"]
    lease.release()


def test_a_trial_that_kills_its_process_twice_has_failed(tmp_path: Path) -> None:
    given = settings(tmp_path / "study", 1)
    study = abandoned(given)
    study._storage.set_trial_user_attr(study.get_trials()[0]._trial_id, marks.DEATHS, 2)
    pretend.work(given, pretend.Launcher(given.folder))
    assert [trial.state for trial in study.get_trials()] == [TrialState.FAIL]


def test_a_worker_elsewhere_lives_as_long_as_its_heart_beats(tmp_path: Path) -> None:
    given = settings(tmp_path / "study", 1)
    study = abandoned(given)
    trial_id = study.get_trials()[0]._trial_id
    lease = Lease(given.folder)
    assert not lease.is_alive(study.get_trials()[0], grace=60)
    with lease.beating(study._storage, trial_id):
        pass
    import time

    study._storage.set_trial_user_attr(trial_id, marks.BEAT, time.time())
    assert lease.is_alive(study.get_trials()[0], grace=60)
    with pytest.raises(KeyboardInterrupt), lease.beating(study._storage, trial_id):
        raise KeyboardInterrupt
    assert not lease.is_alive(study.get_trials()[0], grace=60)
    lease.release()


def test_an_unknown_sampler_or_setting_is_refused() -> None:
    with pytest.raises(RecexpError, match=r"allowed are optuna.samplers.TPESampler"):
        studies.made({"_target_": "optuna.samplers.TPE"}, "samplers")
    with pytest.raises(RecexpError, match=r"hydra.sweeper.sampler._target_=os.system"):
        studies.made({"_target_": "os.system"}, "samplers")
    with pytest.raises(RecexpError, match=r"TPESampler takes n_startup_trials"):
        studies.made({"_target_": "optuna.samplers.TPESampler", "n_startup": 3}, "samplers")
