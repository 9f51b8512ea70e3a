"""task=check: compose, load, try a few batches; say what the run would take; train nothing that stays."""

from __future__ import annotations

import statistics
import time
from typing import Any

import torch
from omegaconf import DictConfig
from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import Callback
from rich.table import Table

from recexp import facts
from recexp.task import show
from recexp.task.assemble import Experiment
from recexp.task.job import Job

TRIES = 5
"""Batches of each kind that are timed."""


class Stopwatch(Callback):
    """Seconds of each training and each validation batch."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = {"train": [], "val": []}

    def on_train_batch_start(self, *_: Any) -> None:
        self._started = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self.seconds["train"].append(time.perf_counter() - self._started)

    def on_validation_batch_start(self, *_: Any) -> None:
        self._started = time.perf_counter()

    def on_validation_batch_end(self, *_: Any) -> None:
        self.seconds["val"].append(time.perf_counter() - self._started)

    def median(self, part: str) -> float:
        """Of the batches after the first, which pays for warming up."""
        seconds = self.seconds[part]
        return statistics.median(seconds[1:] or seconds or [0.0])


def check(config: DictConfig, job: Job) -> None:
    """Everything a run would do, on a few batches and a throw-away model; its cost goes to `metrics.json`."""
    experiment = Experiment(config)
    with show.waiting("reading the data"):
        module = experiment.module(experiment.model(), job.folder.checkpoints)
    stopwatch = Stopwatch()
    trainer = experiment.trainer(callbacks=[stopwatch], fast_dev_run=TRIES)
    job.begin(config, **experiment.identity(), num_parameters=module.num_parameters)
    show.opening(experiment, module)
    trainer.fit(module, datamodule=experiment.data)
    chunks = len(module.evaluation_loader(experiment.data, "val"))
    cost = estimate(experiment, stopwatch, trainer, batches=module.num_batches(experiment.data), chunks=chunks)
    job.finish(cost)
    show.console.print(table(cost))


def estimate(
    experiment: Experiment, stopwatch: Stopwatch, trainer: Trainer, batches: int, chunks: int
) -> dict[str, float]:
    """Seconds of a step, an epoch and the whole run (without early stopping), and memory in MiB."""
    step, chunk = stopwatch.median("train"), stopwatch.median("val")
    epoch = step * batches + chunk * chunks
    cost = {
        "check/step_s": step,
        "check/steps_per_epoch": batches,
        "check/validation_s": chunk * chunks,
        "check/epoch_s": epoch,
        "check/run_s": epoch * experiment.config.trainer.max_epochs,
        "check/peak_memory_mb": facts.peak_memory_mb(),
    }
    if torch.cuda.is_available() and trainer.strategy.root_device.type == "cuda":
        cost["check/peak_gpu_memory_mb"] = torch.cuda.max_memory_allocated() / 2**20
    return cost


def table(cost: dict[str, float]) -> Table:
    """The estimate as a person reads it."""
    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.add_column("estimate")
    shown.add_column("", justify="right")
    for name, value in cost.items():
        shown.add_row(name.removeprefix("check/"), f"{value:,.0f}" if value >= 100 else f"{value:.4g}")
    return shown
