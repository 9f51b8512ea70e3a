"""A study from command to folder: checked, begun or gone on with, run, and left in order."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from functools import partial

import optuna
from hydra.core.config_loader import ConfigLoader
from hydra.plugins.launcher import Launcher
from hydra.utils import get_method
from omegaconf import DictConfig
from optuna.trial import FrozenTrial
from rich.console import Console

from recexp.config import check_job, make_folder
from recexp.sweep import leave, rehearsal, show, studies
from recexp.sweep.claims import Claims
from recexp.sweep.crew import Crew, die_with_supervisor
from recexp.sweep.finalize import finalize
from recexp.sweep.lease import ROLE, Lease
from recexp.sweep.settings import Settings, read_space
from recexp.sweep.space import Space
from recexp.sweep.worker import Worker, stopping_on_sigterm

LOOK_SECONDS = 0.3

console = Console(highlight=False)


def run(config: DictConfig, loader: ConfigLoader, launcher: Launcher, arguments: Sequence[str]) -> None:
    """Run a study, or be one of its workers.

    Raises:
        RecexpError: something impossible was asked; nothing was made.
        SystemExit: too many trials failed.
        KeyboardInterrupt: it was stopped; the same command goes on.
    """
    settings = Settings.of(config)
    space, fixed = read_space(config, arguments)
    if ROLE in os.environ:
        threading.Thread(target=die_with_supervisor, daemon=True).start()
        get_method(str(config.task._target_))  # what every trial imports is no trial's own time
        with stopping_on_sigterm():
            _work(studies.begin(settings), settings, space, launcher, fixed)
        return
    rehearsal.rehearse(settings, space, fixed, config, rehearsal.checker(config, loader, check_job))
    study = _begun(settings, space, fixed, config)
    lease = Lease(settings.folder)
    try:
        with stopping_on_sigterm():
            _conduct(Claims(study, settings, space, lease), launcher, fixed, loader)
    finally:
        lease.release()


def _begun(settings: Settings, space: Space, fixed: list[str], config: DictConfig) -> optuna.Study:
    """The study, if it may go on with these settings."""
    now = rehearsal.identity(settings, space, fixed, config)
    if studies.exists(settings):
        rehearsal.refuse_another_study(studies.load(settings.storage, settings.name), now, settings)
    else:
        rehearsal.refuse_strange_folders(settings.folder)
    make_folder(settings.folder, shared=True)
    study = studies.begin(settings)
    rehearsal.refuse_another_study(study, now, settings)
    if studies.BEGUN_WITH not in study.user_attrs:
        study.set_user_attr(studies.BEGUN_WITH, now)
    study.set_user_attr(studies.OBJECTIVES, settings.objectives)
    study.set_user_attr(studies.PRUNER, settings.pruner)
    return study


def _work(study: optuna.Study, settings: Settings, space: Space, launcher: Launcher, fixed: list[str]) -> None:
    lease = Lease(settings.folder)
    try:
        Worker(Claims(study, settings, space, lease), launcher, fixed, lambda _: None, afresh=True, log=None).work()
    finally:
        lease.release()


def _conduct(claims: Claims, launcher: Launcher, fixed: list[str], loader: ConfigLoader) -> None:
    """Run the trials, here or in workers, and leave what remains however it ends."""
    study, settings, space = claims.study, claims.settings, claims.space
    lines = show.Lines(study, settings, space, console)
    lines.opening(claims.n_trials)
    try:
        if settings.workers:
            _supervise(claims, lines)
        else:
            log = settings.folder / "trials.log"
            Worker(claims, launcher, fixed, partial(_look, lines), afresh=False, log=log).work()
    except KeyboardInterrupt as stop:
        console.print("stopped; the same command goes on with it")
        raise KeyboardInterrupt from stop  # not with a trial's own advice
    finally:
        lines.look()
        best = leave.leave(study, settings, space, loader)
        show.summary(study, settings, space, console, best)
    _conclude(claims)
    if best is not None:
        finalize(settings, best.number, fixed, console)


def _look(lines: show.Lines, _: FrozenTrial | None = None) -> list[FrozenTrial]:
    trials = lines.look()
    lines.refuse_hopeless(trials)
    return trials


def _supervise(claims: Claims, lines: show.Lines) -> None:
    crew = Crew(claims, claims.settings.workers)
    try:
        with console.status("starting the workers …") as status:
            while not claims.tally().over:
                crew.man()
                time.sleep(LOOK_SECONDS)
                trials = _look(lines)
                status.update(lines.status(trials, claims.n_trials))
                crew.watch(trials)
    finally:
        crew.stop()


def _conclude(claims: Claims) -> None:
    tally = claims.tally()
    if tally.broken:
        console.print(
            f"stopped: {tally.failed} trials failed, more than hydra.sweeper.max_failures={tally.max_failures}. "
            "Type the same with a larger one to go on."
        )
        print(claims.settings.folder)
        raise SystemExit(1)
