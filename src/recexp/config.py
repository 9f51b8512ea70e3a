"""Composition: where configs lie, what a named run brings along, and the hook that refuses before a folder is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from recexp import checks
from recexp.errors import RecexpError
from recexp.store import Folder

SAVED = ("data", "split", "model", "fit", "loss", "negatives", "optimizer", "trainer", "logger", "eval")
"""The groups that a named run brings along."""


class Refusal(SystemExit):
    """A RecexpError on its way through Hydra's callbacks, which turn every plain exception into a warning."""

    def __init__(self, error: RecexpError) -> None:
        super().__init__(2)
        self.error = error


class Check(Callback):
    """Hydra calls this before it makes a folder."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        with refusing():
            HydraConfig.instance().set_config(config)
            complete(config)
            checks.refuse_impossible(config)
            make_folder(Path(config.hydra.run.dir), resumed=bool(config.get("resume")))

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        with refusing():
            HydraConfig.instance().set_config(config)
            checks.refuse_added_keys(config)
            make_folder(Path(config.hydra.sweep.dir), resumed=False)


@contextmanager
def refusing() -> Iterator[None]:
    """Lets a refusal, and a config that cannot be resolved, through Hydra's callbacks."""
    try:
        yield
    except RecexpError as error:
        raise Refusal(error) from error
    except OmegaConfBaseException as error:
        raise Refusal(RecexpError(f"the config cannot be resolved: {str(error).splitlines()[0]}")) from error


def folder() -> Path:
    """The config folder: inside a wheel, or at the top of an editable checkout."""
    here = Path(__file__).resolve().parent
    inside = here / "conf"
    return inside if inside.is_dir() else here.parents[1] / "conf"


def named_run(config: Any) -> str | None:
    """The folder that `run=` or `resume=` names, if any."""
    path = config.get("run") or config.get("resume")
    return None if path in (None, "", "null", "???") else str(path)


def with_choices_of_run(arguments: Sequence[str]) -> list[str]:
    """The arguments, and, where they name a run, its choice of every group that they do not choose."""
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    path = named_run(given)
    if path is None:
        return list(arguments)
    choices = _choices(Folder(path))
    added = [f"{group}={choice}" for group, choice in choices.items() if group not in given]
    if "resume" in given:
        added += [f"hydra.run.dir={path}", "hydra.output_subdir=null"]
    return [*arguments, *added]


def _choices(run: Folder) -> dict[str, str]:
    run.config()  # says so if this is no run
    choices = run.run().get("choices")
    if not isinstance(choices, dict):
        raise RecexpError(f"{run.path / 'run.json'} does not say which options its run was composed of.")
    return {group: _typed(choice) for group, choice in choices.items() if group in SAVED}


def _typed(choice: Any) -> str:
    return f"[{','.join(choice)}]" if isinstance(choice, list) else str(choice)


def complete(config: DictConfig) -> None:
    """Where a run is named, put its saved values in place, under whatever was given now.

    Raises:
        RecexpError: the model would be another one than was fitted.
    """
    path = named_run(config)
    if path is None:
        return
    overrides, run = task_overrides(config), Folder(path)
    saved, before = run.config(), _choices(run)
    now = config.hydra.runtime.choices
    kept = [group for group in SAVED if group in saved and _typed(now.get(group)) == before.get(group)]
    given = {override.key_or_group: OmegaConf.select(config, override.key_or_group) for override in overrides}
    _refuse_another_model(given, path, "model" in kept)
    with open_dict(config):
        for key in (*kept, "seed", *(["refit"] if config.get("resume") else [])):
            config[key] = saved[key]
        for key, value in given.items():
            if key not in SAVED:
                OmegaConf.update(config, key, value, force_add=True)


def _refuse_another_model(given: dict[str, Any], path: str, same_option: bool) -> None:
    changed = [key for key in given if key.startswith("model.")]
    if changed or not same_option:
        what = changed[0] if changed else "model"
        raise RecexpError(
            f"{what} was given, but the model of {path} is fitted as it is; drop {what}=…, or train a new run with it."
        )


def task_overrides(config: DictConfig) -> list[Override]:
    """The overrides of this job, parsed."""
    return OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))


def make_folder(path: Path, resumed: bool) -> None:
    """Make the output folder, or say why it cannot be; never on top of another run.

    Raises:
        RecexpError: a run is there already, or nothing can be written there.
    """
    if not resumed and ((path / "run.json").exists() or (path / "multirun.yaml").exists()):
        raise RecexpError(
            f"{path} holds a run already. Type resume={path} to continue it, or give another hydra.run.dir."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RecexpError(
            f"the output folder {path} cannot be written ({error.strerror}). Type hydra.run.dir=FOLDER, another one."
        ) from error
