"""Hydra's sweeps as a search space."""

from __future__ import annotations

import math

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from recexp.errors import RecexpError
from recexp.sweep.settings import read_space
from recexp.sweep.space import Parameter, Space, parameter


def read(typed: str, condition: str | None = None) -> Parameter:
    found = parameter(typed, condition)
    assert isinstance(found, Parameter)
    return found


@pytest.mark.parametrize(
    ("typed", "distribution"),
    [
        ("a=interval(0,1)", FloatDistribution(0.0, 1.0)),
        ("a=tag(log, interval(1e-4, 1e-1))", FloatDistribution(1e-4, 1e-1, log=True)),
        ("a=int(interval(1,9))", IntDistribution(1, 9)),
        ("a=tag(log,int(interval(1,9)))", IntDistribution(1, 9, log=True)),
        ("a=range(1,9)", IntDistribution(1, 8)),
        ("a=range(9,1,-2)", IntDistribution(3, 9, step=2)),
        ("a=range(0,1,0.25)", FloatDistribution(0.0, 0.75, step=0.25)),
        ("a=choice(16,32)", CategoricalDistribution([16, 32])),
        ("a=mf,two_tower", CategoricalDistribution(["mf", "two_tower"])),
        ("a=choice(1,true)", CategoricalDistribution(["1", "True"])),
        ("a=[64],[128,64],null,true", CategoricalDistribution(["[64]", "[128,64]", None, True])),
    ],
)
def test_each_sweep_has_its_distribution(typed: str, distribution: object) -> None:
    assert read(typed).distribution == distribution


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("a=interval(1,0)", "the smaller number first"),
        ("a=tag(log,interval(0,1))", "above 0"),
        ("a=tag(logarithmic,interval(1,2))", "the tag 'logarithmic' is unknown. Allowed: log"),
        ("a=range(1,1)", "nothing in this range"),
        ("a=tag(log,range(1,9,2))", "has no step"),
        ("a=choice(1,1)", "given twice"),
        ("a=interval(1", "cannot be read"),
    ],
)
def test_what_makes_no_sense_is_refused(typed: str, said: str) -> None:
    with pytest.raises(RecexpError, match=said.replace("(", r"\(")):
        parameter(typed, None)


def test_what_does_not_vary_is_an_override() -> None:
    assert parameter("a=3", None) == "a=3"


@pytest.mark.parametrize(
    "typed", ["a=[64],[128,64],null,true,1.5,x", "a=0,false,1.0", "a=interval(0,1)", "a=range(1,9)"]
)
def test_a_value_is_typed_as_hydra_reads_it(typed: str) -> None:
    from recexp.command import parsed

    found = read(typed)
    for value in found.values or found.corners:
        again = parsed(found.override(value)).value()
        assert repr(again) == repr(value) or str(again).replace(" ", "") == value


def space() -> Space:
    return Space(
        [
            read("model=choice(mf,tower)"),
            read("lr=interval(0,1)"),
            read("dropout=choice(0,1)", "model=tower"),
            read("dim=range(0,3)", "model=tower,mf"),
            read("rare=choice(1,2)", "data=real"),
        ],
        lambda key, option: (key, option) == ("data", "real") and False,
    )


def test_conditions_decide_what_is_drawn() -> None:
    found = space()
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(20):
        values = found.draw(study.ask())
        overrides = found.overrides(values)
        assert ("dropout (model=tower)" in values) == (values["model"] == "tower")
        assert "rare (data=real)" not in values
        assert overrides[0] == f"model={values['model']}"
        seen.add(values["model"])
    assert seen == {"mf", "tower"}


def test_corners_show_every_choice_under_its_condition() -> None:
    corners = list(space().corners())
    assert {corner["model"] for corner in corners} == {"mf", "tower"}
    assert {corner["lr"] for corner in corners} == {0.0, 1.0}
    assert all(("dropout (model=tower)" in corner) == (corner["model"] == "tower") for corner in corners)


def test_the_size_counts_conditions() -> None:
    conditional = [read("model=choice(mf,tower)"), read("dropout=choice(0,1,2)", "model=tower"), read("dim=range(0,2)")]
    conditional.sort(key=lambda p: p.condition is not None)
    assert Space(conditional, lambda *_: False).size() == 2 * (1 + 3)
    assert space().size() == math.inf


def test_a_fixed_choice_meets_a_condition() -> None:
    found = Space([read("dropout=choice(0,1)", "model=tower")], lambda key, option: (key, option) == ("model", "tower"))
    assert found.size() == 2


def test_a_grid_refuses_what_it_cannot_list() -> None:
    with pytest.raises(RecexpError, match="needs its values one by one"):
        Space([read("a=interval(0,1)")], lambda *_: False).grid()
    with pytest.raises(RecexpError, match="brute_force"):
        Space([read("a=choice(0,1)", "b=1")], lambda *_: False).grid()


def test_constants_of_a_yaml_stay_what_they_are() -> None:
    config = OmegaConf.create(
        {"hydra": {"sweeper": {"params": {"a": 1, "b": True, "c": [0, None, "x y"], "d": "choice(0,1)"}, "when": {}}}}
    )
    config.hydra.runtime = {"choices": {}}
    _, fixed = read_space(config, [])
    assert fixed == ["a=1", "b=true", "c=[0,null,'x y']"]
