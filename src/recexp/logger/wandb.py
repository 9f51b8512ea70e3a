"""Weights & Biases that never asks, never waits and never breaks a run."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import wandb
from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.utilities import rank_zero_only

log = logging.getLogger("recexp")

EVALUATION = "evaluation"
"""The key of the table of final metrics."""


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
        super().__init__(name=Path(save_dir).name, save_dir=save_dir, project=project)
        quiet = wandb.Settings(silent=True, console="off", x_disable_stats=True, init_timeout=timeout)
        self._mode, self._folder, self._environment = mode, Path(save_dir), ExitStack()
        self._begin: Callable[..., Any] = partial(
            wandb.init,
            name=Path(save_dir).name,
            dir=save_dir,
            project=project,
            entity=entity,
            tags=[*tags],
            settings=quiet,
            resume="allow",
            reinit="create_new",  # whatever runs of their own a notebook has open
        )

    @rank_zero_only
    def open(self, facts: Mapping[str, Any]) -> None:
        """Begin the W&B run, or go on with it; offline where W&B is out of reach."""
        self._environment.enter_context(_at_home_in(self._folder))
        parent = {"parent": facts["parent"]} if "parent" in facts else {}
        begin = partial(self._begin, id=facts["id"], group=facts["study"], job_type=facts["task"], config=parent)
        try:
            _refuse_to_ask(self._mode)
            self._experiment = begin(mode=self._mode)
        except Exception as error:
            why = next(iter(str(error).splitlines()), type(error).__name__)
            log.warning("W&B is out of reach (%s); this run is logged offline.", why)
            wandb.teardown()  # else the id stays taken by the run that could not begin
            self._experiment = begin(mode="offline")
        self._experiment.define_metric("trainer/global_step")
        self._experiment.define_metric("*", step_metric="trainer/global_step", step_sync=True)

    @rank_zero_only
    def log_outcome(self, facts: Mapping[str, Any], metrics: Mapping[str, float]) -> None:
        """The facts of `run.json` into the config, the metrics into the summary and as a table."""
        run = self.experiment
        rows = [[name, value] for name, value in metrics.items()]
        try:
            run.config.update({"run": dict(facts)}, allow_val_change=True)
            run.summary.update(dict(metrics))
            if facts.get("status") == "pruned":
                run.tags = (*(run.tags or ()), "pruned")
            run.log({EVALUATION: wandb.Table(columns=["metric", "value"], data=rows)})
        except Exception as error:  # the results are in the folder already
            log.warning("W&B did not take the results (%s).", error)

    @rank_zero_only
    def close(self, exit_code: int) -> None:
        """End the W&B run: 0 finished, else failed."""
        with self._environment:
            if self._experiment is not None:
                self._experiment.finish(exit_code=exit_code)


def _refuse_to_ask(mode: str) -> None:
    if mode == "online" and not wandb.login(prompt=False, verify=False):
        raise RuntimeError("there is no API key; type `wandb login` once")


@contextmanager
def _at_home_in(folder: Path) -> Iterator[None]:
    """Silence. What `wandb sync` looks for lies beside the run, and so does all else where no home can be written."""
    home = Path("~").expanduser()
    homeless = not (home.is_dir() and os.access(home, os.W_OK))
    names = ["WANDB_DATA_DIR", *(["WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"] if homeless else [])]
    ours = {"WANDB_SILENT": "true", **dict.fromkeys(names, str(folder.absolute() / "wandb"))}
    ours = {name: value for name, value in ours.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
