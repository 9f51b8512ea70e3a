"""Everything that can be known to go wrong with a study, before anything runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from hydra.core.config_loader import ConfigLoader
from hydra.errors import HydraException
from omegaconf import DictConfig
from optuna.exceptions import OptunaError

from recexp.checks import resolved
from recexp.command import parsed
from recexp.config import Refusal
from recexp.errors import RecexpError
from recexp.sweep import studies
from recexp.sweep.settings import Settings, refuse_unmeasured
from recexp.sweep.space import Space

ELSEWHERE = ("logger", "allow", "trainer.accelerator", "trainer.devices", "trainer.enable_progress_bar", "data.path")
"""What may differ between the machines and times of one study."""
DRAWS = 3
SHOWN = 3
NO_PRUNER = "optuna.pruners.NopPruner"


def rehearse(
    settings: Settings, space: Space, fixed: Sequence[str], config: DictConfig, check: Callable[[list[str]], None]
) -> None:
    """Refuse what cannot work.

    Args:
        check: composes a trial's overrides and refuses what cannot be trained.
    Raises:
        RecexpError: the first thing that is wrong.
    """
    if config.hydra.runtime.choices.get("task") != "fit":
        raise RecexpError("a study compares what was trained; drop task=… from it.")
    if len(settings.objectives) > 1 and settings.pruner.get("_target_") != NO_PRUNER:
        raise RecexpError(
            "no pruner of Optuna knows several objectives. Type hydra/sweeper/pruner=none, or one objective."
        )
    if len(settings.objectives) > 1 and settings.finalize:
        raise RecexpError(
            "hydra.sweeper.finalize refits the best trial, and with several objectives there is none, but a front. "
            f"Drop it, or type hydra.sweeper.objectives=[{settings.objectives[0]}]."
        )
    refuse_unmeasured(settings, config)
    studies.made(settings.pruner, "pruners")
    _draw(settings, space)
    for values in space.corners():
        check([*fixed, *space.overrides(values)])


def _draw(settings: Settings, space: Space) -> None:
    """A study in memory, for what the sampler says of this space."""
    study = optuna.create_study(directions=settings.directions)
    study.sampler = studies.Sampling(settings.sampler, settings.seed, space, "rehearsal")
    sampler = str(settings.sampler.get("_target_")).rpartition(".")[2]
    for at in range(min(DRAWS, int(min(space.size(), DRAWS)))):
        try:
            with studies.quietly():
                trial = study.ask()
                space.draw(trial)
            study.tell(trial, [float(at)] * len(settings.objectives))
        except (ValueError, RuntimeError, ImportError, OptunaError) as error:
            raise RecexpError(f"{sampler} cannot sample this space: {error}") from error


def checker(
    config: DictConfig, loader: ConfigLoader, complain: Callable[[DictConfig], None]
) -> Callable[[list[str]], None]:
    """Composes a trial as Hydra will, and passes it to what complains."""

    def check(overrides: list[str]) -> None:
        try:
            composed = loader.load_sweep_config(config, overrides)
        except HydraException as error:
            raise Refusal(error, overrides) from error
        try:
            complain(composed)
        except RecexpError as error:
            raise RecexpError(f"a trial of this study would be refused: {error}{_hint(error)}") from error

    return check


def _hint(error: RecexpError) -> str:
    key, _, value = str(error).partition(":")[0].partition("=")
    if "expected a whole number" in str(error) and value.endswith(".0"):
        return f" Type {key}=int(interval(LOW,HIGH)), or range(LOW,HIGH,STEP)."
    return ""


def identity(settings: Settings, space: Space, fixed: Sequence[str], config: DictConfig) -> dict[str, Any]:
    """What makes the trials of a study comparable.

    Args:
        fixed: overrides that all trials share; those of hydra.sweeper.params stand nowhere else.
    """
    varied = {parameter.key for parameter in space.parameters}
    found = dict(_flat(resolved(config), ""))
    for override in map(parsed, fixed):
        key, value = override.key_or_group, override.value()
        if (key in found or "." in key) and not isinstance(value, Mapping):
            found[key] = value
    plain = {key: value for key, value in found.items() if key not in varied and not key.startswith(ELSEWHERE)}
    return {
        "objectives": settings.objectives,
        "space": {parameter.name: parameter.typed.replace(" ", "") for parameter in space.parameters},
        "config": json.loads(json.dumps(plain, default=str)),
    }


def _flat(node: Any, path: str) -> list[tuple[str, Any]]:
    if not isinstance(node, Mapping) or not node:
        return [(path, node)]
    return [pair for key, value in node.items() for pair in _flat(value, f"{path}.{key}" if path else str(key))]


def refuse_another_study(study: optuna.Study, now: Mapping[str, Any], settings: Settings) -> None:
    """Raises RecexpError if the study was begun with something else than what is asked for now."""
    before = study.user_attrs.get(studies.BEGUN_WITH)
    if before is None:
        return
    changes = [
        *_changes({"hydra.sweeper.objectives": before["objectives"]}, {"hydra.sweeper.objectives": now["objectives"]}),
        *_changes(before["space"], now["space"], added="(fixed)"),
        *_changes(before["config"], now["config"], added="(not given)"),
    ]
    if changes:
        told = "; ".join(f"{key} was {old} and is now {new}" for key, old, new in changes[:SHOWN])
        more = f"; and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
        raise RecexpError(
            f"the study in {settings.folder} was begun with something else, and its trials must be comparable: "
            f"{told}{more}. Type hydra.sweeper.name=ANOTHER for a new study, or what it was."
        )


def _changes(before: Mapping[str, Any], now: Mapping[str, Any], added: str = "") -> list[tuple[str, Any, Any]]:
    keys = dict.fromkeys([*before, *now])
    return [
        (key, before.get(key, added), now.get(key, added))
        for key in keys
        if before.get(key, added) != now.get(key, added)
    ]


def refuse_strange_folders(folder: Path) -> None:
    """Raises RecexpError if trials lie in the folder of a study that is new: numbers would begin at 0 again."""
    found = sorted(path.name for path in folder.glob("[0-9]*") if path.is_dir())
    if found:
        raise RecexpError(
            f"{folder} holds trials ({', '.join(found[:3])}, …), but their study is gone, and nothing is written over. "
            "Move the folder away, or type hydra.sweeper.name=ANOTHER."
        )
