"""Weights & Biases that never asks, never waits and never breaks a run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb
from pytorch_lightning.loggers import WandbLogger

from recexp.store import Folder

log = logging.getLogger("recexp")


class Wandb(WandbLogger):
    """One W&B run per job, under the run's own id, in the run's folder; offline unless asked.

    A resumed run goes on under its id; evaluations name their fit's run as `parent`; trials are grouped by study.

    Args:
        project, entity: where it belongs at W&B.
        mode: offline (no account, no network; `wandb sync` later), online, or disabled.
        tags: labels of the run.
        timeout: seconds that `online` may take to connect before the run goes on offline.
        save_dir: the run's folder.
    """

    def __init__(
        self, project: str, entity: str | None, mode: str, tags: Sequence[str], timeout: float, save_dir: str
    ) -> None:
        run = Folder(save_dir).run()
        settings = wandb.Settings(silent=True, console="off", x_disable_stats=True, init_timeout=timeout)
        super().__init__(
            name=Path(save_dir).name,
            save_dir=save_dir,
            project=project,
            id=run.get("id"),
            group=run.get("study"),
            job_type=run.get("task"),
            entity=entity,
            tags=[*tags],
            mode=mode,
            settings=settings,
        )
        self._wandb_init.pop("anonymous", None)  # Lightning sends it, W&B warns of it
        self._start()

    def _start(self) -> None:
        try:
            _ = self.experiment
        except Exception as error:
            log.warning("W&B is out of reach (%s); this run is logged offline.", str(error).splitlines()[0])
            self._wandb_init["mode"] = "offline"
            _ = self.experiment

    def log_outcome(self, facts: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """The facts of `run.json` into the config, the metrics into the summary and as a table."""
        run = self.experiment
        run.config.update({"run": dict(facts)}, allow_val_change=True)
        run.summary.update(dict(metrics))
        rows = [[name, value] for name, value in metrics.items()]
        run.log({"evaluation": wandb.Table(columns=["metric", "value"], data=rows)})

    def close(self, exit_code: int) -> None:
        """End the W&B run: 0 finished, else failed."""
        self.experiment.finish(exit_code=exit_code)
