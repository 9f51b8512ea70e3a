"""What is refused before anything is loaded: keys nobody reads, values of another kind, combinations without sense."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from recexp.command import SEVERAL
from recexp.errors import RecexpError, nearest
from recexp.targets import TRAINER, annotated, configured, matches, refuse_foreign_targets, words

MANY = 1e300
BOUNDS: dict[str, tuple[float, float, str]] = {
    r"(embedding_dim|hidden_dims?|batch_size|max_length|max_epochs|patience|k|epochs|sample|validation_users)": (
        1,
        MANY,
        "at least 1",
    ),
    r"num_(layers|heads|negatives|epochs|steps)|accumulate_grad_batches|check_val_every_n_epoch": (
        1,
        MANY,
        "at least 1",
    ),
    r"(lr|init_std)": (1e-300, MANY, "above 0, such as 0.001"),
    r"(half_life|temperature|gamma|alpha|timeout)": (1e-300, MANY, "above 0"),
    r"(weight_decay|regularization|unobserved_weight|nu|margin|gradient_clip_val|exponent|momentum|cold_below)": (
        0,
        MANY,
        "at least 0",
    ),
    r"(min_(user|item|epochs)|limit_\w+_batches|overfit_batches|num_sanity_val_steps)": (0, MANY, "at least 0"),
    r"dropout": (0, 1 - 1e-9, "from 0 to below 1, such as 0.1"),
    r"(head|mask|last)_share": (0, 1, "from 0 to 1, such as 0.2"),
    r"seed": (0, 2**32 - 1, "from 0 to 4294967295"),
}
"""Names mean the same everywhere, so their ranges do too."""

TOP_LEVEL = {
    "seed": "int",
    "allow": "list[str]",
    "refit": "bool",
    "k": "int",
    "users": "list[Any] | None",
    "new": "str | None",
    "features.users": "str | None",
    "features.items": "str | None",
    "mode": "str",
    "epochs": "int",
    "sample": "int",
    "measure": "bool",
    "compare_refit": "bool",
    "engine": "str",
    "export": "str | None",
}
"""Kinds of the keys that belong to no class."""

FOLD_IN, REFRESH, REFIT = MODES = ("fold_in", "refresh", "refit")
"""Of task=update."""

GIVEN_BY_CODE = ("logger", "callbacks", "enable_model_summary")
"""Settings of the Trainer that recexp gives itself."""


def refuse_impossible(config: DictConfig) -> None:
    """All checks that need no data.

    Raises:
        RecexpError: the first one that fails.
    """
    refuse_added_keys(config)
    refuse_another_fit(config)
    plain = resolved(config)
    refuse_foreign_targets(plain, plain.get("allow") or [])
    refuse_unlike_defaults(config, plain)
    for path, node in configured(plain):
        refuse_wrong_types(path, node)
    refuse_out_of_bounds(plain)
    refuse_senseless(plain)
    refuse_idle_epochs(config)


def task_overrides(config: DictConfig) -> list[Override]:
    """The overrides of this job, parsed; as typed, for `seed=${foo}` in a list of texts would be resolved there."""
    typed = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    assert isinstance(typed, list)
    return OverridesParser.create(config_loader=GlobalHydra.instance().config_loader()).parse_overrides(typed)


def refuse_added_keys(config: DictConfig) -> None:
    """Only a setting of Lightning's Trainer may be added with `+`; nothing may be removed with `~`, or given twice."""
    given: set[str] = set()
    for override in task_overrides(config):
        key, typed = override.key_or_group, str(override.input_line)
        if key in given:
            raise RecexpError(f"{typed}: {key} is given twice; drop one of them.")
        given.add(key)
        if override.is_delete():
            raise RecexpError(f"{typed}: recexp needs every key; type {key}=… with another value instead.")
        if override.is_add() or override.is_force_add():
            _refuse_unless_of_trainer(key, typed)
        value, is_key = override.value(), "." in key or key in SEVERAL
        if isinstance(value, list) and not is_key and OmegaConf.is_dict(config._get_node(key)):
            raise RecexpError(f"{typed}: one {key} at a time. Type {key}={value[0] if value else 'OPTION'}.")


