"""`hydra.sweeper.…`, read and checked."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from optuna.study import StudyDirection

from recexp.errors import RecexpError, nearest
from recexp.sweep.space import Parameter, Space, parameter
from recexp.targets import matches, words

FINALES = ("refit_best_with_seeds",)
TIMES = ("time/fit_s", "time/val_s", "time/test_s")
"""What a run measures of itself."""
AT_LEAST = {"n_trials": 1, "workers": 0, "max_failures": 0, "seed": 0, "grace": 1}


@dataclass(frozen=True)
class Settings:
    """How a study is run; what each means stands in `conf/hydra/sweeper/recexp_optuna.yaml`."""

    name: str
    folder: Path
    storage: str
    objectives: list[str]
    sampler: dict[str, Any]
    pruner: dict[str, Any]
    n_trials: int
    seed: int
    workers: int
    max_failures: int
    trial_timeout: float | None
    trial_memory_mb: float | None
    grace: float
    finalize: dict[str, Any]

    @staticmethod
    def of(config: DictConfig) -> Settings:
        """From a composed config.

        Raises:
            RecexpError: a value is of the wrong kind or makes no sense.
        """
        node = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
        assert isinstance(node, dict)
        kinds = {field.name: str(field.type) for field in fields(Settings)}
        if missing := sorted(OmegaConf.missing_keys(config.hydra.sweeper)):
            raise RecexpError(f"{missing[0]} is needed. Type {missing[0]}=VALUE.")
        given = {str(key): value for key, value in node.items() if key in kinds}
        if given["name"] in (None, "null", ""):
            raise RecexpError("a study needs a name, for its folder. Type hydra.sweeper.name=NAME, or sweeps=NAME.")
        for name, value in given.items():
            _check(name, value, {"storage": "str | None", "folder": "str"}.get(name, kinds[name]))
        limits = [name for name in ("trial_timeout", "trial_memory_mb") if given[name] is not None]
        if limits and not given["workers"]:
            raise RecexpError(
                f"hydra.sweeper.{limits[0]}: with workers=0 nobody watches over trials. Drop one of them."
            )
        folder = Path(config.hydra.sweep.dir).absolute()
        given |= {"folder": folder, "storage": storage_url(given["storage"], folder), "name": str(given["name"])}
        return Settings(**given)

    @property
    def directions(self) -> list[StudyDirection]:
        """Of each objective."""
        down, up = StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE
        return [down if name.startswith("-") else up for name in self.objectives]

    @property
    def metrics(self) -> list[str]:
        """The objectives, as metrics.json names them."""
        return [name.lstrip("-") for name in self.objectives]


def _check(name: str, value: Any, kind: str) -> None:
    typed = f"hydra.sweeper.{name}={value}"
    if not matches(value, kind):
        raise RecexpError(f"{typed}: expected {words(kind)}.")
    least = AT_LEAST.get(name)
    if least is not None and value < least:
        raise RecexpError(f"{typed}: must be at least {least}.")
    if name.startswith("trial_") and value is not None and value <= 0:
        raise RecexpError(f"{typed}: must be above 0, or null for no limit.")
    if name == "objectives":
        _check_objectives(value, typed)
    for key in value if name == "finalize" else ():
        if key not in FINALES or not isinstance(value[key], int) or value[key] < 1:
            raise RecexpError(f"{typed}: the only way to finalize is +hydra.sweeper.finalize={{{FINALES[0]}:5}}.")


def _check_objectives(names: Sequence[str], typed: str) -> None:
    if not names:
        raise RecexpError(f"{typed}: a study needs an objective. Type hydra.sweeper.objectives=[val/ndcg@10].")
    for name in names:
        if name.lstrip("-").startswith(("test/", "popularity/")):
            raise RecexpError(
                f"{typed}: what is chosen on the test is not tested any more. "
                f"Type hydra.sweeper.objectives=[val/{name.split('/', 1)[1]}]."
            )


def refuse_unmeasured(settings: Settings, config: DictConfig) -> None:
    """Raises RecexpError if an objective is none of the metrics that the protocol measures."""
    metrics, cuts = config.eval.get("metrics") or [], config.eval.get("k") or []
    there = [f"val/{metric}@{k}" for metric in metrics for k in cuts] or [f"val/{metric}" for metric in metrics]
    for name in settings.metrics:
        if name.startswith("time/") and name not in TIMES:
            raise RecexpError(
                f"hydra.sweeper.objectives=[{name}]: no run measures it. Allowed: {', '.join(TIMES)}. "
                f"Type hydra.sweeper.objectives=[-{nearest(name, TIMES)[0]}]."
            )
        if name.startswith("val/") and ":" not in name and name not in there:
            like = nearest(name, there)
            raise RecexpError(
                f"hydra.sweeper.objectives=[{name}]: eval={config.eval.name} does not measure it. "
                f"Allowed: {', '.join(like[:6])}. Type hydra.sweeper.objectives=[{like[0]}]."
            )


def storage_url(given: str | None, folder: Path) -> str:
    """Where the study is kept."""
    if given is None:
        return f"sqlite:///{folder / 'study.db'}"
    return f"journal:///{folder / 'study.journal'}" if given == "journal" else given


def read_space(config: DictConfig, arguments: Sequence[str]) -> tuple[Space, list[str]]:
    """The search space, and the overrides that all trials share: what is typed stands above the yaml.

    Raises:
        RecexpError: something in it cannot be read, or nothing varies.
    """
    node = config.hydra.sweeper
    typed = [parameter(argument, None) for argument in arguments]
    own = {p.key if isinstance(p, Parameter) else p.partition("=")[0].lstrip("+") for p in typed}
    found = [*typed, *(entry for entry in _entries(node) if _key(entry) not in own)]
    parameters = [entry for entry in found if isinstance(entry, Parameter)]
    fixed = [entry for entry in found if isinstance(entry, str)]
    if not parameters:
        raise RecexpError(
            "nothing varies in this study. Type what should, as 'optimizer.lr=tag(log,interval(1e-4,1e-1))', "
            "or give it a sweeps=NAME."
        )
    _refuse_idle_conditions(parameters, config)
    parameters.sort(key=lambda p: p.condition is not None)
    space = Space(parameters, lambda key, option: _chosen(config, key) == option)
    _refuse_idle_space(space, config)
    return space, fixed


def _key(entry: Parameter | str) -> str:
    return entry.key if isinstance(entry, Parameter) else entry.partition("=")[0]


def _entries(node: DictConfig) -> Iterator[Parameter | str]:
    for key, value in _items(node.params, "params"):
        yield parameter(f"{key}={_text(value)}", None)
    for condition, block in _items(node.when, "when"):
        if not re.fullmatch(r"[\w./]+=[^=]+", condition):
            raise RecexpError(
                f"hydra.sweeper.when: '{condition}' is no condition. Write KEY=VALUE, as model=two_tower."
            )
        for key, value in _items(block, f"when.{condition}"):
            entry = parameter(f"{key}={_text(value)}", condition.replace(" ", ""))
            if isinstance(entry, str):
                raise RecexpError(f"hydra.sweeper.when.{condition}: {entry} does not vary. Write choice({value}).")
            yield entry


def _items(node: Any, where: str) -> list[tuple[str, Any]]:
    plain = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    if not isinstance(plain, Mapping):
        raise RecexpError(
            f"hydra.sweeper.{where}={plain}: expected keys with values, as optimizer.lr: choice(0.1,0.01)."
        )
    return [(str(key), value) for key, value in plain.items()]


def _text(value: Any) -> str:
    """A value of the yaml as it would be typed."""
    if isinstance(value, list):
        return f"[{','.join(repr(one) if isinstance(one, str) else _text(one) for one in value)}]"
    return {"True": "true", "False": "false", "None": "null"}.get(str(value), str(value))


def _chosen(config: DictConfig, key: str) -> str:
    choices = config.hydra.runtime.choices
    return str(choices[key] if key in choices else OmegaConf.select(config, key, throw_on_missing=False))


def _refuse_idle_space(space: Space, config: DictConfig) -> None:
    """Something must vary with what is chosen, or one default run would pass for a tuned one."""
    if any(space.active(parameter, {}) for parameter in space.parameters):
        return
    conditions = list(dict.fromkeys(str(parameter.condition) for parameter in space.parameters))
    key = conditions[0].partition("=")[0]
    raise RecexpError(
        f"nothing varies in this study with {key}={_chosen(config, key)}: what varies belongs to "
        f"{', '.join(conditions)}. Type one of these, or what should vary, as "
        "'optimizer.lr=tag(log,interval(1e-4,1e-1))'."
    )


def _refuse_idle_conditions(parameters: Sequence[Parameter], config: DictConfig) -> None:
    """A condition must name something that varies or is chosen."""
    known = {p.key for p in parameters if p.condition is None} | set(config.hydra.runtime.choices)
    for condition in {p.condition or "" for p in parameters}:
        key = condition.partition("=")[0]
        if key and key not in known and OmegaConf.select(config, key, throw_on_missing=False) is None:
            raise RecexpError(
                f"hydra.sweeper.when: {condition}: nothing is called {key}. "
                f"Did you mean {nearest(key, sorted(map(str, known)))[0]}=…?"
            )
