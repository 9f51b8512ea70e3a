"""Every yaml composes, instantiates, and is the only home of its defaults."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf

from recexp import checks, config

CONF = config.folder()
OPTIONS = [(path.parent.name, path.stem) for path in sorted(CONF.glob("*/*.yaml"))]
NEEDS = {
    "table": ["data.path=x.csv"],
    "sequence_file": ["data.path=x.txt"],
    "evaluate": ["run=x"],
    "recommend": ["run=x"],
    "update": ["run=x", "new=x.csv"],
    "extended": ["data.new.path=x.csv"],
    "export": ["run=x"],
    "solve": ["model=popularity"],
}
RUN_TIME = {
    "model": {"num_users", "num_items"},
    "fit": {"loss", "negatives", "examples", "optimizer"},
    "logger": {"save_dir"},
}


def composed(*overrides: str) -> DictConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", overrides=list(overrides))


def overrides_for(group: str, option: str) -> list[str]:
    return [f"{group}={option}", *NEEDS.get(option, [])]


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes_and_passes_the_checks(group: str, option: str) -> None:
    plain = checks.resolved(composed(*overrides_for(group, option)))
    checks.refuse_foreign_targets(plain)
    checks.refuse_out_of_bounds(plain)
    for path, node in checks.configured(plain):
        checks.refuse_wrong_types(path, node)


def classes() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for group, option in OPTIONS:
        if group in ("task", "experiment", "sweeps"):
            continue
        plain = checks.resolved(composed(*overrides_for(group, option)))
        for path, node in checks.configured({group: plain[group]}):
            yield path, option, node


@pytest.mark.parametrize(("path", "option", "node"), [pytest.param(*c, id=f"{c[0]}={c[1]}") for c in classes()])
def test_yaml_keys_are_the_constructors_parameters(path: str, option: str, node: dict[str, Any]) -> None:
    target = get_class(node["_target_"])
    keys, group = set(node) - {"_target_"}, path.split(".")[0]
    parameters = inspect.signature(target).parameters
    if group == "trainer" or not node["_target_"].startswith("recexp."):
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        assert open_ended or keys <= set(parameters)
        return
    named = {name for name, p in parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    assert keys == named - RUN_TIME.get(group, set())
    defaults = {name for name, p in parameters.items() if name in named and p.default is not p.empty}
    assert defaults == set(), "yaml is the only home of defaults"


def test_no_yaml_hides_a_tag_or_python_object() -> None:
    for path in CONF.rglob("*.yaml"):
        assert "!!" not in path.read_text(), path
        OmegaConf.load(path)
