"""Composition: where configs lie, what a named run brings along, and the hook that refuses before a folder is made."""

from __future__ import annotations

import itertools
import os
import re
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from recexp import checks
from recexp.errors import RecexpError
from recexp.store import REMOVED, Folder, in_use
from recexp.targets import configured

SAVED = ("data", "split", "model", "fit", "loss", "negatives", "examples", "optimizer", "trainer", "logger", "eval")
"""The groups that a named run brings along."""


class Refusal(SystemExit):
    """Something impossible on its way through Hydra's callbacks, which turn every plain exception into a warning.

    Args:
        error: what is wrong, in our words or still in Hydra's.
        overrides: of the job of a grid that Hydra refused.
    """

    def __init__(self, error: Exception, overrides: Sequence[str] = ()) -> None:
        super().__init__(2)
        self.error = error
        self.overrides = overrides


class Check(Callback):
    """Hydra calls this before it makes a folder."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        with refusing():
            _refuse_lonely_study(config)
            _check(config)
            checks.refuse_absent_accelerator(config)
            make_folder(Path(config.hydra.run.dir), shared=bool(config.get("resume")) or rank() > 0)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        with refusing():
            HydraConfig.instance().set_config(config)
            checks.refuse_added_keys(config)
            if any(o.key_or_group == "resume" for o in checks.task_overrides(config)):
                raise RecexpError("resume=… continues one run where it stopped; drop -m.")
            for job in jobs(config):
                _check(job)
                if str(config.hydra.launcher._target_).endswith(".BasicLauncher"):  # others go to other machines
                    checks.refuse_absent_accelerator(job)
            HydraConfig.instance().set_config(config)
            if is_grid(config):  # a study makes its own, once it is sure that it can
                make_folder(Path(config.hydra.sweep.dir), shared=False)


def check_job(config: DictConfig) -> None:
    """Refuse a job that cannot be run.

    Raises:
        RecexpError: there is something wrong with it.
    """
    before = HydraConfig.instance().cfg
    try:
        _check(config)
    finally:
        HydraConfig.instance().cfg = before


def _check(config: DictConfig) -> None:
    HydraConfig.instance().set_config(config)
    complete(config)
    checks.refuse_impossible(config)


def _refuse_lonely_study(config: DictConfig) -> None:
    if not is_grid(config) and rank() == 0:
        chosen = config.hydra.runtime.choices.get("sweeps")
        asked = f"sweeps={chosen}" if chosen not in (None, "null") else "hydra/sweeper=recexp_optuna"
        raise RecexpError(f"{asked} is a study, of many runs. Type python -m recexp -m {asked} …")


@contextmanager
def refusing() -> Iterator[None]:
    """Lets a refusal, and a config that cannot be resolved, through Hydra's callbacks."""
    try:
        yield
    except RecexpError as error:
        raise Refusal(error) from error
    except OmegaConfBaseException as error:
        raise Refusal(checks.unresolvable(error)) from error
    except Exception as error:
        traceback.print_exc()  # a mistake of ours: without this Hydra would warn, and run unchecked
        raise SystemExit(1) from error


def is_grid(config: DictConfig) -> bool:
    """Whether all jobs are known before the first one runs; those of a study are not."""
    return str(config.hydra.sweeper._target_).endswith(".BasicSweeper")


def current() -> object:
    """Hydra's config of what is composed last; None before anything was."""
    return HydraConfig.instance().cfg


def forget(before: object) -> None:
    """Be again where nothing was composed since: from Python, paths are relative to where Python is by then."""
    HydraConfig.instance().cfg = before  # type: ignore[assignment]


def in_study() -> bool:
    """Whether this is the command, or a job, of a study."""
    config = current()
    return isinstance(config, DictConfig) and config.hydra.mode == RunMode.MULTIRUN and not is_grid(config)


def study_folder() -> Path:
    """Of the study that was run."""
    return Path(HydraConfig.get().sweep.dir)


