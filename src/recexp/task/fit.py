"""task=fit: train, choose on validation, measure on test, leave a folder that everything else reads."""

from __future__ import annotations

import time
from pathlib import Path

import polars as pl
import torch
from omegaconf import DictConfig

from recexp.errors import RecexpError
from recexp.fit.base import Evaluated
from recexp.task import show
from recexp.task.assemble import Experiment
from recexp.task.job import Job


def fit(config: DictConfig, job: Job) -> None:
    """Run one experiment from data to folder; with `resume`, go on where a killed run stopped."""
    experiment = Experiment(config)
    with show.waiting("reading the data"):
        refuse_refit_without_validation(experiment)
        module = experiment.module(experiment.model(), selection_folder(job, config))
    experiment.trainer()  # refuses bad settings before anything is written, and so does the optimizer
    module.configure_optimizers()
    job.begin(config, **experiment.identity(), num_parameters=module.num_parameters)
    show.opening(experiment, module)
    job.log_with(experiment.loggers(job.folder.path))

    started = time.perf_counter()
    train(experiment, module, job)
    metrics = measured(experiment, module, job, "val") if "val" in module.evaluations else {}
    if config.refit:
        experiment = experiment.with_validation_in_train(num_epochs=best_epochs(module.checkpoints))
        module = experiment.module(experiment.model(), job.folder.checkpoints)
        train(experiment, module, job)
    metrics["time/fit_s"] = time.perf_counter() - started

    metrics |= measured(experiment, module, job, "test")
    metrics |= {f"popularity/{name}": value for name, value in experiment.popularity().items()}
    leave(experiment, module, job)
    job.finish(metrics, alarms=module.results["test"].alarms)
    show.results(metrics, module.monitor.lstrip("-"), module.results["test"].alarms)


def train(experiment: Experiment, module: Evaluated, job: Job) -> None:
    """Fit the module, from its last checkpoint if there is one, and give it its best weights."""
    last = module.checkpoints / "last.ckpt"
    trainer = experiment.trainer(job.loggers)
    trainer.fit(
        module, datamodule=experiment.data, ckpt_path=last if job.resumed and last.exists() else None, weights_only=True
    )
    if trainer.interrupted:
        raise KeyboardInterrupt
    best = module.checkpoints / "best.ckpt"
    if best.exists():
        module.load_state_dict(torch.load(best, weights_only=True, map_location="cpu")["state_dict"])


def measured(experiment: Experiment, module: Evaluated, job: Job, part: str) -> dict[str, float]:
    """Metrics of the fitted model on `val` or `test`, with their seconds."""
    trainer = experiment.trainer(job.loggers)
    started = time.perf_counter()
    run = {"val": trainer.validate, "test": trainer.test}[part]
    run(module, datamodule=experiment.data, verbose=False)
    result = module.results[part]
    metrics = {f"{part}/{name}": value for name, value in {**result.metrics, **result.segments}.items()}
    return {**metrics, f"time/{part}_s": time.perf_counter() - started}


def leave(experiment: Experiment, module: Evaluated, job: Job) -> None:
    """Write what later tasks load: weights, ids, each user's metrics, and the frozen negatives if there are any."""
    if not job.leads:
        return
    dataset = experiment.data.dataset
    job.folder.write_model(module.model, dataset.users["user"], dataset.items["item"])
    job.folder.write_table("per_user.parquet", module.results["test"].per_user)
    evaluation = module.evaluations["test"]
    if evaluation.candidates is not None:
        columns = {"user": dataset.users["user"][evaluation.users], "negatives": evaluation.candidates}
        job.folder.write_table("negatives.parquet", pl.DataFrame(columns))


def selection_folder(job: Job, config: DictConfig) -> Path:
    """Where the checkpoints of the first fit go: with `refit`, the second one's are the run's own."""
    return job.folder.checkpoints / "selection" if config.refit else job.folder.checkpoints


def best_epochs(checkpoints: Path) -> int:
    """How many epochs the best checkpoint had seen."""
    checkpoint = torch.load(checkpoints / "best.ckpt", weights_only=True, map_location="cpu")
    return int(checkpoint["epoch"]) + 1


def refuse_refit_without_validation(experiment: Experiment) -> None:
    """Raises: RecexpError where `refit=true` has nothing to choose the number of epochs on."""
    if experiment.config.refit and experiment.data.split.validation is None:
        raise RecexpError(
            "refit=true trains again for as many epochs as were best on validation; this split has no validation. "
            "Type split.validation=next_to_last, or refit=false with trainer.max_epochs=N."
        )
