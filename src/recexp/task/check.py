"""task=check: compose, load, one batch; say what a run would cost; train nothing."""

from __future__ import annotations

from omegaconf import DictConfig

from recexp.task.job import Job


def check(config: DictConfig, job: Job) -> None: ...
