"""What is refused before anything is loaded: keys nobody reads, values of another type, combinations without sense."""

from __future__ import annotations

import ast
import importlib.util
import math
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recexp.errors import RecexpError, nearest

TARGETS = ("recexp.", "torch.optim.", "pytorch_lightning.Trainer", "pytorch_lightning.loggers.")
"""What `_target_` may name without being named in `allow`."""

BOUNDS: dict[str, tuple[float, float, str]] = {
    r"(embedding_dim|hidden_dim|batch_size|max_length|max_epochs|patience)": (1, math.inf, "at least 1"),
    r"num_(layers|heads|negatives|epochs)": (1, math.inf, "at least 1"),
    r"(lr|init_std|half_life|temperature|gamma|alpha)": (1e-300, math.inf, "above 0"),
    r"(weight_decay|regularization|margin|gradient_clip_val|exponent)": (0, math.inf, "at least 0"),
    r"(dropout)": (0, 1 - 1e-9, "from 0 to below 1"),
}
"""Names mean the same everywhere, so their ranges do too."""

TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "float": (float, int),
    "str": (str,),
    "bool": (bool,),
    "None": (type(None),),
    "Sequence": (list,),
    "Mapping": (dict,),
}


def refuse_impossible(config: DictConfig) -> None:
    """All checks that need no data.

    Raises:
        RecexpError: the first one that fails.
    """
    refuse_added_keys(config)
    plain = resolved(config)
    refuse_unlike_defaults(config, plain)
    refuse_foreign_targets(plain)
    for path, node in configured(plain):
        refuse_wrong_types(path, node)
    refuse_out_of_bounds(plain)
    refuse_senseless(plain)


def refuse_added_keys(config: DictConfig) -> None:
    """Only a setting of Lightning's Trainer may be added with `+`; nothing may be removed with `~`."""
    given: set[str] = set()
    for override in OverridesParser.create().parse_overrides(list(config.hydra.overrides.task)):
        key = override.key_or_group
        if key in given:
            raise RecexpError(f"{override.input_line}: {key} is given twice; drop one of them.")
        given.add(key)
        if override.is_delete():
            raise RecexpError(f"{override.input_line}: recexp needs every key; give {key} another value instead.")
        if override.is_add() or override.is_force_add():
            _refuse_unless_of_trainer(key, str(override.input_line))


def _refuse_unless_of_trainer(key: str, typed: str) -> None:
    if not key.startswith("trainer."):
        raise RecexpError(
            f"{typed}: nothing reads a key '{key}', so it cannot be added. Only settings of Lightning's Trainer can "
            "be, as +trainer.NAME=VALUE; python -m recexp --cfg job lists the keys there are."
        )
    import inspect

    from pytorch_lightning import Trainer

    allowed = [name for name in inspect.signature(Trainer.__init__).parameters if name != "self"]
    name = key.removeprefix("trainer.").split(".")[0]
    if name not in allowed:
        raise RecexpError(
            f"{typed}: Lightning's Trainer has no setting '{name}'. It has: {', '.join(nearest(name, allowed))}."
        )


def resolved(config: DictConfig) -> dict[str, Any]:
    """The experiment as plain values."""
    try:
        task = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        missing = sorted(OmegaConf.missing_keys(task))
        if missing:
            raise RecexpError(f"{missing[0]} is needed and was not given. Type {missing[0]}=…")
        task._set_parent(config)
        plain = OmegaConf.to_container(task, resolve=True)
    except OmegaConfBaseException as error:
        raise RecexpError(f"the config cannot be resolved: {str(error).splitlines()[0]}") from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def refuse_unlike_defaults(config: DictConfig, plain: dict[str, Any]) -> None:
    """A value given for a key of somebody else's class must be of the kind that its default is."""
    overrides = OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
    choices = [o for o in overrides if o.key_or_group in config.hydra.runtime.choices]
    values = [o for o in overrides if o not in choices and not o.is_add() and not o.is_force_add()]
    if not values or not GlobalHydra.instance().is_initialized():
        return
    loader = GlobalHydra.instance().config_loader()
    lines = [str(o.input_line) for o in choices]
    defaults = loader.load_configuration("config", lines, RunMode.RUN, from_shell=False)
    for override in values:
        key = override.key_or_group
        default, value = OmegaConf.select(defaults, key, throw_on_missing=False), _at(plain, key)
        if not alike(value, default):
            raise RecexpError(f"{override.input_line}: expected {_kind(default)}, such as its default {default}.")


