"""A worker whose trials only pretend: `python pretend.py FOLDER STORAGE N_TRIALS SECONDS`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from hydra.core.utils import JobStatus

from recexp.sweep import studies
from recexp.sweep.claims import Claims
from recexp.sweep.lease import Lease
from recexp.sweep.settings import Settings
from recexp.sweep.space import Space, parameter
from recexp.sweep.worker import Worker

LINES = ["a=interval(0,1)", "b=choice(x,y)"]


def settings(folder: Path, storage: str, n_trials: int, **more: Any) -> Settings:
    plain: dict[str, Any] = {
        "name": "pretended", "folder": folder, "storage": storage, "objectives": ["val/score"],
        "sampler": {"_target_": "optuna.samplers.RandomSampler"}, "pruner": {"_target_": "optuna.pruners.NopPruner"},
        "n_trials": n_trials, "seed": 1, "workers": 0, "max_failures": 3, "trial_timeout": None,
        "trial_memory_mb": None, "grace": 60.0, "finalize": {},
    }  # fmt: skip
    return Settings(**{**plain, **more})


def space(*lines: str) -> Space:
    return Space([p for p in (parameter(line, None) for line in lines) if not isinstance(p, str)], lambda *_: False)


class Launcher:
    """Leaves the folder of a finished run; refuses to write over one."""

    def __init__(self, folder: Path, seconds: float = 0.0, metrics: Any = None) -> None:
        self.folder, self.seconds = folder, seconds
        self.metrics = metrics or (lambda values: {"val/score": -((float(values["a"]) - 0.3) ** 2)})
        self.launched: list[list[str]] = []

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[Any]:
        (overrides,) = job_overrides
        self.launched.append(list(overrides))
        folder = self.folder / str(initial_job_idx)
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps({"status": "running"}))
        time.sleep(self.seconds)
        values = dict(override.split("=", 1) for override in overrides)
        (folder / "metrics.json").write_text(json.dumps(self.metrics(values)))
        (folder / "run.json").write_text(json.dumps({"status": "finished", "seconds": self.seconds}))
        return [SimpleNamespace(status=JobStatus.COMPLETED, _return_value=None)]


def begun(given: Settings) -> optuna.Study:
    study = studies.begin(given)
    study.set_user_attr(studies.OBJECTIVES, given.objectives)
    study.set_user_attr(studies.PRUNER, given.pruner)
    return study


def work(given: Settings, launcher: Any, *lines: str) -> optuna.Study:
    """Be a worker until the study is over."""
    study, lease = begun(given), Lease(given.folder)
    try:
        claims = Claims(study, given, space(*(lines or LINES)), lease)
        Worker(claims, launcher, [], after=lambda _: None, afresh=False, log=None).work()
    finally:
        lease.release()
    return study


if __name__ == "__main__":
    own, storage, count, seconds = Path(sys.argv[1]).absolute(), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    own.mkdir(exist_ok=True)
    work(settings(own, storage, count, grace=float(sys.argv[5])), Launcher(own, seconds))