def jobs(config: DictConfig) -> Iterator[DictConfig]:
    """Every job of a grid, composed as Hydra will compose it; nothing of a study.

    Raises:
        Refusal: one of them cannot be composed.
    """
    loader = GlobalHydra.instance().config_loader()
    axes = [_values(override) for override in checks.task_overrides(config)] if is_grid(config) else [[]]
    for overrides in itertools.product(*axes):
        try:
            yield loader.load_sweep_config(config, list(overrides))
        except HydraException as error:
            raise Refusal(error, overrides) from error


def _values(override: Override) -> list[str]:
    if not override.is_sweep_override():
        return [str(override.input_line)]
    if not override.is_discrete_sweep():
        raise RecexpError(
            f"{override.input_line}: a grid needs its values one by one; type {override.key_or_group}=A,B,C."
        )
    values = [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    if not values:
        raise RecexpError(f"{override.input_line}: there is no value in it. Type {override.key_or_group}=A,B,C.")
    return values


def take_back_grid() -> None:
    """Remove the folder that Hydra made for a grid if no job left anything in it."""
    hydra = HydraConfig.get()
    path = Path(hydra.sweep.dir)
    if hydra.mode != RunMode.MULTIRUN or [file.name for file in path.iterdir()] != ["multirun.yaml"]:
        return
    (path / "multirun.yaml").unlink()
    for empty in (path, *path.absolute().parents[:2]):
        try:
            empty.rmdir()
        except OSError:
            break


def folder() -> Path:
    """The config folder: inside a wheel, or at the top of an editable checkout."""
    here = Path(__file__).resolve().parent
    inside = here / "conf"
    return inside if inside.is_dir() else here.parents[1] / "conf"


def rank() -> int:
    """Of this process among those that train one model together: 0 for the one that writes."""
    return max(int(os.environ.get(name) or 0) for name in ("LOCAL_RANK", "NODE_RANK"))


def choices(hydra: Any) -> dict[str, Any]:
    """The option of each group; of several options, `logger=[wandb,csv]`, Hydra itself keeps no record."""
    chosen = {group: option for group, option in hydra.runtime.choices.items() if not group.startswith("hydra/")}
    typed = OverridesParser.create().parse_overrides(list(hydra.overrides.task))
    return chosen | {
        o.key_or_group: o.value() for o in typed if o.key_or_group in SAVED and isinstance(o.value(), list)
    }


def named_run(config: Any) -> str | None:
    """The folder that `run=` or `resume=` means, if any: of an updated run, the version in use."""
    run, resumed = (None if (p := config.get(key)) in (None, "", "null", "???") else p for key in ("run", "resume"))
    if run is not None:
        return str(in_use(str(run)))
    return None if resumed is None else str(resumed)


def choices_of_run(overrides: Sequence[Override]) -> list[str]:
    """Where the overrides name a run: its choice of every group that they do not choose.

    Raises:
        RecexpError: there is no such run.
    """
    given = {override.key_or_group: override for override in overrides}
    for key in ("run", "resume"):
        if key in given and given[key].is_sweep_override():
            raise RecexpError(f"{given[key].input_line}: one {key} at a time, for its config is what is composed.")
    path = named_run({key: given[key].value() for key in ("run", "resume") if key in given})
    if path is None:
        return []
    before = _choices(Folder(path))
    if "model" in given and str(given["model"].value()) != before.get("model"):
        raise _another_model("model", path)
    added = [f"{group}={choice}" for group, choice in before.items() if group not in given]
    if "resume" in given:
        _refuse_to_resume(Folder(path))
        typed = str(given["resume"].input_line).partition("=")[2]
        added += [f"hydra.run.dir={typed}", "hydra.output_subdir=null"]
    return added


def _refuse_to_resume(run: Folder) -> None:
    task = run.run().get("task", "fit")
    if task != "fit":
        raise RecexpError(
            f"{run.path} was left by task={task}, and only a task=fit can be continued. Type task={task} … again: "
            "what it had begun changed nothing."
        )


def _choices(run: Folder) -> dict[str, str]:
    run.config()  # says so if this is no run
    before = run.run().get("choices")
    if not isinstance(before, dict):
        raise RecexpError(f"{run.path / 'run.json'} does not say which options its run was composed of.")
    return {group: _typed(group, choice, run) for group, choice in before.items() if group in SAVED}


def _typed(group: str, choice: Any, run: Folder) -> str:
    """The choice as it could be typed: the name of an option, or several, never a path to somewhere else."""
    names = choice if isinstance(choice, list) else [choice]
    if not all(re.fullmatch(r"[\w-]+", str(name)) for name in names):
        raise RecexpError(f"{run.path / 'run.json'}: the choice {group}={choice} is not the name of an option.")
    return f"[{','.join(names)}]" if isinstance(choice, list) else str(choice)


def complete(config: DictConfig) -> None:
    """Where a run is named, put its saved values in place, under whatever was given now.

    Raises:
        RecexpError: the model would be another one than was fitted, or the saved config is not what a run saves.
    """
    path = named_run(config)
    if path is None:
        return
    run = Folder(path)
    saved, before = run.config(), _choices(run)
    _refuse_unlike_a_run(saved, before, run)
    now = {name: _typed(name, choice, run) for name, choice in choices(config.hydra).items() if name in SAVED}
    kept = [group for group in SAVED if group in saved and now.get(group) == before.get(group)]
    given = {o.key_or_group: OmegaConf.select(config, o.key_or_group) for o in checks.task_overrides(config)}
    if changed := [key for key in given if key.startswith("model.")]:
        raise _another_model(changed[0], path)
    with open_dict(config):
        for key in (*kept, "seed", *(["refit"] if config.get("resume") else [])):
            config[key] = saved[key]
        for key, value in given.items():
            if key not in SAVED:
                OmegaConf.update(config, key, value, force_add=True)
        if not config.get("resume"):
            config["run"] = path  # the version of this moment, whatever is published meanwhile
    _refuse_removed_secrets(OmegaConf.masked_copy(config, kept), run)


def _refuse_removed_secrets(config: DictConfig, run: Folder) -> None:
    for path, node in configured(OmegaConf.to_container(config, resolve=False)):
        for key, value in node.items():
            if value == REMOVED:
                raise RecexpError(f"{run.path} keeps no secrets, and {path}.{key} was one. Type {path}.{key}=… again.")


def _refuse_unlike_a_run(saved: DictConfig, groups: Iterable[str], run: Folder) -> None:
    """A run saves resolved values of every group it was composed of; anything else did not come from a run."""
    complaint = f"{run.path / 'config.yaml'} is not the config that a run saves: "
    for key in (*groups, "seed"):
        if key not in saved or (key != "seed" and not OmegaConf.is_dict(saved._get_node(key))):
            raise RecexpError(f"{complaint}{key} is missing or no group of keys.")
    if "${" in OmegaConf.to_yaml(saved):
        raise RecexpError(f"{complaint}it holds a reference ${{…}} to something else.")


def _another_model(key: str, path: str) -> RecexpError:
    return RecexpError(
        f"{key} was given, but the model of {path} is fitted as it is. Drop {key}=…, or train a new run with it."
    )


def make_folder(path: Path, shared: bool) -> None:
    """Make the output folder, or say why it cannot be; never on top of another run.

    Raises:
        RecexpError: a run is there already, or nothing can be written there.
    """
    if not shared and ((path / "run.json").exists() or (path / "multirun.yaml").exists()):
        raise RecexpError(
            f"{path} holds a run or a grid already, and nothing is written over. Type resume={path} to continue a run, "
            "or give another hydra.run.dir (hydra.sweep.dir with -m)."
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # another rank may have been as quick
    except OSError as error:
        raise RecexpError(
            f"the output folder {path} cannot be written ({error.strerror}). Type hydra.run.dir=FOLDER, "
            "another one (hydra.sweep.dir=FOLDER with -m)."
        ) from error