def _at(plain: Any, key: str) -> Any:
    for step in key.split("."):
        plain = plain[step] if isinstance(plain, dict) else plain[int(step)]
    return plain


def alike(value: Any, default: Any) -> bool:
    """Whether a value could stand where the default stands."""
    if value is None or default is None:
        return True
    if isinstance(default, bool):
        return isinstance(value, bool | int)
    if isinstance(default, int | float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, str):
        return isinstance(value, str | int | float)
    return isinstance(value, list) == OmegaConf.is_list(default)


def _kind(default: Any) -> str:
    kinds: dict[type, str] = {bool: "true or false", int: "a number", float: "a number", str: "a word"}
    return kinds.get(type(default), "a list" if OmegaConf.is_list(default) else "keys and values")


def configured(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping with a `_target_`, and where it stands."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from configured(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from configured(value, f"{path}[{number}]")


def refuse_foreign_targets(plain: dict[str, Any]) -> None:
    """A config may only name classes of recexp, of its trainer, optimizers and loggers, and of packages in `allow`."""
    own = tuple(f"{package}." for package in plain.get("allow") or [])
    for path, node in configured(plain):
        if not str(node["_target_"]).startswith(TARGETS + own):
            package = str(node["_target_"]).split(".")[0]
            raise RecexpError(
                f"{path}._target_={node['_target_']} is not one of recexp's own. If you trust that package, type "
                f"'allow=[{package}]'."
            )


def refuse_wrong_types(path: str, node: dict[str, Any]) -> None:
    """Values must be of the type that the constructor names."""
    for key, annotation in annotated(str(node["_target_"])).items():
        if key in node and not matches(node[key], annotation):
            raise RecexpError(f"{path}.{key}={node[key]!r}: expected {annotation}.")


def matches(value: Any, annotation: str) -> bool:
    """Whether a plain value is of an annotated type; unknown types match anything."""
    names = [re.split(r"[\[.]", name.strip())[0] for name in annotation.split("|")]
    if any(name not in TYPES for name in names):
        return True
    if isinstance(value, bool):
        return "bool" in names
    return isinstance(value, tuple(kind for name in names for kind in TYPES[name]))


@cache
def annotated(target: str) -> dict[str, str]:
    """Constructor parameters and their annotations, read without importing; nothing for foreign targets."""
    module, _, name = target.rpartition(".")
    if not target.startswith("recexp."):
        return {}
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise RecexpError(f"_target_={target}: there is no module {module}.")
    tree = ast.parse(Path(spec.origin).read_text())
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    inits = [n for c in found for n in c.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    arguments = [a for init in inits for a in (*init.args.args, *init.args.kwonlyargs)]
    return {a.arg: ast.unparse(a.annotation) for a in arguments if a.annotation is not None}


def refuse_out_of_bounds(plain: dict[str, Any]) -> None:
    """Numbers must lie in the range that their name has everywhere."""
    for path, node in configured(plain):
        for key, value in node.items():
            for pattern, (low, high, words) in BOUNDS.items():
                number = isinstance(value, int | float) and not isinstance(value, bool)
                if number and re.fullmatch(pattern, str(key)) and not low <= value <= high:
                    raise RecexpError(f"{path}.{key}={value}: must be {words}.")


def refuse_senseless(plain: dict[str, Any]) -> None:
    """Combinations that compose but mean nothing."""
    fit, split = plain.get("fit", {}), plain.get("split", {})
    if split.get("validation") == "none" and fit.get("patience") is not None:
        raise RecexpError(
            "split.validation=none leaves nothing to stop early on. "
            "Type fit.patience=null and trainer.max_epochs=N, or split.validation=next_to_last."
        )
