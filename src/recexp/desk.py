"""The error desk: what Hydra could not compose, said in a line: what was asked, what there is, what to type."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recexp.command import SEVERAL, Command, parsed
from recexp.errors import RecexpError, nearest
from recexp.targets import TRAINER, annotated

PIECES = ("loss", "negatives", "examples", "optimizer")
"""Groups that only models fitted by gradient have."""

LISTED = 12
"""Names of a group in a message, at most: the nearest ones."""


def explain(error: Exception, asked: Command) -> RecexpError:
    """The complaint about the first override that is wrong, or, if all look right, Hydra's own first lines."""
    try:
        desk = _Desk(asked, _groups(asked.conf))
        desk.complain_of_bare_names()
        overrides = [parsed(argument) for argument in asked.overrides]
        for override in overrides:
            desk.complain_of_option(override)
        plain = desk.composed([o for o in overrides if desk.chooses(o) and o.key_or_group not in (*PIECES, "fit")])
        for override in overrides:
            desk.complain_of_key(override, plain)
    except RecexpError as complaint:
        return complaint
    except (HydraException, OmegaConfBaseException):
        pass  # nothing of ours to say: let Hydra speak
    return RecexpError(_in_hydras_words(error))


def readable(arguments: Sequence[str]) -> list[Override]:
    """The overrides that can be read; the others are complained of later."""
    found = []
    for argument in arguments:
        try:
            found.append(parsed(argument))
        except RecexpError:
            continue
    return found


def _groups(conf: Sequence[Path]) -> dict[str, list[str]]:
    """The options of every group, by name; folders within folders are not ours."""
    files = sorted(file for folder in conf for file in folder.glob("*/*.yaml"))
    groups: dict[str, list[str]] = {"experiment": []}
    for file in files:
        groups.setdefault(file.parent.name, []).append(file.stem)
    return groups


def _in_hydras_words(error: Exception) -> str:
    if isinstance(error, MissingConfigException) and error.options:
        allowed = nearest(str(error.missing_cfg_file), error.options)
        return f"there is no option {error.missing_cfg_file}. Allowed: {', '.join(allowed)}."
    lines = [line.strip().rstrip(".;:") for line in f"{error}\n{error.__cause__ or ''}".splitlines()]
    said = [line for line in lines if line and not line.startswith(("See http", "object_type", "full_key", "provider"))]
    return f"{'; '.join(said[:3])}. python -m recexp --help lists what there is."