def _refuse_unless_of_trainer(key: str, typed: str) -> None:
    if not key.startswith("trainer."):
        raise RecexpError(
            f"{typed}: nothing reads an added key '{key}'. Only settings of Lightning's Trainer can be added, as "
            "+trainer.NAME=VALUE; the keys there are: python -m recexp --cfg job."
        )
    allowed = [name for name in annotated(TRAINER) if name not in GIVEN_BY_CODE]
    name = key.removeprefix("trainer.").split(".")[0]
    if name in GIVEN_BY_CODE:
        raise RecexpError(f"{typed}: recexp gives the Trainer its {name} itself. Drop it; loggers are logger=OPTION.")
    if allowed and name not in allowed:
        like = nearest(name, allowed)
        raise RecexpError(
            f"{typed}: Lightning's Trainer has no setting '{name}'. Allowed: {', '.join(like[:8])} and "
            f"{len(like) - 8} others. Did you mean +trainer.{like[0]}=…?"
        )


def resolved(config: DictConfig) -> dict[str, Any]:
    """The experiment as plain values."""
    try:
        task = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
        missing = sorted(OmegaConf.missing_keys(task))
        if missing:
            raise RecexpError(f"{missing[0]} is needed and was not given. Type {missing[0]}=VALUE.")
        task._set_parent(config)
        plain = OmegaConf.to_container(task, resolve=True)
    except OmegaConfBaseException as error:
        raise unresolvable(error) from error
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def trusted(saved: DictConfig, allow: Sequence[str] = ()) -> DictConfig:
    """A saved config, if all its classes are recexp's own or allowed now: what it says of `allow` does not count.

    Raises:
        RecexpError: it names others.
    """
    refuse_foreign_targets(resolved(saved), allow)
    return saved


def unresolvable(error: OmegaConfBaseException) -> RecexpError:
    """The complaint about a value that refers to what is not there."""
    first, *more = str(error).splitlines()
    said = re.sub(r"^\w+ raised while resolving interpolation: ", "", first).strip('".')
    said = re.sub(r"^Interpolation key '(.*)' not found$", r"there is no key '\1' to refer to", said)
    where = [line.split(": ", 1)[1] for line in more if line.strip().startswith("full_key: ")]
    return RecexpError(
        f"{''.join(f'{key}: ' for key in where[:1])}{said}. Type a plain value, or refer to a key that "
        "python -m recexp --cfg job shows, as in '${seed}'."
    )


def refuse_unlike_defaults(config: DictConfig, plain: dict[str, Any]) -> None:
    """A value given for a key must be of the kind that its class names, or else of the kind that its default is."""
    overrides = task_overrides(config)
    choices = [o for o in overrides if o.key_or_group in config.hydra.runtime.choices]
    lines = tuple(str(o.input_line) for o in choices)
    for override in overrides:
        key = override.key_or_group
        value, annotation = _at(plain, key), _annotation(plain, key)
        kind = "" if annotation is None else words(annotation)
        if override in choices or (annotation is not None and kind and matches(value, annotation)):
            continue
        default = OmegaConf.select(_defaults(config, lines), key, throw_on_missing=False)
        if isinstance(value, str) and key.replace(".", "/") in config.hydra.runtime.choices:
            raise RecexpError(f"{override.input_line}: {key} is a choice. Type {key.replace('.', '/')}={value}.")
        if kind or not alike(value, default):
            raise RecexpError(f"{override.input_line}: expected {kind or _kind(default)}{_such_as(key, default)}.")


def _defaults(config: DictConfig, choices: tuple[str, ...]) -> DictConfig:
    """The config with nothing but some choices of options."""
    return _composed(GlobalHydra.instance().config_loader(), str(config.hydra.job.config_name), choices)


@lru_cache(maxsize=8)
def _composed(loader: ConfigLoader, name: str, choices: tuple[str, ...]) -> DictConfig:
    return loader.load_configuration(name, list(choices), RunMode.RUN, from_shell=False)


def _at(plain: Any, key: str) -> Any:
    value = OmegaConf.select(OmegaConf.create(plain, flags={"allow_objects": True}), key)
    return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value


def _annotation(plain: Any, key: str) -> str | None:
    """The kind that the class behind a key names, if it names one."""
    if key in TOP_LEVEL:
        return TOP_LEVEL[key]
    parent, _, name = key.rpartition(".")
    if not parent:
        return None
    node = _at(plain, parent)
    return annotated(str(node.get("_target_"))).get(name) if isinstance(node, dict) else None


def alike(value: Any, default: Any) -> bool:
    """Whether a value could stand where the default stands."""
    if default is None:
        return True
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, int | float):
        return isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(default, str):
        return isinstance(value, str | int | float)
    return isinstance(value, list) if isinstance(default, ListConfig) else isinstance(value, dict)


def _kind(default: Any) -> str:
    kinds: dict[type, str] = {bool: "true or false", int: "a number", float: "a number", str: "a text"}
    return kinds.get(type(default), "a list" if isinstance(default, ListConfig) else "keys with values")


