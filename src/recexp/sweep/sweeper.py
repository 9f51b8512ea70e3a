"""`hydra/sweeper=recexp_optuna`: what Hydra calls with -m. Imports nothing heavy: every start of recexp loads this."""

from __future__ import annotations

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class StudySweeper(Sweeper):
    """Runs a study.

    Args:
        settings: as in `conf/hydra/sweeper/recexp_optuna.yaml`; read from the config, where they are resolved.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.task_function, self.config = hydra_context, task_function, config

    def sweep(self, arguments: list[str]) -> None:
        from hydra.core.plugins import Plugins

        from recexp.config import refusing
        from recexp.sweep.command import run

        assert self.config is not None and self.hydra_context is not None
        with refusing():
            launcher = Plugins.instance().instantiate_launcher(
                hydra_context=self.hydra_context, task_function=self.task_function, config=self.config
            )
            run(self.config, self.hydra_context.config_loader, launcher, arguments)
