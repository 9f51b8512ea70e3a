"""How far a fit is: a bar for a person at a terminal, a line now and then for a file or a pipe."""

from __future__ import annotations

import time
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Callback, RichProgressBar
from rich.console import Console

SECONDS_BETWEEN_LINES = 15.0


def progress(console: Console) -> Callback:
    """What suits the console."""
    return Bar() if console.is_terminal else Lines(console, SECONDS_BETWEEN_LINES)


class Clock:
    """Knows how long the epochs that are left will take, if none is saved by stopping early."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self._began = time.monotonic()
        self._first = trainer.current_epoch

    def left(self) -> str:
        """`2 min left` at the end of an epoch; nothing where no number of epochs is set."""
        last, done = self.trainer.max_epochs or -1, self.trainer.current_epoch + 1
        if last <= done or self.trainer.should_stop:
            return ""
        seconds = (time.monotonic() - self._began) / (done - self._first) * (last - done)
        return f"at most {duration(seconds)} left"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


class Bar(RichProgressBar):
    """Lightning's bar with the time that the whole fit may still take, gone when it is done."""

    def __init__(self) -> None:
        super().__init__(refresh_rate=10)
        self._left = ""

    def _init_progress(self, trainer: Trainer) -> None:
        super()._init_progress(trainer)
        if self.progress is not None:
            self.progress.live.transient = True

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        shown: dict[str, Any] = super().get_metrics(trainer, pl_module)
        return {name: value for name, value in shown.items() if name != "v_num"} | {"": self._left}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._clock = Clock(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._left = self._clock.left()
        super().on_train_epoch_end(trainer, pl_module)


class Lines(Callback):
    """The metrics of an epoch, at most every so many seconds and at the end.

    Args:
        console: printed to. every: seconds between lines.
    """

    def __init__(self, console: Console, every: float) -> None:
        self.console, self.every = console, every
        self._line = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._clock, self._said = Clock(trainer), time.monotonic()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = [f"{name} {float(value):.4f}" for name, value in trainer.progress_bar_metrics.items()]
        self._line = " · ".join([f"epoch {trainer.current_epoch + 1}", *metrics])
        if time.monotonic() - self._said >= self.every:
            self._say(trainer, self._clock.left())

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._say(trainer, "")

    def _say(self, trainer: Trainer, left: str) -> None:
        if self._line and trainer.is_global_zero:
            self.console.print(f"{self._line} · {left}".strip(" ·"), soft_wrap=True)
        self._line, self._said = "", time.monotonic()
