"""Every study in sweeps/ could begin: its space fits its models, its sampler draws, its objective is measured."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

import recexp
from recexp import config

SWEEPS = sorted(path.stem for path in (config.folder() / "sweeps").glob("*.yaml"))
FAIR = OmegaConf.load(config.folder() / "sweeps" / "ncf_fair.yaml").hydra.sweeper.when
MODELS = [model for condition in FAIR for model in str(condition).removeprefix("model=").split(",")]
MORE = {"ncf_fair": [[f"model={model}"] for model in MODELS]}
CASES = [(name, more) for name in SWEEPS for more in MORE.get(name, [[]])]


class Rehearsed(BaseException):
    """Nothing was refused."""


@pytest.mark.parametrize(("name", "more"), [pytest.param(*case, id="-".join([case[0], *case[1]])) for case in CASES])
def test_every_study_could_begin(name: str, more: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(settings: Any, *_: Any) -> None:
        raise Rehearsed(settings.name)

    monkeypatch.setattr("recexp.sweep.command._begun", begun)
    with pytest.raises(Rehearsed) as found:
        recexp.run("-m", f"sweeps={name}", *more)
    assert str(found.value).startswith(name)


def test_the_fair_study_gives_every_model_the_same_budget_and_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    budgets = {}

    def begun(settings: Any, *_: Any) -> None:
        budgets[settings.folder.name] = settings.n_trials
        raise Rehearsed

    monkeypatch.setattr("recexp.sweep.command._begun", begun)
    for model in ("model=mf", "model=two_tower"):
        with pytest.raises(Rehearsed):
            recexp.run("-m", "sweeps=ncf_fair", model)
    assert budgets == {"ncf_fair_mf": 50, "ncf_fair_two_tower": 50}


def test_a_study_in_which_nothing_varies_is_refused() -> None:
    with pytest.raises(recexp.RecexpError, match=r"nothing varies in this study with model=popularity.*model=mf"):
        recexp.run("-m", "sweeps=ncf_fair", "model=popularity")


def test_a_front_has_no_best_trial_to_refit() -> None:
    several = ["hydra.sweeper.objectives=[val/ndcg@10,-time/fit_s]", "hydra/sweeper/pruner=none"]
    with pytest.raises(recexp.RecexpError, match=r"with several objectives there is none, but a front"):
        recexp.run("-m", "sweeps=ncf_fair", "model=mf", *several)
