"""What remains of a study: a table of its trials, its facts, the best one as an experiment, a page of plots."""

from __future__ import annotations

import html
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import polars as pl
from hydra.core.config_loader import ConfigLoader
from hydra.types import RunMode
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial

from recexp import facts
from recexp.store import LOGIN, REMOVED, Folder
from recexp.sweep import marks
from recexp.sweep.settings import Settings
from recexp.sweep.show import best, says, which_of_front
from recexp.sweep.space import Space

BEST = Path("best", "experiment", "best.yaml")
"""In a folder of its own: whatever lies beside it would be a config group."""

UNREAD = {"task", "sweeps", "experiment", "fit"}
"""Groups that an experiment does not choose, or that come with another one."""


def leave(study: optuna.Study, settings: Settings, space: Space, loader: ConfigLoader) -> FrozenTrial | None:
    """Write everything, each file whole; the trial that best.yaml reruns, None where its folder is not here."""
    trials = study.get_trials(deepcopy=False)
    front = best(study, trials)
    write(settings.folder / "study.json", json.dumps(_facts(study, settings, trials, front), indent=2, default=str))
    Folder(settings.folder).write_table("trials.parquet", table(trials, settings, space))
    run = Folder(settings.folder / str(front[0].number)) if front else None
    here = run is not None and bool(run.run())
    if run is not None and here:
        write(settings.folder / BEST, f"{_head(study, settings, front)}\n{experiment(run, loader)}")
    else:
        (settings.folder / BEST).unlink(missing_ok=True)  # of a trial that is not the best any more
    write(settings.folder / "page.html", page(study, settings))
    return front[0] if here else None


def write(path: Path, text: str) -> None:
    """A whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text + "\n")
    beside.replace(path)


def _facts(
    study: optuna.Study, settings: Settings, trials: Sequence[FrozenTrial], front: Sequence[FrozenTrial]
) -> dict[str, Any]:
    kinds = [says(trial) or "finished" for trial in trials]
    shown = front if len(settings.metrics) > 1 else front[:1]  # the first one is the one that best.yaml reruns
    return {
        "name": settings.name,
        "storage": LOGIN.sub("", settings.storage),
        "objectives": settings.objectives,
        "sampler": settings.sampler,
        "pruner": settings.pruner,
        "n_trials": settings.n_trials,
        "trials": {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        "epochs": sum(len(trial.intermediate_values) for trial in trials),
        "best": [{"number": t.number, "values": t.values, "params": t.params} for t in shown],
        "versions": facts.versions(),
    }


def table(trials: Sequence[FrozenTrial], settings: Settings, space: Space) -> pl.DataFrame:
    """A row for each trial; parameters of mixed kinds as text."""
    return pl.DataFrame([_row(trial, settings, space) for trial in trials], infer_schema_length=None, strict=False)


def _row(trial: FrozenTrial, settings: Settings, space: Space) -> dict[str, Any]:
    values = trial.values or [None] * len(settings.metrics)
    return {
        "number": trial.number,
        "state": says(trial) or "finished",
        "reason": trial.user_attrs.get(marks.REASON),
        **dict(zip(settings.metrics, values, strict=True)),
        **{p.name: _plain(trial.params.get(p.name), p.corners) for p in space.parameters},
        "epochs": len(trial.intermediate_values),
        "seconds": trial.user_attrs.get(marks.SECONDS),
        "started": trial.datetime_start,
        "ended": trial.datetime_complete,
        "worker": trial.user_attrs.get(marks.WORKER),
        "again_of": trial.user_attrs.get(marks.AGAIN_OF),
    }


def _plain(value: Any, values: Sequence[Any]) -> Any:
    mixed = len({type(one) for one in values}) > 1
    return str(value) if mixed and value is not None else value


def _head(study: optuna.Study, settings: Settings, front: Sequence[FrozenTrial]) -> str:
    """Which trial best.yaml reruns, and why this one."""
    values = ", ".join(f"{name} {value:.4f}" for name, value in zip(settings.metrics, front[0].values, strict=True))
    said = f"# @package _global_\n# Trial {front[0].number} of the study {study.study_name}: {values}."
    return said if len(settings.metrics) == 1 else f"{said}\n# {which_of_front(settings, front)}"


def experiment(run: Folder, loader: ConfigLoader) -> str:
    """A trial as `experiment=best`: its choices, and the keys that differ from what these alone compose to."""
    saved = OmegaConf.to_container(run.config())
    assert isinstance(saved, dict)
    chosen = {group: option for group, option in run.run()["choices"].items() if group not in UNREAD and option}
    typed = [f"{group}={_typed(option)}" for group, option in chosen.items()]
    plain = loader.load_configuration("config", typed, RunMode.RUN, from_shell=False)
    alone = OmegaConf.masked_copy(plain, [str(key) for key in plain if key != "hydra"])
    alone._set_parent(plain)
    composed = OmegaConf.to_container(alone, resolve=True)
    assert isinstance(composed, dict)
    differing = dict(_differing(saved, composed))
    defaults = [{f"override /{group}": option} for group, option in chosen.items()]
    return OmegaConf.to_yaml(OmegaConf.create({"defaults": [*defaults, "_self_"], **differing}))


def _typed(option: Any) -> str:
    return f"[{','.join(map(str, option))}]" if isinstance(option, list) else str(option)


def _differing(saved: Mapping[Any, Any], plain: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    for key, value in saved.items():
        other = plain.get(key)
        if isinstance(value, dict) and isinstance(other, Mapping):
            inner = dict(_differing(value, other))
            if inner:
                yield key, inner
        elif value != REMOVED and (key not in plain or value != other):
            yield key, value


def page(study: optuna.Study, settings: Settings) -> str:
    """Optuna's plots in one file that needs no network."""
    parts = list(_plots(study, settings))
    style = "body{font-family:sans-serif;margin:2rem auto;max-width:1100px}"
    name = html.escape(settings.name)
    head = f"<meta charset='utf-8'><title>{name}</title><style>{style}</style>"
    return f"<!doctype html><html><head>{head}</head><body><h1>{name}</h1>{''.join(parts)}</body></html>"


def _value(at: int, trial: FrozenTrial) -> float:
    return float(trial.values[at])


def _plots(study: optuna.Study, settings: Settings) -> Iterator[str]:
    from optuna import visualization as plots

    several = len(settings.metrics) > 1
    makers: list[Callable[[], Any]] = []
    for at, name in enumerate(settings.metrics):
        target: dict[str, Any] = {"target": partial(_value, at), "target_name": name} if several else {}
        each = (plots.plot_optimization_history, plots.plot_param_importances)
        makers += [partial(plot, study, **target) for plot in (*each, plots.plot_parallel_coordinate, plots.plot_slice)]
    if several:
        makers.append(partial(plots.plot_pareto_front, study, target_names=settings.metrics))
    makers += [partial(plots.plot_intermediate_values, study), partial(plots.plot_timeline, study)]
    script: bool | str = True
    for make in makers:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                figure = make()
        except (ValueError, RuntimeError, ZeroDivisionError, IndexError):  # too few trials for this one
            continue
        yield figure.to_html(full_html=False, include_plotlyjs=script)
        script = False
