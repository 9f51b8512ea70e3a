"""task=evaluate: measure a finished run again, by another protocol or on other data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
from omegaconf import DictConfig

from recexp.checks import trusted
from recexp.errors import RecexpError
from recexp.eval.protocol import Result
from recexp.fit.base import Evaluated
from recexp.store import CURRENT, home
from recexp.task import show
from recexp.task.job import Job
from recexp.task.ranks import ranks
from recexp.task.run import Run


def evaluate(config: DictConfig, job: Job) -> None:
    """Test the run's model; a further protocol on the run's own test part is added to the run's metrics too."""
    run = Run(config.run, config)
    with show.waiting("reading the run and its data"):
        model = run.served  # a run that cannot be loaded is refused before anything is written
        refuse_what_it_learned(run)
        refuse_what_it_knows(run)
        identity, experiment = run.experiment.identity(), run.tested
    trainer, loggers = experiment.trainer(), experiment.loggers(job.folder.path)
    job.rank = trainer.global_rank
    job.begin(config, parent=run.facts.get("id"), **identity)
    job.log_with(loggers)
    module = Evaluated(
        validation_users=None,
        model=model,
        evaluations={"test": experiment.test},
        checkpoints=job.folder.checkpoints,
        monitor=experiment.protocol.monitor,
        seed=experiment.seed,
    )
    with ranks(trainer, job):
        experiment.trainer().test(module, datamodule=experiment.data, verbose=False)
    if job.leads:
        conclude(run, module, job)


def refuse_what_it_learned(run: Run) -> None:
    """Raises: RecexpError where an updated version would be tested on data that it learned from."""
    learned = [run.facts["data"], *run.facts["learned_from"]] if "learned_from" in run.facts else []
    data = run.experiment.data.dataset.sha256 if learned else ""
    if data in learned:
        what = "its own data" if data == run.facts["data"] else "data that the run before it, or an update, was given"
        raise RecexpError(
            f"{run.path} would be tested on {what} (its hash is {data[:12]}…), and it knows everything in that, "
            "the test part too: it would look better than it is. Allowed is data that it has not seen: type "
            f"data=table data.path=FILE with later events. How it did on the newest ones is in "
            f"{run.path / 'drift.json'}; the run as it was fitted is tested after removing "
            f"{home(run.path) / CURRENT}."
        )


def refuse_what_it_knows(run: Run) -> None:
    """Raises: RecexpError where events that would be asked for are among those that an updated version knows."""
    if "learned_from" not in run.facts:
        return
    before = Run(run.path, trusted(run.folder.config(), run.config.allow))
    own, asked = before.experiment.data.dataset, run.experiment.data.split.test.target
    keys = ["user", "item", *(["time"] if own.timed else [])]
    known, wanted = (pl.DataFrame({key: getattr(events, key) for key in keys}) for events in (own.interactions, asked))
    if met := wanted.join(known, on=keys, how="semi").height:
        raise RecexpError(
            f"{met:,} of the {wanted.height:,} events that would be asked for are known to {run.path}: it would look "
            "better than it is. Leave users without later events out of the data, or take a split that asks for later "
            "events alone, such as split=temporal."
        )


def conclude(run: Run, module: Evaluated, job: Job) -> None:
    """Write and show what was found."""
    result = module.results["test"]
    result = replace(result, notes=[*run.strangers, *result.notes])
    metrics = {**module.metrics("test"), **run.tested.popularity()}
    job.folder.write_table("per_user.parquet", result.per_user)
    job.finish(metrics, alarms=result.alarms, notes=result.notes)
    add_to_run(run, job.folder.run(), result)
    show.results(metrics, module.monitor.lstrip("-"), result)


def add_to_run(run: Run, found: dict[str, Any], result: Result) -> None:
    """A further protocol on the run's own test part is one more result of the run."""
    own, protocol = run.facts, found["eval"]
    if all(found[part] == own.get(part) for part in ("data", "split")) and protocol["name"] != own["eval"]["name"]:
        run.folder.update_metrics({f"test/{protocol['name']}/{name}": value for name, value in result.metrics.items()})
        run.folder.update_run(further={**own.get("further", {}), protocol["name"]: protocol["hash"]})