def _such_as(key: str, default: Any) -> str:
    if default is None or isinstance(default, DictConfig):
        return ""
    plain = OmegaConf.to_container(default) if isinstance(default, ListConfig) else default
    shown = f"{key}={json.dumps(plain).replace(' ', '').replace(chr(34), '')}"
    return f", such as '{shown}'" if isinstance(plain, list) else f", such as {shown}"


def refuse_wrong_types(path: str, node: dict[str, Any]) -> None:
    """Values must be of the kind that the constructor names."""
    for key, annotation in annotated(str(node["_target_"])).items():
        if key in node and not matches(node[key], annotation):
            raise RecexpError(f"{path}.{key}={node[key]!r}: expected {words(annotation)}.")


def refuse_out_of_bounds(plain: dict[str, Any]) -> None:
    """Numbers must lie in the range that their name has everywhere."""
    for path, node in [("", plain), *configured(plain)]:
        for key, value in node.items():
            for pattern, (low, high, said) in BOUNDS.items():
                numbers = [v for v in (value if isinstance(value, list) else [value]) if type(v) in (int, float)]
                if re.fullmatch(pattern, str(key)) and not all(low <= number <= high for number in numbers):
                    where = f"{path}.{key}" if path else key
                    raise RecexpError(f"{where}={value}: must be {said}.")


def refuse_senseless(plain: dict[str, Any]) -> None:
    """Combinations that compose but mean nothing."""
    fit, split = plain.get("fit", {}), plain.get("split", {})
    if plain.get("run", "") is None:
        raise RecexpError("run=null: the task needs the folder of a run. Type run=FOLDER, the run's last printed line.")
    if plain.get("mode", FOLD_IN) not in MODES:
        allowed = nearest(plain["mode"], MODES)
        raise RecexpError(f"mode={plain['mode']}; allowed: {', '.join(allowed)}. Type mode={allowed[0]}.")
    if plain.get("mode") == FOLD_IN and not any((plain["new"], *plain["features"].values())):
        raise RecexpError(
            f"mode={FOLD_IN}: new is needed and was not given. Type new=FILE, features.items=FILE or "
            "features.users=FILE."
        )
    precision = str(plain.get("trainer", {}).get("precision") or "32-true")
    if str(fit.get("_target_", "")).startswith("recexp.fit.solve.") and precision not in ("32-true", "32"):
        raise RecexpError(
            f"trainer.precision={precision}: a model that is solved in closed form is solved in 32 bits. "
            "Drop trainer.precision."
        )
    if split.get("validation") in ("none", 0) and fit.get("patience") is not None:
        raise RecexpError(
            f"split.validation={split['validation']} leaves nothing to stop early on. "
            "Type fit.patience=null and trainer.max_epochs=N, or another split.validation."
        )


def refuse_another_fit(config: DictConfig) -> None:
    """How a model is fitted comes with the model."""
    choices = [o for o in task_overrides(config) if o.key_or_group in config.hydra.runtime.choices]
    lines = [str(o.input_line) for o in choices if o.key_or_group != "fit"]
    if len(lines) < len(choices):
        own, asked = _defaults(config, tuple(lines)).hydra.runtime.choices.fit, config.hydra.runtime.choices.fit
        if asked != own:
            raise RecexpError(
                f"fit={asked}: model={config.hydra.runtime.choices.model} is fitted by fit={own}; drop fit={asked}."
            )


def refuse_idle_epochs(config: DictConfig) -> None:
    """Of an update, a number of epochs that nothing would heed."""
    typed = [str(o.input_line) for o in task_overrides(config) if o.key_or_group == "epochs"]
    if typed and config.get("mode") in ("fold_in", "refit"):
        raise RecexpError(
            f"{typed[0]}: mode={config.mode} takes no number of epochs (a refit takes as many as were best for the "
            f"run). Drop it, or type mode=refresh {typed[0]}."
        )


def refuse_absent_accelerator(config: DictConfig) -> None:
    """A trainer for a GPU needs one on this machine; loads torch, and only where one is asked for."""
    asked = str(config.trainer.accelerator)
    if asked not in ("gpu", "cuda", "mps"):
        return
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(asked, any(there.values())):
        other = [f"trainer={name}" for name in ("cpu", "auto")]
        raise RecexpError(
            f"trainer.accelerator={asked}: PyTorch {torch.__version__} finds no such device on this machine. "
            f"Type {' or '.join(other)}."
        )