class _Desk:
    """Looks at one override after the other.

    Args:
        asked: the command. groups: the options there are.
    """

    def __init__(self, asked: Command, groups: Mapping[str, Sequence[str]]) -> None:
        self.asked = asked
        self.groups = groups

    def chooses(self, override: Override) -> bool:
        """Whether it chooses an option of a group, one and not several in turn."""
        by_name = override.key_or_group in self.groups and not override.is_sweep_override()
        return by_name and override.package is None and not isinstance(override.value(), dict)

    def complain_of_bare_names(self) -> None:
        """Raises RecexpError if a group or an option stands alone."""
        for argument in self.asked.overrides:
            if argument in self.groups:
                there = ", ".join(self.groups[argument])
                raise RecexpError(
                    f"'{argument}' is a group of options. Type {argument}=OPTION, without spaces: {there}."
                )
            group = next((group for group, options in self.groups.items() if argument in options), None)
            if group is not None:
                raise RecexpError(f"'{argument}' is an option of {group}. Type {group}={argument}.")

    def complain_of_option(self, override: Override) -> None:
        """Raises RecexpError if there is no such option."""
        group, typed = override.key_or_group, str(override.input_line)
        if override.is_sweep_override() and not self.asked.multirun:
            point = re.fullmatch(r"([^=]+=-?\d+),(\d+)", typed)
            number = f", or {point[1]}.{point[2]} where one number is meant" if point else ""
            raise RecexpError(f"{typed}: several values make a grid. Type python -m recexp -m {typed}{number}")
        if override.package is not None:
            raise RecexpError(f"{typed}: recexp has one place for each group. Type {group}=OPTION.")
        if group in self.groups and not override.is_delete():
            for option in _options(override):
                self._complain_of_name(group, option, typed)

    def _complain_of_name(self, group: str, option: Any, typed: str) -> None:
        known = self.groups[group]
        if isinstance(option, list) and group not in SEVERAL:
            raise RecexpError(f"{typed}: one {group} at a time. Type {group}={option[0] if option else 'OPTION'}.")
        for name in option if isinstance(option, list) else [option]:
            if str(name) in known or (group == "experiment" and name is None):
                continue
            allowed = nearest(str(name), known)
            more = f", … (python -m recexp --help lists all {len(allowed)})" if len(allowed) > LISTED else ""
            raise RecexpError(
                f"{typed}: there is no {group} '{'' if name is None else name}'. "
                f"Allowed: {', '.join(allowed[:LISTED]) or 'none so far'}{more}."
                + (f" Type {group}={allowed[0]}." if allowed else "")
            )

    def composed(self, choices: Sequence[Override]) -> DictConfig:
        """The config with nothing but these choices."""
        *own, conf = self.asked.conf
        searched = [f"hydra.searchpath=[{','.join(f'file://{folder}' for folder in own)}]"] if own else []
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(conf), version_base="1.3"):
            lines = [*searched, *(str(choice.input_line) for choice in choices)]
            return compose(self.asked.config_name, overrides=lines, return_hydra_config=True)

    def complain_of_key(self, override: Override, plain: DictConfig) -> None:
        """Raises RecexpError if there is no such key."""
        key, typed = override.key_or_group, str(override.input_line)
        if key in PIECES and key not in plain:
            raise RecexpError(f"{_solved(plain)} takes no {key}; drop {typed}.")
        own = plain.hydra.runtime.choices
        if key == "fit" and self.chooses(override) and override.value() != own.fit:
            raise RecexpError(f"{typed}: model={own.model} is fitted by fit={own.fit}; drop {typed}.")
        if self.chooses(override) or "/" in key or override.is_add():
            return
        for path in _paths(key, override.value()):
            self._complain_of_path(path.split("."), plain, typed)

    def _complain_of_path(self, steps: Sequence[str], plain: DictConfig, typed: str) -> None:
        node: Any = plain
        for depth, step in enumerate(steps):
            below = node._get_node(step, validate_access=False) if isinstance(node, DictConfig) else None
            if below is None:
                self._complain_of_step(".".join(steps[:depth]), step, ".".join(steps[depth + 1 :]), plain, typed)
            node = below

    def _complain_of_step(self, parent: str, step: str, rest: str, plain: DictConfig, typed: str) -> None:
        node = OmegaConf.select(plain, parent, throw_on_missing=False) if parent else plain
        if not isinstance(node, DictConfig):
            kind = "a list, given whole" if OmegaConf.is_list(node) else "a value, not a group of keys"
            raise RecexpError(f"{typed}: {parent} is {kind}. Type {parent}=VALUE.")
        if step in PIECES and not parent:
            raise RecexpError(f"{_solved(plain)} takes no {step}; drop {typed}.")
        self._complain_of_task_key(parent, step, typed)
        self._complain_of_choice(parent, step, plain, typed)
        if parent == "data":
            self._complain_of_source_key(step, typed)
        if parent == "trainer" and step in annotated(TRAINER):
            raise RecexpError(f"{typed}: conf/trainer says nothing of {step}, and Lightning knows it. Type +{typed}.")
        names = dict.fromkeys([*(str(key) for key in node), *(self.groups if not parent else ())])
        allowed = nearest(step, [name for name in names if name not in ("_target_", "hydra")])
        if not allowed:
            reason = f"{_solved(plain)} leaves nothing to set in" if parent == "fit" else "nothing can be set in"
            raise RecexpError(f"{reason} {parent}; drop {typed}.")
        deeper = [str(key) for key in node if isinstance(node._get_node(key), DictConfig) and step in node[key]]
        name = f"{deeper[0]}.{step}" if deeper and parent else allowed[0]
        better = ".".join(part for part in (parent, name, rest) if part)
        where = f"{parent} has no key" if parent else "there is no group or key"
        raise RecexpError(f"{typed}: {where} '{step}'. Allowed: {', '.join(allowed)}. Did you mean {better}=…?")

    def _complain_of_choice(self, parent: str, step: str, plain: DictConfig, typed: str) -> None:
        """A choice within another one, without its name."""
        paths = [
            path for folder in self.asked.conf for path in folder.glob(f"*/{step}") if path.is_dir() and not parent
        ]
        for outer in (path.parent.name for path in paths):
            if f"{outer}/{step}" in plain.hydra.runtime.choices:
                raise RecexpError(f"{typed}: {step} is a choice within {outer}. Type {outer}/{typed}.")
            chosen = plain.hydra.runtime.choices.get(outer)
            raise RecexpError(
                f"{typed}: {step} is a choice within {outer}, and {outer}={chosen} has none; drop {typed}."
            )

    def _complain_of_source_key(self, step: str, typed: str) -> None:
        """A key that other sources of data need."""
        files = [file for folder in self.asked.conf for file in sorted(folder.glob("data/*.yaml"))]
        having = [file.stem for file in files if OmegaConf.is_missing(OmegaConf.load(file), step)]
        if having:
            raise RecexpError(
                f"{typed}: {step} is a key of data={'|'.join(having)}, which was not chosen. "
                f"Type data={having[-1]} {typed}."
            )

    def _complain_of_task_key(self, parent: str, step: str, typed: str) -> None:
        """A key at the top that only some tasks have."""
        files = [file for folder in self.asked.conf for file in sorted(folder.glob("task/*.yaml"))]
        tasks = [file.stem for file in files if not parent and step in OmegaConf.load(file)]
        if tasks:
            raise RecexpError(
                f"{typed}: {step} is a key of task={'|'.join(tasks)}, which was not chosen. "
                f"Type task={tasks[0]} {typed}."
            )


def _options(override: Override) -> list[Any]:
    """What a group is to be: several options in turn with -m, several at once in a list; no keys."""
    if not override.is_sweep_override():
        return [] if isinstance(override.value(), dict) else [override.value()]
    return list(override.sweep_string_iterator()) if override.is_choice_sweep() else []


def _paths(key: str, value: Any) -> list[str]:
    """The keys that a value is for: several, where it is a mapping."""
    if isinstance(value, dict) and value:
        return [path for name, inner in value.items() for path in _paths(f"{key}.{name}", inner)]
    return [key]


def _solved(plain: DictConfig) -> str:
    return f"model={plain.hydra.runtime.choices.model} is solved in closed form and"
