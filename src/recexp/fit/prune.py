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

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = trainer.callback_metrics.get("train/loss")
        if loss is not None and not math.isfinite(float(loss)):
            raise FloatingPointError(f"the training loss is {float(loss)} after epoch {trainer.current_epoch + 1}")

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if self.metric not in metrics or not trainer.is_global_zero or trainer.sanity_checking:
            return
        epoch = trainer.current_epoch + 1
        if trainer.state.fn == "fit" and self.report(epoch, metrics[self.metric]):
            raise Pruned(epoch, metrics)
