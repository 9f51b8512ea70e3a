"""task=fit: train, choose on validation, measure on test, leave a folder that everything else reads."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from omegaconf import DictConfig

from recexp.errors import RecexpError
from recexp.fit.base import Evaluated
from recexp.task import show
from recexp.task.assemble import Experiment
from recexp.task.job import Job
from recexp.task.ranks import ranks


def fit(config: DictConfig, job: Job) -> None:
    """Run one experiment from data to folder; with `resume`, go on where a killed run stopped."""
    experiment = Experiment(config)
    with show.waiting("reading the data"):
        refuse_refit_without_validation(experiment)
        module = experiment.module(experiment.model(), selection_folder(job, config))
    trainer, loggers = experiment.trainer(), experiment.loggers(job.folder.path)
    module.configure_optimizers()  # like the trainer, refuses bad settings before anything is written
    job.rank = trainer.global_rank
    job.begin(config, **experiment.identity(), num_parameters=module.num_parameters)
    show.opening(experiment, module)
    job.log_with(loggers)
    with ranks(trainer, job):
        fit_and_measure(experiment, module, job)


def fit_and_measure(experiment: Experiment, module: Evaluated, job: Job) -> None:
    """All that the processes of several devices do together, and what the first of them writes."""
    started = time.perf_counter()
    steps = train(experiment, module, job)
    metrics = measured(experiment, module, "val") if "val" in module.evaluations else {}
    if experiment.config.refit:
        experiment = experiment.with_validation_in_train().for_epochs(best_epochs(experiment, module.checkpoints))
        module = experiment.module(experiment.model(), job.folder.checkpoints)
        steps = train(experiment, module, job)
    metrics["time/fit_s"] = time.perf_counter() - started + job.spent
    metrics |= measured(experiment, module, "test")
    if job.leads:
        conclude(experiment, module, job, metrics, steps)


def train(experiment: Experiment, module: Evaluated, job: Job) -> int:
    """Fit the module, from its last checkpoint if there is one, and give it its best weights; the steps it took."""
    last = module.checkpoints / "last.ckpt"
    resumed = last if job.resumed and last.exists() else None
    trainer = experiment.trainer(job.loggers, job.callbacks)
    try:
        trainer.fit(module, datamodule=experiment.data, ckpt_path=resumed, weights_only=True)
    finally:  # also where it is pruned
        job.spent += module.spent
    best = module.checkpoints / "best.ckpt"
    if best.exists():
        module.load_state_dict(torch.load(best, weights_only=True, map_location="cpu")["state_dict"])
    return int(trainer.global_step)


def measured(experiment: Experiment, module: Evaluated, part: str) -> dict[str, float]:
    """Metrics of the fitted model on `val` or `test`, with their seconds; none if the trainer leaves the part out.

    Loggers get them at the end of the job: from this trainer they would get another point of step 0.
    """
    trainer = experiment.trainer()
    started = time.perf_counter()
    run = {"val": trainer.validate, "test": trainer.test}[part]
    run(module, datamodule=experiment.data, verbose=False)
    if part not in module.results:
        return {}
    return {**module.metrics(part), f"time/{part}_s": time.perf_counter() - started}


def conclude(experiment: Experiment, module: Evaluated, job: Job, metrics: dict[str, float], steps: int) -> None:
    """Write and show what was found."""
    notes = [*module.notes, *module.results["test"].notes, *chosen(experiment, module)]
    result = replace(module.results["test"], notes=notes)
    metrics |= experiment.popularity()
    leave(experiment, module, job)
    job.finish(metrics, steps=steps, alarms=result.alarms, notes=result.notes)
    show.results(metrics, module.monitor.lstrip("-"), result)


def leave(experiment: Experiment, module: Evaluated, job: Job) -> None:
    """Write what later tasks load: weights, ids, each user's metrics, and the frozen negatives if there are any."""
    users, items = experiment.data.dataset.users["user"], experiment.data.dataset.items["item"]
    trained = np.bincount(experiment.data.split.train.user, minlength=len(users)) > 0
    job.folder.write_model(module.model, users, pl.Series(trained), items)
    if experiment.features is not None and experiment.vocabulary is not None:
        job.folder.write_features(experiment.features.tensors(), experiment.vocabulary.table())
    job.folder.write_table("per_user.parquet", module.results["test"].per_user)
    evaluation = experiment.test
    if evaluation.candidates is not None:
        columns = {"user": users[evaluation.users], "negatives": evaluation.candidates}
        job.folder.write_table("negatives.parquet", pl.DataFrame(columns))


def selection_folder(job: Job, config: DictConfig) -> Path:
    """Where the checkpoints of the first fit go: with `refit`, the second one's are the run's own."""
    return job.folder.checkpoints / "selection" if config.refit else job.folder.checkpoints


def chosen(experiment: Experiment, module: Evaluated) -> list[str]:
    """Which epoch the weights are of, where validation chose one."""
    if not (module.chooses and (module.checkpoints / "best.ckpt").exists()):
        return []
    epoch = best_epochs(experiment, module.checkpoints)
    return [f"the weights of epoch {epoch}, the best on validation by {module.monitor.lstrip('-')}"]


def best_epochs(experiment: Experiment, checkpoints: Path) -> int:
    """How many epochs the best checkpoint had seen; all, where none was measured."""
    best = checkpoints / "best.ckpt"
    if not best.exists():
        return int(experiment.config.trainer.max_epochs)
    return int(torch.load(best, weights_only=True, map_location="cpu")["epoch"]) + 1


def refuse_refit_without_validation(experiment: Experiment) -> None:
    """Raises: RecexpError where `refit=true` has nothing to choose the number of epochs on."""
    if experiment.config.refit and experiment.data.split.validation is None:
        raise RecexpError(
            "refit=true trains again for as many epochs as were best on validation; this split has no validation. "
            "Type split.validation=next_to_last, or refit=false with trainer.max_epochs=N."
        )
