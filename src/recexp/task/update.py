"""task=update: take new events into a finished run, as a new version beside the old ones."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import polars as pl
from omegaconf import DictConfig, OmegaConf, open_dict

from recexp.errors import RecexpError
from recexp.store import CURRENT, NEW_FEATURES, NEWS, VERSIONS, alone, home, in_use
from recexp.task import drift, show
from recexp.task.job import Job
from recexp.task.news import News, read
from recexp.task.run import Run
from recexp.task.ways import Update, Updated, Way, way


def update(config: DictConfig, job: Job) -> None:
    """Write a whole new version, then make it the one in use; until then nothing that others read is touched.

    The model learns from every event that is known: the run's train, validation and test parts, and the new ones.
    """
    refuse_another_place(job, home(config.run))
    with alone(home(config.run)):
        refuse_unless_in_use(Path(config.run))
        run = Run(config.run, config)
        chosen = way(config.mode, run)
        with show.waiting("reading the data"):
            news = read(config, run)
        run.refuse_unless_listable(config.k)
        show.notes(news.notes)
        begin(Update(run, config, job.folder.checkpoints), news, job)
        work(Update(run, config, job.folder.checkpoints), news, chosen, job)


def refuse_another_place(job: Job, run: Path) -> None:
    """Raises: RecexpError where the job's folder is none of the run's versions."""
    if job.folder.path.parent.absolute() != (run / VERSIONS).absolute():
        raise RecexpError(
            f"task=update makes one version at a time, in {run / VERSIONS}; drop hydra.run.dir=… and -m, and update "
            "once for each mode."
        )


def refuse_unless_in_use(version: Path) -> None:
    """Raises: RecexpError where another version is in use: what came with it would be lost."""
    run = home(version)
    if in_use(run).absolute() != version.absolute():
        raise RecexpError(
            f"run={version} is not the version in use, which is {in_use(run).name}: what came with that would be "
            f"missing. Type run={run}, or go back first: write {version.name} into {run / CURRENT}."
        )


def begin(update: Update, news: News, job: Job) -> None:
    """Say who we are: from here on there is a folder, which nobody looks at yet."""
    config = OmegaConf.create(OmegaConf.to_container(update.config, resolve=True))
    assert isinstance(config, DictConfig)
    with open_dict(config):
        config.data = news.data
    job.choices["data"] = "extended"
    identity = {"data": news.dataset.sha256, "learned_from": news.learned_from, "refit_epochs": update.refit_epochs}
    job.begin(config, parent=update.run.facts.get("id"), mode=config.mode, **identity)


def work(update: Update, news: News, chosen: Way, job: Job) -> None:
    """Measure on the newest events, learn from all, write, publish."""
    seconds: dict[str, float] = {}
    started = time.perf_counter()
    newest: dict[str, Any] = {}
    if update.config.measure and news.fresh.any():
        show.notes([f"{update.config.mode} without each user's last new event, to ask for it"])
        newest = drift.newest(update, news, chosen)
    seconds["time/measure_s"], started = time.perf_counter() - started, time.perf_counter()
    show.notes([f"{update.config.mode} with everything"])
    after = chosen(update, news)
    seconds["time/update_s"] = time.perf_counter() - started
    found = {**drift.report(update, news, after.served, chosen), "newest": newest}
    leave(news, after, job)
    job.folder.write_drift(found)
    asked = {"eval": {"name": "newest", "hash": newest.get("hash")}}
    job.finish({**drift.metrics(found), **seconds}, **asked)
    job.folder.publish()
    show.console.print(drift.table(found))


def leave(news: News, after: Updated, job: Job) -> None:
    """Write what later tasks load."""
    dataset = news.dataset
    trained = after.served.trained[:-1].cpu().numpy()
    job.folder.write_table(NEWS, news.events)
    for side, table in news.newcomers.tables.items():
        job.folder.write_table(NEW_FEATURES[side], table)
    job.folder.write_model(after.served.model, dataset.users["user"], pl.Series(trained), dataset.items["item"])
    if after.features is not None and after.vocabulary is not None:
        job.folder.write_features(after.features.tensors(), after.vocabulary.table())
