"""Stopping a run that is not worth going on with."""

from __future__ import annotations

import math
from collections.abc import Callable

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback


class Pruned(Exception):  # noqa: N818  (no error)
    """The run is ended early, on purpose.

    Args:
        epoch: epochs it had. metrics: of its last validation.
    """

    def __init__(self, epoch: int, metrics: dict[str, float]) -> None:
        super().__init__(f"pruned after epoch {epoch}")
        self.epoch, self.metrics = epoch, metrics


class Prune(Callback):
    """Reports each validation, and ends the run when told so.

    Args:
        metric: as in metrics.json; None: nothing is reported.
        report: takes the epoch (1, 2, …) and the metric; says whether to stop.
    """

    def __init__(self, metric: str | None, report: Callable[[int, float], bool]) -> None:
        self.metric, self.report = metric, report

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._refuse_divergence(trainer)  # of the epoch before: its loss is known only now

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._refuse_divergence(trainer)

    def _refuse_divergence(self, trainer: Trainer) -> None:
        for name in ("train/loss", self.metric or "train/loss"):
            value = float(trainer.callback_metrics.get(name, 0.0))
            if not math.isfinite(value):
                raise FloatingPointError(f"{name} is {value} after epoch {trainer.current_epoch}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if self.metric not in metrics or not trainer.is_global_zero or trainer.sanity_checking:
            return
        self._refuse_divergence(trainer)
        epoch = trainer.current_epoch + 1
        if trainer.state.fn == "fit" and self.report(epoch, metrics[self.metric]):
            raise Pruned(epoch, metrics)
