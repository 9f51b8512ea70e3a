"""The error desk: what Hydra could not compose, said in a line: what was asked, what there is, what to type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from recexp.errors import RecexpError, nearest

PIECES = ("loss", "negatives", "optimizer")
"""Groups that only models fitted by gradient have."""


def explain(error: Exception, arguments: Sequence[str], conf: Path) -> RecexpError:
    """The complaint about the first argument that is wrong, or, if all look right, Hydra's own first lines."""
    sweeping = bool({"-m", "--multirun"} & set(arguments))
    try:
        overrides = [_parsed(argument) for argument in arguments if not argument.startswith("-")]
        groups = _groups(conf)
        for override in overrides:
            _complain_of_option(override, groups, sweeping)
        chosen = [o for o in overrides if o.key_or_group in groups and not o.is_sweep_override()]
        plain = _composed(conf, [o for o in chosen if o.key_or_group not in PIECES])
        for override in overrides:
            _complain_of_key(override, groups, plain)
    except RecexpError as complaint:
        return complaint
    except (HydraException, OmegaConfBaseException):
        pass  # nothing of ours to say: let Hydra speak
    return RecexpError(_first_lines(error))


def _parsed(argument: str) -> Override:
    try:
        return OverridesParser.create().parse_override(argument)
    except HydraException as error:
        raise RecexpError(
            f"'{argument}' cannot be read. Type key=value, in single quotes if it holds brackets, commas or spaces, "
            "such as 'eval.k=[5,10]'."
        ) from error


def _groups(conf: Path) -> dict[str, list[str]]:
    folders = sorted(path for path in conf.iterdir() if path.is_dir())
    return {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in folders}


def _complain_of_option(override: Override, groups: Mapping[str, Sequence[str]], sweeping: bool) -> None:
    group = override.key_or_group
    if override.is_sweep_override() and not sweeping:
        typed = override.input_line
        raise RecexpError(f"{typed}: several values make a grid. Type python -m recexp -m {typed}")
    if group not in groups or override.is_sweep_override():
        return
    value = override.value()
    options = value if isinstance(value, list) else [value]
    for option in options:
        if str(option) not in groups[group] and not (group == "experiment" and option is None):
            allowed = nearest(str(option), groups[group])
            raise RecexpError(
                f"{override.input_line}: there is no {group} '{'' if option is None else option}'. "
                f"Allowed: {', '.join(allowed) or 'none so far'}." + (f" Type {group}={allowed[0]}." if allowed else "")
            )


def _composed(conf: Path, overrides: Sequence[Override]) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf), version_base="1.3"):
        return compose("config", overrides=[str(override.input_line) for override in overrides])


def _complain_of_key(override: Override, groups: Mapping[str, Sequence[str]], plain: DictConfig) -> None:
    key, typed = override.key_or_group, str(override.input_line)
    if key in groups or key.startswith("hydra."):
        if key in PIECES and key not in plain:
            model = _choice(plain)
            raise RecexpError(f"model '{model}' is solved in closed form and takes no {key}; drop {typed}.")
        return
    node: Any = plain
    steps = key.split(".")
    for depth, step in enumerate(steps):
        if isinstance(node, DictConfig) and step in node:
            node = node._get_node(step)
            continue
        _complain_of_step(".".join(steps[:depth]), step, steps[depth + 1 :], node, typed, groups)


def _choice(plain: DictConfig) -> str:
    return str(plain.model._target_).rsplit(".", 2)[1]


def _complain_of_step(
    parent: str, step: str, rest: Sequence[str], node: Any, typed: str, groups: Mapping[str, Sequence[str]]
) -> None:
    if parent == "" and step in PIECES:
        raise RecexpError(f"model '{_choice(node)}' is solved in closed form and takes no {step}; drop {typed}.")
    keys = [str(key) for key in node if key != "_target_"] if isinstance(node, DictConfig) else []
    allowed = nearest(step, dict.fromkeys([*keys, *(groups if not parent else ())]))
    where = f"{parent} has no key" if parent else "there is no group or key"
    if not allowed:
        raise RecexpError(f"{typed}: {parent} is a value, not a group of keys. Type {parent}=VALUE.")
    better = ".".join([*([parent] if parent else []), allowed[0], *rest])
    raise RecexpError(f"{typed}: {where} '{step}'. Allowed: {', '.join(allowed)}. Did you mean {better}=…?")


def _first_lines(error: Exception) -> str:
    lines = [line.strip() for line in f"{error}\n{error.__cause__ or ''}".splitlines()]
    return "; ".join([line for line in lines if line and not line.startswith(("See http", "object_type"))][:3])
